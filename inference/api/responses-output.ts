/**
 * The output of `/v1/responses`: pieces of an answer become items, and events about them in OpenAI's order. Streamed or not, an answer is
 * read by the same code, so both give the same items.
 *
 * @module
 */

import type { RequestToolCall } from '../../attest/trace/inference-request.ts';
import type { AnswerEvent } from '../answering.ts';
import type { TokenLogprobs, TokenProbability } from '../engine.ts';
import type { ResponsesEvent } from './responses-events.ts';
import type { ItemLogprob, OutputItem } from './responses-items.ts';

/** OpenAI's way to write the logarithm of 0, which JSON has not. */
const NO_PROBABILITY = -9999;

/** An event without its number. */
export type UnnumberedEvent = ResponsesEvent extends infer E
  ? E extends ResponsesEvent
    ? Unnumbered<E>
    : never
  : never;
type Unnumbered<E> = Omit<E, 'sequence_number'>;

/** The items of one answer as they come. */
export type OutputWriter = {
  /** Takes the next piece. */
  push(event: AnswerEvent): void;
  /**
   * Ends the answer. An answer without any piece is a message without text.
   *
   * @param isWhole - false where it ended because its tokens were used up: its last item is incomplete
   */
  finish(isWhole: boolean): void;
  /** All items that are done. */
  readonly items: readonly OutputItem[];
};

type OpenMessage = { readonly type: 'message'; readonly id: string; text: string; readonly logprobs: ItemLogprob[] };
type OpenCall = {
  readonly type: 'call';
  readonly id: string;
  readonly call: { -readonly [K in keyof RequestToolCall]: string };
};

/**
 * Starts an answer.
 *
 * @param newId - gives ids to items
 * @param emit - gets the events
 */
export function writeOutput(newId: (prefix: string) => string, emit: (event: UnnumberedEvent) => void): OutputWriter {
  return new Writer(newId, emit);
}

class Writer implements OutputWriter {
  readonly items: OutputItem[] = [];
  readonly #newId: (prefix: string) => string;
  readonly #emit: (event: UnnumberedEvent) => void;
  #open: OpenMessage | OpenCall | undefined;

  constructor(newId: (prefix: string) => string, emit: (event: UnnumberedEvent) => void) {
    this.#newId = newId;
    this.#emit = emit;
  }

  push(event: AnswerEvent): void {
    if (event.type === 'text') this.#say(event.text, event.logprobs ?? []);
    else if (event.type === 'call') this.#call(event.id, event.name);
    else this.#argue(event.text);
  }

  finish(isWhole: boolean): void {
    if (this.items.length === 0 && this.#open === undefined) this.#openMessage();
    this.#close(isWhole ? 'completed' : 'incomplete');
  }

  #say(text: string, logprobs: readonly TokenLogprobs[]): void {
    const open = this.#open?.type === 'message' ? this.#open : this.#openMessage();
    const written = logprobs.map(toItemLogprob);
    open.text += text;
    open.logprobs.push(...written);
    this.#emit({ type: 'response.output_text.delta', ...this.#part(open), delta: text, logprobs: written });
  }

  #openMessage(): OpenMessage {
    this.#close('completed');
    const open: OpenMessage = { type: 'message', id: this.#newId('msg'), text: '', logprobs: [] };
    this.#open = open;
    const item = { id: open.id, type: 'message' as const, role: 'assistant' as const, content: [] };
    const output_index = this.items.length;
    this.#emit({ type: 'response.output_item.added', output_index, item: { ...item, status: 'in_progress' } });
    const part = { type: 'output_text' as const, text: '', annotations: [], logprobs: [] };
    this.#emit({ type: 'response.content_part.added', ...this.#part(open), part });
    return open;
  }

  #call(callId: string, name: string): void {
    this.#close('completed');
    const open: OpenCall = { type: 'call', id: this.#newId('fc'), call: { id: callId, name, arguments: '' } };
    this.#open = open;
    const item = toCallItem(open, 'in_progress');
    this.#emit({ type: 'response.output_item.added', output_index: this.items.length, item });
  }

  #argue(text: string): void {
    const open = this.#open;
    if (open?.type !== 'call') throw new TypeError('expected a call before its arguments');
    open.call.arguments += text;
    const place = { item_id: open.id, output_index: this.items.length };
    this.#emit({ type: 'response.function_call_arguments.delta', ...place, delta: text });
  }

  #close(status: 'completed' | 'incomplete'): void {
    const open = this.#open;
    if (open === undefined) return;
    this.#open = undefined;
    const item = open.type === 'call' ? this.#closeCall(open, status) : this.#closeMessage(open, status);
    this.#emit({ type: 'response.output_item.done', output_index: this.items.length, item });
    this.items.push(item);
  }

  #closeCall(open: OpenCall, status: 'completed' | 'incomplete'): OutputItem {
    const { name, arguments: words } = open.call;
    const place = { item_id: open.id, output_index: this.items.length };
    this.#emit({ type: 'response.function_call_arguments.done', ...place, name, arguments: words });
    return toCallItem(open, status);
  }

  #closeMessage(open: OpenMessage, status: 'completed' | 'incomplete'): OutputItem {
    const { id, text, logprobs } = open;
    const part = { type: 'output_text' as const, text, annotations: [], logprobs };
    this.#emit({ type: 'response.output_text.done', ...this.#part(open), text, logprobs });
    this.#emit({ type: 'response.content_part.done', ...this.#part(open), part });
    return { id, type: 'message', role: 'assistant', status, content: [part] };
  }

  #part({ id }: OpenMessage): { item_id: string; output_index: number; content_index: 0 } {
    return { item_id: id, output_index: this.items.length, content_index: 0 };
  }
}

function toCallItem({ id, call }: OpenCall, status: OutputItem['status']): OutputItem {
  return { id, type: 'function_call', call_id: call.id, name: call.name, arguments: call.arguments, status };
}

function toItemLogprob(token: TokenLogprobs): ItemLogprob {
  return { ...toProbability(token), top_logprobs: token.top.map(toProbability) };
}

function toProbability({ text, bytes, logprob }: TokenProbability): Omit<ItemLogprob, 'top_logprobs'> {
  return { token: text, logprob: Math.max(logprob, NO_PROBABILITY), bytes: [...(bytes ?? [])] };
}
