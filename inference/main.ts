/**
 * A whole inference server: models in child processes, a fair line before each, receipts, HTTP in front. Prints nothing and reads no
 * environment.
 *
 * @module
 */

import { createServer } from 'node:net';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { Hex } from '../attest/core/bytes.ts';
import type { ChildEntry } from '../attest/core/entry.ts';
import { isJsonObject, type Json } from '../attest/encoding/canonical-json.ts';
import { addressOf } from '../attest/sign/secp256k1.ts';
import { openAccess } from './access.ts';
import type { AccessKeys } from './access-key-file.ts';
import { createAnswering } from './answer.ts';
import { type ChildEngine, openChildEngine } from './child.ts';
import { createEmbedding } from './embed.ts';
import type { ModelIdentity, ProfileName } from './engine.ts';
import { openMetrics } from './metrics.ts';
import { type Fleet, type FleetModel, type OfferedModel, openFleet } from './models/fleet.ts';
import { defaultMemoryBound, estimateMemory } from './models/memory.ts';
import type { ReceiptDomain } from './protocol.ts';
import { EMBEDDING_FORMAT, type EmbeddingDocument, parseEmbeddingDocument } from './receipts/embedding-document.ts';
import { parseReceiptDocument, type ReceiptDocument } from './receipts/receipt-document.ts';
import { openReceiptStore } from './receipts/store.ts';
import type { ModelCatalog, ServedModel } from './routes/context.ts';
import { openScheduler, type Scheduler } from './scheduler.ts';
import { buildServer } from './server.ts';
import { ServerError } from './server-errors.ts';

/** A server that listens. */
export type InferenceServer = {
  /** Without a slash at the end, such as `http://127.0.0.1:8080`. */
  readonly url: string;
  readonly port: number;
  /** Address of the key that signs receipts. */
  readonly signer: Hex;
  /** Of the first model. */
  readonly identity: ModelIdentity;
  /** Process id of the first model's engine while one is up. */
  readonly enginePid: () => number | undefined;
  /** Stops listening, refuses what waits, cancels what runs, ends the engines' processes. */
  close(): Promise<void>;
};

/**
 * Opens the first model and listens; other models are opened when they are asked for.
 *
 * @throws {@link ServerError} `PORT_IN_USE`, `LISTEN_FAILED` (both before a model is opened where that can be known),
 *   `ENGINE_UNAVAILABLE`, `DUPLICATE_MODEL`
 * @throws {@link ModelError} why a model cannot be served, of those that are not the first as far as their headers tell
 * @throws {@link SignatureError} `MALFORMED_KEY`
 */
