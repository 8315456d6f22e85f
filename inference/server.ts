/**
 * The HTTP server in front of an answering. It never listens: `main.ts` does, and tests inject requests.
 *
 * S1. Every refusal has OpenAI's error shape and a code; what is not an expected fault is a bare 500.
 * S2. Bodies are read by the strict JSON reader: what two readers could understand differently is refused.
 * S3. No answer without a receipt, and no receipt for anything but what the engine answered to that very request.
 * S4. The memory of requests is bounded: each body, all bodies together, headers, connections.
 *
 * @module
 */

import type { FastifyInstance } from 'fastify';
import { toErrorReply } from './api-errors.ts';
import { openHttpApp } from './http-app.ts';
import { type Metrics, openMetrics } from './metrics.ts';
import { openApiDocument } from './openapi/document.ts';
import { addChatCompletions } from './routes/chat-completions.ts';
import { addCompletions } from './routes/completions.ts';
import type { ServerContext } from './routes/context.ts';
import { addDocs } from './routes/docs.ts';
import { addEmbeddings } from './routes/embeddings.ts';
import { addHealth } from './routes/health.ts';
import { addMetrics } from './routes/metrics.ts';
import { addModels } from './routes/models.ts';
import { addReceipts } from './routes/receipts.ts';
import { addResponses } from './routes/responses.ts';

/**
 * Builds the server; listening and closing are the caller's.
 *
 * @param context - what the routes work with, but for who asks: that is found here
 */
export function buildServer(
  context: Omit<ServerContext, 'callerOf'>,
  options: buildServer.Options = {},
): FastifyInstance {
  const { access = null } = options;
  const metrics =
    options.metrics ??
    openMetrics({ sources: { load: () => ({ active: 0, waiting: 0 }), models: () => context.catalog.list() } });
  const app = openHttpApp({ ...options, toReply: toErrorReply, observe: (opened) => metrics.observe(opened) });

  const shared: ServerContext = {
    ...context,
    answer: metrics.measure(access?.limitAnswers(context.answer) ?? context.answer),
    embed: metrics.measureEmbeddings(access?.limitEmbeddings(context.embed) ?? context.embed),
    callerOf: (request) => access?.callerOf(request) ?? null,
  };
  addChatCompletions(app, shared);
  addCompletions(app, shared);
  addResponses(app, shared);
  addEmbeddings(app, shared);
  addModels(app, shared);
  addReceipts(app, shared);
  addHealth(app, shared);
  addMetrics(app, metrics);
  addDocs(app, openApiDocument, 'Tracebond inference API');
  return app;
}

export declare namespace buildServer {
  type Options = openHttpApp.Settings & {
    /** Its own by default. */
    readonly metrics?: Metrics;
  };
}
