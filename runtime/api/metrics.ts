/**
 * What the runtime counts, for Prometheus. Labels have few values, all known beforehand: routes as they were declared, agents of this server,
 * kinds and states.
 *
 * @module
 */

import type { FastifyInstance } from 'fastify';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Hex } from '../../attest/core/bytes.ts';
import { onceEnded } from '../../inference/response-end.ts';
import type { RecordSeen } from '../ledger.ts';
import type { RunManager } from '../manager-types.ts';
import { QueueError } from '../queue/errors.ts';
import type { QueueCounts } from '../queue/ports.ts';
import { STATUSES } from './bodies.ts';

/** The metrics of one runtime. */
export type RunMetrics = {
  /** For `ManagerPorts.onRecord`. */
  onRecord(run: Hex, agent: string, seen: RecordSeen): void;
  /** Counts the requests of a server, and looks at its runs when asked. */
  observe(app: FastifyInstance): void;
  /** Where it asks how the queue stands. */
  watchQueue(counts: () => Promise<QueueCounts>): void;
  watch(sources: { readonly list: RunManager['list']; readonly streams: () => number }): void;
  /** The text that Prometheus reads, and its content type. */
  print(): Promise<{ readonly type: string; readonly text: string }>;
};

/** Seconds. */
const RUN_BUCKETS = [0.05, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 86_400];
const REQUEST_BUCKETS = [0.005, 0.01, 0.05, 0.2, 0.5, 1, 2, 5, 10, 30, 60];

/** The status that stands for a response that its client did not take. */
const CLIENT_GONE = 499;

/** Makes a registry of its own. */
export function openRunMetrics(options: openRunMetrics.Options = {}): RunMetrics {
  const { now = () => performance.now() } = options;
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
  const records = new Counter({
    name: 'tracebond_records_total',
    help: 'Records that became durable, by kind',
    labelNames: ['kind'],
    registers,
  });
  const steps = new Counter({
    name: 'tracebond_steps_total',
    help: 'Steps of agents: calls of model, tools, capabilities and child runs that were begun; its rate is steps per second',
    registers,
  });
  const runs = new Histogram({
    name: 'tracebond_run_seconds',
    help: 'From the start of a run to its end, waiting included, by agent and how it ended',
    labelNames: ['agent', 'status'],
    buckets: RUN_BUCKETS,
    registers,
  });
  let stalledBefore = 0;
  let queue: (() => Promise<QueueCounts>) | undefined;
  let asking: Promise<QueueCounts> | undefined;
  const askQueue = async (): Promise<QueueCounts> => {
    try {
      return (await queue?.()) ?? { waiting: 0, active: 0, stalled: 0 };
    } catch (error) {
      // What cannot be asked now is told as not a number.
      if (error instanceof QueueError) return { waiting: Number.NaN, active: Number.NaN, stalled: stalledBefore };
      throw error;
    } finally {
      asking = undefined;
    }
  };
  /** Asked once for all that is told together. */
  const countQueue = (): Promise<QueueCounts> => {
    asking ??= askQueue();
    return asking;
  };
  new Gauge({
    name: 'tracebond_queue_waiting',
    help: 'Runs that wait for a worker, of all machines that share the queue',
    registers,
    async collect() {
      this.set((await countQueue()).waiting);
    },
  });
  new Gauge({
    name: 'tracebond_queue_active',
    help: 'Runs that are worked on, of all machines that share the queue',
    registers,
    async collect() {
      this.set((await countQueue()).active);
    },
  });
  new Counter({
    name: 'tracebond_queue_stalled_total',
    help: 'Runs that this process saw taken from a worker that had stalled',
    registers,
    async collect() {
      const { stalled } = await countQueue();
      this.inc(Math.max(0, stalled - stalledBefore));
      stalledBefore = Math.max(stalledBefore, stalled);
    },
  });
  let sources: Parameters<RunMetrics['watch']>[0] = { list: () => [], streams: () => 0 };
  new Gauge({
    name: 'tracebond_runs',
    help: 'Runs in the folder, by state',
    labelNames: ['status'],
    registers,
    collect() {
      const counts = new Map<string, number>(STATUSES.map((status) => [status, 0]));
      for (const { status } of sources.list()) counts.set(status, (counts.get(status) ?? 0) + 1);
      for (const [status, count] of counts) this.set({ status }, count);
    },
  });
  new Gauge({
    name: 'tracebond_record_streams',
    help: 'Streams of records that are open',
    registers,
    collect() {
      this.set(sources.streams());
    },
  });
  /** When runs that are at work were begun, milliseconds since 1970. */
  const begun = new Map<Hex, number>();
  return {
    onRecord(run, agent, { head, kind, body, isPast }) {
      if (kind === 'run.open') begun.set(run, Number(head.at));
      if (!isPast) records.inc({ kind });
      if (!isPast && kind.endsWith('.start')) steps.inc();
      if (kind !== 'run.close') return;
      const from = begun.get(run);
      begun.delete(run);
      const { status } = body as { readonly status: string };
      if (!isPast && from !== undefined) runs.observe({ agent, status }, (Number(head.at) - from) / 1000);
    },
    observe(app) {
      app.addHook('onRequest', async (request, reply) => {
        const started = now();
        const { url: route = 'none' } = request.routeOptions;
        onceEnded(reply.raw, (isWhole) => {
          const status = isWhole ? reply.raw.statusCode : CLIENT_GONE;
          requests.inc({ route, method: request.method, status });
          durations.observe({ route }, (now() - started) / 1000);
        });
      });
    },
    watchQueue(counts) {
      queue = counts;
    },
    watch(watched) {
      sources = watched;
    },
    async print() {
      return { type: registry.contentType, text: await registry.metrics() };
    },
  };
}

export declare namespace openRunMetrics {
  type Options = {
    /** Whether those of this process are there too. False by default. */
    readonly withProcess?: boolean;
    /** Milliseconds; monotonic. */
    readonly now?: () => number;
  };
}
