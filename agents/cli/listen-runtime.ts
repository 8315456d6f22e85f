/**
 * Has a runtime's API listen.
 *
 * @module
 */

import { openAccess } from '../../inference/access.ts';
import type { AccessKeys } from '../../inference/access-key-file.ts';
import { openHttpApp } from '../../inference/http-app.ts';
import { isLoopback, listenOn } from '../../inference/main.ts';
import { toRunErrorReply } from '../../runtime/api/errors.ts';
import { addMcp } from '../../runtime/api/mcp-route.ts';
import { addMetrics, buildRuntimeServer } from '../../runtime/api/server.ts';
import { OFF_CHAIN } from '../../runtime/plan.ts';
import { startRetention } from '../../runtime/retention-sweep.ts';
import { type OpenRuntime, random32 } from './open-runtime.ts';

/** A server that listens. */
export type RuntimeListener = {
  readonly url: string;
  /** Stops listening; `end` closes what is behind it, so that streams end with their runs. */
  close(end: () => Promise<void>): Promise<void>;
};

/** @throws {@link ServerError} `PORT_IN_USE`, `LISTEN_FAILED` */
export async function listenRuntime(
  { manager, book, metrics }: OpenRuntime,
  options: {
    readonly host: string;
    readonly port: number;
    /** Days after which payloads are deleted. */
    readonly days: number | undefined;
    readonly keys: AccessKeys | undefined;
  },
): Promise<RuntimeListener> {
  const { host, port, days, keys } = options;
  let open = true;
  const onFault = (error: unknown) => console.error(error);
  const allowed = isLoopback(host) ? { allowedHosts: [host, 'localhost', '127.0.0.1', '[::1]'] } : {};
  const app = buildRuntimeServer(manager, {
    book,
    metrics,
    deployment: OFF_CHAIN,
    now: Date.now,
    random: random32,
    access: keys === undefined ? null : openAccess(keys),
    isReady: () => open,
    onFault,
    ...allowed,
    mcp: (routes, context) => addMcp(routes, context, { onFault, ...allowed }),
  });
  const bound = await listenOn(app, host, port);
  const stays = (run: string, error: unknown) => console.error(`run ${run}: payloads stay: ${error}`);
  const forget = (run: `0x${string}`) => book.forget(run);
  const stop =
    days === undefined ? undefined : startRetention({ manager, forget, now: Date.now, onFault: stays }, days);
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    async close(end) {
      open = false;
      const closing = app.close();
      await stop?.();
      await end();
      await closing;
    },
  };
}

/**
 * Has a worker's `/health` and `/metrics` listen.
 *
 * @throws {@link ServerError} `PORT_IN_USE`, `LISTEN_FAILED`
 */
export async function listenWorker(
  { manager, metrics }: OpenRuntime,
  { host, port, keys }: { readonly host: string; readonly port: number; readonly keys: AccessKeys | undefined },
): Promise<RuntimeListener> {
  const app = openHttpApp({
    toReply: toRunErrorReply,
    observe: (opened) => metrics.observe(opened),
    access: keys === undefined ? null : openAccess(keys),
    onFault: (error) => console.error(error),
    ...(isLoopback(host) ? { allowedHosts: [host, 'localhost', '127.0.0.1', '[::1]'] } : {}),
  });
  metrics.watch({ list: () => manager.list(), streams: () => 0 });
  metrics.watchQueue(() => manager.queueCounts());
  addMetrics(app, metrics);
  app.get('/health', async () => ({ status: 'ok', queue: await manager.queueCounts() }));
  const bound = await listenOn(app, host, port);
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    async close(end) {
      const closing = app.close();
      await end();
      await closing;
    },
  };
}
