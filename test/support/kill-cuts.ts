/**
 * Runs in memory whose journals are cut and gone on with, as after a crash: what stands in the bytes, and nothing else, is
 * left of the process.
 *
 * @module
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { utf8 } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { hashGuestCode } from '../../attest/trace/guest.ts';
import { parseLine } from '../../attest/trace/lines.ts';
import { exposureOf } from '../../attest/trace/policy.ts';
import { TraceWriter } from '../../attest/trace/writer.ts';
import type { ChildRuns } from '../../attest/verify/child-runs.ts';
import { trustSigner } from '../../attest/verify/trust.ts';
import { verifyBundle } from '../../attest/verify/verifier.ts';
import type { fetchHttp } from '../../runtime/http-fetch.ts';
import type { ManagedAgent } from '../../runtime/manager-types.ts';
import { createRequest, OFF_CHAIN, planRun } from '../../runtime/plan.ts';
import { planOf, readJournal } from '../../runtime/recovery.ts';
import { createExecutor } from '../../runtime/replay.ts';
import { runAgent } from '../../runtime/run.ts';
import type { RunPlan, RunPorts, RunResult, Suspension } from '../../runtime/run-types.ts';
import type { Vm } from '../../runtime/sandbox/vm.ts';
import { linesOf } from './forging.ts';
import { managed } from './managed.ts';
import { OPERATOR, OPERATOR_KEY, TOY_IDENTITY, toyClient, toyRecomputer } from './toy-run.ts';

/** A journal as it stands, and how the run left it. */
export type Left = { readonly bytes: Uint8Array; readonly result: RunResult | Suspension };

/** Ports of a run that a test replaces. */
export type CutPorts = Partial<RunPorts> & { readonly random?: () => Uint8Array };

let drawn = 0;
const fresh = () => sha256(utf8(`salt ${drawn++}`));

/** Plans a run of an agent as a manager does; `nonce` makes it another run. */
export function planOfAgent(
  vm: Vm,
  entry: ManagedAgent,
  input: Json,
  nonce = 'one',
): { run: Uint8Array; plan: RunPlan } {
  let n = 0;
  const random = () => sha256(utf8(`${nonce} ${n++}`));
  const caller = createRequest({
    agent: hashGuestCode(entry.agent),
    input,
    limits: entry.limits,
    expiry: 4_000_000_000n,
    deployment: OFF_CHAIN,
    random,
  });
  return planRun({
    caller,
    agent: entry.agent,
    tools: entry.tools,
    policy: entry.policy,
    operator: OPERATOR,
    deployment: OFF_CHAIN,
    attempt: 0n,
    deadline: 4_000_000_000n,
    exposure: exposureOf(entry.policy),
    engine: vm.engine,
    inference: TOY_IDENTITY,
    random,
  });
}

/** Runs an agent from its start. */
export function beginRun(vm: Vm, entry: ManagedAgent, input: Json, ports: CutPorts = {}, nonce = 'one'): Promise<Left> {
  const { run, plan } = planOfAgent(vm, entry, input, nonce);
  return work(vm, plan, run, ports);
}

/**
 * Runs an agent until a number of items is durable, and then never again hears of it: what a crash leaves. Effects that were
 * begun by then happen all the same.
 */
export async function crashRun(
  vm: Vm,
  entry: ManagedAgent,
  input: Json,
  items: number,
  ports: CutPorts = {},
): Promise<Uint8Array> {
  const { run, plan } = planOfAgent(vm, entry, input);
  const parts: Uint8Array[] = [];
  let crash: () => void = () => {};
  const crashed = new Promise<void>((resolve) => {
    crash = resolve;
  });
  const append = async (bytes: Uint8Array): Promise<void> => {
    if (parts.length >= items) {
      crash();
      await new Promise(() => {});
    }
    parts.push(bytes);
  };
  const { random = fresh, now = Date.now, ...rest } = ports;
  const writer = new TraceWriter({ sink: { append }, now, salt: random }, run, OFF_CHAIN, OPERATOR_KEY);
  await Promise.race([crashed, runAgent({ vm, inference: toyClient, now, ...rest, writer }, plan)]);
  await sleep(0);
  return Buffer.concat(parts);
}

