/**
 * Who may use the server: with access keys in force every route but the public ones needs one, and each key has its limits.
 *
 * A1. A route that is not in the list of public ones needs a key: a new route is closed until somebody opens it.
 * A2. The key is looked at before the body is read.
 * A3. A key's tokens of a minute are taken before an answer begins, as many as it may have, and settled when it has ended.
 *
 * @module
 */

import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { AccessKeys } from './access-key-file.ts';
import { type AccessKey, AccessKeyError } from './access-keys.ts';
import type { Answering, Caller } from './answering.ts';
import { ApiError } from './api-errors.ts';
import type { Embedding } from './embed.ts';
import { openRateLimits, type RateLimits } from './rate-limits.ts';
import { mostTokens, tokensIn } from './request-size.ts';
import type { KeyLimits } from './scheduler.ts';
import { ServerError } from './server-errors.ts';

/** Access keys at work. */
export type Access = {
  /** Has every route of a server but the public ones ask for a key. */
  guard(app: FastifyInstance): void;
  /** Whose key a request came with; a request of a public route has none, and may not be asked for it. */
  callerOf(request: FastifyRequest): Caller;
  /** How many requests of a key may run and wait, where it has limits of its own. */
  limitsOf(caller: Caller): Partial<KeyLimits> | undefined;
  /**
   * Counts a request of a key that takes no tokens of its own.
   *
   * @throws {@link ServerError} `RATE_LIMITED`
   */
  countRequest(caller: Caller): void;
  /** The same answering, within the limits of a minute. It throws {@link ServerError} `RATE_LIMITED` besides. */
  limitAnswers(answer: Answering): Answering;
  /** The same for embeddings. */
  limitEmbeddings(embed: Embedding): Embedding;
};

/** Routes that need no key: they tell nothing of what others ask, and compute nothing. */
const PUBLIC = /^\/(?:healthz|readyz|openapi\.json|docs(?:\/.*)?)$/;

/** What is longer is not looked at. */
const MAX_HEADER = 512;

/** Puts keys to work; `rates` are the counters of their minutes. */
export function openAccess(keys: AccessKeys, rates: RateLimits = openRateLimits()): Access {
  const callers = new WeakMap<FastifyRequest, Caller>();
  // Of keys that were used; a file has a bounded number of them.
  const known = new Map<string, AccessKey['limits']>();
  const limitsOf = ({ id }: Caller): AccessKey['limits'] => {
    const limits = known.get(id);
    if (limits === undefined) throw new TypeError(`key ${id} was never authenticated`);
    return limits;
  };
  const limited = async <T>(
    { caller, signal }: { readonly caller: Caller | null; readonly signal: AbortSignal },
    mostTokens: number,
    work: () => Promise<T>,
    tokensOf: (done: T) => number,
  ): Promise<T> => {
    if (caller === null) return work();
    const admission = rates.admit({ id: caller.id, limits: limitsOf(caller) }, mostTokens);
    try {
      const done = await work();
      admission.settle(tokensOf(done));
      return done;
    } catch (error) {
      // Whoever leaves in the middle of a long answer has had its tokens, but how many is not known; what was refused took none.
      if (!signal.aborted) admission.settle(0);
      throw error;
    }
  };
  const authenticate = (secret: string) => {
    try {
      return keys.authenticate(secret);
    } catch (cause) {
      if (!(cause instanceof AccessKeyError)) throw cause;
      // What is wrong with the file is its owner's business alone.
      throw new ServerError('KEYS_UNAVAILABLE', 'the access keys cannot be read at the moment', { cause });
    }
  };
  return {
    guard(app) {
      app.addHook('onRequest', async (request) => {
        // By the route that was found, not by the path as it was written. What finds none is refused as such.
        const route = request.routeOptions.url;
        if (route === undefined || PUBLIC.test(route)) return;
        const key = authenticate(readBearer(request.headers.authorization));
        if (key === undefined) throw new ApiError('UNAUTHORIZED', 'the access key is not one of this server');
        known.set(key.id, key.limits);
        callers.set(request, { id: key.id });
      });
    },
    callerOf(request) {
      const caller = callers.get(request);
      if (caller === undefined) throw new TypeError('the caller of a public route is not known');
      return caller;
    },
    limitsOf({ id }) {
      const { active = null, waiting = null } = known.get(id) ?? {};
      return { ...(active === null ? {} : { active }), ...(waiting === null ? {} : { waiting }) };
    },
    countRequest(caller) {
      rates.admit({ id: caller.id, limits: limitsOf(caller) }, 0);
    },
    limitAnswers: (answer) => (asked, options) =>
      limited(
        options,
        mostTokens(asked.request),
        () => answer(asked, options),
        ({ completion }) => completion.promptIds.length + completion.outputIds.length,
      ),
    limitEmbeddings: (embed) => (asked, options) =>
      limited(
        options,
        tokensIn(asked.texts),
        () => embed(asked, options),
        ({ embeddings }) => embeddings.ids.reduce((sum, ids) => sum + ids.length, 0),
      ),
  };
}

function readBearer(header: string | undefined): string {
  const [, secret] =
    header !== undefined && header.length <= MAX_HEADER ? (/^Bearer +(\S+) *$/i.exec(header) ?? []) : [];
  if (secret !== undefined) return secret;
  throw new ApiError('UNAUTHORIZED', 'expected an access key of this server: Authorization: Bearer tb-…');
}
