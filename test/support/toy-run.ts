/** A whole run over a toy sandbox and a toy model, recorded in memory: milliseconds instead of a real model. */

import { type Hex, toHex, uintBytes, utf8 } from '../../attest/core/bytes.ts';
import { defined } from '../../attest/core/defined.ts';
import { sha256 } from '../../attest/core/hash.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { signReceipt } from '../../attest/sign/receipt.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import type { InferenceIdentity, Limits } from '../../attest/trace/bodies.ts';
import { type GuestCode, hashGuestCode } from '../../attest/trace/guest.ts';
import type { InferenceRequest } from '../../attest/trace/inference-request.ts';
import { exposureOf, type PolicyRules } from '../../attest/trace/policy.ts';
import { TraceWriter } from '../../attest/trace/writer.ts';
import type { Executor } from '../../attest/verify/executor.ts';
import type { InferenceClient } from '../../inference/client.ts';
import type { fetchHttp } from '../../runtime/http-fetch.ts';
import type { RecordSeen } from '../../runtime/ledger.ts';
import { createRequest, OFF_CHAIN, planRun } from '../../runtime/plan.ts';
import { createExecutor, type Recomputer } from '../../runtime/replay.ts';
import { runAgent } from '../../runtime/run.ts';
import type { RunResult } from '../../runtime/run-types.ts';
import { alongClaim } from './along-claim.ts';
import { type ToyGuest, toyVm } from './toy-vm.ts';

export const OPERATOR_KEY = sha256(utf8('toy operator'));
export const CALLER_KEY = sha256(utf8('toy caller'));
export const SIGNER_KEY = sha256(utf8('toy inference signer'));
export const OPERATOR: Hex = addressOf(OPERATOR_KEY);

const digest = (name: string): Hex => toHex(sha256(utf8(name)));

export const TOY_IDENTITY: InferenceIdentity = {
  engine: digest('toy engine'),
  id: 'toy-model',
  model: digest('toy model'),
  operations: digest('toy operations'),
  profile: digest('toy profile'),
  profileName: 'float-same-isa',
  signer: addressOf(SIGNER_KEY),
  tokenizer: digest('toy tokenizer'),
};

/** The toy model answers with the length of the last message, letter by letter. */
export function toyAnswer(request: InferenceRequest) {
  const last = request.messages.at(-1)?.content ?? '';
  const text =
    request.responseFormat.type === 'choice'
      ? (request.responseFormat.choices[last.length % request.responseFormat.choices.length] as string)
      : `it has ${last.length} letters`;
  return {
    promptIds: [...utf8(request.messages.map((message) => message.content).join('|'))],
    outputIds: [...utf8(text)],
    text,
    finishReason: request.responseFormat.type === 'choice' ? ('choice' as const) : ('stop' as const),
    masks: null,
  };
}

export const toyRecomputer: Recomputer = {
  identity: TOY_IDENTITY,
  check: async (request, _seed, claim) => alongClaim(toyAnswer(request), claim),
};

export const toyClient: Pick<InferenceClient, 'complete'> = {
  complete: async (request, place) => {
    const completion = toyAnswer(request);
    return { ...completion, receipt: signReceipt({ ...place, request, completion }, SIGNER_KEY) };
  },
};

export const TOY_LIMITS: Limits = {
  bytes: '1000000',
  fuel: '1000000',
  steps: '200',
  tokens: '100000',
  wallMs: '60000',
};

export const TOY_POLICY: PolicyRules = {
  version: 1,
  agent: [
    { capability: 'inference' },
    { capability: 'tool', names: ['count'] },
    { capability: 'clock.now' },
    { capability: 'random.bytes' },
    { capability: 'kv.get' },
    { capability: 'kv.put' },
  ],
  tools: [
    {
      name: 'count',
      grants: [
        {
          addresses: [],
          capability: 'http.fetch',
          headers: [],
          idempotent: false,
          maxBytes: 1000,
          methods: ['GET'],
          origins: ['http://books.test'],
        },
      ],
    },
  ],
};

/** Arguments of `inference` as the SDK makes them. */
export const infer = (content: string, choices?: string[]): Json => ({
  maxTokens: 16,
  messages: [{ content, name: null, role: 'user', toolCallId: null, toolCalls: [] }],
  parallelToolCalls: false,
  responseFormat: choices === undefined ? { type: 'text' } : { choices, type: 'choice' },
  sampling: { temperature: 0, topK: 0, topP: 10000 },
  seed: '0',
  stop: [],
  toolChoice: { type: 'none' },
  tools: [],
});