/** Goes on with what is whole of a journal. */
export async function resumeRun(vm: Vm, bytes: Uint8Array, ports: CutPorts = {}): Promise<Left> {
  const journaled = await readJournal([bytes]);
  const kept = bytes.subarray(0, journaled.keepBytes);
  return work(vm, planOf(journaled), journaled.run, ports, { kept, items: journaled.items });
}

async function work(
  vm: Vm,
  plan: RunPlan,
  run: Uint8Array,
  ports: CutPorts,
  past: { kept: Uint8Array; items: Awaited<ReturnType<typeof readJournal>>['items'] } = {
    kept: new Uint8Array(),
    items: [],
  },
): Promise<Left> {
  const parts: Uint8Array[] = [past.kept];
  const sink = { append: async (bytes: Uint8Array) => void parts.push(bytes) };
  const { random = fresh, now = Date.now, ...rest } = ports;
  const writer = new TraceWriter({ sink, now, salt: random }, run, OFF_CHAIN, OPERATOR_KEY, past.items);
  const result = await runAgent({ vm, inference: toyClient, now, ...rest, writer }, plan);
  return { bytes: Buffer.concat(parts), result };
}

/** Verifies a bundle in the sandbox that it was made in. */
export function verifyRun(vm: Vm, bytes: Uint8Array, children?: ChildRuns) {
  const ports = {
    executor: createExecutor(vm, toyRecomputer),
    trust: trustSigner(OPERATOR),
    now: () => performance.now(),
  };
  return verifyBundle(children === undefined ? ports : { ...ports, children }, [bytes]);
}

/** Ends of the whole items of a journal: each record with its payloads, each checkpoint. */
export function itemEnds(bytes: Uint8Array): readonly { readonly end: number; readonly kind: string }[] {
  const ends: { end: number; kind: string }[] = [];
  let end = 0;
  for (const text of linesOf(bytes)) {
    end += utf8(text).length + 1;
    const line = parseLine(utf8(text));
    const last = ends.at(-1);
    if ((line.type === 'payload' || line.type === 'withheld') && last !== undefined) last.end = end;
    else if (line.type === 'record') ends.push({ end, kind: line.record.kind });
    else if (line.type === 'checkpoint') ends.push({ end, kind: 'checkpoint' });
  }
  return ends;
}

/** Kinds of a journal's records, in order. */
export function kindsOf(bytes: Uint8Array): readonly string[] {
  return itemEnds(bytes)
    .map(({ kind }) => kind)
    .filter((kind) => kind !== 'checkpoint');
}

/** An agent of the toy sandbox: its guests are found by their names. */
export function toyManaged(name: string, options: Parameters<typeof managed>[2] = {}): ManagedAgent {
  const made = managed(name, '', options);
  const named = <C extends { readonly source: string }>(code: C, source: string): C => ({ ...code, source });
  return {
    ...made,
    agent: named(made.agent, name),
    tools: new Map([...made.tools].map(([tool, code]) => [tool, named(code, tool)])),
  };
}

/** Tools of the toy sandbox, with what each may do. */
export function toyTools(grants: Readonly<Record<string, NonNullable<Parameters<typeof managed>[2]>['grants']>>) {
  return Object.fromEntries(
    Object.entries(grants).map(([name, granted]) => [name, { body: '', grants: (granted ?? []) as never }]),
  );
}

/** A world outside that honours keys: how often each body was performed. */
export function countingWorld() {
  const performed = new Map<string, number>();
  const keys = new Map<string, string>();
  let requests = 0;
  const http: typeof fetchHttp = async (_grant, { body, method, url }, { idempotencyKey = '' }) => {
    requests += 1;
    const effect = `${method} ${url} ${body ?? ''}`;
    if (keys.get(idempotencyKey) === undefined) {
      keys.set(idempotencyKey, effect);
      performed.set(effect, (performed.get(effect) ?? 0) + 1);
    }
    return { ok: true, value: { status: 200, headers: {}, body: `did ${effect}` } };
  };
  return { http, performed, keys, requests: () => requests };
}
