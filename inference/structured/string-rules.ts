/**
 * From what schemas say of a string to its language; patterns of all of them are compiled together.
 *
 * @module
 */

import { type Expression, type Expressions, openExpressions, type WorkBudget } from './expressions.ts';
import { formatPattern } from './formats.ts';
import { type LengthBounds, patternLanguage } from './pattern-language.ts';
import { PatternFault, parsePattern } from './pattern-syntax.ts';
import type { SchemaNode } from './schema-document.ts';
import { schemaError } from './schema-error.ts';
import { acceptsText, type TextDfa, textDfas } from './text-dfa.ts';
import { type TextLanguage, textLanguage } from './text-language.ts';

/** Runs `compile`; a fault of a pattern becomes one of the schema at its place. */
export function atPattern<T>(path: string, keyword: string, compile: () => T): T {
  try {
    return compile();
  } catch (fault) {
    if (fault instanceof PatternFault) throw schemaError(fault.code, path, keyword, fault.message);
    throw fault;
  }
}

/** What one string must satisfy by all schemas together. */
export type StringRule = {
  readonly min: number;
  readonly max: number;
  /** Sources of patterns, each with the place that asks for it. */
  readonly patterns: readonly { readonly source: string; readonly path: string; readonly keyword: string }[];
};

/**
 * Joins what schemas say of strings.
 *
 * @param isLoose - leaves formats out, whose patterns here are narrower than what they allow
 * @throws SchemaError `SCHEMA_UNSUPPORTED` for a format that is not known
 */
export function stringRule(nodes: readonly SchemaNode[], isLoose: boolean): StringRule {
  let [min, max] = [0, Number.POSITIVE_INFINITY];
  const patterns = new Map<string, StringRule['patterns'][number]>();
  for (const { string, path, allOf } of nodes) {
    min = Math.max(min, string.minLength ?? 0);
    max = Math.min(max, string.maxLength ?? Number.POSITIVE_INFINITY);
    if (string.pattern !== undefined) {
      patterns.set(string.pattern, { source: string.pattern, path, keyword: 'pattern' });
    }
    if (string.format === undefined) continue;
    const hasPattern = string.pattern !== undefined || allOf.some((part) => part.string.pattern !== undefined);
    const source = formatPattern(string.format, hasPattern);
    if (source === undefined) {
      throw schemaError('SCHEMA_UNSUPPORTED', path, 'format', `format ${string.format.slice(0, 64)} is not supported`);
    }
    if (source !== '' && !isLoose) patterns.set(source, { source, path, keyword: 'format' });
  }
  return { min, max, patterns: [...patterns.values()] };
}

/** A rule's texts as one expression, without its bounds, which the patterns may narrow. */
export function ruleExpression(
  table: Expressions,
  rule: StringRule,
  isLoose: boolean,
): { readonly expression: Expression; readonly bounds: LengthBounds } {
  let [min, max] = [rule.min, rule.max];
  const parts = rule.patterns.map(({ source, path, keyword }) =>
    atPattern(path, keyword, () => {
      const { expression, bounds } = patternLanguage(table, parsePattern(source), false);
      min = Math.max(min, bounds.min);
      max = isLoose ? max : Math.min(max, bounds.max);
      return expression;
    }),
  );
  return { expression: table.and(parts), bounds: { min, max } };
}

/** Strings compiled so far, for one grammar. */
export type StringCompiler = {
  /** Language of a rule; undefined where nothing satisfies it. */
  language(rule: StringRule, isLoose: boolean, path: string): TextLanguage | undefined;
  /** Whether a pattern is found in a text. */
  matches(source: string, text: string, path: string, keyword: string): boolean;
  /** Whether a text satisfies a rule. */
  satisfies(rule: StringRule, text: string): boolean;
};

/** Opens a compiler; it keeps what it compiled. */
export function openStrings(budget: WorkBudget): StringCompiler {
  const languages = new Map<string, TextLanguage | undefined>();
  const patterns = new Map<string, TextDfa>();
  const keyOf = ({ min, max, patterns }: StringRule) =>
    JSON.stringify([min, max, patterns.map(({ source }) => source)]);
  const matches: StringCompiler['matches'] = (source, text, path, keyword) => {
    let dfa = patterns.get(source);
    if (dfa === undefined) {
      dfa = atPattern(path, keyword, () => {
        const table = openExpressions(budget);
        const { expression, bounds } = patternLanguage(table, parsePattern(source), true);
        const counted =
          bounds.max === Number.POSITIVE_INFINITY && bounds.min === 0
            ? table.all
            : table.repeat(table.any, bounds.min, bounds.max);
        return textDfas(table, [table.and([expression, counted])])[0] as TextDfa;
      });
      patterns.set(source, dfa);
    }
    return acceptsText(dfa, text);
  };
  return {
    matches,
    satisfies: (rule, text) => {
      const length = [...text].length;
      return (
        length >= rule.min &&
        length <= rule.max &&
        rule.patterns.every(({ source, path, keyword }) => matches(source, text, path, keyword))
      );
    },
    language(rule, isLoose, path) {
      const key = `${isLoose}${keyOf(rule)}`;
      if (languages.has(key)) return languages.get(key);
      const language = atPattern(path, rule.patterns[0]?.keyword ?? 'minLength', () => {
        const table = openExpressions(budget);
        const { expression, bounds } = ruleExpression(table, rule, isLoose);
        const [dfa] = textDfas(table, [expression]) as [TextDfa];
        if (dfa.start < 0 || bounds.max < bounds.min) return undefined;
        const made = textLanguage(dfa, bounds.min, bounds.max);
        return made.length(made.start) < Number.POSITIVE_INFINITY ? made : undefined;
      });
      languages.set(key, language);
      return language;
    },
  };
}
