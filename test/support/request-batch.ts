/**
 * Requests of mixed lengths that share one batch, padded and not, and each of them alone: what an exact engine computes of a request never depends
 * on its company.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import type { ExactDecoder, Row } from '../../inference/exact/exact-decoder.ts';
import type { Random } from './random.ts';
import { randomTokens } from './random-exact-model.ts';

/** A prompt, and the token that is fed after it. */
export type BatchRequest = { readonly prompt: readonly number[]; readonly next: number };

/** What was computed of one request, as SHA-256. */
export type BatchAnswer = {
  /** Logits of each position of the prompt, then of the next token. */
  readonly logits: readonly string[];
  /** Caches of all layers, after the prompt and after the next token. */
  readonly caches: readonly [string, string];
};

/** How rows of requests follow each other: request by request, position by position, or anyhow. */
export const ROW_ORDERS = ['in blocks', 'interleaved', 'mixed'] as const;
export type RowOrder = (typeof ROW_ORDERS)[number];

/** Requests whose lengths are 1 to `longest`, each of which occurs where `count` allows it. */
export function mixedRequests(
  random: Random,
  { count, longest, vocabulary }: { readonly count: number; readonly longest: number; readonly vocabulary: number },
): BatchRequest[] {
  const lengths = Array.from({ length: count }, (_, i) => (i < longest ? i + 1 : 1 + random.below(longest)));
  // The long ones come neither first nor last.
  const order = lengths.map((length, i) => ({ length, key: (i * 7) % count }));
  return order
    .sort((a, b) => a.key - b.key)
    .map(({ length }) => ({ prompt: randomTokens(random, vocabulary, length), next: random.below(vocabulary) }));
}

/** One request in a sequence of its own: the prompt in one batch, then the next token. */
export function answerAlone(decoder: ExactDecoder, { prompt, next }: BatchRequest): BatchAnswer {
  const sequence = decoder.openSequence(prompt.length + 1);
  const rows = prompt.map((token) => ({ sequence, token }));
  const logits = logitsOf(decoder, rows, [...rows.keys()]);
  const before = cachesOf(decoder, sequence);
  logits.push(...logitsOf(decoder, [{ sequence, token: next }], [0]));
  const caches = [before, cachesOf(decoder, sequence)] as const;
  decoder.closeSequence(sequence);
  return { logits, caches };
}

/**
 * All prompts in one batch, then the next tokens of all in another.
 *
 * @param options.padTo - every prompt has tokens of no meaning behind it up to this length, which are computed in the batch and then forgotten
 */
export function answerTogether(
  decoder: ExactDecoder,
  requests: readonly BatchRequest[],
  { random, order, padTo = 0 }: { readonly random: Random; readonly order: RowOrder; readonly padTo?: number },
): BatchAnswer[] {
  const { vocabulary } = decoder.shape;
  const texts = requests.map(({ prompt }) => [
    ...prompt,
    ...randomTokens(random, vocabulary, Math.max(0, padTo - prompt.length)),
  ]);
  const sequences = texts.map(({ length }) => decoder.openSequence(length + 1));
  const places = placesOf(
    texts.map(({ length }) => length),
    order,
    random,
  );
  const rows: Row[] = places.map(({ request, position }) => ({
    sequence: sequences[request] ?? -1,
    token: texts[request]?.[position] ?? -1,
  }));
  const isReal = ({ request, position }: Place) => position < (requests[request]?.prompt.length ?? 0);
  const wanted = places.flatMap((place, row) => (isReal(place) ? [row] : []));
  const answers = requests.map(() => ({ logits: [] as string[], caches: ['', ''] as [string, string] }));
  logitsOf(decoder, rows, wanted).forEach((digest, i) => {
    const { request, position } = places[wanted[i] ?? -1] ?? { request: -1, position: -1 };
    const answer = answers[request];
    if (answer !== undefined) answer.logits[position] = digest;
  });
  answers.forEach(({ caches }, i) => {
    decoder.truncate(sequences[i] ?? -1, requests[i]?.prompt.length ?? -1);
    caches[0] = cachesOf(decoder, sequences[i] ?? -1);
  });
  const steps = requests.map(({ next }, i) => ({ sequence: sequences[i] ?? -1, token: next }));
  logitsOf(decoder, steps, [...steps.keys()]).forEach((digest, i) => {
    answers[i]?.logits.push(digest);
  });
  answers.forEach(({ caches }, i) => {
    caches[1] = cachesOf(decoder, sequences[i] ?? -1);
  });
  for (const sequence of sequences) decoder.closeSequence(sequence);
  return answers;
}

type Place = { readonly request: number; readonly position: number };

/** Where each row belongs; positions of one request in their order. */
function placesOf(lengths: readonly number[], order: RowOrder, random: Random): Place[] {
  const blocks = lengths.map((length, request) => Array.from({ length }, (_, position) => ({ request, position })));
  if (order === 'in blocks') return blocks.flat();
  if (order === 'interleaved') return blocks.flat().sort((a, b) => a.position - b.position || a.request - b.request);
  const left = blocks.filter((block) => block.length > 0).map((block) => [...block]);
  const places: Place[] = [];
  while (left.length > 0) {
    const at = random.below(left.length);
    const place = left[at]?.shift();
    if (place !== undefined) places.push(place);
    if (left[at]?.length === 0) left.splice(at, 1);
  }
  return places;
}

function logitsOf(decoder: ExactDecoder, rows: readonly Row[], wanted: readonly number[]): string[] {
  const digests: string[] = [];
  decoder.forwardEach(rows, wanted, (logits) => {
    digests.push(digestOf([logits]));
    return true;
  });
  return digests;
}

function cachesOf(decoder: ExactDecoder, sequence: number): string {
  const layers = Array.from({ length: decoder.shape.layers }, (_, layer) => decoder.readCache(sequence, layer));
  return digestOf(layers.flatMap(({ keys, keyScales, values, valueScales }) => [keys, keyScales, values, valueScales]));
}

function digestOf(parts: readonly (Float32Array | Int16Array)[]): string {
  const hash = createHash('sha256');
  for (const { buffer, byteOffset, byteLength } of parts) hash.update(new Uint8Array(buffer, byteOffset, byteLength));
  return hash.digest('hex');
}
