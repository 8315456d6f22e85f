/**
 * Languages of answers: JSON of a schema, any JSON object, calls of tools.
 *
 * Spec: `inference/spec/structured.md`.
 *
 * @module
 */

import { utf8 } from '../../attest/core/bytes.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { literalDfa } from './byte-dfa.ts';
import { beginningFrame, beginnings, type FreeText, freeTextFrame } from './call-frames.ts';
import { partition } from './code-points.ts';
import { dfaFrame, type Frame, type FrameTable, openFrames } from './frame.ts';
import { GRAMMAR_LIMITS } from './limits.ts';
import { heightOf, type Rule, ruleFrame } from './rule.ts';
import { openRules } from './rules.ts';
import { readSchema, type SchemaGraph } from './schema-document.ts';
import { schemaError } from './schema-error.ts';
import { openReader, type ReadState, type StackReader } from './stack.ts';
import { characterBytes } from './string-bytes.ts';

/** A language of texts in UTF-8, of which at least one text is known. Opaque: {@link readerOf} reads it. */
export type Grammar = {
  readonly tables: readonly FrameTable[];
  /** Frames of the whole, the first on top; alternatives of them. */
  readonly start: readonly (readonly Frame[])[];
};

/** Nesting of the shortest text. */
const MAX_HEIGHT = 200;

/**
 * The JSON texts of a schema, each value in one form: members in the order of the schema, no white space but one optional
 * space after a colon or comma.
 *
 * @param schema - untrusted
 * @throws SchemaError
 */
export function schemaGrammar(schema: Json): Grammar {
  const table = openFrames();
  const [rule] = compile(table, [{ schema, isObject: false }]);
  return { tables: [table], start: [[ruleFrame(table, rule as Rule)]] };
}

/** Any JSON object. */
export function jsonObjectGrammar(): Grammar {
  return schemaGrammar({ type: 'object' });
}

export type Tool = {
  readonly name: string;
  /** Schema of the arguments, which are an object whether it says so or not; untrusted. */
  readonly parameters: Json;
};

export declare namespace toolCallGrammar {
  type Options = {
    /** Whether text may stand in place of calls and before them, or calls alone. */
    readonly mode: 'auto' | 'required';
    /** Whether several calls may follow each other. */
    readonly parallel: boolean;
    /** What stands in place of calls where they are not required; free text by default. */
    readonly content?: Grammar;
  };
}

/** What begins a call. */
const MARKER = utf8('<tool_call>');

/**
 * Calls of tools, each exactly `<tool_call>\n{"name": "NAME", "arguments": ARGUMENTS}\n</tool_call>`, with a line feed
 * between two and nothing after the last; in mode `auto` also text without the marker, alone or before the calls.
 *
 * @param tools - at least one, with names that all differ
 * @throws SchemaError
 */
export function toolCallGrammar(tools: readonly Tool[], options: toolCallGrammar.Options): Grammar {
  if (tools.length === 0) throw new RangeError('calls of no tool');
  const table = openFrames();
  const rules = compile(
    table,
    tools.map(({ parameters }) => ({ schema: parameters, isObject: true })),
  );
  const end = utf8('}\n</tool_call>');
  const more = utf8('\n<tool_call>');
  const close = literalDfa([end]);
  const again = literalDfa([more]);
  const names = beginnings(
    tools.map(({ name }, i) => ({
      bytes: utf8(`\n{"name": ${JSON.stringify(name)}, "arguments": `),
      follow: () => [ruleFrame(table, rules[i] as Rule), dfaFrame(table, close), ...(options.parallel ? [next()] : [])],
    })),
  );
  const next = (): Frame =>
    table.intern('next call', (id) => ({
      id,
      kind: 'choice' as const,
      isContainer: false,
      length: () => 0,
      close: () => {},
      expand: () => [[], [dfaFrame(table, again), beginningFrame(table, names)]],
    }));
  const calls: readonly Frame[] = [dfaFrame(table, literalDfa([MARKER])), beginningFrame(table, names)];
  if (options.mode === 'required') return { tables: [table], start: [calls] };
  if (options.content !== undefined) {
    return { tables: [table, ...options.content.tables], start: [...options.content.start, calls] };
  }
  const text: FreeText = {
    marker: MARKER,
    follow: () => [beginningFrame(table, names)],
    characters: characterBytes(partition([]), true),
  };
  return { tables: [table], start: [[freeTextFrame(table, text)]] };
}

function compile(table: FrameTable, roots: readonly { readonly schema: Json; readonly isObject: boolean }[]): Rule[] {
  const graph: SchemaGraph = { nodes: [] };
  const maker = openRules(table);
  const rules = roots.map(({ schema, isObject }) => {
    const node = readSchema(graph, schema);
    return maker.rule(isObject ? [readSchema(graph, { type: 'object' }), node] : [node]);
  });
  maker.finish();
  for (const rule of rules) {
    if (rule.length === Number.POSITIVE_INFINITY) {
      throw schemaError('SCHEMA_UNSATISFIABLE', '', '', 'no value that can be written satisfies it');
    }
    if (rule.length > GRAMMAR_LIMITS.shortest || heightOf(rule) > MAX_HEIGHT) {
      throw schemaError('SCHEMA_TOO_LARGE', '', '', 'the shortest value is too long or nested too deep');
    }
  }
  return rules;
}

const readers = new WeakMap<Grammar, StackReader>();

/** A grammar's reader, the same each time. */
export function readerOf(grammar: Grammar): StackReader {
  let reader = readers.get(grammar);
  if (reader === undefined) {
    reader = openReader(grammar.start, grammar.tables);
    readers.set(grammar, reader);
  }
  return reader;
}

/**
 * Whether a text is in the language.
 *
 * @param text - any; one with half a character is in no language
 */
export function accepts(grammar: Grammar, text: string): boolean {
  const reader = readerOf(grammar);
  let state: ReadState | undefined = reader.start;
  for (const byte of utf8(text)) {
    state = reader.step(state, byte);
    if (state === undefined) return false;
  }
  return state.isWhole;
}
