/**
 * Items of `/v1/responses`: what a conversation is made of. Input items are read as OpenAI's clients write them; what a client got as
 * output it may send back as input, as it is.
 *
 * @module
 */

import { z } from 'zod';
import { REQUEST_LIMITS } from '../../attest/trace/inference-request.ts';

/** Lone surrogates are refused by the JSON reader already. */
const text = (max: number) => z.string().max(max);

const itemId = z.string().min(1).max(128);

const status = z.enum(['in_progress', 'completed', 'incomplete']);

/** A mark for OpenAI's cache; prompts are cached here without it. */
const breakpoint = z.strictObject({ mode: z.literal('explicit') }).nullish();

const inputText = z.strictObject({
  type: z.literal('input_text'),
  text: text(REQUEST_LIMITS.content),
  prompt_cache_breakpoint: breakpoint,
});

const outputText = z.strictObject({
  type: z.literal('output_text'),
  text: text(REQUEST_LIMITS.content),
  annotations: z.array(z.unknown()).nullish().describe('What answers of this server leave empty; decides nothing.'),
  logprobs: z.array(z.unknown()).nullish().describe('As the answer had it; decides nothing.'),
  parsed: z.unknown().optional().describe('What a client made of the text; decides nothing.'),
});

const refusalPart = z.strictObject({ type: z.literal('refusal'), refusal: text(REQUEST_LIMITS.content) });

const inputParts = z
  .array(z.discriminatedUnion('type', [inputText]))
  .min(1)
  .max(REQUEST_LIMITS.messages);

const assistantParts = z
  .array(z.discriminatedUnion('type', [inputText, outputText, refusalPart]))
  .max(REQUEST_LIMITS.messages);

const messageFields = {
  type: z.literal('message').optional(),
  id: itemId.nullish(),
  status: status.nullish(),
  phase: z.enum(['commentary', 'final_answer']).nullish().describe('Decides nothing.'),
};

/** A message of the input. */
export const inputMessageSchema = z.discriminatedUnion('role', [
  z.strictObject({
    ...messageFields,
    role: z.enum(['user', 'system', 'developer']),
    content: z.union([text(REQUEST_LIMITS.content), inputParts]),
  }),
  z.strictObject({
    ...messageFields,
    role: z.literal('assistant'),
    content: z.union([text(REQUEST_LIMITS.content), assistantParts]),
  }),
]);

const callId = z.string().min(1).max(REQUEST_LIMITS.toolCallId);

const toolName = z
  .string()
  .max(REQUEST_LIMITS.name)
  .regex(/^[a-zA-Z0-9_-]{1,64}$/, 'expected 1 to 64 letters, digits, underscores or dashes');

/** A call that an assistant made. */
export const inputCallSchema = z.strictObject({
  type: z.literal('function_call'),
  id: itemId.nullish(),
  call_id: callId,
  name: toolName,
  arguments: text(REQUEST_LIMITS.arguments).describe('JSON text, as the assistant wrote it.'),
  status: status.nullish(),
  caller: z.null().optional(),
  parsed_arguments: z.unknown().optional().describe('What a client made of the arguments; decides nothing.'),
});

/** What a call gave. */
export const inputCallOutputSchema = z.strictObject({
  type: z.literal('function_call_output'),
  id: itemId.nullish(),
  call_id: callId.describe('The call that is answered; it comes earlier in the conversation.'),
  output: z.union([text(REQUEST_LIMITS.content), inputParts]),
  status: status.nullish(),
  name: z.null().optional(),
  caller: z.null().optional(),
});

/** An item that this server made earlier, by its id. */
export const itemReferenceSchema = z.strictObject({ type: z.literal('item_reference'), id: itemId });

/** One item of the input. */
export const inputItemSchema = z
  .discriminatedUnion('type', [inputMessageSchema, inputCallSchema, inputCallOutputSchema, itemReferenceSchema])
  .meta({ id: 'ResponsesInputItem' });

