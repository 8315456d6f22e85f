/**
 * A conversation in items as messages of the normal form: calls belong to the assistant's message before them, results are messages of
 * the role `tool`.
 *
 * @module
 */

import { type InferenceMessage, REQUEST_LIMITS, type RequestToolCall } from '../../attest/trace/inference-request.ts';
import { ApiError } from '../api-errors.ts';
import { refuseValue } from '../protocol-faults.ts';
import { type InputItem, type Item, toItem } from './responses-items.ts';

/** What a request can refer to: what is kept of its caller's. */
export type Kept = {
  findResponse(id: string): { readonly input: readonly Item[]; readonly output: readonly Item[] } | undefined;
  findItem(id: string): Item | undefined;
};

/** The fields of a request that are its conversation. */
type Conversation = {
  readonly input: string | readonly InputItem[];
  readonly previous_response_id?: string | null | undefined;
};

/**
 * The whole conversation that a request is about: that of the previous response and its output, then the request's own items.
 *
 * @param newId - gives ids to items that have none
 * @throws {@link ApiError} `INVALID_VALUE` (`previous_response_id`) and `NOT_FOUND` (`input[i].id`) for what is not kept
 */
export function resolveItems(fields: Conversation, kept: Kept, newId: (prefix: string) => string): readonly Item[] {
  const { previous_response_id: previousId, input } = fields;
  const earlier: Item[] = [];
  if (previousId !== null && previousId !== undefined) {
    const previous = kept.findResponse(previousId);
    if (previous === undefined) throw refuseValue('previous_response_id', `response '${previousId}' is not kept here`);
    earlier.push(...previous.input, ...previous.output);
  }
  const own: readonly InputItem[] =
    typeof input === 'string' ? [{ type: 'message', role: 'user', content: input }] : input;
  return [...earlier, ...own.map((item, i) => resolve(item, `input[${i}].id`, kept, newId))];
}

function resolve(item: InputItem, param: string, kept: Kept, newId: (prefix: string) => string): Item {
  if (item.type !== 'item_reference') return toItem(item, newId);
  const found = kept.findItem(item.id);
  if (found !== undefined) return found;
  throw new ApiError(
    'NOT_FOUND',
    `${param}: item '${item.id}' is not kept here; items of a response whose 'store' is false never are`,
    {
      at: { param },
    },
  );
}

/** A message while calls may still be added to it. */
type Growing = Omit<InferenceMessage, 'toolCalls'> & { readonly toolCalls: RequestToolCall[] };

/**
 * Messages of a conversation, instructions first.
 *
 * @throws {@link ApiError} `INVALID_VALUE` (`input`) for an output without its call, no message at all, or more than a request may hold
 */
export function toMessages(instructions: string | null, items: readonly Item[]): readonly InferenceMessage[] {
  const messages: Growing[] = [];
  const called = new Set<string>();
  const add = (role: InferenceMessage['role'], content: string, toolCallId: string | null = null): Growing => {
    if (content.length > REQUEST_LIMITS.content) {
      throw refuseValue('input', `expected at most ${REQUEST_LIMITS.content} characters in one message`);
    }
    const message: Growing = { role, content, name: null, toolCalls: [], toolCallId };
    messages.push(message);
    return message;
  };
  if (instructions !== null) add('system', instructions);
  for (const item of items) {
    if (item.type === 'function_call_output') {
      const { call_id, output } = item;
      if (!called.has(call_id)) throw refuseValue('input', `no earlier call has the call_id '${call_id}'`);
      add('tool', output, call_id);
    } else if (item.type === 'function_call') {
      const last = messages.at(-1);
      const message = last?.role === 'assistant' ? last : add('assistant', '');
      message.toolCalls.push({ id: item.call_id, name: item.name, arguments: item.arguments });
      called.add(item.call_id);
      if (message.toolCalls.length > REQUEST_LIMITS.toolCalls) {
        throw refuseValue('input', `expected at most ${REQUEST_LIMITS.toolCalls} calls of one message`);
      }
    } else {
      const content = item.content.map((part) => part.text).join('');
      add(item.role === 'developer' ? 'system' : item.role, content);
    }
  }
  if (messages.length === 0) throw refuseValue('input', 'expected at least one message');
  if (messages.length > REQUEST_LIMITS.messages) {
    throw refuseValue('input', `expected at most ${REQUEST_LIMITS.messages} messages in the conversation`);
  }
  return messages;
}
