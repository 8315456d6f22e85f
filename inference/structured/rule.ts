/**
 * Rules: what a value may be, as alternatives of parts. Rules refer to each other and to themselves; the shortest text of
 * each is found once all are made.
 *
 * @module
 */

import type { ChoiceFrame, Frame, FrameTable } from './frame.ts';
import { GRAMMAR_LIMITS } from './limits.ts';
import { schemaError } from './schema-error.ts';

/** One of a sequence that makes an alternative. */
export type Part = {
  /** Bytes of its shortest text, by the lengths that rules have so far. */
  length(): number;
  /** Rules that its shortest text is made of. */
  inner(): readonly Rule[];
  /** Made once lengths are known. */
  frame(): Frame;
};

export type Rule = {
  /** Alternatives in the order of the schema; set once the rule is made. */
  alternatives: readonly (readonly Part[])[];
  /** Bytes of the shortest text; infinite while none is known. */
  length: number;
};

/** A rule that nothing is known of. */
export function emptyRule(): Rule {
  return { alternatives: [], length: Number.POSITIVE_INFINITY };
}

/** Length of an alternative. */
function lengthOf(alternative: readonly Part[]): number {
  return alternative.reduce((sum, part) => sum + part.length(), 0);
}

/**
 * Finds the shortest length of every rule: the least solution.
 *
 * @throws SchemaError `SCHEMA_TOO_LARGE` where shortest texts are made of each other in too long a chain
 */
export function measure(rules: readonly Rule[]): void {
  let round = 0;
  for (let isChanged = true; isChanged; ) {
    isChanged = false;
    if (++round > GRAMMAR_LIMITS.rounds) throw schemaError('SCHEMA_TOO_LARGE', '', '', 'schemas refer on too far');
    // Rules are made before those they ask for: from the last, most are known when they are needed.
    for (const rule of rules.toReversed()) {
      const length = Math.min(Number.POSITIVE_INFINITY, ...rule.alternatives.map(lengthOf));
      if (length >= rule.length) continue;
      rule.length = length;
      isChanged = true;
    }
  }
}

/** Nesting of a rule's shortest text. */
export function heightOf(rule: Rule, known = new Map<Rule, number>()): number {
  const found = known.get(rule);
  if (found !== undefined) return found;
  known.set(rule, 0);
  const best = rule.alternatives.find((alternative) => lengthOf(alternative) === rule.length) ?? [];
  const inner = best.flatMap((part) => part.inner());
  const height = 1 + Math.max(0, ...inner.map((one) => heightOf(one, known)));
  known.set(rule, height);
  return height;
}

/** A part that is a frame with nothing to find out about it. */
export function fixedPart(frame: Frame): Part {
  return { length: () => frame.length(), inner: () => [], frame: () => frame };
}

/** A value by a rule that some text satisfies. */
export function ruleFrame(table: FrameTable, rule: Rule): ChoiceFrame {
  return table.intern(`r${table.nameOf(rule)}`, (id) => {
    let open: readonly (readonly Frame[])[] | undefined;
    let forced: readonly (readonly Frame[])[] | undefined;
    const frames = (alternative: readonly Part[]) => alternative.map((part) => part.frame());
    const shortest = () => {
      forced ??= rule.alternatives
        .filter((alternative) => lengthOf(alternative) === rule.length)
        .slice(0, 1)
        .map(frames);
      return forced;
    };
    return {
      id,
      kind: 'choice',
      isContainer: false,
      length: () => rule.length,
      close(out) {
        for (const frame of shortest()[0] ?? []) frame.close(out);
      },
      expand(isForced) {
        if (isForced) return shortest();
        open ??= rule.alternatives.filter((one) => lengthOf(one) < Number.POSITIVE_INFINITY).map(frames);
        return open;
      },
    };
  });
}
