/**
 * From schemas to rules: what all schemas of an alternative say about a type, put together.
 *
 * @module
 */

import { utf8 } from '../../attest/core/bytes.ts';
import { hasLoneSurrogate, isJsonObject, type Json, type JsonObject } from '../../attest/encoding/canonical-json.ts';
import { type Alternative, openFlattener, typesOf } from './alternatives.ts';
import { arrayPart } from './array-frame.ts';
import { type ByteDfa, literalDfa } from './byte-dfa.ts';
import { ALL_CODE_POINTS, hasCodePoint } from './code-points.ts';
import type { WorkBudget } from './expressions.ts';
import { numberFormat } from './formats.ts';
import { dfaFrame, type FrameTable, textFrame } from './frame.ts';
import { GRAMMAR_LIMITS } from './limits.ts';
import { keyOfBounds, type NumberBounds, numberDfa } from './number-language.ts';
import { objectPart } from './object-frame.ts';
import { objectRule } from './object-rule.ts';
import { type OtherNames, otherNames } from './other-names.ts';
import { emptyRule, fixedPart, measure, type Part, type Rule } from './rule.ts';
import type { SchemaNode } from './schema-document.ts';
import { schemaError } from './schema-error.ts';
import { memberSchemas, satisfies, satisfiesAlone } from './schema-value.ts';
import { atPattern, openStrings, stringRule } from './string-rules.ts';

/** Rules under construction. */
export type RuleMaker = {
  /** The rule of a value that satisfies all schemas. */
  rule(nodes: readonly SchemaNode[]): Rule;
  /**
   * Makes all rules that were asked for, and those that they ask for, and measures them.
   *
   * @throws SchemaError of every code but `SCHEMA_UNSATISFIABLE`
   */
  finish(): void;
};

type Pending = { readonly rule: Rule; readonly alternatives: readonly Alternative[]; readonly isLoose: boolean };

