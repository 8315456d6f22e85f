/**
 * Messages of a chat completion, and their normal form: one text each, `developer` as `system`, calls and what answers them.
 *
 * @module
 */

import { z } from 'zod';
import { type InferenceMessage, REQUEST_LIMITS } from '../../attest/trace/inference-request.ts';
import { ApiError } from '../api-errors.ts';
import { refuseValue } from '../protocol-faults.ts';
import { functionName, text } from './fields.ts';

const words = text(0, REQUEST_LIMITS.content);
const textPart = z.strictObject({ type: z.literal('text'), text: words });
const refusalPart = z.strictObject({ type: z.literal('refusal'), refusal: words });
const content = z.union([words, z.array(textPart).min(1).max(REQUEST_LIMITS.messages)]);
const name = text(1, REQUEST_LIMITS.name).nullish();

const toolCall = z.strictObject({
  id: text(1, REQUEST_LIMITS.toolCallId),
  type: z.literal('function'),
  function: z.strictObject({
    name: functionName,
    arguments: text(0, REQUEST_LIMITS.arguments).describe('JSON text, as the assistant wrote it.'),
    parsed_arguments: z.unknown().optional().describe("Left by OpenAI's client; decides nothing."),
  }),
});

const assistant = z.strictObject({
  role: z.literal('assistant'),
  content: z
    .union([
      words,
      z
        .array(z.discriminatedUnion('type', [textPart, refusalPart]))
        .min(1)
        .max(REQUEST_LIMITS.messages),
    ])
    .nullish(),
  name,
  refusal: words.nullish().describe('Taken as the content where there is none.'),
  tool_calls: z.array(toolCall).max(REQUEST_LIMITS.toolCalls).nullish(),
  audio: z.null().optional(),
  function_call: z.null().optional(),
  annotations: z.array(z.unknown()).max(0).nullish(),
  parsed: z.unknown().optional().describe("Left by OpenAI's client; decides nothing."),
});

/** One message of the conversation. */
export const messageSchema = z.discriminatedUnion('role', [
  z.strictObject({ role: z.literal('system'), content, name }),
  z.strictObject({ role: z.literal('developer'), content, name }),
  z.strictObject({ role: z.literal('user'), content, name }),
  assistant,
  z.strictObject({
    role: z.literal('tool'),
    content,
    name,
    tool_call_id: text(1, REQUEST_LIMITS.toolCallId).nullish().describe('A call of an earlier message.'),
  }),
]);

type Message = z.output<typeof messageSchema>;

/**
 * Messages in normal form.
 *
 * @throws {@link ApiError} `MISSING_PARAMETER` for an assistant that says and calls nothing, `INVALID_VALUE` for one that says two things,
 *   and for a tool that answers no call of an earlier message
 */
export function readMessages(messages: readonly Message[]): readonly InferenceMessage[] {
  const called = new Set<string>();
  return messages.map((message, i) => {
    const param = `messages[${i}]`;
    const plain = { name: message.name ?? null, toolCalls: [], toolCallId: null };
    switch (message.role) {
      case 'assistant': {
        const toolCalls = (message.tool_calls ?? []).map(({ id, function: made }) => {
          called.add(id);
          return { id, name: made.name, arguments: made.arguments };
        });
        return { ...plain, role: 'assistant', content: contentOf(message, param), toolCalls };
      }
      case 'tool': {
        const { tool_call_id: id = null } = message;
        if (id !== null && !called.has(id)) throw refuseValue(`${param}.tool_call_id`, 'answers no call made before');
        return { ...plain, role: 'tool', content: join(message.content), toolCallId: id };
      }
      case 'user':
        return { ...plain, role: 'user', content: join(message.content) };
      default:
        return { ...plain, role: 'system', content: join(message.content) };
    }
  });
}

/** What an assistant said; null and nothing are the empty text where it called tools. */
function contentOf(message: z.output<typeof assistant>, param: string): string {
  const { content: said, refusal = null, tool_calls: calls } = message;
  if (said !== null && said !== undefined && said !== '') {
    if (refusal !== null && refusal !== '') throw refuseValue(`${param}.refusal`, 'there is content too');
    return join(said);
  }
  if (refusal !== null) return refusal;
  if (said === '' || (calls ?? []).length > 0) return '';
  const at = { param: `${param}.content` };
  throw new ApiError('MISSING_PARAMETER', `${param}.content: expected a text, or tool_calls`, { at });
}

function join(said: string | readonly (z.output<typeof textPart> | z.output<typeof refusalPart>)[]): string {
  if (typeof said === 'string') return said;
  return said.map((part) => (part.type === 'text' ? part.text : part.refusal)).join('');
}
