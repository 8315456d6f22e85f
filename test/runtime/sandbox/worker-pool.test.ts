import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { afterEach, describe, expect, it } from 'vitest';
import { type WasmModule, wasm } from '../../../attest/core/webassembly.ts';
import { meterModule } from '../../../runtime/sandbox/meter.ts';
import { HostFault } from '../../../runtime/sandbox/vm.ts';
import { openWorkerPool, type WorkerPool } from '../../../runtime/sandbox/worker-pool.ts';
import { guestOptions } from '../../support/sandbox-programs.ts';

const source = readFileSync(createRequire(import.meta.url).resolve('@jitl/quickjs-wasmfile-release-sync/wasm'));
const module = new wasm.Module(meterModule(source).bytes);

let pool: WorkerPool | undefined;
afterEach(() => pool?.close());

async function answer(body: string, limits?: openWorkerPool.Limits, engine: WasmModule = module, outputBytes = 65_536) {
  pool = openWorkerPool(limits);
  const worker = await pool.acquire();
  const options = guestOptions(body, { fuel: 1n << 50n, outputBytes, memoryBytes: 512 << 20 });
  return worker.ask({ type: 'start', module: engine, options }, 20_000);
}

describe('a worker', () => {
  it('answers with a state', async () => {
    expect(await answer('return 1;')).toMatchObject({ type: 'state', state: { status: 'done', value: 1 } });
  });

  it('meets the depth budget before its own stack', async () => {
    const deepest = { type: 'state', state: { status: 'failed', error: { code: 'STACK_EXHAUSTED' } } };
    expect(await answer('const f = () => f() + 1; return f();')).toMatchObject(deepest);
    expect(await answer('return eval("(".repeat(1e5));')).toMatchObject(deepest);
    expect(await answer('return JSON.parse("[".repeat(1e6));')).toMatchObject(deepest);
  });

  it('calls a stack of the host that is too small a fault', async () => {
    const small = { stackMib: 0.3, heapMib: 64 };
    expect(await answer('const f = () => f() + 1; return f();', small)).toMatchObject({
      type: 'fault',
      code: 'HOST_STACK',
    });
  });

  it('calls a host without memory a fault', async () => {
    const small = { stackMib: 16, heapMib: 12 };
    const lines = 'for (let i = 0; i < 20000; i++) console.log(String(i).repeat(800)); return 1;';
    await expect(answer(lines, small, module, 1 << 28)).rejects.toMatchObject({ code: 'HOST_OUT_OF_MEMORY' });
  });

  it('calls an engine that is none a fault', async () => {
    const empty = new wasm.Module(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
    expect(await answer('return 1;', undefined, empty)).toMatchObject({ type: 'fault', code: 'HOST_INTERNAL' });
  });

  it('is killed at its deadline', async () => {
    pool = openWorkerPool();
    const worker = await pool.acquire();
    const options = guestOptions('for (;;);', { fuel: 1n << 50n });
    const asked = worker.ask({ type: 'start', module, options }, 50);
    await expect(asked).rejects.toBeInstanceOf(HostFault);
    await expect(asked).rejects.toMatchObject({ code: 'WALL_TIME' });
    await worker.release(true);
    const next = await pool.acquire();
    expect(await next.ask({ type: 'start', module, options: guestOptions('return 2;') }, 5000)).toMatchObject({
      state: { value: 2 },
    });
  });
});
