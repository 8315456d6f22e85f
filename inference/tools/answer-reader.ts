/**
 * Reads the text of an answer as content and calls of tools, piece by piece.
 *
 * W1. The pieces depend on the whole text alone: cut differently, it gives the same content and the same calls.
 * W2. Nothing is said that could still become something else: what may be the beginning of a call or of its end is held back.
 *
 * @module
 */

import type { RequestToolCall } from '../../attest/trace/inference-request.ts';
import { endsLike } from '../answer-text.ts';
import type { AnswerEvent } from '../answering.ts';
import { CALL_ARGUMENTS, CALL_END, CALL_SEPARATOR, CALL_START } from './call-form.ts';

/** Content and calls of a whole text; `content` is null where there are calls and nothing else. */
export type ReadAnswer = { readonly content: string | null; readonly calls: readonly RequestToolCall[] };

/** A text as it comes. */
export type AnswerReader = {
  /** Takes the next piece of the text; returns what is known now and was not before. */
  push(text: string): readonly AnswerEvent[];
  /** Ends the text: what was held back is content, or arguments of a call that has no end. Called once. */
  end(): readonly AnswerEvent[];
  /** What was read so far. */
  readonly answer: ReadAnswer;
};

/**
 * Starts to read.
 *
 * @param mayCall - whether tools may be called; if not, all is content
 * @param callId - id of the call at an index
 */
export function readAnswer(mayCall: boolean, callId: (index: number) => string): AnswerReader {
  return new Reader(mayCall, callId);
}

/** A whole text at once. */
export function readWholeAnswer(text: string, mayCall: boolean, callId: (index: number) => string): ReadAnswer {
  const reader = readAnswer(mayCall, callId);
  reader.push(text);
  reader.end();
  return reader.answer;
}

/** What comes next. */
type Place = 'content' | 'name' | 'arguments' | 'between';

class Reader implements AnswerReader {
  readonly #mayCall: boolean;
  readonly #callId: (index: number) => string;
  #place: Place = 'content';
  #held = '';
  #content = '';
  readonly #calls: { id: string; name: string; arguments: string }[] = [];

  constructor(mayCall: boolean, callId: (index: number) => string) {
    this.#mayCall = mayCall;
    this.#callId = callId;
  }

  get answer(): ReadAnswer {
    const isCallsAlone = this.#content === '' && this.#calls.length > 0;
    return { content: isCallsAlone ? null : this.#content, calls: this.#calls.map((call) => ({ ...call })) };
  }

  push(text: string): readonly AnswerEvent[] {
    this.#held += text;
    const events: AnswerEvent[] = [];
    while (this.#step(events));
    return merge(events);
  }

  end(): readonly AnswerEvent[] {
    const rest = this.#held;
    this.#held = '';
    if (rest === '') return [];
    switch (this.#place) {
      case 'arguments':
        return [this.#argue(rest)];
      case 'name':
        return [this.#say(CALL_START + rest)];
      default:
        return [this.#say(rest)];
    }
  }

  /** Reads as much as is certain; whether there may be more. */
  #step(events: AnswerEvent[]): boolean {
    switch (this.#place) {
      case 'content':
        return this.#readContent(events);
      case 'name':
        return this.#readName(events);
      case 'arguments':
        return this.#readArguments(events);
      case 'between':
        return this.#readBetween();
    }
  }

  #readContent(events: AnswerEvent[]): boolean {
    const [before, isThere] = this.#cut(this.#mayCall ? CALL_START : '');
    if (before !== '') events.push(this.#say(before));
    if (isThere) this.#place = 'name';
    return isThere;
  }

  #readName(events: AnswerEvent[]): boolean {
    const end = this.#held.indexOf(CALL_ARGUMENTS);
    if (end < 0) return false;
    const index = this.#calls.length;
    const name = this.#held.slice(0, end);
    this.#held = this.#held.slice(end + CALL_ARGUMENTS.length);
    const call = { id: this.#callId(index), name, arguments: '' };
    this.#calls.push(call);
    events.push({ type: 'call', index, id: call.id, name });
    this.#place = 'arguments';
    return true;
  }

  #readArguments(events: AnswerEvent[]): boolean {
    const [before, isThere] = this.#cut(CALL_END);
    if (before !== '') events.push(this.#argue(before));
    if (isThere) this.#place = 'between';
    return isThere;
  }

  #readBetween(): boolean {
    const next = CALL_SEPARATOR + CALL_START;
    if (this.#held.startsWith(next)) {
      this.#held = this.#held.slice(next.length);
      this.#place = 'name';
      return true;
    }
    if (this.#held === '' || next.startsWith(this.#held)) return false;
    this.#place = 'content';
    return true;
  }

  /** What is certainly before a mark, and whether the mark is there; both are taken from what is held. An empty mark is nowhere. */
  #cut(mark: string): readonly [string, boolean] {
    const at = mark === '' ? -1 : this.#held.indexOf(mark);
    const isThere = at >= 0;
    const end = isThere ? at : this.#held.length - endsLike(this.#held, mark);
    const before = this.#held.slice(0, end);
    this.#held = this.#held.slice(isThere ? end + mark.length : end);
    return [before, isThere];
  }

  #say(text: string): AnswerEvent {
    this.#content += text;
    return { type: 'text', text };
  }

  #argue(text: string): AnswerEvent {
    const index = this.#calls.length - 1;
    const call = this.#calls[index];
    if (call === undefined) throw new TypeError('expected a call');
    call.arguments += text;
    return { type: 'arguments', index, text };
  }
}

/** Neighbouring pieces of one kind as one. */
function merge(events: readonly AnswerEvent[]): readonly AnswerEvent[] {
  const merged: AnswerEvent[] = [];
  for (const event of events) {
    const last = merged.at(-1);
    if (last?.type === 'text' && event.type === 'text')
      merged[merged.length - 1] = { ...last, text: last.text + event.text };
    else merged.push(event);
  }
  return merged;
}
