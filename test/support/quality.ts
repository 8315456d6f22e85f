/**
 * How far one engine's logits are from another's on the same text: both read the same ids, neither its own output.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { argmax } from '../../inference/decode.ts';
import type { ExactDecoder } from '../../inference/exact/exact-decoder.ts';
import { median } from './bench.ts';

/** An engine that reads: ids of one sequence in, for each of them the logits after it. */
export type Reader = {
  /** Forgets everything and starts an empty sequence. */
  start(): void;
  /** Appends ids. What it gives is valid until the next call. */
  feed(ids: readonly number[]): Promise<readonly Float32Array[]>;
};

/** What {@link compareReaders} found. Perplexities are per token of the tokenizer. */
export type Quality = {
  /** Positions compared: all but the last of each window, whose next token is in no window. */
  readonly positions: number;
  readonly perplexity: number;
  readonly referencePerplexity: number;
  /** Positions where both have the same best token. */
  readonly agreeing: number;
  /** Mean of KL(reference || engine), in nats. */
  readonly divergence: number;
  /** Median, where the best tokens differ, of the reference's logit of its own best token less that of the engine's. */
  readonly gapOfDifferent: number;
  /** Median of the reference's two best logits' difference over all positions: the scale of the former. */
  readonly gapOfAll: number;
};

/** Ids fed at a time: bounds the logits in memory. */
const CHUNK = 64;

/** The text that the project ships for this, see the page beside it. */
export function qualityText(): string {
  return readFileSync(new URL('../bench/text/opticks.txt', import.meta.url), 'utf8');
}

/** Cuts ids into windows, each a sequence of its own; a last one of a single id is left out, as it foretells nothing. */
export function windowsOf(ids: readonly number[], length: number): readonly (readonly number[])[] {
  const windows: (readonly number[])[] = [];
  for (let at = 0; at < ids.length - 1; at += length) windows.push(ids.slice(at, at + length));
  return windows;
}

/** Reads with the exact engine, up to `maxRows` rows at a time. */
export function exactReader(decoder: ExactDecoder, capacity: number): Reader {
  const sequence = decoder.openSequence(capacity);
  const { vocabulary } = decoder.shape;
  return {
    start: () => decoder.truncate(sequence, 0),
    async feed(ids) {
      const found: Float32Array[] = [];
      for (let at = 0; at < ids.length; at += decoder.maxRows) {
        const rows = ids.slice(at, at + decoder.maxRows).map((token) => ({ sequence, token }));
        const logits = decoder.forward(rows, [...rows.keys()]).slice();
        for (const row of rows.keys()) found.push(logits.subarray(row * vocabulary, (row + 1) * vocabulary));
      }
      return found;
    },
  };
}

/** A growing sequence of the binary32 graph: ids in, logits after the last of them out. */
type FloatSequence = { feed(ids: readonly number[]): Promise<Float32Array> };

/** Reads with the binary32 graph, one id at a time: it gives the logits of the last position alone. */
export function floatReader(startSequence: () => FloatSequence): Reader {
  let sequence = startSequence();
  return {
    start() {
      sequence = startSequence();
    },
    async feed(ids) {
      const found: Float32Array[] = [];
      for (const id of ids) found.push((await sequence.feed([id])).slice());
      return found;
    },
  };
}

/**
 * Reads windows with both.
 *
 * @param windows - of two ids or more
 * @param onWindow - called after each, with the number of windows done
 */
export async function compareReaders(
  windows: readonly (readonly number[])[],
  engine: Reader,
  reference: Reader,
  onWindow: (done: number) => void = () => {},
): Promise<Quality> {
  let positions = 0;
  let agreeing = 0;
  let surprise = 0;
  let referenceSurprise = 0;
  let divergence = 0;
  const gaps: number[] = [];
  const gapsOfDifferent: number[] = [];
  for (const [index, window] of windows.entries()) {
    engine.start();
    reference.start();
    for (let at = 0; at < window.length - 1; at += CHUNK) {
      const ids = window.slice(at, Math.min(at + CHUNK, window.length - 1));
      const [ours, theirs] = [await engine.feed(ids), await reference.feed(ids)];
      for (const row of ids.keys()) {
        const [own, other] = [ours[row], theirs[row]];
        const next = window[at + row + 1];
        if (own === undefined || other === undefined || next === undefined) throw new TypeError('a row is missing');
        const [logs, otherLogs] = [logProbabilities(own), logProbabilities(other)];
        positions += 1;
        surprise -= logs[next] as number;
        referenceSurprise -= otherLogs[next] as number;
        divergence += divergenceOf(otherLogs, logs);
        const [best, otherBest] = [argmax(own), argmax(other)];
        const top = other[otherBest] as number;
        gaps.push(top - secondLogit(other, otherBest));
        if (best === otherBest) agreeing += 1;
        else gapsOfDifferent.push(top - (other[best] as number));
      }
    }
    onWindow(index + 1);
  }
  return {
    positions,
    perplexity: Math.exp(surprise / positions),
    referencePerplexity: Math.exp(referenceSurprise / positions),
    agreeing,
    divergence: divergence / positions,
    gapOfDifferent: median(gapsOfDifferent),
    gapOfAll: median(gaps),
  };
}

/** Natural logarithms of the softmax, in binary64. */
function logProbabilities(logits: Float32Array): Float64Array {
  let largest = Number.NEGATIVE_INFINITY;
  for (const logit of logits) if (logit > largest) largest = logit;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - largest);
  const shift = largest + Math.log(sum);
  const logs = Float64Array.from(logits);
  for (let id = 0; id < logs.length; id++) logs[id] = (logs[id] as number) - shift;
  return logs;
}

/** KL(p || q) of two distributions given by their logarithms. */
function divergenceOf(p: Float64Array, q: Float64Array): number {
  let sum = 0;
  for (let id = 0; id < p.length; id++) {
    const log = p[id] as number;
    sum += Math.exp(log) * (log - (q[id] as number));
  }
  return sum;
}

/** The largest logit but that of `best`. */
function secondLogit(logits: Float32Array, best: number): number {
  let second = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id] as number;
    if (id !== best && logit > second) second = logit;
  }
  return second;
}
