/**
 * Trials of structured output: a schema by chance, a text by chance through its masks, another judge's word on it.
 *
 * @module
 */

import type { JsonObject } from '../../attest/encoding/canonical-json.ts';
import { parseJsonText } from '../../attest/encoding/canonical-json.ts';
import { accepts, type Grammar, schemaGrammar } from '../../inference/structured/grammar.ts';
import type { Masks } from '../../inference/structured/masks.ts';
import { SchemaError } from '../../inference/structured/schema-error.ts';
import { judgeOf } from './json-validator.ts';
import type { Random } from './random.ts';
import { SCHEMAS_BY_KEYWORD } from './random-schemas.ts';
import { writeByChance } from './structured-generation.ts';

export type Vocabulary = { readonly masks: Masks; readonly tokens: (id: number) => Uint8Array | null };

/** Texts written for one schema. */
const TEXTS = 4;

/**
 * Makes trials of one keyword.
 *
 * @param vocabularies - taken in turn
 * @returns number of texts, failures, and schemas that were refused because nothing satisfies them
 */
export function tryKeyword(
  keyword: string,
  count: number,
  random: Random,
  vocabularies: readonly [Vocabulary, ...Vocabulary[]],
): { readonly cases: number; readonly failures: readonly string[]; readonly refused: number } {
  const failures: string[] = [];
  let cases = 0;
  let refused = 0;
  while (cases < count && refused < 20 * count + 100) {
    const schema = SCHEMAS_BY_KEYWORD[keyword]?.(random) as JsonObject;
    const grammar = compile(schema);
    if (grammar === undefined) {
      refused++;
      continue;
    }
    const judge = judgeOf(schema);
    for (let i = 0; i < TEXTS && cases < count; i++) {
      const vocabulary = vocabularies[cases++ % vocabularies.length] as Vocabulary;
      const fault = tryOnce(grammar, judge, vocabulary, random);
      if (fault !== '') failures.push(`${keyword}: ${JSON.stringify(schema)}: ${fault}`);
    }
  }
  return { cases, failures, refused };
}

function compile(schema: JsonObject): Grammar | undefined {
  try {
    return schemaGrammar(schema);
  } catch (fault) {
    if (fault instanceof SchemaError && fault.code === 'SCHEMA_UNSATISFIABLE') return undefined;
    throw fault;
  }
}

function tryOnce(grammar: Grammar, judge: (value: unknown) => string, vocabulary: Vocabulary, random: Random): string {
  const spare = random.pick([0, 1, 5, 20, 60]);
  let text = '';
  try {
    text = writeByChance(vocabulary.masks, grammar, vocabulary.tokens, random, spare).text;
    // A strict reader, which takes no name twice.
    const value = parseJsonText(text);
    const fault = judge(value);
    if (fault !== '') return `${text}: ${fault}`;
    return accepts(grammar, text) ? '' : `${text}: written and not accepted`;
  } catch (fault) {
    return `${text}: ${fault instanceof Error ? fault.message : String(fault)}`;
  }
}
