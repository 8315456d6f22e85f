/**
 * `GET /v1/models` and `GET /v1/models/{id}`: what this server offers, with the digests of each model's identity. A model that
 * was never opened has none yet, and asking for the list opens no model.
 *
 * @module
 */

import type { FastifyInstance } from 'fastify';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { ApiError } from '../api-errors.ts';
import { toModelBody } from '../protocol.ts';
import type { ServedModel, ServerContext } from './context.ts';

/** Adds the routes. */
export function addModels(
  app: FastifyInstance,
  { catalog, signer, domain }: Pick<ServerContext, 'catalog' | 'signer' | 'domain'>,
): void {
  const toBody = ({ id, identity }: ServedModel): { readonly [key: string]: Json } =>
    identity === null
      ? { id, object: 'model', created: 0, owned_by: 'tracebond' }
      : toModelBody(identity, signer, domain);

  app.get('/v1/models', async () => ({ object: 'list', data: catalog.list().map(toBody) }));
  // A wildcard, since OpenAI's clients send ids with a slash in them as they are.
  app.get<{ Params: { '*': string } }>('/v1/models/*', async (call) => {
    const id = call.params['*'];
    const model = catalog.find(id);
    if (model === undefined) {
      throw new ApiError('MODEL_NOT_FOUND', `model ${JSON.stringify(id.slice(0, 256))} is not served here`);
    }
    return toBody(model);
  });
}
