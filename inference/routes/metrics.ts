/**
 * `GET /metrics`: what the server counts, for Prometheus. Where access keys are in force it needs one, as all that says something about
 * what others ask.
 *
 * @module
 */

import type { FastifyInstance } from 'fastify';
import type { Metrics } from '../metrics.ts';

/** Adds the route. */
export function addMetrics(app: FastifyInstance, metrics: Metrics): void {
  app.get('/metrics', async (_call, reply) => {
    const { type, text } = await metrics.print();
    return reply.header('content-type', type).send(text);
  });
}
