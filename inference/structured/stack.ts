/**
 * Reading with stacks of frames: a state is the set of stacks that the bytes so far may have led to, in the order of the
 * schema's alternatives. States are made when first reached and are then the same object.
 *
 * S1. Every stack of a state can be completed: a byte that leads nowhere else has no next state.
 * S2. A state's shape depends on the grammar and the bytes alone, never on what was read before in another text.
 * S3. From a stack of length k (bytes of its closing text) the first byte of that text leads to one of length k - 1 at most.
 *
 * @module
 */

import type { Frame, FrameTable, LeafFrame } from './frame.ts';
import { GRAMMAR_LIMITS } from './limits.ts';

/** States that are remembered at most, about 1 KiB each. */
const MAX_STATES = 20_000;

/** A frame and what lies below; `rest` is null at the bottom. */
type Stack<F extends Frame = Frame> = {
  readonly id: number;
  readonly top: F;
  readonly rest: Stack | null;
  /** Containers among the frames. */
  readonly depth: number;
};

/** Where a text stands. */
export type ReadState = {
  readonly stacks: readonly Stack<LeafFrame>[];
  /** Whether the text so far is in the language. */
  readonly isWhole: boolean;
  readonly isAhead: boolean;
  /** Bytes of the shortest closing text; 0 if whole. */
  readonly length: number;
  /** What whoever reads keeps about the state. */
  readonly next: Map<number, ReadState | undefined>;
};

/** Reads texts of one language. */
export type StackReader = {
  readonly start: ReadState;
  /** After one byte; undefined where it may not come. */
  step(state: ReadState, byte: number): ReadState | undefined;
  /** The state for looking ahead within a token. */
  ahead(state: ReadState): ReadState;
  /** The closing text of each stack of a state that is not whole. */
  closings(state: ReadState): readonly Uint8Array[];
};

/**
 * Opens a reader.
 *
 * @param start - alternatives of frames, each with its first on top
 * @param tables - where the frames are made
 */
export function openReader(start: readonly (readonly Frame[])[], tables: readonly FrameTable[]): StackReader {
  const stacks = new Map<number, Map<number, Stack>>();
  const states = new Map<string, ReadState>();
  const closures = new WeakMap<Stack, { readonly leaves: readonly Stack<LeafFrame>[]; readonly isWhole: boolean }>();
  const lengths = new WeakMap<Stack, number>();
  let nextStack = 1;

  const push = (top: Frame, rest: Stack | null): Stack => {
    const below = rest?.id ?? 0;
    let row = stacks.get(below);
    if (row === undefined) {
      row = new Map();
      stacks.set(below, row);
    }
    let stack = row.get(top.id);
    if (stack === undefined) {
      stack = { id: nextStack++, top, rest, depth: (rest?.depth ?? 0) + (top.isContainer ? 1 : 0) };
      row.set(top.id, stack);
    }
    return stack;
  };
  const pushAll = (frames: readonly Frame[], rest: Stack | null): Stack | null =>
    frames.reduceRight<Stack | null>((below, frame) => push(frame, below), rest);
  const isForced = (stack: Stack) => (stack.rest?.depth ?? 0) >= GRAMMAR_LIMITS.freeDepth;
  const lengthOf = (stack: Stack | null): number => {
    if (stack === null) return 0;
    let length = lengths.get(stack);
    if (length === undefined) {
      length = stack.top.length() + lengthOf(stack.rest);
      lengths.set(stack, length);
    }
    return length;
  };

  /** The stacks with a leaf on top that a stack stands for. */
  const closure = (stack: Stack | null): { leaves: readonly Stack<LeafFrame>[]; isWhole: boolean } => {
    if (stack === null) return { leaves: [], isWhole: true };
    const known = closures.get(stack);
    if (known !== undefined) return known;
    const leaves: Stack<LeafFrame>[] = [];
    let isWhole = false;
    const add = (found: ReturnType<typeof closure>) => {
      leaves.push(...found.leaves);
      isWhole ||= found.isWhole;
    };
    const { top, rest } = stack;
    if (top.kind === 'choice') {
      for (const frames of top.expand(isForced(stack))) add(closure(pushAll(frames, rest)));
    } else {
      if (top.mayGoOn) leaves.push(stack as Stack<LeafFrame>);
      if (top.isWhole) add(closure(rest));
    }
    const found = { leaves, isWhole };
    closures.set(stack, found);
    return found;
  };
  const stateOf = (found: readonly Stack<LeafFrame>[], isWhole: boolean, isAhead: boolean): ReadState | undefined => {
    const unique = [...new Set(found)].filter((stack) => lengthOf(stack) < Number.POSITIVE_INFINITY);
    if (unique.length === 0 && !isWhole) return undefined;
    // Texts that can be read in very many ways: what is left out is still valid, it is only never written.
    const kept = unique.slice(0, GRAMMAR_LIMITS.readings);
    const key = `${isWhole}${isAhead}${kept.map(({ id }) => id).join()}`;
    let state = states.get(key);
    if (state === undefined) {
      const length = isWhole ? 0 : Math.min(...kept.map(lengthOf));
      state = { stacks: kept, isWhole, isAhead, length, next: new Map() };
      states.set(key, state);
    }
    return state;
  };
  const begin = start.map((frames) => closure(pushAll(frames, null)));
  const first = stateOf(
    begin.flatMap(({ leaves }) => leaves),
    begin.some(({ isWhole }) => isWhole),
    false,
  );
  if (first === undefined) throw new RangeError('a language without texts');
  /** States in use stay what they are; what is reached from now on is made anew. */
  const forget = () => {
    states.clear();
    stacks.clear();
    first.next.clear();
    for (const table of tables) table.clear();
  };
  return {
    start: first,
    step(state, byte) {
      if (state.next.has(byte)) return state.next.get(byte);
      if (states.size > MAX_STATES) forget();
      const leaves: Stack<LeafFrame>[] = [];
      let isWhole = false;
      for (const stack of state.stacks) {
        const frames = stack.top.step(byte, { isForced: isForced(stack), isAhead: state.isAhead });
        if (frames === undefined) continue;
        const found = closure(pushAll(frames, stack.rest));
        leaves.push(...found.leaves);
        isWhole ||= found.isWhole;
      }
      const next = stateOf(leaves, isWhole, state.isAhead);
      state.next.set(byte, next);
      return next;
    },
    ahead(state) {
      if (state.isAhead) return state;
      const leaves = state.stacks.map((stack) => push(stack.top.ahead(), stack.rest) as Stack<LeafFrame>);
      return stateOf(leaves, state.isWhole, true) as ReadState;
    },
    closings: (state) =>
      state.stacks.map((stack) => {
        const out: number[] = [];
        for (let at: Stack | null = stack; at !== null; at = at.rest) at.top.close(out);
        return Uint8Array.from(out);
      }),
  };
}
