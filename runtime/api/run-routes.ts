/**
 * Runs over HTTP: agents, runs in a list and alone, and how they are steered.
 *
 * @module
 */

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { hashGuestCode } from '../../attest/trace/guest.ts';
import { readBody } from '../../inference/api/json-body.ts';
import { clientSignal } from '../../inference/api/sse.ts';
import { refuseValue } from '../../inference/protocol-faults.ts';
import { ControlError } from '../control.ts';
import type { RunStatus } from '../run-status.ts';
import {
  type agentListSchema,
  approvalSchema,
  createHeadersSchema,
  createRunSchema,
  reconciliationSchema,
  type runListSchema,
  runsQuerySchema,
  toAgentBody,
  toRunBody,
  waitQuerySchema,
} from './bodies.ts';
import { findRun, isOf, type RunContext } from './context.ts';
import { createCreator } from './create.ts';
import { noFields, readFields, readIndex } from './queries.ts';

/** Seconds that `cancel` and `pause` wait unless told. */
const STEER_SECONDS = 10;
/** Runs of a page unless told. */
const PAGE = 20;

type OfRun = { Params: { id: string } };
type OfStart = { Params: { id: string; index: string } };

/** Adds the routes. */
export function addRuns(app: FastifyInstance, context: RunContext): void {
  const { manager, book } = context;
  const create = createCreator(context);
  const own = (request: FastifyRequest<OfRun>, query: z.ZodType = noFields) => {
    readFields(query, request.query);
    return findRun(context, context.callerOf(request), request.params.id);
  };
  const refuseBody = (request: FastifyRequest) => {
    if (request.body !== undefined) readFields(noFields, readBody(request));
  };
  const agents = manager.agents.map((agent) => toAgentBody(agent, hashGuestCode(agent.agent)));

  app.get('/v1/agents', async (request): Promise<z.input<typeof agentListSchema>> => {
    readFields(noFields, request.query);
    const { chainId, contract } = context.deployment;
    return { object: 'list', data: agents, operator: manager.operator, chainId: chainId.toString(), contract };
  });

  app.post('/v1/runs', async (request, reply) => {
    const { wait } = readFields(waitQuerySchema, request.query);
    const idempotencyKey = readFields(createHeadersSchema, request.headers)['idempotency-key'];
    const body = readFields(createRunSchema, readBody(request));
    context.count(request);
    const { status, replayed } = await create(body, { owner: context.callerOf(request) ?? '', idempotencyKey });
    const settled = await waitFor(context, status, Number(wait ?? 0), reply);
    if (replayed) void reply.header('idempotent-replayed', 'true');
    return reply.code(201).header('location', `/v1/runs/${status.run}`).send(toRunBody(settled));
  });

  app.get('/v1/runs', async (request): Promise<z.input<typeof runListSchema>> => {
    const { limit, after, status, agent } = readFields(runsQuerySchema, request.query);
    const caller = context.callerOf(request);
    const all = manager.list().filter((one) => isOf(context, caller, one));
    const at = after === undefined ? -1 : all.findIndex(({ run }) => run === after);
    if (after !== undefined && at < 0) throw refuseValue('after', `there is no run ${after}`);
    const found = all
      .slice(at + 1)
      .filter((one) => (status ?? one.status) === one.status && (agent ?? one.agent) === one.agent);
    const data = found.slice(0, Number(limit ?? PAGE)).map((one) => toRunBody(one, true));
    return {
      object: 'list',
      data,
      has_more: data.length < found.length,
      first_id: data[0]?.id ?? null,
      last_id: data.at(-1)?.id ?? null,
    };
  });

  app.get<OfRun>('/v1/runs/:id', async (request) => toRunBody(own(request)));

  for (const verb of ['cancel', 'pause'] as const) {
    app.post<OfRun>(`/v1/runs/:id/${verb}`, async (request, reply) => {
      const { wait } = readFields(waitQuerySchema, request.query);
      const status = own(request, waitQuerySchema);
      refuseBody(request);
      context.count(request);
      // Whoever did not hear that it was done may ask again.
      if (verb === 'cancel' && status.status === 'cancelled') return toRunBody(status);
      const steered = manager[verb](status.run);
      return toRunBody(await waitFor(context, status, Number(wait ?? STEER_SECONDS), reply, steered));
    });
  }

  app.post<OfRun>('/v1/runs/:id/resume', async (request) => {
    const { run } = own(request);
    refuseBody(request);
    context.count(request);
    return toRunBody(await manager.resume(run));
  });

  app.post<OfStart>('/v1/runs/:id/approvals/:index', async (request) => {
    const status = own(request);
    const index = readIndex(request.params.index);
    const approval = readFields(approvalSchema, readBody(request));
    context.count(request);
    requireWaiting(status, index, 'approval');
    return toRunBody(await manager.approve(status.run, index, approval));
  });

  app.post<OfStart>('/v1/runs/:id/reconciliations/:index', async (request) => {
    const status = own(request);
    const index = readIndex(request.params.index);
    const { how } = readFields(reconciliationSchema, readBody(request));
    context.count(request);
    requireWaiting(status, index, 'reconciliation');
    return toRunBody(await manager.reconcile(status.run, index, how));
  });

  app.delete<OfRun>('/v1/runs/:id/payloads', async (request) => {
    const { run } = own(request);
    refuseBody(request);
    context.count(request);
    const status = await manager.withhold(run);
    await book.forget(run);
    return toRunBody(status);
  });
}

/** A run that was put aside is not taken up for a word that nothing waits for. */
function requireWaiting({ status, waiting }: RunStatus, index: bigint, what: 'approval' | 'reconciliation'): void {
  if (status !== 'suspended') return;
  if (waiting.some((one) => one.for === what && one.index === index.toString())) return;
  throw new ControlError('NOT_WAITING', `no start at ${index} waits for ${what}`);
}

/** The run when it is over or put aside, or as it stands after some seconds, or when the client has gone. */
async function waitFor(
  { manager }: RunContext,
  { run }: RunStatus,
  seconds: number,
  reply: FastifyReply,
  settled: Promise<RunStatus> = manager.settled(run),
): Promise<RunStatus> {
  let timer: NodeJS.Timeout | undefined;
  const enough = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, 1000 * seconds);
    clientSignal(reply).addEventListener('abort', () => resolve());
  });
  try {
    // Who was told to wait no longer is not told of a fault either: the state is.
    settled.catch(() => undefined);
    return (await Promise.race([settled, enough])) ?? manager.get(run);
  } finally {
    clearTimeout(timer);
  }
}