/** Uses every kind of call once or twice, one of them denied. */
export const toyAgent: ToyGuest = async (ctx) => {
  const now = await ctx.call('clock.now', {});
  const random = await ctx.call('random.bytes', { length: 8 });
  await ctx.call('kv.put', { key: 'greeting', value: 'hello' });
  const greeting = await ctx.call('kv.get', { key: 'greeting' });
  const [a, b] = await Promise.all([
    ctx.call('inference', infer('how long is this?')),
    ctx.call('inference', infer('and this?', ['yes', 'no'])),
  ]);
  const counted = await ctx.call('tool', { input: { url: 'http://books.test/ledger' }, name: 'count' });
  const denied = await ctx.call('wallet.send', { to: '0x00' }).catch((error: { code: string }) => error.code);
  const missing = await ctx.call('kv.get', { key: 'nothing' });
  return { a, b, counted, denied, greeting, input: ctx.input, missing, now, random } as Json;
};

/** Fetches a text and counts its lines; the second fetch goes to an origin that is not granted. */
export const toyCount: ToyGuest = async (ctx) => {
  const fetchArgs = (url: string): Json => ({ body: null, headers: {}, method: 'GET', url });
  const page = (await ctx.call('http.fetch', fetchArgs((ctx.input as { url: string }).url))) as { body: string };
  const code = await ctx
    .call('http.fetch', fetchArgs('http://evil.test/'))
    .catch((error: { code: string }) => error.code);
  return { code, lines: page.body.split('\n').length } as Json;
};

export const toyGuests: Readonly<Record<string, ToyGuest>> = { agent: toyAgent, count: toyCount };

export type ToyOptions = {
  readonly guests?: Readonly<Record<string, ToyGuest>>;
  readonly limits?: Limits;
  readonly policy?: PolicyRules;
  readonly callerKey?: Uint8Array | null;
  readonly agentFuel?: string;
  readonly now?: () => number;
  readonly onRecord?: (seen: RecordSeen) => void;
};

export type ToyRun = { readonly bytes: Uint8Array; readonly result: RunResult; readonly executor: Executor };

/** Everything for one run of the toy agent but its sink; every salt and time is fixed. */
export function toyPlan(options: ToyOptions = {}) {
  const vm = toyVm(options.guests ?? toyGuests);
  let drawn = 0;
  const random = () => sha256(utf8('toy salt'), uintBytes(drawn++, 8));
  let clock = 1_700_000_000_000;
  const now = options.now ?? (() => clock++);
  const limits = { memoryMb: 16, outputBytes: 65_536 };
  const agent: GuestCode = {
    language: 'javascript',
    limits: { ...limits, fuel: options.agentFuel ?? '1000' },
    manifest: {},
    source: 'agent',
  };
  const tools = new Map<string, GuestCode>([
    ['count', { language: 'javascript', limits: { ...limits, fuel: '1000' }, manifest: {}, source: 'count' }],
  ]);
  const callerKey = options.callerKey === undefined ? CALLER_KEY : options.callerKey;
  const caller = createRequest({
    agent: hashGuestCode(agent),
    input: { question: 'what is in the books?' },
    limits: options.limits ?? TOY_LIMITS,
    expiry: 2_000_000_000n,
    ...(callerKey === null ? {} : { callerKey }),
    deployment: OFF_CHAIN,
    random,
  });
  const { run, plan } = planRun({
    caller,
    agent,
    tools,
    policy: options.policy ?? TOY_POLICY,
    operator: OPERATOR,
    deployment: OFF_CHAIN,
    attempt: 0n,
    deadline: 2_000_000_000n,
    exposure: exposureOf(options.policy ?? TOY_POLICY),
    engine: vm.engine,
    inference: TOY_IDENTITY,
    random,
  });
  const http: typeof fetchHttp = async (_grant, { url }) => {
    return { ok: true, value: { status: 200, headers: {}, body: `${url}\nsecond line` } };
  };
  const ports = { writing: { now, salt: random }, running: { vm, inference: toyClient, now, http } };
  return { ports, plan, run, executor: createExecutor(vm, toyRecomputer) };
}

/** Runs the toy agent; one set of options gives one file. */
export async function toyRun(options: ToyOptions = {}): Promise<ToyRun> {
  const { ports, plan, run, executor } = toyPlan(options);
  const parts: Uint8Array[] = [];
  const sink = { append: async (bytes: Uint8Array) => void parts.push(bytes) };
  const writer = new TraceWriter({ ...ports.writing, sink }, run, OFF_CHAIN, OPERATOR_KEY);
  const result = requireEnded(
    await runAgent({ ...ports.running, writer, ...defined({ onRecord: options.onRecord }) }, plan),
  );
  return { bytes: Buffer.concat(parts), result, executor };
}

/** A run that is over; one that was put aside is a failure of the test. */
export function requireEnded(result: Awaited<ReturnType<typeof runAgent>>): RunResult {
  if (result.status === 'suspended') throw new Error(`the run was put aside: ${result.reason}`);
  return result;
}
