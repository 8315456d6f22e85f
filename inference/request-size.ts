/**
 * How many tokens a request may take, before a tokenizer has counted them: what limits and turns are dealt by.
 *
 * @module
 */

import type { InferenceRequest } from '../attest/trace/inference-request.ts';

/** UTF-16 units of text that a token has at least, on average. */
const UNITS_PER_TOKEN = 2;

/** What a prompt is made of. */
type Prompted = Pick<InferenceRequest, 'messages' | 'prompt' | 'tools' | 'toolChoice' | 'maxTokens'>;

/** Tokens that these texts have at most, on average. */
export function tokensIn(texts: readonly string[]): number {
  return Math.ceil(texts.reduce((sum, { length }) => sum + length, 0) / UNITS_PER_TOKEN);
}

/** Tokens of a request's prompt and answer together. */
export function mostTokens({ messages, prompt, tools, toolChoice, maxTokens }: Prompted): number {
  const said = messages.flatMap(({ content, toolCalls }) => [
    content,
    ...toolCalls.flatMap((call) => [call.name, call.arguments]),
  ]);
  // Tools that may not be called are not shown to the model.
  const shown = toolChoice.type === 'none' ? [] : tools;
  const told = shown.flatMap(({ name, description, parameters }) => [name, description ?? '', parameters]);
  return tokensIn([...said, ...told, prompt ?? '']) + maxTokens;
}
