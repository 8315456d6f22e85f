/**
 * `openai`: the client, and what its scenarios ask.
 *
 * @module
 */

import { strict as assert } from 'node:assert';
import type { OpenAI as Client } from 'openai';
import type * as Helpers from 'openai/helpers/zod';
import type { ChatCompletionMessageParam, ChatCompletionTool } from 'openai/resources/chat/completions';
import type { Scenario, Target } from '../scenario.ts';
import {
  QUESTION,
  SEED,
  TEXT_TOKENS,
  TOOL_DESCRIPTION,
  TOOL_NAME,
  TOOL_QUESTION,
  WEATHER_PARAMETERS,
  type ZodModule,
} from './shapes.ts';

export type OpenAIModules = {
  readonly OpenAI: typeof Client;
  readonly helpers: typeof Helpers;
  readonly z: ZodModule;
};

export type OpenAIScenario = Scenario<OpenAIModules>;

export function openAIClient({ OpenAI }: Pick<OpenAIModules, 'OpenAI'>, { baseURL, fetch }: Target): Client {
  return new OpenAI({ baseURL, apiKey: 'unused', fetch, maxRetries: 0 });
}

export const messages: ChatCompletionMessageParam[] = [
  { role: 'system', content: 'You are brief.' },
  { role: 'user', content: QUESTION },
];
export const plain = { messages, max_tokens: TEXT_TOKENS, temperature: 0 };
export const warm = { messages, max_tokens: TEXT_TOKENS, temperature: 0.8, top_p: 0.9, seed: SEED };

export const weatherTool: ChatCompletionTool = {
  type: 'function',
  function: { name: TOOL_NAME, description: TOOL_DESCRIPTION, parameters: WEATHER_PARAMETERS, strict: true },
};
export const toolQuestion: ChatCompletionMessageParam[] = [{ role: 'user', content: TOOL_QUESTION }];

/** The client's error for a 400. */
export async function refusal({ OpenAI }: OpenAIModules, asked: PromiseLike<unknown>) {
  const fault: unknown = await Promise.resolve(asked).then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(fault instanceof OpenAI.BadRequestError, `expected a BadRequestError, got ${String(fault)}`);
  assert.equal(fault.status, 400);
  return fault;
}
