/**
 * The next token of the exact profile: the greatest logit, or a draw that follows from the logits, the request's seed and
 * the place alone. Weights are integers of the table of exponentials, so every sum is exact in any order and a verifier
 * that knows the logits finds the same token.
 *
 * Spec: `inference/spec/exact.md`, section Sampling.
 *
 * @module
 */

import { bytesUint, uintBytes, utf8 } from '../../attest/core/bytes.ts';
import { type Digest, sha256 } from '../../attest/core/hash.ts';
import { InferenceError } from '../errors.ts';
import { EXPONENTIAL_ENTRIES } from './tables.ts';

/** How a token is chosen; all integers. */
export type Sampling = {
  /** In 1/10,000, `0..20000`; 0 takes the greatest logit and draws nothing. */
  readonly temperature: number;
  /** In 1/10,000, `1..10000`: the share of the weight that stays; 10000 keeps all. */
  readonly topP: number;
  /** `0..1000000`: how many tokens stay (more where weights tie); 0 keeps all. */
  readonly topK: number;
};

/** Where a token is drawn: the inference's seed, 32 bytes, and the token's index in the whole sequence. */
export type Draw = { readonly seed: Digest; readonly position: number };

/** Sampling as a client asks for it: decimal numbers, each may be absent. */
export type SamplingRequest = { readonly temperature?: unknown; readonly topP?: unknown; readonly topK?: unknown };

/** Units of temperature and top-p in 1. */
export const SAMPLING_UNITS = 10_000;

/** Highest temperature, in units; 2, as in OpenAI's API. */
export const MAX_TEMPERATURE = 20_000;

/** Highest top-k. */
export const MAX_TOP_K = 1_000_000;

/** Greedy decoding, the default. */
export const GREEDY: Sampling = { temperature: 0, topP: SAMPLING_UNITS, topK: 0 };

/**
 * Reads a request in decimal numbers: temperature 0.7 is 7000. Absent ones are those of {@link GREEDY}.
 *
 * @param request - untrusted
 * @throws {@link InferenceError} `SAMPLING_REFUSED` for what is no number, finer than 1/10,000, or out of range:
 *   temperature 0 to 2, top-p 0.0001 to 1, top-k a whole number 0 to 1,000,000
 */
export function parseSampling(request: SamplingRequest): Sampling {
  const { temperature = 0, topP = 1, topK = 0 } = request;
  const sampling = {
    temperature: units('temperature', temperature),
    topP: units('topP', topP),
    topK: typeof topK === 'number' ? topK + 0 : Number.NaN,
  };
  checkSampling(sampling);
  return sampling;
}

/**
 * Checks the integers of a {@link Sampling}.
 *
 * @throws {@link InferenceError} `SAMPLING_REFUSED` if one is no integer or out of range
 */
export function checkSampling({ temperature, topP, topK }: Sampling): void {
  checkRange('temperature', temperature, 0, MAX_TEMPERATURE);
  checkRange('topP', topP, 1, SAMPLING_UNITS);
  checkRange('topK', topK, 0, MAX_TOP_K);
}

/**
 * The next token. Greedy: the greatest logit, ties to the lowest id. Otherwise token t weighs
 * exp[min(32767, rne(fl(fl(max - logit) * fl(20480000 / temperature))))]; top-k, then top-p of what is left, keep all
 * weights from a threshold on (the largest that leaves at least k tokens, at least p of the weight); of the sum S that is
 * left, the token is the first in id order whose running sum exceeds floor(u64 * S / 2^64).
 *
 * @param logits - `[vocabulary]`
 * @param draw - unused when greedy
 * @param exp - the table of exponentials, `[32768]`
 * @param allowed - ids that may come, a list of them ascending and within the vocabulary; the others enter no maximum and no sum. All when absent
 * @throws {@link InferenceError} `SAMPLING_REFUSED` as {@link checkSampling}
 * @throws {@link InferenceError} `NUMERIC_FAULT` if any logit, allowed or not, is not a finite number
 * @throws RangeError if there is no token to choose, an allowed id is no index of `logits`, or `draw` or `exp` has
 *   another width
 */
export function chooseToken(
  logits: Float32Array,
  sampling: Sampling,
  draw: Draw,
  exp: Uint16Array,
  allowed?: ReadonlySet<number> | Uint32Array,
): number {
  checkSampling(sampling);
  checkFinite(logits);
  const ids = allowed instanceof Set ? ascending(allowed, logits.length) : (allowed as Uint32Array | undefined);
  const best = greatest(logits, ids);
  if (sampling.temperature === 0) return best;
  const weighed = weigh(logits, ids, logits[best] as number, sampling.temperature, exp);
  return drawToken(weighed, threshold(weighed, sampling), draw);
}

/** The draw's 64 bits: the first 8 bytes of SHA-256("tracebond/u/1" || seed 32 || position 8), big-endian. */
export function computeDraw({ seed, position }: Draw): bigint {
  if (seed.length !== 32) throw new RangeError(`expected a seed of 32 bytes, got ${seed.length}`);
  return bytesUint(sha256(utf8('tracebond/u/1'), seed, uintBytes(position, 8)).subarray(0, 8));
}

/** Tokens that weigh anything, in id order; the arrays are filled up to `count`. */
type Weighed = { readonly ids: Uint32Array; readonly weights: Uint16Array; readonly count: number };

