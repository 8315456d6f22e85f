/** The runtime's API over a toy sandbox and a toy model; every response is held against the document of the API. */

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { InjectOptions } from 'fastify';
import { onTestFinished } from 'vitest';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import type { GuestCode } from '../../attest/trace/guest.ts';
import { hashGuestCode } from '../../attest/trace/guest.ts';
import type { PolicyRules } from '../../attest/trace/policy.ts';
import { openRunMetrics } from '../../runtime/api/metrics.ts';
import { runApiDocument } from '../../runtime/api/operations.ts';
import { openRequestBook } from '../../runtime/api/requests.ts';
import { buildRuntimeServer } from '../../runtime/api/server.ts';
import type { ManagedAgent, ManagerPorts } from '../../runtime/manager-types.ts';
import { OFF_CHAIN } from '../../runtime/plan.ts';
import { openApiJudge } from './api-document.ts';
import { openManaged } from './managed.ts';
import { temporaryFolder } from './temporary.ts';
import { infer, TOY_LIMITS, toyClient } from './toy-run.ts';
import { ToyError, type ToyGuest, toyVm } from './toy-vm.ts';

const DOCUMENT = openApiJudge(runApiDocument());

/** Calls of `count` stores, one after the other, and then their number. */
const count: ToyGuest = async (ctx) => {
  const { n } = ctx.input as { n: number };
  for (let i = 0; i < n; i++) await ctx.call('kv.put', { key: `k${i}`, value: `v${i}` });
  return { n };
};

/** Asks the model twice. */
const askTwice: ToyGuest = async (ctx) => {
  await ctx.call('inference', infer('first?'));
  return (await ctx.call('inference', infer('second?'))) as Json;
};

/** Asks the model, which answers when the test lets it. */
const ask: ToyGuest = async (ctx) => (await ctx.call('inference', infer('how long?'))) as Json;

/** Stores 9 million letters. */
const bulk: ToyGuest = async (ctx) => {
  for (let i = 0; i < 15; i++) await ctx.call('kv.put', { key: 'k', value: 'x'.repeat(600_000) });
  return null;
};

const approve: ToyGuest = async (ctx) =>
  ctx.call('human.approve', { details: { amount: 7 }, summary: 'pay?', timeoutMs: 0 });

const fail: ToyGuest = async () => {
  throw new ToyError('TOOL_ERROR', 'the guest says what it was told: hunter2');
};

/** Runs `approve` as a child. */
const delegate: ToyGuest = async (ctx) => ctx.call('run.child', { agent: 'approve', input: null });

/** Agents by the name of their guest. */
export const API_GUESTS: Readonly<Record<string, ToyGuest>> = { count, bulk, ask, askTwice, approve, fail, delegate };

function code(source: string): GuestCode {
  return {
    language: 'javascript',
    limits: { fuel: '100000', memoryMb: 16, outputBytes: 65_536 },
    manifest: { name: source },
    source,
  };
}

const LIMITS = { ...TOY_LIMITS, bytes: '100000000', steps: '2000', wallMs: '600000' };

/** The agents of the API in tests. */
export function apiAgents(approvers: readonly `0x${string}`[] = []): ManagedAgent[] {
  const child = { digest: hashGuestCode(code('approve')), limits: LIMITS, name: 'approve' };
  const policy: PolicyRules = {
    version: 1,
    agent: [
      { capability: 'inference' },
      { capability: 'kv.put' },
      { capability: 'human.approve', approvers },
      { agents: [child], capability: 'run.child' },
    ],
    tools: [],
  };
  return Object.keys(API_GUESTS).map((name) => ({ name, agent: code(name), tools: new Map(), policy, limits: LIMITS }));
}

/** A model that answers when it is let. */
export function gatedModel() {
  let open: () => void = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const inference: ManagerPorts['inference'] = {
    complete: async (request, place, signal) => {
      await Promise.race([gate, new Promise((resolve) => signal?.addEventListener('abort', resolve))]);
      return toyClient.complete(request, place, signal);
    },
  };
  return { inference, open };
}

