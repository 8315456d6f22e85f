/**
 * Events of a stream of `/v1/responses`, numbered from 0. The first has the response as it begins, the last as it ended, with its receipt.
 *
 * @module
 */

import { z } from 'zod';
import { responseSchema } from './responses-body.ts';
import { itemLogprobSchema, outputItemSchema, outputTextSchema } from './responses-items.ts';

const numbered = { sequence_number: z.int().min(0) };

const ofItem = { output_index: z.int().min(0), ...numbered };

const ofPart = { item_id: z.string(), ...ofItem, content_index: z.literal(0) };

const lifecycle = (
  ['response.created', 'response.in_progress', 'response.completed', 'response.incomplete', 'response.failed'] as const
).map((type) => z.object({ type: z.literal(type), response: responseSchema, ...numbered }));

/** What a stream tells when it fails after its beginning; `response.failed` follows. */
const errorEventSchema = z.object({
  type: z.literal('error'),
  code: z.string().nullable(),
  message: z.string(),
  param: z.string().nullable(),
  error: z
    .object({ message: z.string(), type: z.string(), param: z.string().nullable(), code: z.string().nullable() })
    .describe('The same as an error object, which some clients look for.'),
  ...numbered,
});

/** Data of one event; the event's name is its type. */
export const responsesEventSchema = z
  .union([
    ...lifecycle,
    z.object({ type: z.literal('response.output_item.added'), item: outputItemSchema, ...ofItem }),
    z.object({ type: z.literal('response.output_item.done'), item: outputItemSchema, ...ofItem }),
    z.object({ type: z.literal('response.content_part.added'), part: outputTextSchema, ...ofPart }),
    z.object({ type: z.literal('response.content_part.done'), part: outputTextSchema, ...ofPart }),
    z.object({
      type: z.literal('response.output_text.delta'),
      delta: z.string(),
      logprobs: z.array(itemLogprobSchema),
      ...ofPart,
    }),
    z.object({
      type: z.literal('response.output_text.done'),
      text: z.string(),
      logprobs: z.array(itemLogprobSchema),
      ...ofPart,
    }),
    z.object({
      type: z.literal('response.function_call_arguments.delta'),
      item_id: z.string(),
      delta: z.string(),
      ...ofItem,
    }),
    z.object({
      type: z.literal('response.function_call_arguments.done'),
      item_id: z.string(),
      name: z.string(),
      arguments: z.string(),
      ...ofItem,
    }),
    errorEventSchema,
  ])
  .meta({ id: 'ResponsesEvent' });

export type ResponsesEvent = z.input<typeof responsesEventSchema>;
