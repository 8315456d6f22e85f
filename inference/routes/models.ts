/**
 * `GET /v1/models` and `GET /v1/models/{id}`: the one model of this server, with the digests of its identity.
 *
 * @module
 */

import type { FastifyInstance } from 'fastify';
import { ApiError } from '../api-errors.ts';
import { toModelBody } from '../protocol.ts';
import type { ServerContext } from './context.ts';

/** Adds the routes. */
export function addModels(app: FastifyInstance, { engine, signer, domain }: ServerContext): void {
  const { identity } = engine;
  app.get('/v1/models', async () => ({ object: 'list', data: [toModelBody(identity, signer, domain)] }));
  // A wildcard, since OpenAI's clients send ids with a slash in them as they are.
  app.get<{ Params: { '*': string } }>('/v1/models/*', async (call) => {
    const id = call.params['*'];
    if (id !== identity.id && id !== identity.model) {
      throw new ApiError('MODEL_NOT_FOUND', `model ${JSON.stringify(id.slice(0, 256))} is not served here`);
    }
    return toModelBody(identity, signer, domain);
  });
}
