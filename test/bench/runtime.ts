/**
 * The runtime beside a model that costs nothing: what a call, a record and a run cost, and what a run holds while it waits.
 *
 * @module
 */

import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TraceWriter } from '../../attest/trace/writer.ts';
import { openJournal } from '../../runtime/journal.ts';
import type { RecordSeen } from '../../runtime/ledger.ts';
import type { ManagedAgent, RunManager } from '../../runtime/manager-types.ts';
import { OFF_CHAIN } from '../../runtime/plan.ts';
import { runAgent } from '../../runtime/run.ts';
import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import type { Vm } from '../../runtime/sandbox/vm.ts';
import type { Measure } from '../support/bench.ts';
import { fetchFrom, managed, openManaged } from '../support/managed.ts';
import { infer, OPERATOR_KEY, toyPlan } from '../support/toy-run.ts';

const CALLS = 300;
const RUNS = 40;
const IDLE_RUNS = 200;
const WAITING_RUNS = 8;
const MIB = 1024 * 1024;

const WIDE = { steps: '100000', fuel: '500000000000', bytes: '100000000', wallMs: '3600000' } as const;

/** Measures on one sandbox, one thing after the other. */
export async function run(): Promise<readonly Measure[]> {
  const vm = await openQuickJsVm();
  const folder = await mkdtemp(join(tmpdir(), 'bench-runtime-'));
  try {
    return [
      ...(await appends(folder)),
      ...(await calls(vm, join(folder, 'calls'))),
      ...(await runs(vm, join(folder, 'runs'))),
      ...(await memory(vm, join(folder, 'memory'))),
    ];
  } finally {
    await vm.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Every record of a toy run in a file of its own, again and again. */
async function appends(folder: string): Promise<readonly Measure[]> {
  const whole: number[] = [];
  const synced: number[] = [];
  for (let round = 0; round < 10; round++) {
    const { ports, plan, run: id } = toyPlan();
    const journal = await openJournal(join(folder, `append-${round}.trace`));
    const sink = {
      append: async (bytes: Uint8Array) => {
        const from = performance.now();
        await journal.append(bytes);
        synced.push(performance.now() - from);
      },
    };
    const writer = new TraceWriter({ ...ports.writing, sink }, id, OFF_CHAIN, OPERATOR_KEY);
    const append = writer.append.bind(writer);
    writer.append = async (...args) => {
      const from = performance.now();
      const head = await append(...args);
      whole.push(performance.now() - from);
      return head;
    };
    await runAgent({ ...ports.running, writer }, plan);
    await journal.close();
  }
  return [...spread('record appended, fsync included', whole), ...spread('of that write and fdatasync', synced)];
}

async function calls(vm: Vm, folder: string): Promise<readonly Measure[]> {
  const agents = [
    managed('tools', `for (let i = 0; i < input; i++) await call('tool', { name: 'add', input: i }); return null;`, {
      limits: WIDE,
      tools: { add: { body: 'return input + 1;', grants: [] } },
    }),
    managed('store', `for (let i = 0; i < input; i++) await call('kv.get', { key: 'a' }); return null;`, {
      limits: WIDE,
    }),
  ];
  const measures: Measure[] = [];
  for (const [agent, name, end] of [
    ['tools', 'tool call, decision to result', 'tool.end'],
    ['store', 'store call, decision to result', 'host.end'],
  ] as const) {
    const times: number[] = [];
    let from = 0;
    const onRecord = (_run: string, _agent: string, { kind }: RecordSeen) => {
      if (kind === 'policy') from = performance.now();
      if (kind === end) times.push(performance.now() - from);
    };
    const manager = await openManaged(vm, join(folder, agent), agents, { onRecord });
    await finish(manager, agent, CALLS);
    await manager.close();
    measures.push(...spread(name, times.slice(CALLS / 10)));
  }
  return measures;
}

async function runs(vm: Vm, folder: string): Promise<readonly Measure[]> {
  const agent = managed('asks', `return await call('inference', ${JSON.stringify(infer('how long?'))});`);
  const manager = await openManaged(vm, folder, [agent]);
  await finish(manager, 'asks', null);
  const rate = async (width: number): Promise<number> => {
    const from = performance.now();
    const lanes = Array.from({ length: width }, async () => {
      for (let i = 0; i < RUNS / width; i++) await finish(manager, 'asks', null);
    });
    await Promise.all(lanes);
    return RUNS / ((performance.now() - from) / 1000);
  };
  const [one, eight] = [await rate(1), await rate(8)];
  await manager.close();
  return [
    { name: 'runs with a null model, one at a time', value: one, unit: 'runs/s' },
    { name: 'runs with a null model, eight side by side', value: eight, unit: 'runs/s' },
  ];
}

async function memory(vm: Vm, folder: string): Promise<readonly Measure[]> {
  const server = createServer(() => {});
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const approve = `return await call('human.approve', { details: null, summary: 'go on?', timeoutMs: 0 });`;
  const fetch = `return await call('http.fetch', { body: null, headers: {}, method: 'GET', url: '${origin}/' });`;
  const agents: ManagedAgent[] = [
    managed('asks', approve, { grants: [{ approvers: [], capability: 'human.approve' }], limits: WIDE }),
    managed('waits', fetch, { grants: [fetchFrom(origin)], limits: WIDE }),
  ];
  const manager = await openManaged(vm, folder, agents);
  await finish(manager, 'asks', null);
  const before = settledHeap();
  for (let i = 0; i < IDLE_RUNS; i++) await finish(manager, 'asks', null);
  const idle = (settledHeap() - before) / IDLE_RUNS;
  const processes = residentOfChildren();
  for (let i = 0; i < WAITING_RUNS; i++) await manager.create({ agent: 'waits', input: null });
  // Each is at its request, which nobody answers.
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  const waiting = (residentOfChildren() - processes) / WAITING_RUNS;
  await manager.close();
  server.closeAllConnections();
  server.close();
  return [
    { name: 'memory of a run that waits for a person', value: idle / 1024, unit: 'KiB' },
    { name: 'memory of a run that waits for an answer (its sandbox process)', value: waiting / MIB, unit: 'MiB' },
  ];
}

async function finish(manager: RunManager, agent: string, input: number | null): Promise<void> {
  const { run: id } = await manager.create({ agent, input });
  const { status, error } = await manager.settled(id);
  if (status !== 'done' && status !== 'suspended') throw new Error(`a run of ${agent} is ${status}: ${error?.message}`);
}

function settledHeap(): number {
  (globalThis as { gc?: () => void }).gc?.();
  return process.memoryUsage().heapUsed;
}

/** Proportional memory of all processes below this one; 0 where the system does not tell. */
function residentOfChildren(): number {
  const parents = new Map<number, number>();
  try {
    for (const name of readdirSync('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      const stat = readText(`/proc/${name}/stat`);
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
    }
  } catch {
    return 0;
  }
  let sum = 0;
  for (const pid of parents.keys()) {
    for (let at: number | undefined = parents.get(pid); at !== undefined && at > 1; at = parents.get(at)) {
      if (at !== process.pid) continue;
      const kib = /^Pss:\s+(\d+) kB/m.exec(readText(`/proc/${pid}/smaps_rollup`))?.[1];
      sum += 1024 * Number(kib ?? 0);
      break;
    }
  }
  return sum;
}

/** A file of a process that may be gone. */
function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function spread(name: string, times: readonly number[]): readonly Measure[] {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return [
    { name: `${name}, median`, value: at(0.5), unit: 'ms' },
    { name: `${name}, p99`, value: at(0.99), unit: 'ms' },
  ];
}
