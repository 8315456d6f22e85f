/**
 * A Fastify application as every server of this project has it: strict bodies, bounded memory, one shape of refusals. It never listens.
 *
 * @module
 */

import type { Socket } from 'node:net';
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import { parseLosslessJson } from '../attest/encoding/canonical-json.ts';
import type { Access } from './access.ts';
import { ApiError, type ErrorReply, toConnectionReply } from './api-errors.ts';
import { addBodyBudget, dropBody } from './body-budget.ts';
import { ServerError } from './server-errors.ts';

/** Nesting of a request body: that of the deepest schema, and what is around it. */
const MAX_BODY_DEPTH = 80;

/** Bytes of one body by default. */
const BODY_LIMIT = 4 << 20;

/** Bytes of all bodies that are read or answered, by default. */
const BODIES_LIMIT = 128 << 20;

const MAX_CONNECTIONS = 4096;

/** Milliseconds that clients have to take their last answer when the server closes. */
const CLOSE_GRACE_MS = 5_000;
const CLOSE_POLL_MS = 50;

/** Bytes of a request's headers. */
const MAX_HEADERS = 16 << 10;

/** Makes an application without routes. */
export function openHttpApp(options: openHttpApp.Options): FastifyInstance {
  const { access = null, onFault = () => {}, allowedHosts, toReply } = options;
  const bodyLimit = options.bodyLimitBytes ?? BODY_LIMIT;
  const app = Fastify({
    bodyLimit,
    // Whole requests only: one that trickles in does not hold a connection for ever.
    requestTimeout: 30_000,
    http: { headersTimeout: 15_000, connectionsCheckingInterval: 5_000, maxHeaderSize: MAX_HEADERS },
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 512 },
    frameworkErrors: (error, _request, reply) => {
      void send(reply as FastifyReply, toReply(error));
    },
    clientErrorHandler: (error, socket) => endConnection(error, socket),
  });
  app.server.maxConnections = MAX_CONNECTIONS;

  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (_request: unknown, body: Buffer) =>
    parseLosslessJson(body, { maxDepth: MAX_BODY_DEPTH }),
  );
  app.setErrorHandler(async (error, request, reply) => {
    const refusal = toReply(error);
    if (refusal.status === 500 || isOperators(error)) onFault(error);
    // Its sender reads the answer when it has sent everything.
    if (refusal.status === 413) await dropBody(request.raw);
    return send(reply, refusal);
  });
  app.setNotFoundHandler((request) => {
    throw new ApiError('NOT_FOUND', `no such route: ${request.method} ${request.url.slice(0, 256)}`);
  });

  app.addHook('preClose', async () => endConnections(app));
  options.observe(app);
  if (allowedHosts !== undefined) {
    app.addHook('onRequest', async (request) => {
      // A page of any site can resolve its own name to 127.0.0.1 (DNS rebinding); its requests carry that name.
      if (!allowedHosts.includes(request.hostname.toLowerCase())) {
        throw new ApiError('HOST_NOT_ALLOWED', 'expected a Host header that names this computer');
      }
    });
  }
  access?.guard(app);
  addBodyBudget(app, bodyLimit, Math.max(bodyLimit, options.bodiesLimitBytes ?? BODIES_LIMIT));
  return app;
}

export declare namespace openHttpApp {
  /** What every server lets its caller choose. */
  type Settings = {
    /** Null (default) asks nobody for a key. */
    readonly access?: Access | null;
    /** Largest body in bytes; 4 MiB by default. */
    readonly bodyLimitBytes?: number;
    /** Bytes of all bodies together; 128 MiB by default. */
    readonly bodiesLimitBytes?: number;
    /** Names that the Host header may have, without port; any by default. */
    readonly allowedHosts?: readonly string[];
    /** Told of every fault that clients see as a bare 500. */
    readonly onFault?: (error: unknown) => void;
  };
  type Options = Settings & {
    /** The reply to any fault. */
    readonly toReply: (error: unknown) => ErrorReply;
    /** Sees every request before anybody refuses it. */
    readonly observe: (app: FastifyInstance) => void;
  };
}

function send(reply: FastifyReply, { status, body, retryAfterSeconds }: ErrorReply): FastifyReply {
  if (retryAfterSeconds !== undefined) void reply.header('retry-after', retryAfterSeconds);
  if (status === 401) void reply.header('www-authenticate', 'Bearer');
  // What is left of a body is not read.
  if (!reply.request.raw.complete) void reply.header('connection', 'close');
  return reply.code(status).send(body);
}

/**
 * Ends connections while the server closes: those on which an answer was under way stay open for another request else, and hold it up until
 * their time is over.
 */
function endConnections({ server }: FastifyInstance): void {
  if (!server.listening) return;
  const idle = setInterval(() => server.closeIdleConnections(), CLOSE_POLL_MS).unref();
  const rest = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS).unref();
  server.once('close', () => {
    clearInterval(idle);
    clearTimeout(rest);
  });
}

/** The end of a connection whose bytes are no request, or come too slowly. */
function endConnection(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  const { status, body } = toConnectionReply(error);
  const text = JSON.stringify(body);
  const head = [
    `HTTP/1.1 ${status} ${body.error.code}`,
    'connection: close',
    'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(text)}`,
  ];
  if (socket.writable) socket.write(`${head.join('\r\n')}\r\n\r\n${text}`);
  socket.destroySoon();
}

/** Whether whoever operates the server has to mend something. */
function isOperators(error: unknown): boolean {
  return error instanceof ServerError && error.code === 'KEYS_UNAVAILABLE';
}
