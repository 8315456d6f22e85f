/**
 * What the scenarios of all client libraries ask for: questions, shapes and tools, bounded so that a small model on a CPU
 * answers in seconds.
 *
 * @module
 */

import type { z as Zod } from 'zod';

export type ZodModule = typeof Zod;

export const QUESTION = 'Name three fruits that grow on trees.';

/** Whose answer is short. */
export const GREETING = 'Say hello.';

/** Whose answer is left before its end. */
export const LONG_QUESTION = 'Count from one to one thousand, every number in words.';
export const LONG_TOKENS = 1000;

/** Tokens of a plain answer. */
export const TEXT_TOKENS = 12;
/** Tokens of an answer in JSON. */
export const JSON_TOKENS = 80;

export const SEED = 20_231;

export const TOOL_NAME = 'get_weather';
export const TOOL_DESCRIPTION = 'Current weather of a city';
/** What the tool says, whatever it is asked. */
export const TOOL_RESULT = 'Sunny, 21 degrees';
export const TOOL_QUESTION = 'What is the weather in Paris?';

export const NO_MODEL = 'no-such-model';

/** Arguments of the tool. */
export function weatherArguments(z: ZodModule) {
  return z.object({ city: z.string(), unit: z.enum(['celsius', 'fahrenheit']) });
}

/** The same, as clients without zod write it. */
export const WEATHER_PARAMETERS = {
  type: 'object',
  properties: { city: { type: 'string' }, unit: { type: 'string', enum: ['celsius', 'fahrenheit'] } },
  required: ['city', 'unit'],
  additionalProperties: false,
};

/** Objects, lists, numbers, booleans, null, choices. */
export function recipe(z: ZodModule) {
  return z.object({
    title: z.string(),
    servings: z.number().int(),
    vegetarian: z.boolean(),
    difficulty: z.enum(['easy', 'hard']),
    note: z.string().nullable(),
    steps: z.array(z.object({ text: z.string() })),
  });
}

export const RECIPE_QUESTION = 'Give a very short recipe for a fruit salad.';

/** Unions by a literal, formats, patterns, bounds. */
export function booking(z: ZodModule) {
  return z.object({
    code: z.string().regex(/^[A-Z]{2}-[0-9]{3}$/),
    day: z.iso.date(),
    payment: z.union([
      z.object({ kind: z.literal('card'), last: z.string().regex(/^[0-9]{4}$/) }),
      z.object({ kind: z.literal('cash') }),
    ]),
    seats: z.number().int().min(1).max(9),
  });
}

/** A shape that contains itself. */
export function folderTree(z: ZodModule) {
  const folder = z.object({
    name: z.string(),
    get inside() {
      return z.array(folder);
    },
  });
  return folder;
}

/** A shape and the question that asks for it. */
export function shapes(z: ZodModule): readonly { name: string; question: string; shape: Zod.ZodObject }[] {
  return [
    { name: 'recipe', question: RECIPE_QUESTION, shape: recipe(z) },
    { name: 'booking', question: 'Book a table for two on the first of May.', shape: booking(z) },
    { name: 'folder', question: 'Name the folders of a small project.', shape: folderTree(z) },
  ];
}
