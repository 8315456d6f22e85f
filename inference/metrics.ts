/**
 * What the server counts, for Prometheus.
 *
 * M1. Every label has few values, all of them known beforehand: routes as they were declared, models of this server, wire codes of the table of
 *     errors. Nothing that a client writes becomes a label.
 *
 * @module
 */

import type { FastifyInstance } from 'fastify';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Answering, AnswerOptions } from './answering.ts';
import { toErrorReply } from './api-errors.ts';
import type { Embedding } from './embed.ts';
import { onceEnded } from './response-end.ts';
import type { ServedModel } from './routes/context.ts';

/** Where the gauges look when they are asked. */
export type MetricSources = {
  /** Requests in engines and before them. */
  readonly load: () => { readonly active: number; readonly waiting: number };
  readonly models: () => readonly ServedModel[];
};

/** The metrics of one server. */
export type Metrics = {
  /** Counts the requests of a server. */
  observe(app: FastifyInstance): void;
  /** The same answering, counted: its tokens, the time until its first piece, its faults. */
  measure(answer: Answering): Answering;
  /** The same for embeddings. */
  measureEmbeddings(embed: Embedding): Embedding;
  /** A model was opened. */
  countLoad(model: string): void;
  /** The text that Prometheus reads, and its content type. */
  print(): Promise<{ readonly type: string; readonly text: string }>;
};

/** Seconds. */
const FIRST_PIECE_BUCKETS = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120];
const REQUEST_BUCKETS = [0.01, 0.05, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 240];

/** The status that stands for a response that its client did not take. */
const CLIENT_GONE = 499;

/** Makes a registry of its own: two servers of one process count apart. */
export function openMetrics(options: openMetrics.Options): Metrics {
  const { sources, now = () => performance.now() } = options;
  const registry = new Registry();
  const registers = [registry];
  if (options.withProcess === true) collectDefaultMetrics({ register: registry });

  const requests = new Counter({
    name: 'tracebond_http_requests_total',
    help: 'Requests, by route and status; 499 where the client went away first',
    labelNames: ['route', 'method', 'status'],
    registers,
  });
  const durations = new Histogram({
    name: 'tracebond_http_request_seconds',
    help: 'From the head of a request to the end of its response',
    labelNames: ['route'],
    buckets: REQUEST_BUCKETS,
    registers,
  });
  const tokens = new Counter({
    name: 'tracebond_tokens_total',
    help: 'Tokens of prompts and outputs of answers that were signed',
    labelNames: ['model', 'kind'],
    registers,
  });
  const receipts = new Counter({
    name: 'tracebond_receipts_total',
    help: 'Answers that were signed, by the reason of their end',
    labelNames: ['model', 'end'],
    registers,
  });
  const firstPiece = new Histogram({
    name: 'tracebond_first_piece_seconds',
    help: 'Of streams: from the request, waiting included, to the first piece of the answer',
    labelNames: ['model'],
    buckets: FIRST_PIECE_BUCKETS,
    registers,
  });
  const faults = new Counter({
    name: 'tracebond_answer_faults_total',
    help: 'Requests for an answer that got none, by wire code',
    labelNames: ['code'],
    registers,
  });
  const loads = new Counter({
    name: 'tracebond_model_loads_total',
    help: 'Openings of models, by this server',
    labelNames: ['model'],
    registers,
  });
  new Gauge({
    name: 'tracebond_requests',
    help: 'Requests in engines (active) and before them (waiting), now',
    labelNames: ['state'],
    registers,
    collect() {
      const { active, waiting } = sources.load();
      this.set({ state: 'active' }, active);
      this.set({ state: 'waiting' }, waiting);
    },
  });
  new Gauge({
    name: 'tracebond_model_open',
    help: '1 for a model whose engine is up, else 0',
    labelNames: ['model'],
    registers,
    collect() {
      for (const { id, state } of sources.models()) this.set({ model: id }, state === 'ready' ? 1 : 0);
    },
  });

  return {
    observe(app) {
      app.addHook('onRequest', async (request, reply) => {
        const started = now();
        const { url: route = 'none' } = request.routeOptions;
        onceEnded(reply.raw, (isWhole) => {
          // The method is the client's word, but one of those that Node's parser knows.
          const status = isWhole ? reply.raw.statusCode : CLIENT_GONE;
          requests.inc({ route, method: request.method, status });
          durations.observe({ route }, (now() - started) / 1000);
        });
      });
    },
    measure(answer) {
      return async (asked, given) => {
        const started = now();
        let first: number | undefined;
        try {
          const { onEvent } = given;
          const watch: Pick<AnswerOptions, 'onEvent'> =
            onEvent === undefined
              ? {}
              : {
                  onEvent(event) {
                    first ??= now();
                    onEvent(event);
                  },
                };
          const done = await answer(asked, { ...given, ...watch });
          const model = done.identity.id;
          if (first !== undefined) firstPiece.observe({ model }, (first - started) / 1000);
          tokens.inc({ model, kind: 'prompt' }, done.completion.promptIds.length);
          tokens.inc({ model, kind: 'output' }, done.completion.outputIds.length);
          receipts.inc({ model, end: done.end });
          return done;
        } catch (error) {
          faults.inc({ code: toErrorReply(error).body.error.code });
          throw error;
        }
      };
    },
    measureEmbeddings(embed) {
      return async (asked, given) => {
        try {
          const done = await embed(asked, given);
          const model = done.identity.id;
          const count = done.embeddings.ids.reduce((sum, ids) => sum + ids.length, 0);
          tokens.inc({ model, kind: 'prompt' }, count);
          receipts.inc({ model, end: 'embedding' });
          return done;
        } catch (error) {
          faults.inc({ code: toErrorReply(error).body.error.code });
          throw error;
        }
      };
    },
    countLoad(model) {
      loads.inc({ model });
    },
    async print() {
      return { type: registry.contentType, text: await registry.metrics() };
    },
  };
}

export declare namespace openMetrics {
  type Options = {
    readonly sources: MetricSources;
    /** Whether those of this process are there too: memory, time of the CPU, delay of the event loop. False by default. */
    readonly withProcess?: boolean;
    /** Milliseconds; monotonic. */
    readonly now?: () => number;
  };
}
