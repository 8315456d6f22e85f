/**
 * What the events of a saved stream of `/v1/responses` say of the answer, besides its last event: a client may take its words from any of
 * them, so all must say the same.
 *
 * Spec: `inference/spec/responses.md#from-an-answer-to-items`.
 *
 * @module
 */

import { z } from 'zod';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { malformed, readPart } from './carrier-error.ts';

const outputText = z.looseObject({ type: z.literal('output_text'), text: z.string() });
/** An item of a response's output. */
export const outputItem = z.discriminatedUnion('type', [
  z.looseObject({ type: z.literal('message'), role: z.literal('assistant').optional(), content: z.array(outputText) }),
  z.looseObject({ type: z.literal('function_call'), call_id: z.string(), name: z.string(), arguments: z.string() }),
]);
/** See {@link outputItem}. */
export type OutputItem = z.output<typeof outputItem>;

const nothing = z.array(z.never()).max(0).optional();
const head = z.looseObject({ output: nothing });
const output_index = z.number().int().nonnegative();
/** Every event of this server's streams, as far as it says something of the answer. */
const responseEvent = z.discriminatedUnion('type', [
  z.looseObject({ type: z.literal('response.created'), response: head }),
  z.looseObject({ type: z.literal('response.in_progress'), response: head }),
  z.looseObject({
    type: z.literal('response.output_item.added'),
    output_index,
    item: z.looseObject({
      type: z.string(),
      content: nothing,
      name: z.string().optional(),
      call_id: z.string().optional(),
      arguments: z.literal('').optional(),
    }),
  }),
  z.looseObject({
    type: z.literal('response.content_part.added'),
    output_index,
    part: outputText.extend({ text: z.literal('') }),
  }),
  z.looseObject({ type: z.literal('response.output_text.delta'), output_index, delta: z.string() }),
  z.looseObject({ type: z.literal('response.output_text.done'), output_index, text: z.string() }),
  z.looseObject({ type: z.literal('response.content_part.done'), output_index, part: outputText }),
  z.looseObject({ type: z.literal('response.function_call_arguments.delta'), output_index, delta: z.string() }),
  z.looseObject({
    type: z.literal('response.function_call_arguments.done'),
    output_index,
    name: z.string().optional(),
    arguments: z.string(),
  }),
  z.looseObject({ type: z.literal('response.output_item.done'), output_index, item: outputItem }),
]);

/**
 * Holds the events before the last one against its output.
 *
 * @param events - untrusted
 * @param output - of the last event
 * @throws {@link CarrierError} `MALFORMED_ANSWER`, also for an event that this server does not send
 */
export function checkResponseEvents(events: readonly Json[], output: readonly OutputItem[]): void {
  const pieces = output.map(() => '');
  for (const event of events.map((one) => readPart(responseEvent, one))) {
    if (event.type === 'response.created' || event.type === 'response.in_progress') continue;
    const { output_index: at } = event;
    const item = output[at];
    if (item === undefined) throw malformed(`output.${at}`, 'is not in the last event');
    const isDelta =
      event.type === 'response.output_text.delta' || event.type === 'response.function_call_arguments.delta';
    if (isDelta) pieces[at] = (pieces[at] ?? '') + event.delta;
    else if (!isSaidOf(item, event)) throw malformed(`output.${at}`, 'an event says another than the last one');
  }
  output.forEach((item, index) => {
    if (pieces[index] !== wordsOf(item)) {
      throw malformed(`output.${index}`, 'the pieces of the stream are not the whole of its last event');
    }
  });
}

function isSaidOf(item: OutputItem, event: z.output<typeof responseEvent>): boolean {
  switch (event.type) {
    case 'response.output_item.added': {
      const { type, name, call_id: id } = event.item;
      if (item.type === 'message') return type === item.type;
      return type === item.type && name === item.name && id === item.call_id;
    }
    case 'response.output_text.done':
      return item.type === 'message' && event.text === wordsOf(item);
    case 'response.content_part.done':
      return item.type === 'message' && event.part.text === wordsOf(item);
    case 'response.function_call_arguments.done':
      if (item.type !== 'function_call') return false;
      return event.arguments === item.arguments && (event.name ?? item.name) === item.name;
    case 'response.output_item.done': {
      const { item: done } = event;
      if (done.type === 'message' || item.type === 'message') {
        return done.type === item.type && wordsOf(done) === wordsOf(item);
      }
      return done.name === item.name && done.call_id === item.call_id && done.arguments === item.arguments;
    }
    default:
      return true;
  }
}

function wordsOf(item: OutputItem): string {
  return item.type === 'message' ? item.content.map(({ text }) => text).join('') : item.arguments;
}