function weigh(
  logits: Float32Array,
  allowed: Uint32Array | undefined,
  top: number,
  temperature: number,
  exp: Uint16Array,
): Weighed {
  if (exp.length !== EXPONENTIAL_ENTRIES) {
    throw new RangeError(`expected ${EXPONENTIAL_ENTRIES} exponentials, got ${exp.length}`);
  }
  const scale = Math.fround((2048 * SAMPLING_UNITS) / temperature);
  const last = EXPONENTIAL_ENTRIES - 1;
  const size = allowed?.length ?? logits.length;
  const ids = new Uint32Array(size);
  const weights = new Uint16Array(size);
  let count = 0;
  for (let j = 0; j < size; j++) {
    const id = allowed === undefined ? j : (allowed[j] as number);
    // beyond binary32 either product is an infinity, which is past the table's end like every large number
    const steps = Math.fround(Math.fround(top - (logits[id] as number)) * scale);
    // 0 <= steps < 32767 here, where adding 2^52 rounds half to even
    const weight = exp[steps < last ? steps + TWO_52 - TWO_52 : last] as number;
    if (weight > 0) {
      ids[count] = id;
      weights[count++] = weight;
    }
  }
  return { ids, weights, count };
}

/** The least weight that stays, at least 1: tokens of weight 0 are never drawn, whether they stay or not. */
function threshold({ weights, count }: Weighed, { topP, topK }: Sampling): number {
  const isCut = topK > 0 && topK < count;
  if (!isCut && topP === SAMPLING_UNITS) return 1;
  const tokens = new Uint32Array(MAX_WEIGHT + 1);
  let sum = 0;
  for (let j = 0; j < count; j++) {
    const weight = weights[j] as number;
    tokens[weight] = (tokens[weight] as number) + 1;
    sum += weight;
  }
  let least = 1;
  if (isCut) {
    let kept = 0;
    sum = 0;
    for (let weight = MAX_WEIGHT; kept < topK; weight--) {
      const ties = tokens[weight] as number;
      kept += ties;
      sum += ties * weight;
      least = weight;
    }
  }
  if (topP === SAMPLING_UNITS) return least;
  // sums below 2^53 / 10,000: exact
  const wanted = topP * sum;
  let kept = 0;
  let weight = MAX_WEIGHT + 1;
  while (kept * SAMPLING_UNITS < wanted) {
    weight--;
    kept += (tokens[weight] as number) * weight;
  }
  return weight;
}

function drawToken({ ids, weights, count }: Weighed, least: number, draw: Draw): number {
  let sum = 0;
  for (let j = 0; j < count; j++) {
    const weight = weights[j] as number;
    if (weight >= least) sum += weight;
  }
  const limit = Number((computeDraw(draw) * BigInt(sum)) >> 64n);
  let running = 0;
  let j = -1;
  // limit < sum, so the running sum passes it before the list ends
  while (running <= limit) {
    const weight = weights[++j] as number;
    if (weight >= least) running += weight;
  }
  return ids[j] as number;
}

/** Index of the greatest logit, the lowest among equals (+0 and -0 are equal). */
function greatest(logits: Float32Array, allowed: Uint32Array | undefined): number {
  const size = allowed?.length ?? logits.length;
  if (size === 0) throw new RangeError('there is no token to choose');
  let best = allowed === undefined ? 0 : (allowed[0] as number);
  let top = logits[best] as number;
  for (let j = 1; j < size; j++) {
    const id = allowed === undefined ? j : (allowed[j] as number);
    const value = logits[id] as number;
    if (value > top) {
      top = value;
      best = id;
    }
  }
  return best;
}

function checkFinite(logits: Float32Array): void {
  for (let id = 0; id < logits.length; id++) {
    const value = logits[id] as number;
    if (value - value !== 0) {
      throw new InferenceError('NUMERIC_FAULT', `logit of token ${id} is ${value}`, { at: { token: id } });
    }
  }
}

/** The ids of a set in order, by a mark for each: sorting would cost more for large sets. */
function ascending(allowed: ReadonlySet<number>, vocabulary: number): Uint32Array {
  const marks = new Uint8Array(vocabulary);
  for (const id of allowed) {
    if (!Number.isInteger(id) || id < 0 || id >= vocabulary) {
      throw new RangeError(`allowed token ${id} is outside a vocabulary of ${vocabulary}`);
    }
    marks[id] = 1;
  }
  const ids = new Uint32Array(allowed.size);
  let count = 0;
  for (let id = 0; id < vocabulary; id++) if (marks[id] === 1) ids[count++] = id;
  return ids.subarray(0, count);
}

/** A decimal as units of 1/10,000: v is such a decimal exactly if it is the binary64 nearest to one. */
function units(field: keyof Sampling, value: unknown): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw refused(field, 'expected a number');
  const count = Math.round(value * SAMPLING_UNITS) + 0;
  if (Number.isSafeInteger(count) && count / SAMPLING_UNITS !== value)
    throw refused(field, `${value} is finer than 1/${SAMPLING_UNITS}`);
  return count;
}

function checkRange(field: keyof Sampling, value: number, low: number, high: number): void {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw refused(field, `expected an integer in ${low}..${high}, got ${value}`);
  }
}

function refused(field: keyof Sampling, message: string): InferenceError {
  return new InferenceError('SAMPLING_REFUSED', `${field}: ${message}`, { at: { field } });
}

const MAX_WEIGHT = 65_535;
const TWO_52 = 0x10000000000000;
