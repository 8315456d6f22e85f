/**
 * Sandbox processes: started behind the second wall when needed, kept for the next session, killed when one runs too long.
 *
 * P1. One session at a time in a process, one process for a session from its start to its end.
 * P2. A process that was killed, has failed, or said what it must not say is never used again.
 * P3. A process gets its program, the engine and messages through its standard streams, and nothing else: no variable of
 *     the environment, no file of the project, no other descriptor. It ends when those streams do, and so with the host.
 *
 * @module
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { FrameReader, frame } from './frames.ts';
import type { Setup } from './process-child.ts';
import { HostFault } from './vm.ts';
import type { Wall } from './wall.ts';

/** A stack that the depth budget of the meter stays far below, and a heap; guests live outside of it. */
const DEFAULT_LIMITS = { stackMib: 16, heapMib: 512 };
/** The thread collects a large guest itself. */
const NODE_OPTIONS = ['--expose-gc'];
/** Idle processes kept unless told. */
const MOST_IDLE = 2;
/** A process that does not listen by then is lost. */
const START_MS = 30_000;
/** What of a process's complaints is kept. */
const MAX_COMPLAINT_UNITS = 2000;
/** Longest answer before the first session. */
const MAX_READY_BYTES = 4096;

/** One process for one session, at most one command at a time. */
export type PooledProcess = {
  /** Process id of the outermost process of the wall. */
  readonly pid: number | undefined;
  /**
   * Sends a command and waits for the answer; the process is gone when this throws.
   *
   * @param maxBytes - longest answer that is taken
   * @param timeoutMs - the process is killed after so long
   * @throws {@link HostFault} `WALL_TIME`, `WORKER_LOST`, `HOST_INTERNAL`
   */
  ask(command: Uint8Array, maxBytes: number, timeoutMs: number): Promise<Uint8Array>;
  /** Gives the process back for another session, or kills it if `healthy` is false. */
  release(healthy: boolean): Promise<void>;
};

/** The processes of one engine. */
export type ProcessPool = {
  /** @throws {@link HostFault} `WORKER_LOST` if none can be started, or the pool is closed meanwhile */
  acquire(): Promise<PooledProcess>;
  /** Kills every process, busy ones too. */
  close(): Promise<void>;
};

/** What runs in a process. */
export type SandboxProgram = {
  /** Script of the main thread, see `process-child.ts`. */
  readonly main: string;
  /** Script of the thread that it starts, see `worker.ts`. */
  readonly worker: string;
  /** The metered engine. */
  readonly engine: Uint8Array;
};

/** Opens a pool; no process is started yet. */
export function openProcessPool(
  wall: Wall,
  program: SandboxProgram,
  options: openProcessPool.Options = {},
): ProcessPool {
  const idle: Member[] = [];
  const all = new Set<Member>();
  let closed = false;
  const start = async (): Promise<Member> => {
    const member = new Member(wall, program, options, () => all.delete(member));
    all.add(member);
    await member.ready;
    return member;
  };
  return {
    async acquire() {
      if (closed) throw new HostFault('WORKER_LOST', 'sandbox processes are closed');
      let member = idle.pop();
      // One that has died while idle is no loss.
      while (member !== undefined && !member.alive) member = idle.pop();
      member ??= await start();
      const taken = member;
      taken.ref();
      return {
        pid: taken.pid,
        ask: (command, maxBytes, timeoutMs) => taken.ask(command, maxBytes, timeoutMs),
        async release(healthy) {
          if (healthy && taken.alive && !closed && idle.length < (options.idleProcesses ?? MOST_IDLE)) {
            taken.unref();
            idle.push(taken);
          } else {
            await taken.end();
          }
        },
      };
    },
    async close() {
      closed = true;
      idle.length = 0;
      await Promise.all([...all].map((member) => member.end()));
    },
  };
}

export declare namespace openProcessPool {
  type Options = {
    /** Stack and heap of the thread that runs guests, in MiB. */
    readonly limits?: { readonly stackMib: number; readonly heapMib: number };
    /** Options of Node for the process; what a guest does depends on none. */
    readonly nodeOptions?: readonly string[];
    /** Idle processes kept for the next sessions, 2 unless told; with 0 no two sessions ever share one. */
    readonly idleProcesses?: number;
    /** Milliseconds after which a process that does not listen is lost; 30,000 unless told. */
    readonly startMs?: number;
  };
}

type Waiter = { readonly resolve: (answer: Uint8Array) => void; readonly reject: (error: HostFault) => void };

