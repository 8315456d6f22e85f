/**
 * `POST /v1/embeddings`: vectors of texts, with their receipt.
 *
 * @module
 */

import type { FastifyInstance } from 'fastify';
import { parseEmbeddingRequest, toEmbeddingResponse } from '../api/embeddings.ts';
import { readBody } from '../api/json-body.ts';
import { clientSignal } from '../api/sse.ts';
import type { ServerContext } from './context.ts';

/** Adds the route. */
export function addEmbeddings(
  app: FastifyInstance,
  { embed, callerOf }: Pick<ServerContext, 'embed' | 'callerOf'>,
): void {
  app.post('/v1/embeddings', async (call, reply) => {
    const { encoding, ...asked } = parseEmbeddingRequest(readBody(call));
    const embedded = await embed(asked, { signal: clientSignal(reply), caller: callerOf(call) });
    return toEmbeddingResponse(embedded, encoding);
  });
}