type ServerOptions = Partial<Parameters<typeof buildRuntimeServer>[1]>;

/** Opens manager, book and server over a folder. They are closed with the test. */
export async function openRunApi(
  options: {
    readonly folder?: string;
    readonly approvers?: readonly `0x${string}`[];
    readonly ports?: Partial<ManagerPorts>;
    readonly server?: ServerOptions;
  } = {},
) {
  const folder = options.folder ?? temporaryFolder();
  const metrics = openRunMetrics();
  const faults: unknown[] = [];
  const manager = await openManaged(toyVm(API_GUESTS), folder, apiAgents(options.approvers), {
    onRecord: (run, agent, seen) => metrics.onRecord(run, agent, seen),
    onFault: (_run, error) => faults.push(error),
    ...options.ports,
  });
  const book = await openRequestBook(join(folder, 'requests'));
  const app = buildRuntimeServer(manager, {
    book,
    metrics,
    deployment: OFF_CHAIN,
    now: Date.now,
    random: () => Uint8Array.from(randomBytes(32)),
    onFault: (error) => faults.push(error),
    ...options.server,
  });
  const close = async () => {
    await manager.close();
    await app.close();
  };
  onTestFinished(async () => {
    await manager.close();
    // A client's library may have opened another connection, in advance.
    app.server.closeAllConnections();
    await app.close();
  });
  const send = async (method: string, url: string, body?: unknown, headers: Record<string, string> = {}) => {
    const isText = typeof body === 'string';
    const payload = body === undefined ? {} : { payload: isText ? body : JSON.stringify(body) };
    const json = body === undefined ? {} : { 'content-type': 'application/json' };
    const response = await app.inject({
      method: method as 'GET',
      url,
      ...payload,
      headers: { ...json, ...headers },
    } as InjectOptions);
    const type = String(response.headers['content-type'] ?? '');
    DOCUMENT.check(method, url, response.statusCode, type, response.body);
    const isJson = /^application\/json(;|$)/.test(type);
    return {
      status: response.statusCode,
      headers: response.headers,
      text: response.body,
      json: (isJson ? response.json() : undefined) as ApiBody,
    };
  };
  /** A run that is over or put aside. */
  const settled = async (agent: string, input: Json = null, headers: Record<string, string> = {}) => {
    const response = await send('POST', '/v1/runs?wait=10', { agent, input }, headers);
    if (response.status !== 201) throw new Error(response.text);
    return response.json;
  };
  const listen = async () => app.listen({ host: '127.0.0.1', port: 0 });
  return { app, manager, book, folder, faults, send, settled, listen, close };
}

/** What comes back, as far as tests look at it. */
export type ApiBody = {
  readonly id: `0x${string}`;
  readonly status: string;
  readonly reason: string | null;
  readonly records: number;
  readonly output: Json;
  readonly error: { readonly code: string; readonly message: string; readonly param?: string | null } | null;
  readonly waiting: readonly { readonly index: string; readonly for: string; readonly request?: Json }[];
  readonly parent: { readonly run: string } | null;
  readonly seedFrom: string;
  readonly withheldAt: number | null;
  readonly data: readonly ApiBody[];
  readonly has_more: boolean;
};

/** One event of a stream. */
export type ApiEvent = { readonly id: string | undefined; readonly event: string; readonly data: Json };

/** The events of a stream's text; each record is held against the document. */
export function readEvents(text: string): ApiEvent[] {
  return text.split('\n\n').flatMap((block) => {
    const fields = new Map(
      block.split('\n').flatMap((line) => {
        const [, name = '', value = ''] = /^(\w+): (.*)$/.exec(line) ?? [];
        return name === '' ? [] : [[name, value] as const];
      }),
    );
    const data = fields.get('data');
    if (data === undefined) return [];
    const event = fields.get('event') ?? '';
    const value = JSON.parse(data) as Json;
    DOCUMENT.checkAs(event === 'end' ? 'Run' : event === 'error' ? 'Error' : 'Record', value);
    return [{ id: fields.get('id'), event, data: value }];
  });
}
