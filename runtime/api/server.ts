/**
 * The HTTP server in front of a manager of runs. It never listens: whoever builds it does.
 *
 * A1. Whatever an answer acknowledges is on disk.
 * A2. A run is shown to the access key whose request began it, and so are the runs that it asked for.
 * A3. Refusals have one shape and a code of a closed set; their messages hold nothing of the host.
 *
 * Spec: `runtime/spec/api.md`.
 *
 * @module
 */

import type { FastifyInstance } from 'fastify';
import { openHttpApp } from '../../inference/http-app.ts';
import { addDocs } from '../../inference/routes/docs.ts';
import { ManagerError, type RunManager } from '../manager-types.ts';
import { addBundle } from './bundle-route.ts';
import type { RunContext } from './context.ts';
import { toRunErrorReply } from './errors.ts';
import { openRunMetrics, type RunMetrics } from './metrics.ts';
import { runApiDocument } from './operations.ts';
import { addRecords, type RecordStreamOptions } from './record-stream.ts';
import { addRuns } from './run-routes.ts';

/** Builds the server; listening and closing are the caller's, and so is closing the manager. */
export function buildRuntimeServer(manager: RunManager, options: buildRuntimeServer.Options): FastifyInstance {
  const { access = null, metrics = openRunMetrics(), isReady = () => true, streams = {}, onFault } = options;
  const app = openHttpApp({ ...options, toReply: toRunErrorReply, observe: (opened) => metrics.observe(opened) });
  const { book, deployment, now, random } = options;
  const context: RunContext = {
    manager,
    book,
    deployment,
    now,
    random,
    callerOf: (request) => access?.callerOf(request).id ?? null,
    count: (request) => access?.countRequest(access.callerOf(request)),
  };
  addRuns(app, context);
  const open = addRecords(app, context, { ...(onFault === undefined ? {} : { onFault }), ...streams });
  addBundle(app, context);
  options.mcp?.(app, context);
  metrics.watch({ list: () => manager.list(), streams: open });
  metrics.watchQueue(() => manager.queueCounts());
  addMetrics(app, metrics);
  app.get('/healthz', async () => ({ status: 'ok' }));
  app.get('/readyz', async () => {
    if (!isReady()) throw new ManagerError('MANAGER_CLOSED', 'runs cannot be begun now');
    return { status: 'ready', agents: manager.agents.length };
  });
  addDocs(app, runApiDocument, 'Tracebond runtime API');
  return app;
}

/** Adds `/metrics`. */
export function addMetrics(app: FastifyInstance, metrics: RunMetrics): void {
  app.get('/metrics', async (_call, reply) => {
    const { type, text } = await metrics.print();
    return reply.header('content-type', type).send(text);
  });
}

export declare namespace buildRuntimeServer {
  type Options = openHttpApp.Settings &
    Pick<RunContext, 'book' | 'deployment' | 'now' | 'random'> & {
      /** Its own by default. */
      readonly metrics?: RunMetrics;
      /** Whether runs can be begun. */
      readonly isReady?: () => boolean;
      readonly streams?: RecordStreamOptions;
      /** Adds the routes of MCP (`mcp-route.ts`), which not every server has. */
      readonly mcp?: (app: FastifyInstance, context: RunContext) => void;
    };
}
