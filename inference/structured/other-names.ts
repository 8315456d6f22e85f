/**
 * The names that an object may have beside those that its schema gives: by which patterns of `patternProperties` they
 * match, and by `propertyNames`.
 *
 * @module
 */

import { type Alternative, typesOf } from './alternatives.ts';
import type { Expression, Expressions, WorkBudget } from './expressions.ts';
import { openExpressions } from './expressions.ts';
import { GRAMMAR_LIMITS } from './limits.ts';
import { patternLanguage } from './pattern-language.ts';
import { parsePattern } from './pattern-syntax.ts';
import type { SchemaNode } from './schema-document.ts';
import { schemaError } from './schema-error.ts';
import { characterBytes } from './string-bytes.ts';
import { atPattern, ruleExpression, stringRule } from './string-rules.ts';
import { acceptsText, endlessStates, type TextDfa, textDfas } from './text-dfa.ts';
import { type TextLanguage, textLanguage } from './text-language.ts';

export type OtherNames = {
  /** Languages that exclude each other, how many names each has, and the schemas of the value of such a name. */
  readonly classes: readonly {
    readonly language: TextLanguage;
    readonly count: number;
    readonly schemas: readonly SchemaNode[];
  }[];
  /** Whether a name is in one of the languages. */
  accepts(name: string): boolean;
};

/**
 * Finds the classes of names.
 *
 * @param nodes - that hold for the object
 * @param names - alternatives of what `propertyNames` says; one that is empty where nothing is said
 * @param isName - whether a listed name satisfies `propertyNames`
 * @throws SchemaError
 */
export function otherNames(
  nodes: Alternative,
  names: readonly Alternative[],
  isLoose: boolean,
  path: string,
  isName: (name: string) => boolean,
  budget: WorkBudget,
): OtherNames {
  const sources = [...new Set(nodes.flatMap(({ object }) => object.patternProperties.map(([source]) => source)))];
  if (sources.length > GRAMMAR_LIMITS.patternProperties) {
    const most = GRAMMAR_LIMITS.patternProperties;
    throw schemaError('SCHEMA_TOO_LARGE', path, 'patternProperties', `more than ${most} patterns`);
  }
  const sets = Array.from({ length: 1 << sources.length }, (_, set) => ({
    set,
    schemas: schemasOf(nodes, sources, set),
  }));
  const open = sets.filter(({ schemas }) => !schemas.some(({ isFalse }) => isFalse));
  if (open.length === 0) return { classes: [], accepts: () => false };
  return atPattern(path, sources.length > 0 ? 'patternProperties' : 'propertyNames', () => {
    const table = openExpressions(budget);
    const allowed = nameExpression(table, names, isLoose, isName);
    const patterns = sources.map((source) => {
      const { expression, bounds } = patternLanguage(table, parsePattern(source), true);
      const isCounted = bounds.min > 0 || bounds.max < Number.POSITIVE_INFINITY;
      return isCounted ? table.and([expression, table.repeat(table.any, bounds.min, bounds.max)]) : expression;
    });
    const expressions = open.map(({ set }) =>
      table.and([allowed, ...patterns.map((one, i) => ((set >> i) & 1 ? one : table.not(one)))]),
    );
    const dfas = textDfas(table, expressions);
    const bytes = characterBytes((dfas[0] as TextDfa).partition);
    const classes = open.flatMap(({ schemas }, i) => {
      const dfa = dfas[i] as TextDfa;
      if (dfa.start < 0) return [];
      const language = textLanguage(dfa, 0, Number.POSITIVE_INFINITY, bytes);
      return [{ language, count: countTexts(dfa), schemas }];
    });
    return { classes, accepts: (name) => dfas.some((dfa) => acceptsText(dfa, name)) };
  });
}

/** Schemas of the value of a name that matches the patterns of a set and that `properties` does not give. */
function schemasOf(nodes: Alternative, sources: readonly string[], set: number): readonly SchemaNode[] {
  return nodes.flatMap(({ object }) => {
    const found = object.patternProperties.flatMap(([source, schema]) =>
      (set >> sources.indexOf(source)) & 1 ? [schema] : [],
    );
    if (found.length > 0 || object.additionalProperties === undefined) return found;
    return [object.additionalProperties];
  });
}

function nameExpression(
  table: Expressions,
  names: readonly Alternative[],
  isLoose: boolean,
  isName: (name: string) => boolean,
): Expression {
  const parts = names.map((nodes) => {
    if (!typesOf(nodes).has('string')) return table.none;
    const listed = nodes.find(({ values }) => values !== undefined);
    if (listed !== undefined) {
      const texts = (listed.values ?? []).flatMap((value) =>
        typeof value === 'string' && isName(value) ? [value] : [],
      );
      return table.or(texts.map((text) => table.text(text)));
    }
    const { expression, bounds } = ruleExpression(table, stringRule(nodes, isLoose), isLoose);
    if (bounds.min > bounds.max) return table.none;
    const isCounted = bounds.min > 0 || bounds.max < Number.POSITIVE_INFINITY;
    return isCounted ? table.and([expression, table.repeat(table.any, bounds.min, bounds.max)]) : expression;
  });
  return table.or(parts);
}

/** Number of texts that an automaton accepts, where that is small. */
function countTexts(dfa: TextDfa): number {
  if (endlessStates(dfa)[dfa.start] === true) return Number.POSITIVE_INFINITY;
  const sizes = new Array<number>(dfa.width).fill(0);
  const { starts, classes } = dfa.partition;
  starts.forEach((start, i) => {
    const k = classes[i] as number;
    if (k >= 0) sizes[k] = (sizes[k] as number) + (starts[i + 1] ?? 0x110000) - start;
  });
  const memo = new Map<number, number>();
  const count = (state: number): number => {
    const known = memo.get(state);
    if (known !== undefined) return known;
    let total = dfa.accepts[state] === true ? 1 : 0;
    for (let k = 0; k < dfa.width; k++) {
      const to = dfa.next[state * dfa.width + k] as number;
      if (to >= 0) total += (sizes[k] as number) * count(to);
    }
    memo.set(state, total);
    return total;
  };
  return count(dfa.start);
}
