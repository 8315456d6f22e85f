/**
 * `GET /healthz`: the server answers. `GET /readyz`: its first model's engine would too.
 *
 * @module
 */

import type { FastifyInstance } from 'fastify';
import { ServerError } from '../server-errors.ts';
import type { ServerContext } from './context.ts';

/** Adds the routes. */
export function addHealth(
  app: FastifyInstance,
  { isReady, catalog }: Pick<ServerContext, 'isReady' | 'catalog'>,
): void {
  app.get('/healthz', async () => ({ status: 'ok' }));
  app.get('/readyz', async () => {
    if (!isReady()) throw new ServerError('ENGINE_UNAVAILABLE', "the engine's process is not up");
    return { status: 'ready', model: catalog.list()[0]?.id ?? null };
  });
}