export async function serveInference(options: serveInference.Options): Promise<InferenceServer> {
  const { models, cacheDir, privateKey, port, host = '127.0.0.1', profile = 'exact', onFault = () => {} } = options;
  const { memoryOf = (path) => estimateMemory(path, profile), now = Date.now } = options;
  const signer = addressOf(privateKey);
  const domain: ReceiptDomain = options.domain ?? null;
  // A model takes seconds to load, and longer the first time: a port that is taken is said before.
  if (port !== 0) await probe(host, port);

  const schedulers = new Map(
    models.map(({ id }) => [id, openScheduler(pick(options, 'maxActive', 'maxWaiting', 'timeoutMs'))]),
  );
  const receipts = await openReceiptStore<ReceiptDocument | EmbeddingDocument>({
    folder: options.receiptsDir ?? join(cacheDir, 'receipts'),
    parse: parseDocument,
    onFault,
  });
  const metrics = openMetrics({
    withProcess: true,
    sources: { load: () => sumLoads(schedulers), models: () => fleet?.models.map(toServed) ?? [] },
  });
  let fleet: Fleet<ChildEngine> | undefined;
  let app: FastifyInstance | undefined;
  const close = async () => {
    // First the lines: their requests end with an error instead of holding the connections that HTTP waits for.
    for (const scheduler of schedulers.values()) scheduler.close();
    await Promise.all([app?.close(), fleet?.close()]);
    await receipts.close();
  };
  try {
    const opened = await openFleet<ChildEngine>({
      models: models.map((model) => ({ ...model, memoryBytes: memoryOf(model.path) })),
      maxBytes: options.maxMemoryBytes ?? defaultMemoryBound(),
      async open({ id, path }, signal) {
        const engine = await openChildEngine(
          { path, id, cacheDir, profile, ...pick(options, 'threads') },
          { signal, ...pick(options, 'entry', 'onProgress') },
        );
        metrics.countLoad(id);
        return engine;
      },
      onFault: (_model, error) => onFault(error),
    });
    fleet = opened;
    const access = options.accessKeys === undefined ? null : openAccess(options.accessKeys);
    const ports = {
      models: opened,
      schedulerOf: (id: string) => schedulerOf(schedulers, id),
      privateKey,
      domain,
      receipts,
      now,
      ...(access === null ? {} : { limitsOf: access.limitsOf }),
    };
    app = buildServer(
      {
        answer: createAnswering(ports),
        embed: createEmbedding(ports),
        catalog: toCatalog(opened),
        receipts,
        signer,
        domain,
        isReady: () => opened.models.some(({ id }) => opened.peek(id)?.isReady === true),
        now,
      },
      {
        access,
        metrics,
        onFault,
        ...(isLoopback(host) ? { allowedHosts: [host, 'localhost', '127.0.0.1', '[::1]'] } : {}),
        ...pick(options, 'bodyLimitBytes'),
      },
    );
    const bound = await listenOn(app, host, port);
    const [first] = opened.models;
    if (first?.identity === undefined) throw new TypeError('the first model is not open');
    const { id, identity } = first;
    return {
      url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
      port: bound,
      signer,
      identity,
      enginePid: () => opened.peek(id)?.pid,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

export declare namespace serveInference {
  type Options = {
    /** 127.0.0.1 by default; any other than a loopback address lets everybody there ask. */
    readonly host?: string;
    /** 0 picks a free one. */
    readonly port: number;
    /** Names in the API, and GGUF files or folders; at least one. */
    readonly models: readonly Omit<OfferedModel, 'memoryBytes'>[];
    /** Folder for the files made from models. */
    readonly cacheDir: string;
    /** Folder of receipts; `receipts` in `cacheDir` by default. */
    readonly receiptsDir?: string;
    /** `exact` by default. */
    readonly profile?: ProfileName;
    /** Threads of each exact engine; all that the computer has by default, at most 8. */
    readonly threads?: number;
    /** Bytes of all engines together; half of the computer's memory by default. */
    readonly maxMemoryBytes?: number;
    /** Bytes that an engine takes; {@link estimateMemory} by default. */
    readonly memoryOf?: (path: string) => number;
    /** 32 bytes; signs receipts and nothing else. */
    readonly privateKey: Uint8Array;
    /** Chain and contract that every receipt is for; null (default) lets each request name its own. */
    readonly domain?: ReceiptDomain;
    /** Without them nobody is asked for a key. */
    readonly accessKeys?: AccessKeys;
    readonly onProgress?: (message: string) => void;
    readonly onFault?: (error: unknown) => void;
    readonly bodyLimitBytes?: number;
    /** Of each model, see {@link openScheduler}. */
    readonly maxActive?: number;
    readonly maxWaiting?: number;
    readonly timeoutMs?: number;
    /** Milliseconds since 1970. */
    readonly now?: () => number;
    /** What an engine's process runs; the real engine by default. */
    readonly entry?: ChildEntry;
  };
}

/** Whether an address is this computer's own and reachable from nowhere else. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host);
}

function parseDocument(value: Json): ReceiptDocument | EmbeddingDocument {
  const isEmbedding = isJsonObject(value) && value['format'] === EMBEDDING_FORMAT;
  return isEmbedding ? parseEmbeddingDocument(value) : parseReceiptDocument(value);
}

function toCatalog(fleet: Fleet<ChildEngine>): ModelCatalog {
  return {
    list: () => fleet.models.map(toServed),
    find(idOrDigest) {
      const found = fleet.find(idOrDigest);
      return found === undefined ? undefined : toServed(found);
    },
  };
}

function toServed({ id, state, identity }: FleetModel): ServedModel {
  return { id, state, identity: identity ?? null };
}

function schedulerOf(schedulers: ReadonlyMap<string, Scheduler>, id: string): Scheduler {
  const found = schedulers.get(id);
  if (found === undefined) throw new TypeError(`no model ${id}`);
  return found;
}

function sumLoads(schedulers: ReadonlyMap<string, Scheduler>): Scheduler['counts'] {
  let active = 0;
  let waiting = 0;
  for (const { counts } of schedulers.values()) {
    active += counts.active;
    waiting += counts.waiting;
  }
  return { active, waiting };
}

/**
 * Has an application listen.
 *
 * @returns the port, which is another where 0 was asked for
 * @throws {@link ServerError} `PORT_IN_USE`, `LISTEN_FAILED`
 */
export async function listenOn(app: FastifyInstance, host: string, port: number): Promise<number> {
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
  if (code === 'EADDRINUSE') {
    return new ServerError('PORT_IN_USE', `port ${port} of ${host} is in use: choose another, or 0 for any free one`, {
      at,
    });
  }
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
