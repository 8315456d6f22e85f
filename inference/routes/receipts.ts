/**
 * `GET /v1/receipts/{id}`: a receipt that this server gave, with everything that it is about.
 *
 * @module
 */

import type { FastifyInstance } from 'fastify';
import { ApiError } from '../api-errors.ts';
import type { ServerContext } from './context.ts';

/** Adds the route. */
export function addReceipts(app: FastifyInstance, context: Pick<ServerContext, 'receipts' | 'callerOf'>): void {
  app.get<{ Params: { id: string } }>('/v1/receipts/:id', async (request) => {
    const { id } = request.params;
    const found = await context.receipts.get(id, context.callerOf(request));
    // Another key's receipt is told from none by nothing.
    if (found === undefined) {
      throw new ApiError('RECEIPT_NOT_FOUND', `no receipt ${JSON.stringify(id.slice(0, 64))} is kept here`, {
        at: { param: 'id' },
      });
    }
    return found;
  });
}