const probability = {
  token: z.string(),
  logprob: z.number().describe('Natural logarithm of the probability, before sampling and masks; -9999 where it is 0.'),
  bytes: z.array(z.int().min(0).max(255)).describe('What the token adds to the text; none for a control token.'),
};

/** A token of a text with its logarithm of probability. */
export const itemLogprobSchema = z.object({ ...probability, top_logprobs: z.array(z.object(probability)) });

/** The text of an answer. */
export const outputTextSchema = z.object({
  type: z.literal('output_text'),
  text: z.string(),
  annotations: z.array(z.unknown()).max(0),
  logprobs: z.array(itemLogprobSchema),
});

/** An answer's text, as an item. */
export const outputMessageSchema = z.object({
  id: z.string(),
  type: z.literal('message'),
  role: z.literal('assistant'),
  status,
  content: z.array(outputTextSchema),
});

/** A call that an answer makes. */
export const functionCallSchema = z.object({
  id: z.string(),
  type: z.literal('function_call'),
  call_id: z.string(),
  name: z.string(),
  arguments: z.string().describe('JSON text; valid for the tool unless the answer is incomplete.'),
  status,
});

/** One item of an answer. */
export const outputItemSchema = z
  .discriminatedUnion('type', [outputMessageSchema, functionCallSchema])
  .meta({ id: 'ResponsesOutputItem' });

/** A message of somebody else than the assistant, as it is kept. */
export const keptMessageSchema = z.object({
  id: z.string(),
  type: z.literal('message'),
  role: z.enum(['user', 'system', 'developer']),
  status,
  content: z.array(z.object({ type: z.literal('input_text'), text: z.string() })),
});

/** What a call gave, as it is kept. */
export const keptCallOutputSchema = z.object({
  id: z.string(),
  type: z.literal('function_call_output'),
  call_id: z.string(),
  output: z.string(),
  status,
});

/** One item of a conversation, as it is kept. */
export const itemSchema = z
  .union([outputMessageSchema, functionCallSchema, keptMessageSchema, keptCallOutputSchema])
  .meta({ id: 'ResponsesItem' });

export type InputItem = z.infer<typeof inputItemSchema>;
export type ItemLogprob = z.infer<typeof itemLogprobSchema>;
export type OutputItem = z.infer<typeof outputItemSchema>;
/** An item with an id, its text joined. */
export type Item = z.infer<typeof itemSchema>;

/**
 * An item of the input as it is kept: parts joined, with an id.
 *
 * @param newId - gives an id to an item that has none
 */
export function toItem(input: Exclude<InputItem, { type: 'item_reference' }>, newId: (prefix: string) => string): Item {
  if (input.type === 'function_call') {
    const { call_id, name, arguments: words } = input;
    const id = input.id ?? newId('fc');
    return { id, type: 'function_call', call_id, name, arguments: words, status: input.status ?? 'completed' };
  }
  if (input.type === 'function_call_output') {
    const id = input.id ?? newId('fco');
    const output = joinParts(input.output);
    return { id, type: 'function_call_output', call_id: input.call_id, output, status: 'completed' };
  }
  const id = input.id ?? newId('msg');
  const words = joinParts(input.content);
  if (input.role === 'assistant') {
    const content = [{ type: 'output_text' as const, text: words, annotations: [], logprobs: [] }];
    return { id, type: 'message', role: 'assistant', status: input.status ?? 'completed', content };
  }
  const content = [{ type: 'input_text' as const, text: words }];
  return { id, type: 'message', role: input.role, status: 'completed', content };
}

type Part = { readonly type: 'refusal'; readonly refusal: string } | { readonly type: string; readonly text: string };

function joinParts(content: string | readonly Part[]): string {
  if (typeof content === 'string') return content;
  return content.map((part) => ('refusal' in part ? part.refusal : part.text)).join('');
}
