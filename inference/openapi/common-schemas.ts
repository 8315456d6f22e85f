/**
 * Schemas of the bodies that no single route owns: refusals, models, the state of the server.
 *
 * @module
 */

import { z } from 'zod';
import { modelSchema } from '../protocol.ts';

/** Body of every refusal, in OpenAI's shape. */
export const errorSchema = z
  .strictObject({
    error: z.strictObject({
      message: z.string().describe('For people.'),
      type: z.enum(['invalid_request_error', 'rate_limit_error', 'server_error']),
      param: z
        .string()
        .nullable()
        .describe('The parameter at fault, such as `messages[0].content`; null where none is.'),
      code: z.string().describe('For programs: one of a closed set, such as `unsupported_value`.'),
    }),
  })
  .describe('Why a request got no answer.');

/** A model; one that was never opened has no `tracebond` yet. */
export const modelBodySchema = modelSchema
  .extend({
    created: z.int().describe('Not known for a file, and 0.'),
    owned_by: z.literal('tracebond'),
    tracebond: modelSchema.shape.tracebond
      .optional()
      .describe('Digests of all that decides an output besides the request.'),
  })
  .describe('A model that this server offers.');

/** Body of `GET /v1/models`. */
export const modelListBodySchema = z.strictObject({ object: z.literal('list'), data: z.array(modelBodySchema) });

/** Body of `GET /healthz`. */
export const healthSchema = z.strictObject({ status: z.literal('ok') });

/** Body of `GET /readyz`. */
export const readinessSchema = z.strictObject({ status: z.literal('ready'), model: z.string().nullable() });
