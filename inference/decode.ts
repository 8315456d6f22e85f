/**
 * Decoding: one token after the other, freely or within a set of answers. Greedy decoding takes the most probable token, ties to
 * the lowest id.
 *
 * @module
 */

import { InferenceError } from './errors.ts';

/** Something that gives logits: `feed` appends ids and returns those after the last, `[vocabulary]`. */
export type LogitSource = { feed(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array> };

/** What may come at one place: ids of the vocabulary. */
export type TokenMask = {
  /** Bit `id % 32` of word `id >> 5`. */
  readonly bits: Uint32Array;
  /** The one id that may come, where it is one alone. */
  readonly only: number | undefined;
};

/** Where an answer of a given form stands. States never change. */
export type MaskedPlace = {
  /** Whether the text so far is an answer. */
  readonly isWhole: boolean;
  /** Whether it is one and nothing can follow. */
  readonly isEnd: boolean;
  /** Fewest tokens to an answer. */
  readonly cost: number;
  /** Ids after which an answer can be had within `remaining` tokens, at least `cost` and 1, this one included. */
  mask(remaining: number): TokenMask;
  /** The place after an id of the mask. */
  take(id: number): MaskedPlace;
};

export type DecodeOptions = {
  /** Most ids of output, at least 1. */
  readonly maxTokens: number;
  /** Ids that end the answer; the one that came is the last of the output. */
  readonly endIds: readonly number[];
  /** Asked after each id; true ends the answer with `stop`. */
  readonly isStopped?: (ids: readonly number[]) => boolean;
  /**
   * Takes a token; greedy by default.
   *
   * @param position - index of the token to take in the whole sequence
   * @param mask - ids that may come; all when absent
   */
  readonly choose?: (logits: Float32Array, position: number, mask?: TokenMask) => number;
};

/** Decoding to a form. */
export type MaskedOptions = Omit<DecodeOptions, 'choose'> & {
  /** The beginning; its cost is at most `maxTokens`. */
  readonly start: MaskedPlace;
  /** Told what may come, for every id of the output, before it comes. */
  readonly onMask?: (mask: TokenMask) => void;
  /** Whether the model is asked even where one id alone may come. */
  readonly asksAlways?: boolean;
  readonly choose: (logits: Float32Array, position: number, mask: TokenMask) => number;
};

/** Ids of an answer and why it ended. */
export type Decoded = { readonly ids: readonly number[]; readonly finishReason: 'stop' | 'length' | 'choice' };

/**
 * A way to decode, apart from what computes: it asks for ids to be appended and takes the logits after the last of them, `[vocabulary]`, valid until it
 * asks again. Whoever drives it decides how they are computed, and never what follows from them.
 */
export type Decoding<T = Decoded> = Generator<readonly number[], T, Float32Array>;

/**
 * Drives a way to decode with a source of logits.
 *
 * @param source - empty sequence
 * @throws {@link InferenceError} `CANCELLED` when `signal` fires, `NUMERIC_FAULT` if no logit is a number
 */
export async function drive<T>(source: LogitSource, decoding: Decoding<T>, signal?: AbortSignal): Promise<T> {
  let step = decoding.next();
  while (step.done !== true) step = decoding.next(await feed(source, step.value, signal));
  return step.value;
}

/**
 * Continues a prompt freely.
 *
 * @param prompt - at least one id
 */
export function* freely(prompt: readonly number[], options: DecodeOptions): Decoding {
  const { choose = argmaxOf } = options;
  const ends = new Set(options.endIds);
  const ids: number[] = [];
  let next = prompt;
  while (ids.length < options.maxTokens) {
    const id = choose(yield next, prompt.length + ids.length);
    ids.push(id);
    // Asked for every id, the last one too.
    if (options.isStopped?.(ids) === true || ends.has(id)) return { ids, finishReason: 'stop' };
    next = [id];
  }
  return { ids, finishReason: 'length' };
}

/**
 * Continues a prompt to an answer of a form, always a whole one. A place that allows one id alone takes it without asking the model.
 *
 * @param prompt - at least one id
 */
export function* withinForm(prompt: readonly number[], options: MaskedOptions): Decoding {
  const { maxTokens, start, onMask, asksAlways = false, choose } = options;
  const ends = new Set(options.endIds);
  const ids: number[] = [];
  let pending = prompt;
  let place = start;
  while (ids.length < maxTokens && !place.isEnd) {
    const mask = place.mask(maxTokens - ids.length);
    onMask?.(mask);
    let id = asksAlways ? undefined : mask.only;
    if (id === undefined) {
      id = choose(yield pending, prompt.length + ids.length, mask);
      pending = [];
    }
    ids.push(id);
    if (options.isStopped?.(ids) === true || ends.has(id)) return { ids, finishReason: 'stop' };
    pending = [...pending, id];
    place = place.take(id);
  }
  return { ids, finishReason: place.isEnd ? 'stop' : 'length' };
}

/**
 * Continues a prompt with exactly one of `choices`: at each place only ids that some choice has there are allowed, and
 * where one choice is the beginning of another, the first end id decides for the shorter. A place that allows one id
 * alone takes it without asking the model. The end id itself is not part of the output.
 *
 * @param choices - ids of the choices, each non-empty, all different
 * @param onAllowed - told what could come, for every id of the output
 */
export function* amongChoices(
  prompt: readonly number[],
  choices: readonly (readonly number[])[],
  endIds: readonly number[],
  onAllowed: (allowed: ReadonlySet<number>) => void = () => {},
): Decoding {
  const ids: number[] = [];
  let pending: readonly number[] = prompt;
  let open = choices;
  for (;;) {
    const allowed = new Set(
      open.flatMap((choice) => (choice.length > ids.length ? [choice[ids.length] as number] : endIds)),
    );
    if (open.every((choice) => choice.length === ids.length)) return { ids, finishReason: 'choice' };
    let id = only(allowed);
    if (id === undefined) {
      id = argmax(yield pending, allowed);
      pending = [];
    }
    const ended = open.find((choice) => choice.length === ids.length);
    if (ended !== undefined && endIds.includes(id)) return { ids, finishReason: 'choice' };
    onAllowed(allowed);
    ids.push(id);
    pending = [...pending, id];
    const taken = id;
    open = open.filter((choice) => choice[ids.length - 1] === taken);
  }
}

/** {@link freely} over a source. */
export function decodeFree(
  source: LogitSource,
  prompt: readonly number[],
  options: DecodeOptions,
  signal?: AbortSignal,
): Promise<Decoded> {
  return drive(source, freely(prompt, options), signal);
}

/** {@link amongChoices} over a source. */
export function decodeChoice(
  source: LogitSource,
  prompt: readonly number[],
  choices: readonly (readonly number[])[],
  endIds: readonly number[],
  signal?: AbortSignal,
): Promise<Decoded> {
  return drive(source, amongChoices(prompt, choices, endIds), signal);
}

/**
 * Index of the greatest logit among those of a mask, the lowest among equals.
 *
 * @throws {@link InferenceError} `NUMERIC_FAULT` if none of them is a number
 */
export function argmaxOfMask(logits: Float32Array, { bits }: TokenMask): number {
  let best = -1;
  let top = Number.NEGATIVE_INFINITY;
  for (let word = 0; word < bits.length; word++) {
    // From the lowest bit that is set to the next, until none is left.
    for (let left = bits[word] as number; left !== 0; left &= left - 1) {
      const id = 32 * word + 31 - Math.clz32(left & -left);
      const value = logits[id] as number;
      if (value > top) {
        top = value;
        best = id;
      }
    }
  }
  if (best === -1) throw new InferenceError('NUMERIC_FAULT', 'no logit is a finite number');
  return best;
}

/** Ids of a mask, ascending. */
export function maskIds({ bits }: TokenMask): Uint32Array {
  const ids: number[] = [];
  for (let word = 0; word < bits.length; word++) {
    for (let left = bits[word] as number; left !== 0; left &= left - 1)
      ids.push(32 * word + 31 - Math.clz32(left & -left));
  }
  return Uint32Array.from(ids);
}

/**
 * Index of the greatest logit, the lowest among equals.
 *
 * @param allowed - ids to look at; all when absent
 * @throws {@link InferenceError} `NUMERIC_FAULT` if none of them is a number
 */
export function argmax(logits: Float32Array, allowed?: ReadonlySet<number>): number {
  const best = allowed === undefined ? argmaxOfAll(logits) : argmaxOfAllowed(logits, allowed);
  if (best === -1) throw new InferenceError('NUMERIC_FAULT', 'no logit is a finite number');
  return best;
}

/** A loop of its own without calls: it runs over the whole vocabulary for every token. */
function argmaxOfAll(logits: Float32Array): number {
  let best = -1;
  let top = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) {
    const value = logits[id] as number;
    // NaN is above nothing.
    if (value > top) {
      top = value;
      best = id;
    }
  }
  return best;
}

function argmaxOfAllowed(logits: Float32Array, allowed: ReadonlySet<number>): number {
  let best = -1;
  let top = Number.NEGATIVE_INFINITY;
  for (const id of allowed) {
    const value = logits[id] ?? Number.NaN;
    if (value > top || (value === top && id < best)) {
      top = value;
      best = id;
    }
  }
  return best;
}

function argmaxOf(logits: Float32Array): number {
  return argmax(logits);
}

async function feed(
  source: LogitSource,
  ids: readonly number[],
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  throwIfCancelled(signal);
  const logits = await source.feed(ids, signal);
  throwIfCancelled(signal);
  return logits;
}

/** @throws {@link InferenceError} `CANCELLED` once `signal` has fired */
export function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new InferenceError('CANCELLED', 'the request was cancelled', { cause: signal.reason });
}

function only(ids: ReadonlySet<number>): number | undefined {
  const [first] = ids;
  return ids.size === 1 ? first : undefined;
}