class Member {
  alive = true;
  /** Settles when the process listens. */
  readonly ready: Promise<unknown>;
  readonly #child: ChildProcess;
  readonly #reader = new FrameReader(MAX_READY_BYTES);
  readonly #ended: Promise<void>;
  #waiter: Waiter | undefined;
  #fault: HostFault | undefined;
  #complaint = '';

  constructor(wall: Wall, program: SandboxProgram, options: openProcessPool.Options, onEnd: () => void) {
    const { file, args } = wall.command([...NODE_OPTIONS, ...(options.nodeOptions ?? []), '-e', program.main]);
    // Detached: an interrupt from the terminal is for the host, which may want to end its runs first.
    this.#child = spawn(file, args, { cwd: '/', env: {}, stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    this.#ended = new Promise((resolve) => {
      const over = (reason: string): void => {
        this.alive = false;
        onEnd();
        const said = this.#complaint.trim();
        this.#fault ??= new HostFault('WORKER_LOST', said === '' ? reason : `${reason}: ${said}`);
        this.#waiter?.reject(this.#fault);
        this.#waiter = undefined;
        resolve();
      };
      this.#child.on('error', (error) => over(`sandbox process does not start: ${error.message}`));
      this.#child.on('close', (code, signal) => over(`sandbox process ended with ${signal ?? `exit code ${code}`}`));
    });
    this.#child.stdout?.on('data', (piece: Buffer) => this.#take(piece));
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      if (this.#complaint.length < MAX_COMPLAINT_UNITS) this.#complaint += text.slice(0, MAX_COMPLAINT_UNITS);
    });
    // A pipe breaks when the process ends, which is told by the end itself.
    this.#child.stdin?.on('error', () => undefined);
    const { stackMib, heapMib } = options.limits ?? DEFAULT_LIMITS;
    const setup: Setup = { program: program.worker, stackMib, heapMib };
    this.ready = this.#answer(MAX_READY_BYTES, options.startMs ?? START_MS, 'WORKER_LOST');
    this.#send(Buffer.from(JSON.stringify(setup)));
    this.#send(program.engine);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  async ask(command: Uint8Array, maxBytes: number, timeoutMs: number): Promise<Uint8Array> {
    if (!this.alive) throw this.#fault ?? new HostFault('WORKER_LOST', 'sandbox process has ended');
    const answer = this.#answer(maxBytes, timeoutMs, 'WALL_TIME');
    this.#send(command);
    return answer;
  }

  /** Kills the process and waits until it is gone. */
  async end(): Promise<void> {
    this.ref();
    this.#kill(new HostFault('WORKER_LOST', 'sandbox process was ended'));
    await this.#ended;
  }

  ref(): void {
    this.#holdHost(true);
  }

  /** An idle process does not keep the host alive. */
  unref(): void {
    this.#holdHost(false);
  }

  #holdHost(hold: boolean): void {
    const { stdin, stdout, stderr } = this.#child;
    for (const part of [this.#child, stdin, stdout, stderr]) {
      const handle: unknown = Reflect.get(part ?? {}, hold ? 'ref' : 'unref');
      if (typeof handle === 'function') handle.call(part);
    }
  }

  #send(payload: Uint8Array): void {
    for (const piece of frame(payload)) this.#child.stdin?.write(piece);
  }

  async #answer(maxBytes: number, timeoutMs: number, late: 'WALL_TIME' | 'WORKER_LOST'): Promise<Uint8Array> {
    this.#reader.maxBytes = maxBytes;
    const timer = setTimeout(() => {
      const what = late === 'WALL_TIME' ? 'guest ran' : 'sandbox process took';
      this.#kill(new HostFault(late, `${what} longer than ${Math.round(timeoutMs)} ms`));
    }, timeoutMs);
    try {
      return await new Promise((resolve, reject) => {
        this.#waiter = { resolve, reject };
      });
    } finally {
      clearTimeout(timer);
    }
  }

  #take(piece: Buffer): void {
    try {
      for (const payload of this.#reader.push(piece)) {
        const waiter = this.#waiter;
        this.#waiter = undefined;
        // After the clock has struck an answer comes too late.
        if (!this.alive) return;
        if (waiter === undefined) throw new HostFault('HOST_INTERNAL', 'sandbox process speaks unasked');
        waiter.resolve(payload);
      }
    } catch (error) {
      if (!(error instanceof HostFault)) throw error;
      this.#kill(error);
    }
  }

  /** The end of the process, which follows, rejects what waits. */
  #kill(fault: HostFault): void {
    this.alive = false;
    this.#fault ??= fault;
    this.#child.kill('SIGKILL');
  }
}
