/**
 * `POST /v1/completions`: a text continued as it stands, with its receipt, whole or as a stream.
 *
 * @module
 */

import type { FastifyInstance } from 'fastify';
import { parseTextRequest } from '../api/text-request.ts';
import { openTextStream, toTextResponse } from '../api/text-response.ts';
import { answerWith, type CompletionOptions, type CompletionSurface } from './chat-completions.ts';
import type { ServerContext } from './context.ts';

/** Adds the route. */
export function addCompletions(app: FastifyInstance, context: ServerContext, options: CompletionOptions = {}): void {
  const surface: CompletionSurface = {
    prefix: 'cmpl-',
    parse: parseTextRequest,
    whole: toTextResponse,
    open: openTextStream,
  };
  app.post('/v1/completions', answerWith(surface, context, options));
}
