import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { childEntry } from '../../../attest/core/entry.ts';
import { meterModule } from '../../../runtime/sandbox/meter.ts';
import { openProcessPool, type PooledProcess, type ProcessPool } from '../../../runtime/sandbox/process-pool.ts';
import { bundleProgram } from '../../../runtime/sandbox/program.ts';
import type { VmOptions } from '../../../runtime/sandbox/vm.ts';
import { findWall, noWall, type Wall } from '../../../runtime/sandbox/wall.ts';
import { encodeCommand, maxAnswerBytes, parseAnswer, type SandboxAnswer } from '../../../runtime/sandbox/wire.ts';
import { guestOptions } from '../../support/sandbox-programs.ts';

const source = readFileSync(createRequire(import.meta.url).resolve('@jitl/quickjs-wasmfile-release-sync/wasm'));
const program = { ...bundleProgram(), engine: meterModule(source).bytes };
const bare = noWall('on purpose');

let pool: ProcessPool | undefined;
afterEach(() => pool?.close());

function open(
  options?: openProcessPool.Options,
  wall: Wall = bare,
  changed: Partial<typeof program> = {},
): ProcessPool {
  pool = openProcessPool(wall, { ...program, ...changed }, options);
  return pool;
}

async function ask(process: PooledProcess, body: string, options: Partial<VmOptions> = {}): Promise<SandboxAnswer> {
  const all = guestOptions(body, { fuel: 1n << 50n, ...options });
  return parseAnswer(
    await process.ask(encodeCommand({ type: 'start', options: all }), maxAnswerBytes(all), 20_000),
    all,
  );
}

async function answer(body: string, limits?: { stackMib: number; heapMib: number }, options?: Partial<VmOptions>) {
  return ask(await open(limits && { limits }).acquire(), body, options);
}

