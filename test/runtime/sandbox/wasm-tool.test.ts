import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { openQuickJsVm } from '../../../runtime/sandbox/quickjs-vm.ts';
import type { Vm, VmOptions, VmState } from '../../../runtime/sandbox/vm.ts';
import { WasmToolSession } from '../../../runtime/sandbox/wasm-tool.ts';
import { toolOptions, toolText } from '../../support/wasm-tool.ts';

const run = (module: Uint8Array | string, input: Json = null, some: Partial<VmOptions> = {}): VmState =>
  new WasmToolSession(toolOptions(module, input, some)).start();

/** The code of a failed end, else its status. */
const endOf = (state: VmState): string => (state.status === 'failed' ? state.error.code : state.status);

const ECHO = toolText(`
  (i32.store (i32.const 16) (i32.const 64))
  (i32.store (i32.const 20) (i32.const 60000))
  (drop (call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24)))
  (call $write (i32.const 1) (i32.const 64) (i32.load (i32.const 24)))`);

describe('a WASM tool', () => {
  let vm: Vm;
  beforeAll(async () => {
    vm = await openQuickJsVm();
  });
  afterAll(() => vm.close());

  it('reads its input on stdin and writes its result on stdout, in the sandbox', async () => {
    const input = { a: [1, null, 'é'], b: false };
    const session = await vm.open(toolOptions(ECHO, input));
    const state = await session.start();
    expect(state).toMatchObject({ status: 'done', value: input, calls: [] });
    expect(state).toEqual(run(ECHO, input));
    await session.close();
  });

  it('is refused as an agent or for its manifest', async () => {
    for (const entry of ['manifest', 'agent'] as const) {
      await expect(vm.open(toolOptions(ECHO, null, { entry }))).rejects.toMatchObject({ code: 'MALFORMED_OPTIONS' });
    }
  });

  it('runs out of fuel, of depth, and traps', () => {
    expect(endOf(run(toolText('(loop (br 0))'), null, { fuel: 1000n }))).toBe('OUT_OF_FUEL');
    expect(run(toolText('(loop (br 0))'), null, { fuel: 1000n }).fuelUsed).toBe(1000n);
    expect(endOf(run(toolText('(call $f)', { more: '(func $f (call $f))' })))).toBe('STACK_EXHAUSTED');
    expect(endOf(run(toolText('unreachable')))).toBe('TRAP');
  });
});
