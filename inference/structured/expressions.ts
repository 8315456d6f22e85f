/**
 * Regular expressions over characters with intersection and complement, and their derivatives (Brzozowski, "Derivatives of
 * regular expressions", 1964). Equal expressions are one object, so that a derivative seen before is recognised.
 *
 * @module
 */

import { ALL_CODE_POINTS, type CodePoints } from './code-points.ts';
import { GRAMMAR_LIMITS } from './limits.ts';
import { PatternFault } from './pattern-syntax.ts';

/** An expression; `parts` of `or`, `and` are sorted by `id` and all different. */
export type Expression = {
  readonly id: number;
  readonly kind: 'none' | 'empty' | 'set' | 'cat' | 'or' | 'and' | 'not' | 'repeat';
  readonly parts: readonly Expression[];
  /** Index of the set in the table of sets; -1 elsewhere. */
  readonly set: number;
  readonly min: number;
  readonly max: number;
  /** Whether the empty text is in the language. */
  readonly nullable: boolean;
};

/** Where expressions are made; those of different tables do not mix. */
export type Expressions = {
  readonly none: Expression;
  readonly empty: Expression;
  /** Every text. */
  readonly all: Expression;
  readonly any: Expression;
  readonly sets: readonly CodePoints[];
  set(points: CodePoints): Expression;
  cat(a: Expression, b: Expression): Expression;
  or(parts: readonly Expression[]): Expression;
  and(parts: readonly Expression[]): Expression;
  not(part: Expression): Expression;
  repeat(part: Expression, min: number, max: number): Expression;
  /** The characters of a text, one after the other. */
  text(value: string): Expression;
  /** What may follow a character of a class; `holds[set]` says for each set whether the class is in it. */
  derivative(of: Expression, classIndex: number, holds: readonly (readonly boolean[])[]): Expression;
};

/** Steps that all tables of a grammar may still take. */
export type WorkBudget = { left: number };

/**
 * Opens a table.
 *
 * @param budget - shared with other tables, counted down
 * @throws {@link PatternFault} `SCHEMA_TOO_LARGE` from its functions once they made too many expressions
 */
export function openExpressions(budget: WorkBudget): Expressions {
  const known = new Map<string, Expression>();
  const sets: CodePoints[] = [];
  const setIndex = new Map<string, number>();
  let work = 0;
  const spend = (steps = 1) => {
    work += steps;
    budget.left -= steps;
    // attacker-controlled: nested counters have more derivatives than could be made
    if (work > GRAMMAR_LIMITS.textWork || budget.left < 0)
      throw new PatternFault('SCHEMA_TOO_LARGE', 'pattern has too many states');
  };
  const make = (
    kind: Expression['kind'],
    parts: readonly Expression[],
    nullable: boolean,
    rest: { set?: number; min?: number; max?: number } = {},
  ): Expression => {
    const { set = -1, min = 0, max = 0 } = rest;
    const key = `${kind}:${set}:${min}:${max}:${parts.map((part) => part.id).join()}`;
    const found = known.get(key);
    if (found !== undefined) return found;
    spend();
    const made: Expression = { id: known.size, kind, parts, set, min, max, nullable };
    known.set(key, made);
    return made;
  };
  const setOf = (points: CodePoints): Expression => {
    if (points.length === 0) return none;
    const text = points.join();
    let index = setIndex.get(text);
    if (index === undefined) {
      index = sets.length;
      sets.push(points);
      setIndex.set(text, index);
    }
    return make('set', [], false, { set: index });
  };
  const none = make('none', [], false);
  const empty = make('empty', [], true);
  const all = make('not', [none], true);
  const any = setOf(ALL_CODE_POINTS);

  const cat = (a: Expression, b: Expression): Expression => {
    if (a === none || b === none) return none;
    if (a === empty) return b;
    if (b === empty) return a;
    if (a === all && b === all) return all;
    // To the right, so that one text of parts has one form.
    if (a.kind === 'cat') return cat(a.parts[0] as Expression, cat(a.parts[1] as Expression, b));
    return make('cat', [a, b], a.nullable && b.nullable);
  };
  const join = (kind: 'or' | 'and', parts: readonly Expression[]): Expression => {
    const [neutral, absorbing] = kind === 'or' ? [none, all] : [all, none];
    const flat = new Map<number, Expression>();
    for (const part of parts) for (const one of part.kind === kind ? part.parts : [part]) flat.set(one.id, one);
    flat.delete(neutral.id);
    if (flat.has(absorbing.id)) return absorbing;
    const sorted = [...flat.values()].sort((a, b) => a.id - b.id);
    spend(sorted.length);
    if (sorted.length === 0) return neutral;
    if (sorted.length === 1) return sorted[0] as Expression;
    // A text of one part at least cannot be empty as well.
    const nullable = kind === 'or' ? sorted.some((part) => part.nullable) : sorted.every((part) => part.nullable);
    if (kind === 'and' && sorted.includes(empty)) return nullable ? empty : none;
    return make(kind, sorted, nullable);
  };
  const not = (part: Expression): Expression =>
    part.kind === 'not' ? (part.parts[0] as Expression) : make('not', [part], !part.nullable);
  const repeat = (part: Expression, min: number, max: number): Expression => {
    if (max === 0 || part === empty) return empty;
    if (part === none) return min === 0 ? empty : none;
    if (part === all) return all;
    const least = part.nullable ? 0 : min;
    if (least === 1 && max === 1) return part;
    if (part === any && least === 0 && max === Number.POSITIVE_INFINITY) return all;
    const isStar = least === 0 && max === Number.POSITIVE_INFINITY;
    if (isStar && part.kind === 'repeat' && part.min <= 1 && part.max === max) {
      return repeat(part.parts[0] as Expression, 0, max);
    }
    return make('repeat', [part], least === 0, { min: least, max });
  };

  const memo = new Map<number, Expression>();
  const derivative: Expressions['derivative'] = (of, classIndex, holds) => {
    const key = of.id * 4096 + classIndex;
    const found = memo.get(key);
    if (found !== undefined) return found;
    spend();
    const next = (part: Expression) => derivative(part, classIndex, holds);
    const [first, second] = of.parts as readonly [Expression, Expression];
    let result: Expression;
    switch (of.kind) {
      case 'none':
      case 'empty':
        result = none;
        break;
      case 'set':
        result = holds[of.set]?.[classIndex] === true ? empty : none;
        break;
      case 'cat': {
        const through = cat(next(first), second);
        result = first.nullable ? join('or', [through, next(second)]) : through;
        break;
      }
      case 'or':
      case 'and':
        result = join(of.kind, of.parts.map(next));
        break;
      case 'not':
        result = not(next(first));
        break;
      case 'repeat':
        result = cat(next(first), repeat(first, Math.max(of.min - 1, 0), of.max - 1));
        break;
    }
    memo.set(key, result);
    return result;
  };
  return {
    none,
    empty,
    all,
    any,
    sets,
    set: setOf,
    cat,
    or: (parts) => join('or', parts),
    and: (parts) => join('and', parts),
    not,
    repeat,
    text: (value) =>
      [...value].reduceRight((rest, char) => {
        const point = char.codePointAt(0) as number;
        return cat(setOf([point, point]), rest);
      }, empty),
    derivative,
  };
}
