/**
 * The texts in which a pattern is found, as an expression. Anchors and lookahead say something about all that follows, so
 * the tree is read from its end: each part is given the expression of what follows it.
 *
 * @module
 */

import type { Expression, Expressions } from './expressions.ts';
import { PatternFault, type PatternNode } from './pattern-syntax.ts';

/** Length of a text in characters; `max` may be infinite. */
export type LengthBounds = { readonly min: number; readonly max: number };

/**
 * Texts that hold a match, anywhere unless the pattern is anchored.
 *
 * A leading lookahead that only limits the length, `^(?=.{1,253}\.?$)`, is taken apart, because a counter in an automaton
 * multiplies its states: the bounds are returned, without what may follow them.
 *
 * @param isExact - takes apart only where nothing may follow: for who asks what does not match
 * @throws {@link PatternFault}
 */
export function patternLanguage(
  table: Expressions,
  pattern: PatternNode,
  isExact: boolean,
): { readonly expression: Expression; readonly bounds: LengthBounds } {
  const { rest, bounds, within } = withoutLengthLook(table, pattern, isExact);
  const atStart = translate(table, rest, table.all, true);
  const later = translate(table, rest, table.all, false);
  const elsewhere = atStart === later ? table.all : table.repeat(table.any, 1, Number.POSITIVE_INFINITY);
  const found = table.or(atStart === later ? [table.cat(table.all, atStart)] : [atStart, table.cat(elsewhere, later)]);
  return { expression: table.and([found, within]), bounds };
}

function translate(table: Expressions, node: PatternNode, follow: Expression, isStart: boolean): Expression {
  switch (node.kind) {
    case 'start':
      return isStart ? follow : table.none;
    case 'end':
      return follow.nullable ? table.empty : table.none;
    case 'look': {
      const ahead = translate(table, node.part, table.all, isStart);
      return table.and([node.negative ? table.not(ahead) : ahead, follow]);
    }
    case 'choice':
      return table.or(node.parts.map((part) => translate(table, part, follow, isStart)));
    case 'sequence': {
      const starts: boolean[] = [];
      let start = isStart;
      for (const part of node.parts) {
        starts.push(start);
        if (start && !isZeroWidth(part)) {
          start = false;
          if (mayBeEmpty(part) && node.parts.some((later, i) => i >= starts.length && hasStart(later))) {
            throw new PatternFault('SCHEMA_UNSUPPORTED', '^ after a part that may be empty is not read here');
          }
        }
      }
      return node.parts.reduceRight((rest, part, i) => translate(table, part, rest, starts[i] === true), follow);
    }
    case 'set':
      return table.cat(table.set(node.set), follow);
    case 'repeat':
      if (!hasAssertion(node.part)) return table.cat(plain(table, node), follow);
      if (node.max === 1) {
        const once = translate(table, node.part, follow, isStart);
        return node.min === 1 ? once : table.or([once, follow]);
      }
      throw new PatternFault('SCHEMA_UNSUPPORTED', 'a repeated anchor or lookahead is not read here');
  }
}

/** A part without anchors and lookahead, by itself. */
function plain(table: Expressions, node: PatternNode): Expression {
  switch (node.kind) {
    case 'set':
      return table.set(node.set);
    case 'choice':
      return table.or(node.parts.map((part) => plain(table, part)));
    case 'sequence':
      return node.parts.reduceRight((rest, part) => table.cat(plain(table, part), rest), table.empty);
    case 'repeat':
      return table.repeat(plain(table, node.part), node.min, node.max);
    default:
      throw new PatternFault('SCHEMA_UNSUPPORTED', 'a repeated anchor or lookahead is not read here');
  }
}

function hasAssertion(node: PatternNode): boolean {
  return some(node, ({ kind }) => kind === 'start' || kind === 'end' || kind === 'look');
}

function hasStart(node: PatternNode): boolean {
  return some(node, ({ kind }) => kind === 'start');
}

function some(node: PatternNode, test: (node: PatternNode) => boolean): boolean {
  if (test(node)) return true;
  if (node.kind === 'choice' || node.kind === 'sequence') return node.parts.some((part) => some(part, test));
  return node.kind === 'repeat' || node.kind === 'look' ? some(node.part, test) : false;
}

function isZeroWidth(node: PatternNode): boolean {
  if (node.kind === 'start' || node.kind === 'end' || node.kind === 'look') return true;
  return (node.kind === 'choice' || node.kind === 'sequence') && node.parts.every(isZeroWidth);
}

function mayBeEmpty(node: PatternNode): boolean {
  if (node.kind === 'choice') return node.parts.some(mayBeEmpty);
  if (node.kind === 'sequence') return node.parts.every(mayBeEmpty);
  return node.kind === 'repeat' ? node.min === 0 || mayBeEmpty(node.part) : node.kind !== 'set';
}

const UNBOUNDED: LengthBounds = { min: 0, max: Number.POSITIVE_INFINITY };

function withoutLengthLook(
  table: Expressions,
  pattern: PatternNode,
  isExact: boolean,
): { rest: PatternNode; bounds: LengthBounds; within: Expression } {
  const none = { rest: pattern, bounds: UNBOUNDED, within: table.all };
  if (pattern.kind !== 'sequence' || pattern.parts[0]?.kind !== 'start') return none;
  const look = pattern.parts[1];
  if (look?.kind !== 'look' || look.negative || look.part.kind !== 'sequence') return none;
  const [counted, ...others] = look.part.parts;
  const end = others.pop();
  if (counted?.kind !== 'repeat' || counted.part.kind !== 'set' || end?.kind !== 'end') return none;
  if (hasAssertion({ kind: 'sequence', parts: others }) || !others.every(mayBeEmpty)) return none;
  if (isExact && others.length > 0) return none;
  return {
    rest: { kind: 'sequence', parts: [{ kind: 'start' }, ...pattern.parts.slice(2)] },
    bounds: { min: counted.min, max: counted.max },
    within: table.repeat(table.set(counted.part.set), 0, Number.POSITIVE_INFINITY),
  };
}
