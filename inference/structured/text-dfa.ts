/**
 * Automata over characters, made from expressions by their derivatives. Characters enter as classes of one partition that
 * all automata made together share.
 *
 * @module
 */

import { hasCodePoint, type Partition, partition, stretchOf } from './code-points.ts';
import type { Expression, Expressions } from './expressions.ts';
import { GRAMMAR_LIMITS } from './limits.ts';
import { PatternFault } from './pattern-syntax.ts';

/** A complete automaton without states from which nothing can be accepted. */
export type TextDfa = {
  readonly partition: Partition;
  /** Number of classes. */
  readonly width: number;
  /** State after `state` and a class at `state * width + class`; -1 where no text goes on. */
  readonly next: Int32Array;
  readonly accepts: readonly boolean[];
  /** State of the empty text; -1 where the language is empty. */
  readonly start: number;
};

/**
 * Makes one automaton for each expression.
 *
 * @throws {@link PatternFault} `SCHEMA_TOO_LARGE`
 */
export function textDfas(table: Expressions, expressions: readonly Expression[]): TextDfa[] {
  const split = partition(table.sets);
  const width = split.samples.length;
  if (width > 4000) throw new PatternFault('SCHEMA_TOO_LARGE', `patterns with ${width} classes of characters`);
  const holds = table.sets.map((set) => split.samples.map((sample) => hasCodePoint(set, sample)));
  return expressions.map((expression) => build(table, expression, split, width, holds));
}

function build(
  table: Expressions,
  expression: Expression,
  split: Partition,
  width: number,
  holds: readonly (readonly boolean[])[],
): TextDfa {
  const states: Expression[] = [expression];
  const indexOf = new Map<number, number>([[expression.id, 0]]);
  const rows: number[][] = [];
  for (let at = 0; at < states.length; at++) {
    const row: number[] = [];
    for (let k = 0; k < width; k++) {
      const after = table.derivative(states[at] as Expression, k, holds);
      if (after === table.none) {
        row.push(-1);
        continue;
      }
      let index = indexOf.get(after.id);
      if (index === undefined) {
        index = states.length;
        // attacker-controlled: counted repetitions
        if (index >= GRAMMAR_LIMITS.textStates)
          throw new PatternFault('SCHEMA_TOO_LARGE', 'pattern has too many states');
        indexOf.set(after.id, index);
        states.push(after);
      }
      row.push(index);
    }
    rows.push(row);
  }
  return trim(
    split,
    width,
    rows,
    states.map((state) => state.nullable),
  );
}

/** Leaves out states from which no accepting one is reached. */
function trim(
  split: Partition,
  width: number,
  rows: readonly (readonly number[])[],
  accepting: readonly boolean[],
): TextDfa {
  const before: number[][] = rows.map(() => []);
  rows.forEach((row, from) => {
    for (const to of new Set(row)) if (to >= 0) before[to]?.push(from);
  });
  const live = [...accepting];
  const queue = live.flatMap((isLive, state) => (isLive ? [state] : []));
  for (let at = 0; at < queue.length; at++) {
    for (const from of before[queue[at] as number] as number[]) {
      if (live[from] === true) continue;
      live[from] = true;
      queue.push(from);
    }
  }
  const renamed = new Int32Array(rows.length).fill(-1);
  let count = 0;
  live.forEach((isLive, state) => {
    if (isLive) renamed[state] = count++;
  });
  const next = new Int32Array(count * width);
  const accepts: boolean[] = [];
  rows.forEach((row, state) => {
    const to = renamed[state] as number;
    if (to < 0) return;
    accepts[to] = accepting[state] as boolean;
    row.forEach((target, k) => {
      next[to * width + k] = target < 0 ? -1 : (renamed[target] as number);
    });
  });
  return { partition: split, width, next, accepts, start: renamed[0] ?? -1 };
}

/** Whether the automaton accepts a text; false for one with characters that no text may hold. */
export function acceptsText(dfa: TextDfa, text: string): boolean {
  let state = dfa.start;
  for (const char of text) {
    const k = dfa.partition.classes[stretchOf(dfa.partition, char.codePointAt(0) as number)] ?? -1;
    if (state < 0 || k < 0) return false;
    state = dfa.next[state * dfa.width + k] ?? -1;
  }
  return state >= 0 && dfa.accepts[state] === true;
}

/** For each state, whether infinitely many texts are accepted from it. */
export function endlessStates(dfa: TextDfa): readonly boolean[] {
  const count = dfa.accepts.length;
  // States are endless unless all that follows them is not: peel off states without followers, repeatedly.
  const followers: Set<number>[] = Array.from({ length: count }, (_, state) => {
    const row = dfa.next.subarray(state * dfa.width, (state + 1) * dfa.width);
    return new Set([...row].filter((to) => to >= 0));
  });
  const before: number[][] = followers.map(() => []);
  followers.forEach((all, from) => {
    for (const to of all) before[to]?.push(from);
  });
  const left = followers.map((all) => all.size);
  const queue = left.flatMap((size, state) => (size === 0 ? [state] : []));
  const ends = new Set(queue);
  for (let at = 0; at < queue.length; at++) {
    for (const from of before[queue[at] as number] as number[]) {
      left[from] = (left[from] as number) - 1;
      if (left[from] === 0 && !ends.has(from)) {
        ends.add(from);
        queue.push(from);
      }
    }
  }
  return followers.map((_, state) => !ends.has(state));
}