/** Opens a maker. */
export function openRules(table: FrameTable): RuleMaker {
  const flattener = openFlattener();
  const budget: WorkBudget = { left: GRAMMAR_LIMITS.allTextWork };
  const strings = openStrings(budget);
  const literalDfas = new Map<string, ByteDfa>();
  const numberDfas = new Map<string, ByteDfa>();
  const byKey = new Map<string, Rule>();
  const all: Rule[] = [];
  let allAlternatives = 0;
  const pending: Pending[] = [];

  const add = (key: string, alternatives: () => readonly Alternative[], isLoose: boolean, path: string): Rule => {
    const known = byKey.get(key);
    if (known !== undefined) return known;
    // attacker-controlled: conjunctions of all subsets of the schemas
    if (all.length >= GRAMMAR_LIMITS.rules) throw schemaError('SCHEMA_TOO_LARGE', path, '', 'too many combinations');
    const rule = emptyRule();
    byKey.set(key, rule);
    all.push(rule);
    const found = alternatives();
    allAlternatives += found.length;
    if (allAlternatives > GRAMMAR_LIMITS.allAlternatives) {
      throw schemaError('SCHEMA_TOO_LARGE', path, '', 'too many alternatives in all');
    }
    pending.push({ rule, alternatives: found, isLoose });
    return rule;
  };
  const ruleOf = (nodes: readonly SchemaNode[], isLoose: boolean): Rule => {
    const unique = [...new Set(nodes)];
    const key = `${isLoose}:${unique.map(({ id }) => id).join()}`;
    return add(key, () => flattener.flatten(unique), isLoose, unique[0]?.path ?? '');
  };

  let textLeft: number = GRAMMAR_LIMITS.allText;
  const spendText = (bytes: number, path: string) => {
    textLeft -= bytes;
    // attacker-controlled: a large object or list is made anew for each schema that is joined with it
    if (textLeft < 0) throw schemaError('SCHEMA_TOO_LARGE', path, '', 'too many names and values in all');
  };

  const make = ({ rule, alternatives, isLoose }: Pending): void => {
    const literals = new Map<string, Uint8Array>();
    const parts: (readonly Part[])[] = [];
    for (const nodes of alternatives) {
      const path = nodes[0]?.path ?? '';
      const listed = nodes.find(({ values }) => values !== undefined);
      if (listed !== undefined) {
        spendText(listed.values?.length ?? 0, listed.path);
        for (const value of (listed.values as readonly Json[]).filter((one) => isValueOf(nodes, one))) {
          assertWritable(value, listed.path);
          spendText(JSON.stringify(value).length, listed.path);
          if (typeof value === 'object' && value !== null) parts.push(valueParts(value));
          else literals.set(JSON.stringify(value), utf8(JSON.stringify(value)));
        }
        continue;
      }
      const types = typesOf(nodes);
      if (types.has('null')) literals.set('null', utf8('null'));
      if (types.has('boolean')) for (const text of ['false', 'true']) literals.set(text, utf8(text));
      if (types.has('number') || types.has('integer')) {
        parts.push([numberPart(nodes, !types.has('number'), path)]);
      }
      if (types.has('string')) {
        const language = strings.language(stringRule(nodes, isLoose), isLoose, path);
        if (language !== undefined) {
          parts.push([literal('"'), fixedPart(textFrame(table, language, language.start))]);
        }
      }
      if (types.has('array')) parts.push([literal('['), arrayOf(nodes, isLoose, path)]);
      if (types.has('object')) parts.push([literal('{'), objectOf(nodes, isLoose, path)]);
    }
    const scalars: (readonly Part[])[] =
      literals.size === 0 ? [] : [[fixedPart(dfaFrame(table, literalDfa([...literals.values()])))]];
    rule.alternatives = [...scalars, ...parts];
    if (rule.alternatives.length > GRAMMAR_LIMITS.alternatives) {
      const path = alternatives[0]?.[0]?.path ?? '';
      throw schemaError('SCHEMA_TOO_LARGE', path, '', `more than ${GRAMMAR_LIMITS.alternatives} alternatives`);
    }
  };

  const literal = (text: string, thenSpace = false): Part => {
    const key = `${thenSpace}${text}`;
    let dfa = literalDfas.get(key);
    if (dfa === undefined) {
      dfa = literalDfa([utf8(text)], thenSpace);
      literalDfas.set(key, dfa);
    }
    return fixedPart(dfaFrame(table, dfa));
  };

  /** A listed array or object, its members in their own order. */
  const valueParts = (value: Json): readonly Part[] => {
    if (typeof value !== 'object' || value === null) return [literal(JSON.stringify(value))];
    const isList = Array.isArray(value);
    const members = isList
      ? (value as readonly Json[]).map(valueParts)
      : Object.entries(value as JsonObject).map(([key, one]) => [
          literal(`${JSON.stringify(key)}:`, true),
          ...valueParts(one),
        ]);
    const joined = members.flatMap((one, i) => (i === 0 ? one : [literal(',', true), ...one]));
    return [literal(isList ? '[' : '{'), ...joined, literal(isList ? ']' : '}')];
  };

  const isValueOf = (nodes: Alternative, value: Json) => nodes.every((node) => satisfiesAlone(strings, value, node));

  const numberPart = (nodes: Alternative, isWhole: boolean, path: string): Part => {
    const bounds = numberBounds(nodes, isWhole);
    // Once for each grammar: whether two alternatives are one must not depend on other grammars.
    const key = keyOfBounds(bounds);
    const dfa = numberDfas.get(key) ?? atPattern(path, 'multipleOf', () => numberDfa(bounds));
    numberDfas.set(key, dfa);
    return fixedPart(dfaFrame(table, dfa));
  };

  const arrayOf = (nodes: Alternative, isLoose: boolean, path: string): Part => {
    const longest = Math.max(...nodes.map(({ array }) => array.prefixItems.length), 0);
    spendText(longest, path);
    const at = (index: number) =>
      ruleOf(
        nodes.flatMap(({ array }) => array.prefixItems[index] ?? array.items ?? []),
        isLoose,
      );
    return arrayPart(table, {
      prefix: Array.from({ length: longest }, (_, i) => at(i)),
      rest: at(longest),
      min: Math.max(0, ...nodes.map(({ array }) => array.minItems ?? 0)),
      max: Math.min(Number.POSITIVE_INFINITY, ...nodes.map(({ array }) => array.maxItems ?? Number.POSITIVE_INFINITY)),
    });
  };

  const objectOf = (nodes: Alternative, isLoose: boolean, path: string): Part => {
    const required = new Set(nodes.flatMap(({ object }) => object.required));
    const names = [...new Set([...nodes.flatMap(({ object }) => [...object.properties.keys()]), ...required])];
    if (names.length > GRAMMAR_LIMITS.properties) {
      throw schemaError('SCHEMA_TOO_LARGE', path, 'properties', `more than ${GRAMMAR_LIMITS.properties} properties`);
    }
    spendText(
      names.reduce((sum, name) => sum + name.length + 1, 0),
      path,
    );
    const nameSchemas = nodes.flatMap(({ object }) => object.propertyNames ?? []);
    const never = emptyRule();
    const keys = names.map((name) => {
      assertWritable(name, path);
      const isAllowed = nameSchemas.every((schema) => satisfies(strings, name, schema));
      const value = isAllowed
        ? ruleOf(
            nodes.flatMap((node) => memberSchemas(strings, node, name)),
            isLoose,
          )
        : never;
      return { name, value, isRequired: required.has(name) };
    });
    const found: OtherNames = otherNames(
      nodes,
      flattener.flatten(nameSchemas),
      isLoose,
      path,
      (value) => nameSchemas.every((schema) => satisfies(strings, value, schema)),
      budget,
    );
    const others = found.classes.map(({ language, count, schemas }) => ({
      language,
      count,
      value: ruleOf(schemas, isLoose),
    }));
    const bounds = {
      min: Math.max(0, ...nodes.map(({ object }) => object.minProperties ?? 0)),
      max: Math.min(
        Number.POSITIVE_INFINITY,
        ...nodes.map(({ object }) => object.maxProperties ?? Number.POSITIVE_INFINITY),
      ),
    };
    if (bounds.min > (others.length > 0 ? GRAMMAR_LIMITS.requiredMembers : GRAMMAR_LIMITS.properties)) {
      throw schemaError('SCHEMA_TOO_LARGE', path, 'minProperties', `${bounds.min} properties at least`);
    }
    return objectPart(table, objectRule(keys, others, bounds, names.filter(found.accepts).length));
  };

  const drain = () => {
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) make(next);
  };

  /** Every two branches of a `oneOf` as one value would have to satisfy them; no value may. */
  const exclusions = (): { node: SchemaNode; rule: Rule }[] => {
    const out: { node: SchemaNode; rule: Rule }[] = [];
    const done = new Set<SchemaNode>();
    for (let isMore = true; isMore; ) {
      isMore = false;
      for (const node of flattener.exclusive) {
        if (done.has(node)) continue;
        done.add(node);
        isMore = true;
        const branches = node.oneOf.map((branch) => flattener.both([[node]], flattener.flatten([branch]), node.path));
        branches.forEach((a, i) => {
          branches.forEach((b, j) => {
            if (j <= i) return;
            const both = flattener.both(a, b, node.path);
            if (both.length === 0) return;
            out.push({ node, rule: add(`${node.id}:${i}:${j}`, () => both, true, node.path) });
          });
        });
        drain();
      }
    }
    return out;
  };

  return {
    rule: (nodes) => ruleOf(nodes, false),
    finish() {
      drain();
      const mustBeEmpty = exclusions();
      measure(all);
      for (const { node, rule } of mustBeEmpty) {
        if (rule.length === Number.POSITIVE_INFINITY) continue;
        throw schemaError('SCHEMA_UNSUPPORTED', node.path, 'oneOf', 'branches are not seen to exclude each other');
      }
    },
  };
}

