/**
 * A whole inference server: the model in a child process, a queue before it, HTTP in front. Prints nothing and reads no
 * environment.
 *
 * @module
 */

import { createServer } from 'node:net';
import type { FastifyInstance } from 'fastify';
import type { Hex } from '../attest/core/bytes.ts';
import type { ChildEntry } from '../attest/core/entry.ts';
import { addressOf } from '../attest/sign/secp256k1.ts';
import { openChildEngine } from './child.ts';
import type { Engine, ModelIdentity, ProfileName } from './engine.ts';
import type { ReceiptDomain } from './protocol.ts';
import { openQueue } from './queue.ts';
import { buildServer } from './server.ts';
import { ServerError } from './server-errors.ts';

/** A server that listens. */
export type InferenceServer = {
  /** Without a slash at the end, such as `http://127.0.0.1:8080`. */
  readonly url: string;
  readonly port: number;
  /** Address of the key that signs receipts. */
  readonly signer: Hex;
  readonly identity: ModelIdentity;
  /** The engine behind the queue, for a verifier in this process; closed with the server. */
  readonly engine: Pick<Engine, 'identity' | 'complete'>;
  /** Process id of the engine's process while one is up. */
  readonly enginePid: () => number | undefined;
  /** Stops listening, refuses what waits, ends the engine's process. */
  close(): Promise<void>;
};

/**
 * Opens the model and listens.
 *
 * @throws {@link ServerError} `PORT_IN_USE`, `LISTEN_FAILED` (both before the model is opened where that can be known),
 *   `ENGINE_UNAVAILABLE`
 * @throws {@link ModelError} why the model cannot be served
 * @throws {@link SignatureError} `MALFORMED_KEY`
 */
export async function serveInference(options: serveInference.Options): Promise<InferenceServer> {
  const { path, id, cacheDir, privateKey, port, host = '127.0.0.1', onProgress = () => {} } = options;
  const signer = addressOf(privateKey);
  const domain: ReceiptDomain = options.domain ?? null;
  // A model takes seconds to load, and longer the first time: a port that is taken is said before.
  if (port !== 0) await probe(host, port);
  const child = await openChildEngine(
    { path, id, cacheDir, ...pick(options, 'profile', 'threads') },
    { onProgress, ...pick(options, 'entry') },
  );
  const engine = openQueue(child, pick(options, 'maxWaiting', 'timeoutMs'));
  const app = buildServer({
    engine,
    privateKey,
    domain,
    isReady: () => child.isReady,
    ...(isLoopback(host) ? { allowedHosts: [host, 'localhost', '127.0.0.1', '[::1]'] } : {}),
    ...pick(options, 'bodyLimitBytes', 'now', 'onFault'),
  });
  try {
    const bound = await listen(app, host, port);
    return {
      url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
      port: bound,
      signer,
      identity: engine.identity,
      engine,
      enginePid: () => child.pid,
      async close() {
        // First the queue: its requests end with an error instead of holding the connections that HTTP waits for.
        await Promise.all([engine.close(), app.close()]);
      },
    };
  } catch (error) {
    await engine.close();
    throw error;
  }
}

export declare namespace serveInference {
  type Options = {
    /** 127.0.0.1 by default; any other than a loopback address lets everybody there use the model. */
    readonly host?: string;
    /** 0 picks a free one. */
    readonly port: number;
    /** GGUF file. */
    readonly path: string;
    /** Name of the model in the API. */
    readonly id: string;
    /** Folder for the files made from the model. */
    readonly cacheDir: string;
    /** `exact` by default. */
    readonly profile?: ProfileName;
    /** Threads of the exact engine; all that the computer has by default, at most 8. */
    readonly threads?: number;
    /** 32 bytes; signs receipts and nothing else. */
    readonly privateKey: Uint8Array;
    /** Chain and contract that every receipt is for; null (default) lets each request name its own. */
    readonly domain?: ReceiptDomain;
    readonly onProgress?: (message: string) => void;
    readonly onFault?: (error: unknown) => void;
    readonly bodyLimitBytes?: number;
    readonly maxWaiting?: number;
    readonly timeoutMs?: number;
    /** Milliseconds since 1970. */
    readonly now?: () => number;
    /** What the engine's process runs; the real engine by default. */
    readonly entry?: ChildEntry;
  };
}

/** Whether an address is this computer's own and reachable from nowhere else. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host);
}

async function listen(app: FastifyInstance, host: string, port: number): Promise<number> {
  try {
    await app.listen({ host, port });
  } catch (error) {
    throw toListenError(error, host, port);
  }
  const address = app.server.address();
  return typeof address === 'object' && address !== null ? address.port : port;
}

/** Binds the port for a moment. */
function probe(host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => reject(toListenError(error, host, port)));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve()));
  });
}

function toListenError(error: unknown, host: string, port: number): ServerError {
  const { code, message } = error as NodeJS.ErrnoException;
  const at = { host, port };
  if (code === 'EADDRINUSE') return new ServerError('PORT_IN_USE', `port ${port} of ${host} is in use`, { at });
  return new ServerError('LISTEN_FAILED', `cannot listen on ${host}:${port}: ${message}`, { at, cause: error });
}

/** Those of the named fields that are there. */
function pick<T extends object, K extends keyof T>(
  from: T,
  ...names: readonly K[]
): { [N in K]?: Exclude<T[N], undefined> } {
  const entries = names.filter((name) => from[name] !== undefined).map((name) => [name, from[name]]);
  return Object.fromEntries(entries) as { [N in K]?: Exclude<T[N], undefined> };
}