describe('a sandbox process', () => {
  it('answers with a state', async () => {
    expect(await answer('return 1;')).toMatchObject({ type: 'state', state: { status: 'done', value: 1 } });
  });

  it('meets the depth budget before its own stack', async () => {
    const process = await open().acquire();
    const deepest = { type: 'state', state: { status: 'failed', error: { code: 'STACK_EXHAUSTED' } } };
    for (const body of [
      'const f = () => f() + 1; return f();',
      'return eval("(".repeat(1e5));',
      'return JSON.parse("[".repeat(1e6));',
    ]) {
      expect(await ask(process, body, { memoryBytes: 512 << 20 })).toMatchObject(deepest);
    }
  });

  it('calls a stack of the host that is too small a fault', async () => {
    expect(await answer('const f = () => f() + 1; return f();', { stackMib: 0.3, heapMib: 64 })).toMatchObject({
      type: 'fault',
      code: 'HOST_STACK',
    });
  });

  it('calls a host without memory a fault', async () => {
    const lines = 'for (let i = 0; i < 20000; i++) console.log(String(i).repeat(800)); return 1;';
    expect(await answer(lines, { stackMib: 16, heapMib: 12 }, { outputBytes: 1 << 28 })).toMatchObject({
      type: 'fault',
      code: 'HOST_OUT_OF_MEMORY',
    });
  });

  it('calls an engine that is none a fault', async () => {
    const empty = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
    const process = await open(undefined, bare, { engine: empty }).acquire();
    expect(await ask(process, 'return 1;')).toMatchObject({ type: 'fault', code: 'HOST_INTERNAL' });
  });

  it('is used again after a session, and not after a failure', async () => {
    const own = open();
    const first = await own.acquire();
    await ask(first, 'return 1;');
    await first.release(true);
    const again = await own.acquire();
    expect(await ask(again, 'return 2;')).toMatchObject({ state: { value: 2 } });
    await again.release(false);
    await expect(ask(first, 'return 3;')).rejects.toMatchObject({ code: 'WORKER_LOST' });
  });

  it('is used by one session alone where none is kept', async () => {
    const own = open({ idleProcesses: 0 });
    const first = await own.acquire();
    await first.release(true);
    await expect(ask(first, 'return 1;')).rejects.toMatchObject({ code: 'WORKER_LOST' });
    expect(await ask(await own.acquire(), 'return 2;')).toMatchObject({ state: { value: 2 } });
  });

  it('is killed at its deadline, and the next one works', async () => {
    const own = open();
    const process = await own.acquire();
    const options = guestOptions('for (;;);', { fuel: 1n << 50n });
    const late = process.ask(encodeCommand({ type: 'start', options }), 65_536, 50);
    await expect(late).rejects.toMatchObject({ name: 'HostFault', code: 'WALL_TIME' });
    await process.release(true);
    expect(await ask(await own.acquire(), 'return 2;')).toMatchObject({ state: { value: 2 } });
  });

  it('is lost when somebody kills it in the middle of a guest', async () => {
    const own = open();
    const victim = await own.acquire();
    const running = ask(victim, 'for (;;);');
    setTimeout(() => kill(victim), 100);
    await expect(running).rejects.toMatchObject({ name: 'HostFault', code: 'WORKER_LOST' });
    await victim.release(true);
    expect(await ask(await own.acquire(), 'return 3;')).toMatchObject({ state: { value: 3 } });
  });

  it('is no loss when it dies idle', async () => {
    const own = open();
    const victim = await own.acquire();
    await victim.release(true);
    kill(victim);
    await new Promise((resolve) => setTimeout(resolve, 100));
    const next = await own.acquire();
    expect(next.pid).not.toBe(victim.pid);
    expect(await ask(next, 'return 4;')).toMatchObject({ state: { value: 4 } });
  });

  it('ends with its host, whatever the guest does', async () => {
    const { url, execArgv } = childEntry(import.meta.url, '../../support/sandbox-host-child.ts');
    for (const kind of new Set([(await findWall()).kind, 'none'])) {
      const host = spawn(process.execPath, [...execArgv, fileURLToPath(url), kind], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const [said] = (await once(host.stdout, 'data')) as [Buffer];
      const pid = Number(said);
      expect(alive(pid)).toBe(true);
      host.kill('SIGKILL');
      for (let i = 0; i < 100 && alive(pid); i++) await new Promise((resolve) => setTimeout(resolve, 20));
      expect([kind, alive(pid)]).toEqual([kind, false]);
    }
  });
});

describe('a process that has been taken over', () => {
  const start = 'process.stdin.resume();';
  const ready = 'process.stdout.write(Buffer.from([1, 0, 0, 0, 65]));';
  const later = (code: string) => `setTimeout(() => { ${code} }, 300);`;

  it.each([
    ['ends at once', 'process.exit(3);', 'WORKER_LOST'],
    ['cannot be loaded', 'syntax error', 'WORKER_LOST'],
    ['says nothing', start, 'WORKER_LOST'],
    ['announces 4 GiB', `${start} process.stdout.write(Buffer.alloc(8, 255));`, 'HOST_INTERNAL'],
  ])('%s: never used', async (_, main, code) => {
    await expect(open({ startMs: 1500 }, bare, { main }).acquire()).rejects.toMatchObject({ name: 'HostFault', code });
  });

  it.each([
    ['announces more than may leave', later('process.stdout.write(Buffer.alloc(8, 1))'), 'HOST_INTERNAL'],
    ['answers what is no answer', later('process.stdout.write(Buffer.from([2, 0, 0, 0, 91, 93]))'), 'HOST_INTERNAL'],
    ['ends without an answer', later('process.exit(0)'), 'WORKER_LOST'],
    ['speaks unasked', 'process.stdout.write(Buffer.from([1, 0, 0, 0, 65, 1, 0, 0, 0, 65]));', 'HOST_INTERNAL'],
  ])('%s: a fault of the host', async (_, what, code) => {
    const taken = await open(undefined, bare, { main: `${start} ${ready} ${what}` }).acquire();
    await expect(ask(taken, 'return 1;')).rejects.toMatchObject({ name: 'HostFault', code });
  });
});

function kill({ pid }: PooledProcess): void {
  if (pid === undefined) throw new Error('no process');
  process.kill(pid, 'SIGKILL');
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A dead process that nobody has waited for yet counts as dead.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