function numberBounds(nodes: Alternative, isWhole: boolean): NumberBounds {
  let [min, max] = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  let [isMinExclusive, isMaxExclusive] = [false, false];
  const multiplesOf = new Set<number>();
  const atLeast = (value: number | undefined, isExclusive: boolean) => {
    if (value === undefined || value < min || (value === min && isMinExclusive)) return;
    [min, isMinExclusive] = [value, isExclusive];
  };
  const atMost = (value: number | undefined, isExclusive: boolean) => {
    if (value === undefined || value > max || (value === max && isMaxExclusive)) return;
    [max, isMaxExclusive] = [value, isExclusive];
  };
  let isAllWhole = isWhole;
  for (const { number, string } of nodes) {
    const format = numberFormat(string.format);
    atLeast(format?.min, false);
    atMost(format?.max, false);
    isAllWhole ||= format?.isWhole === true;
    atLeast(number.minimum, false);
    atLeast(number.exclusiveMinimum, true);
    atMost(number.maximum, false);
    atMost(number.exclusiveMaximum, true);
    if (number.multipleOf !== undefined) multiplesOf.add(number.multipleOf);
  }
  return { isWhole: isAllWhole, min, max, isMinExclusive, isMaxExclusive, multiplesOf: [...multiplesOf] };
}

/** Names and listed values are written as they are: with characters that texts may hold. */
function assertWritable(value: Json, path: string): void {
  if (typeof value === 'string') {
    if (
      hasLoneSurrogate(value) ||
      ![...value].every((char) => hasCodePoint(ALL_CODE_POINTS, char.codePointAt(0) as number))
    ) {
      throw schemaError('SCHEMA_UNSUPPORTED', path, 'enum', 'a character of an unassigned plane, or half of one');
    }
  } else if (Array.isArray(value)) {
    for (const part of value) assertWritable(part as Json, path);
  } else if (isJsonObject(value)) {
    for (const [key, part] of Object.entries(value)) {
      assertWritable(key, path);
      assertWritable(part, path);
    }
  }
}
