/**
 * Runs a WASM tool in a process of its own, whose flags may bound the host's memory: `SOURCE MEMORY_BYTES`. Prints the code
 * of its end, or of the fault of the host.
 *
 * @module
 */

import { HostFault, type VmOptions } from '../../runtime/sandbox/vm.ts';
import { WasmToolSession } from '../../runtime/sandbox/wasm-tool.ts';

const [source = '', memoryBytes = ''] = process.argv.slice(2);
try {
  const options: VmOptions = {
    language: 'wasm',
    source,
    entry: { tool: 'test' },
    input: null,
    fuel: 1_000_000_000n,
    memoryBytes: Number(memoryBytes),
    wallMs: 20_000,
    seed: new Uint8Array(32),
    startTimeMs: 0,
    outputBytes: 1000,
  };
  const state = new WasmToolSession(options).start();
  process.stdout.write(state.status === 'failed' ? state.error.code : state.status);
} catch (error) {
  if (!(error instanceof HostFault)) throw error;
  process.stdout.write(error.code);
}
