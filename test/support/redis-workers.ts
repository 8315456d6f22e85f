/**
 * Workers of a shared queue, each a process, and whoever asks them for runs: for the campaign `redis` and the bench `queue`.
 *
 * @module
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Hex } from '../../attest/core/bytes.ts';
import { openRunManager } from '../../runtime/manager.ts';
import type { RunManager } from '../../runtime/manager-types.ts';
import { OFF_CHAIN } from '../../runtime/plan.ts';
import { openRedisMachinery } from '../../runtime/queue/redis-machinery.ts';
import { bundleInto } from './bundle.ts';
import { inThreadVm, type MeteredEngine, meterEngine } from './kill-vm.ts';
import type { Random } from './random.ts';
import { workedAgents } from './redis-agents.ts';
import type { FromWorker, ToWorker, WorkerSetup } from './redis-child.ts';
import { OPERATOR_KEY, TOY_IDENTITY, toyClient } from './toy-run.ts';

/** What all processes of a trial share. */
export type WorkerBench = {
  readonly folder: string;
  readonly engine: MeteredEngine;
  /** Starts a worker; resolves when it works. */
  start(setup: Omit<WorkerSetup, 'engine' | 'folder'>): Promise<WorkerProcess>;
  close(): Promise<void>;
};

/** A worker in a process of its own. */
export type WorkerProcess = {
  readonly home: string;
  /** Runs that it has written a record of since it was started, and when the last. */
  readonly runs: ReadonlyMap<Hex, number>;
  readonly records: () => number;
  readonly faults: readonly Extract<FromWorker, { type: 'fault' }>[];
  signal(name: 'SIGSTOP' | 'SIGCONT'): void;
  /** Kills it as a crash would. */
  kill(): Promise<void>;
  /** Has it end in order; throws if it does not. */
  stop(): Promise<void>;
};

/** Bundles the program of workers, so that one starts in half a second, and meters the engine. */
export async function openWorkerBench(): Promise<WorkerBench> {
  const folder = await mkdtemp(join(tmpdir(), 'tracebond-workers-'));
  const program = bundleInto(folder, 'test/support/redis-child.ts');
  const engine = await meterEngine();
  const path = join(folder, 'engine.wasm');
  await writeFile(path, engine.bytes);
  return {
    folder,
    engine,
    async start(setup) {
      const own = join(folder, `${setup.prefix}-${setup.home}`);
      await mkdir(own, { recursive: true });
      return startWorker(program, {
        ...setup,
        folder: own,
        engine: { digest: engine.digest, path },
      });
    },
    close: () => rm(folder, { recursive: true, force: true }),
  };
}

async function startWorker(program: string, setup: WorkerSetup): Promise<WorkerProcess> {
  const child: ChildProcess = spawn(process.execPath, [program], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  let complaint = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    if (complaint.length < 4000) complaint += text;
  });
  const gone = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  const runs = new Map<Hex, number>();
  const faults: Extract<FromWorker, { type: 'fault' }>[] = [];
  let records = 0;
  const ready = new Promise<void>((resolve, reject) => {
    gone.then(() => reject(new Error(`a worker ended before it was ready: ${complaint}`)), reject);
    child.on('message', (message: FromWorker) => {
      if (message.type === 'ready') resolve();
      else if (message.type === 'fault') faults.push(message);
      else {
        records += 1;
        runs.set(message.run, performance.now());
      }
    });
  });
  const say = (message: ToWorker) => child.send(message, () => undefined);
  say({ type: 'setup', setup });
  await ready;
  return {
    home: setup.home,
    runs,
    records: () => records,
    faults,
    signal: (name) => void child.kill(name),
    async kill() {
      child.kill('SIGKILL');
      await gone;
    },
    async stop() {
      say({ type: 'stop' });
      const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
      const [code, signal] = await gone;
      clearTimeout(timer);
      if (code !== 0) throw new Error(`worker ${setup.home} ended with ${signal ?? code}: ${complaint}`);
    },
  };
}

/** Opens a manager that begins, steers and shows runs, and does not work on them. */
export async function openFront(
  bench: WorkerBench,
  setup: { readonly url: string; readonly prefix: string; readonly origin: string; readonly random: Random },
  onFault: (run: Hex | undefined, error: unknown) => void,
): Promise<RunManager> {
  const { url, prefix, origin, random } = setup;
  const folder = join(bench.folder, `${prefix}-front`);
  const machinery = await openRedisMachinery({ url, prefix, folder, home: 'front', onFault });
  return openRunManager(
    {
      vm: inThreadVm(bench.engine),
      inference: toyClient,
      now: Date.now,
      random: () => random.bytes(32),
      key: OPERATOR_KEY,
      deployment: OFF_CHAIN,
      identity: TOY_IDENTITY,
      onFault,
    },
    { machinery, agents: workedAgents(origin), works: false },
  );
}
