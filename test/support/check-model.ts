/**
 * A random exact model as whoever checks claims holds it, with a tokenizer of letters; and answers one row at a time: what a check in one
 * pass is compared with.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { type Hex, toHex } from '../../attest/core/bytes.ts';
import type { CheckingModel } from '../../inference/check.ts';
import { chooserOf } from '../../inference/choose.ts';
import type { ContinuationText, ContinueOptions } from '../../inference/continuation.ts';
import type { ExactDecoder } from '../../inference/exact/exact-decoder.ts';
import type { ExactModel } from '../../inference/exact/exact-model.ts';
import { exactSequences } from '../../inference/exact/exact-sequences.ts';
import { loadableModel } from '../../inference/exact/model-bytes.ts';
import { openReference } from '../../inference/exact/reference/reference-decoder.ts';
import { loadKernels, startNodeThread } from '../../inference/exact/wasm/threads.ts';
import { openWasmDecoder } from '../../inference/exact/wasm/wasm-decoder.ts';
import type { Sequences } from '../../inference/sequences.ts';

/** A letter for each id, from `a` on; no merges, no control tokens, and the given ids end a text. */
export function letters(endIds: readonly number[]): ContinuationText {
  return {
    decode: (ids) => ids.map((id) => (endIds.includes(id) ? '' : String.fromCodePoint(97 + id))).join(''),
    description: { endIds },
  };
}

/** The model over the WebAssembly engine; one thread. Its sequences are closed by the caller. */
export async function openCheckModel(model: ExactModel, endIds: readonly number[] = []): Promise<CheckingModel> {
  const options = { module: await loadKernels(), startThread: startNodeThread, maxRows: 16 };
  return checkModelOver(await openWasmDecoder(loadableModel(model), options), endIds);
}

/** The model over any engine. */
export function checkModelOver(decoder: ExactDecoder, endIds: readonly number[] = []): CheckingModel {
  return {
    identity: { vocabularySize: decoder.shape.vocabulary },
    tokenizer: letters(endIds),
    sequences: exactSequences(decoder),
  };
}

/** An honest answer. */
export type PlainAnswer = { readonly ids: readonly number[]; readonly finish: 'stop' | 'length'; readonly digest: Hex };

/**
 * Decodes one row after the other, by nothing but the port and the rule that chooses: nothing is known before, nothing runs ahead.
 *
 * @param sequences - `plainSequences` for independence of the engine that checks
 */
export async function plainAnswer(
  sequences: Sequences,
  prompt: readonly number[],
  { maxTokens, sampling }: Pick<ContinueOptions, 'maxTokens' | 'sampling'>,
  endIds: readonly number[] = [],
): Promise<PlainAnswer> {
  const choose = chooserOf(sampling);
  const hash = createHash('sha256');
  const sequence = sequences.open(prompt.length + maxTokens);
  const ids: number[] = [];
  let logits = new Float32Array(0);
  for (const id of prompt) logits = (await sequence.feed([id])) as Float32Array<ArrayBuffer>;
  let finish: PlainAnswer['finish'] = 'length';
  for (;;) {
    hash.update(Buffer.from(logits.buffer, logits.byteOffset, logits.byteLength));
    const id = choose(logits, prompt.length + ids.length);
    ids.push(id);
    if (endIds.includes(id)) finish = 'stop';
    if (finish === 'stop' || ids.length === maxTokens) break;
    logits = (await sequence.feed([id])) as Float32Array<ArrayBuffer>;
  }
  sequence.close();
  return { ids, finish, digest: toHex(hash.digest()) };
}

/** The model over the reference engine. */
export function plainSequences(model: ExactModel): Sequences {
  return exactSequences(openReference(model), { prefixCache: false });
}
