/**
 * The Berkeley Function Calling Leaderboard's cases: prompts with one function each, and the calls that are right.
 *
 * @see ShishirPatil/gorilla, BFCL v4, simple_javascript (Apache-2.0): its types, and the rules of its checker for values
 * @module
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const schema = z.looseObject({ type: z.string(), properties: z.record(z.string(), z.unknown()).optional() });
const caseSchema = z.object({
  id: z.string(),
  question: z.array(z.array(z.object({ role: z.enum(['system', 'user']), content: z.string() }))),
  function: z.array(z.object({ name: z.string(), description: z.string(), parameters: schema })),
});
const answerSchema = z.object({
  id: z.string(),
  ground_truth: z.array(z.record(z.string(), z.record(z.string(), z.array(z.unknown())))),
});

/** One case. */
export type BfclCase = {
  readonly id: string;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  readonly tool: { readonly name: string; readonly description: string; readonly parameters: object };
  /** Values that each argument may have; an empty text among them: it may be absent. */
  readonly right: { readonly [argument: string]: readonly unknown[] };
};

/** Reads the cases of a folder of the set. */
export function readBfcl(folder: string): readonly BfclCase[] {
  const name = 'BFCL_v4_simple_javascript.json';
  const lines = (path: string) =>
    readFileSync(path, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
  const answers = new Map(
    lines(join(folder, 'possible_answer', name)).map((line) => {
      const { id, ground_truth } = answerSchema.parse(line);
      return [id, ground_truth[0] ?? {}];
    }),
  );
  return lines(join(folder, name)).map((line) => {
    const { id, question, function: functions } = caseSchema.parse(line);
    const [tool] = functions;
    if (tool === undefined) throw new TypeError(`${id} has no function`);
    const right = answers.get(id)?.[tool.name];
    if (right === undefined) throw new TypeError(`${id} has no answer`);
    return {
      id,
      messages: question[0] ?? [],
      tool: { ...tool, parameters: toJsonSchema(tool.parameters) as object },
      right,
    };
  });
}

const TYPES: { readonly [type: string]: string } = {
  dict: 'object',
  string: 'string',
  boolean: 'boolean',
  float: 'number',
  integer: 'integer',
  array: 'array',
  tuple: 'array',
};

/** A schema of the set as JSON Schema: its types by their names there, `any` without a type. */
function toJsonSchema(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const { type, properties, items, ...rest } = value as Record<string, unknown>;
  const named = typeof type === 'string' ? TYPES[type.toLowerCase()] : undefined;
  return {
    ...(named === undefined ? {} : { type: named }),
    ...(properties === undefined
      ? {}
      : {
          properties: Object.fromEntries(
            Object.entries(properties as Record<string, unknown>).map(([key, one]) => [key, toJsonSchema(one)]),
          ),
        }),
    ...(items === undefined ? {} : { items: toJsonSchema(items) }),
    ...rest,
  };
}

/** Whether the arguments of a call are right: each has one of its values, and none is there or absent that should not be. */
export function isRight({ right }: BfclCase, args: Readonly<Record<string, unknown>>): boolean {
  const names = new Set([...Object.keys(right), ...Object.keys(args)]);
  return [...names].every((name) => {
    const possible = right[name];
    if (possible === undefined) return false;
    if (!(name in args)) return possible.includes('');
    return possible.some((one) => isSame(one, args[name]));
  });
}

function isSame(expected: unknown, found: unknown): boolean {
  if (typeof expected === 'string' && typeof found === 'string') return plain(expected) === plain(found);
  if (Array.isArray(expected) && Array.isArray(found)) {
    return expected.length === found.length && expected.every((one, i) => isSame(one, found[i]));
  }
  if (isObject(expected) && isObject(found)) {
    const keys = new Set([...Object.keys(expected), ...Object.keys(found)]);
    return [...keys].every((key) => {
      const possible = expected[key];
      if (!Array.isArray(possible)) return false;
      return key in found ? possible.some((one) => isSame(one, found[key])) : possible.includes('');
    });
  }
  return expected === found;
}

/** As the set's own checker compares texts. */
function plain(text: string): string {
  return text
    .replace(/[ ,./\-_*^]/g, '')
    .toLowerCase()
    .replaceAll("'", '"');
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
