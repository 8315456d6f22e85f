/**
 * Sandbox workers: started when needed, kept for the next session, ended by force when one runs too long.
 *
 * @module
 */

import { Worker } from 'node:worker_threads';
import { childEntry } from '../../attest/core/entry.ts';
import { HostFault } from './vm.ts';
import type { WorkerAnswer, WorkerCommand } from './worker.ts';

/** What a worker gets: a stack that the depth budget of the meter stays far below, and a heap; guests live outside of it. */
const DEFAULT_LIMITS: openWorkerPool.Limits = { stackMib: 16, heapMib: 512 };
/** Idle workers kept. */
const MOST_IDLE = 2;

/** One worker, at most one command at a time. */
export type PooledWorker = {
  /**
   * Sends a command and waits for its answer; the worker is gone when this throws.
   *
   * @param timeoutMs - the worker is killed after so long
   * @throws {@link HostFault} `WALL_TIME`, `HOST_OUT_OF_MEMORY`, `WORKER_LOST`
   */
  ask(command: WorkerCommand, timeoutMs: number): Promise<WorkerAnswer>;
  /** Gives the worker back for another session, or ends it if `healthy` is false. */
  release(healthy: boolean): Promise<void>;
};

/** The workers of one engine. */
export type WorkerPool = {
  /** @throws {@link HostFault} `WORKER_LOST` if none can be started */
  acquire(): Promise<PooledWorker>;
  /** Ends every worker, busy ones too. */
  close(): Promise<void>;
};

type Waiter = { readonly resolve: (answer: WorkerAnswer) => void; readonly reject: (error: HostFault) => void };

/** Opens a pool; no worker is started yet. */
export function openWorkerPool(limits: openWorkerPool.Limits = DEFAULT_LIMITS): WorkerPool {
  const idle: Member[] = [];
  const all = new Set<Member>();
  return {
    async acquire() {
      const member = idle.pop() ?? (await startMember(all, limits));
      member.worker.ref();
      return {
        ask: (command, timeoutMs) => member.ask(command, timeoutMs),
        async release(healthy) {
          if (healthy && member.alive && idle.length < MOST_IDLE && all.has(member)) {
            member.worker.unref();
            idle.push(member);
          } else {
            await member.end();
          }
        },
      };
    },
    async close() {
      idle.length = 0;
      await Promise.all([...all].map((member) => member.end()));
    },
  };
}

export declare namespace openWorkerPool {
  type Limits = { readonly stackMib: number; readonly heapMib: number };
}

async function startMember(all: Set<Member>, limits: openWorkerPool.Limits): Promise<Member> {
  const member = new Member(limits, () => all.delete(member));
  all.add(member);
  await member.ready;
  return member;
}

class Member {
  readonly worker: Worker;
  /** Settles when the worker listens. */
  readonly ready: Promise<unknown>;
  alive = true;
  #waiter: Waiter | undefined;
  #fault = new HostFault('WORKER_LOST', 'sandbox worker ended');

  constructor(limits: openWorkerPool.Limits, onEnd: () => void) {
    const { url, execArgv } = childEntry(import.meta.url, './worker.ts');
    this.worker = new Worker(url, {
      execArgv,
      // No variable of the host is needed inside.
      env: {},
      stdin: false,
      resourceLimits: { stackSizeMb: limits.stackMib, maxOldGenerationSizeMb: limits.heapMib },
    });
    this.ready = this.#next();
    this.worker.on('message', (answer: WorkerAnswer) => {
      const waiter = this.#waiter;
      this.#waiter = undefined;
      waiter?.resolve(answer);
    });
    this.worker.on('error', (error: Error & { code?: unknown }) => {
      const full = error.code === 'ERR_WORKER_OUT_OF_MEMORY';
      this.#fault = new HostFault(full ? 'HOST_OUT_OF_MEMORY' : 'WORKER_LOST', error.message, { cause: error });
    });
    this.worker.on('exit', () => {
      this.alive = false;
      onEnd();
      this.#waiter?.reject(this.#fault);
      this.#waiter = undefined;
    });
  }

  async ask(command: WorkerCommand, timeoutMs: number): Promise<WorkerAnswer> {
    if (!this.alive) throw this.#fault;
    const timer = setTimeout(() => {
      this.alive = false;
      this.#fault = new HostFault('WALL_TIME', `guest ran longer than ${Math.round(timeoutMs)} ms`);
      // The exit that follows rejects the answer.
      void this.worker.terminate();
    }, timeoutMs);
    try {
      const answer = this.#next();
      this.worker.postMessage(command);
      const answered = await answer;
      // The answer came, but the clock had struck before it.
      if (!this.alive) throw this.#fault;
      return answered;
    } finally {
      clearTimeout(timer);
    }
  }

  async end(): Promise<void> {
    this.alive = false;
    await this.worker.terminate();
  }

  #next(): Promise<WorkerAnswer> {
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject };
    });
  }
}
