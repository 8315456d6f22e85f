/**
 * Arrays: items by their place, `[` already written.
 *
 * @module
 */

import { utf8 } from '../../attest/core/bytes.ts';
import { literalDfa } from './byte-dfa.ts';
import { type ChoiceFrame, dfaFrame, type Frame, type FrameTable } from './frame.ts';
import { type Part, type Rule, ruleFrame } from './rule.ts';

export type ArrayRule = {
  /** Items by place, then all others. */
  readonly prefix: readonly Rule[];
  readonly rest: Rule;
  readonly min: number;
  readonly max: number;
};

const CLOSE = literalDfa([utf8(']')]);
const COMMA = literalDfa([utf8(',')], true);

/** An array of the rule, without its opening bracket. */
export function arrayPart(table: FrameTable, rule: ArrayRule): Part {
  return {
    length: () => lengthFrom(rule, 0),
    inner: () => Array.from({ length: Math.min(rule.min, rule.prefix.length + 1) }, (_, i) => itemOf(rule, i)),
    frame: () => arrayFrame(table, rule, 0),
  };
}

function itemOf(rule: ArrayRule, index: number): Rule {
  return rule.prefix[index] ?? rule.rest;
}

function lengthFrom(rule: ArrayRule, index: number): number {
  const missing = rule.min - index;
  if (missing <= 0) return 1;
  if (rule.max < rule.min) return Number.POSITIVE_INFINITY;
  let length = 1 + missing - (index === 0 ? 1 : 0);
  for (let i = index; i < Math.min(rule.min, rule.prefix.length); i++) length += itemOf(rule, i).length;
  const others = rule.min - Math.max(index, rule.prefix.length);
  return others > 0 ? length + others * rule.rest.length : length;
}

/** Before item `index`, after the item before it. */
function arrayFrame(table: FrameTable, rule: ArrayRule, index: number): ChoiceFrame {
  // Beyond the last place that differs from its followers all places are one.
  const isCounted = rule.max !== Number.POSITIVE_INFINITY;
  const place = isCounted ? index : Math.min(index, Math.max(rule.prefix.length, rule.min, 1));
  return table.intern(`a${table.nameOf(rule)}:${place}`, (id) => {
    const hasItem = place < rule.max && itemOf(rule, place).length < Number.POSITIVE_INFINITY;
    const close: readonly Frame[] = [dfaFrame(table, CLOSE)];
    let item: readonly Frame[] | undefined;
    const next = () => {
      item ??= [
        ...(place === 0 ? [] : [dfaFrame(table, COMMA)]),
        ruleFrame(table, itemOf(rule, place)),
        arrayFrame(table, rule, place + 1),
      ];
      return item;
    };
    return {
      id,
      kind: 'choice',
      isContainer: true,
      length: () => lengthFrom(rule, place),
      close(out) {
        for (let i = place; i < rule.min; i++) {
          if (i > 0) out.push(0x2c);
          ruleFrame(table, itemOf(rule, i)).close(out);
        }
        out.push(0x5d);
      },
      expand(isForced) {
        if (place < rule.min) return [next()];
        return isForced || !hasItem ? [close] : [close, next()];
      },
    };
  });
}
