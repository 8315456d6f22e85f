/**
 * The HTTP server in front of an engine. It never listens: `main.ts` does, and tests inject requests.
 *
 * S1. Every refusal has OpenAI's error shape and a code; what is not an expected fault is a bare 500.
 * S2. Bodies are read by the strict JSON reader: what two readers could understand differently is refused.
 * S3. No answer without a receipt, and no receipt for anything but what the engine answered to that very request.
 *
 * @module
 */

import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import { parseLosslessJson } from '../attest/encoding/canonical-json.ts';
import { addressOf } from '../attest/sign/secp256k1.ts';
import { ApiError, toErrorReply } from './api-errors.ts';
import type { Engine } from './engine.ts';
import type { ReceiptDomain } from './protocol.ts';
import { addChatCompletions } from './routes/chat-completions.ts';
import type { ServerContext } from './routes/context.ts';
import { addHealth } from './routes/health.ts';
import { addModels } from './routes/models.ts';

/** Nesting of a request body. */
const MAX_BODY_DEPTH = 32;

/**
 * Builds the server; listening and closing are the caller's.
 *
 * @throws {@link SignatureError} `MALFORMED_KEY` if the private key is none
 */
export function buildServer(options: buildServer.Options): FastifyInstance {
  const { engine, privateKey, domain = null, isReady = () => true, now = Date.now, onFault = () => {} } = options;
  const context: ServerContext = { engine, privateKey, signer: addressOf(privateKey), domain, isReady, now };
  const app = Fastify({
    bodyLimit: options.bodyLimitBytes ?? 1 << 20,
    // Whole requests only: one that trickles in does not hold a connection for ever.
    requestTimeout: 30_000,
    forceCloseConnections: 'idle',
    frameworkErrors: (error, _request, reply) => {
      const { status, body } = toErrorReply(error);
      void (reply as FastifyReply).code(status).send(body);
    },
  });

  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (_request: unknown, body: Buffer) =>
    parseLosslessJson(body, { maxDepth: MAX_BODY_DEPTH }),
  );
  app.setErrorHandler((error, _request, reply) => {
    const { status, body, retryAfterSeconds } = toErrorReply(error);
    if (status === 500) onFault(error);
    if (retryAfterSeconds !== undefined) void reply.header('retry-after', retryAfterSeconds);
    return reply.code(status).send(body);
  });
  app.setNotFoundHandler((request) => {
    throw new ApiError('NOT_FOUND', `no such route: ${request.method} ${request.url.slice(0, 256)}`);
  });
  const { allowedHosts } = options;
  if (allowedHosts !== undefined) {
    app.addHook('onRequest', async (request) => {
      // A page of any site can resolve its own name to 127.0.0.1 (DNS rebinding); its requests carry that name.
      if (!allowedHosts.includes(request.hostname)) {
        throw new ApiError('HOST_NOT_ALLOWED', 'expected a Host header that names this computer');
      }
    });
  }
  addChatCompletions(app, context);
  addModels(app, context);
  addHealth(app, context);
  return app;
}

export declare namespace buildServer {
  type Options = {
    readonly engine: Pick<Engine, 'identity' | 'complete'>;
    readonly privateKey: Uint8Array;
    /** Null (default): each request names its chain and contract, or is off chain. */
    readonly domain?: ReceiptDomain;
    readonly isReady?: () => boolean;
    readonly now?: () => number;
    /** Largest body in bytes; 1 MiB by default. */
    readonly bodyLimitBytes?: number;
    /** Names that the Host header may have, without port; any by default. */
    readonly allowedHosts?: readonly string[];
    /** Told of every fault that clients see as a bare 500. */
    readonly onFault?: (error: unknown) => void;
  };
}
