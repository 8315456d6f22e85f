/**
 * Entry of the thread that runs guests in a sandbox process, one at a time, bundled and started by `process-pool.ts` and
 * `process-child.ts`. The thread is no wall of its own: it gives the guest a stack of fixed size.
 *
 * @module
 */

import { parentPort, workerData } from 'node:worker_threads';
import { type WasmModule, wasm } from '../../attest/core/webassembly.ts';
import { GuestSession } from './guest-session.ts';
import { HostFault, type VmState } from './vm.ts';
import { WasmToolSession } from './wasm-tool.ts';
import { decodeCommand, encodeAnswer, type SandboxAnswer } from './wire.ts';

/** The metered engine, compiled in this thread. */
let engine: WasmModule | undefined;
/** A guest of so much memory is collected as soon as it has ended: an idle process would keep it for hours. */
const LARGE_BYTES = 64 * 1024 * 1024;

/** The collector, which the pool has Node expose to this thread; guests are in an engine of their own and do not see it. */
const collect: unknown = Reflect.get(globalThis, 'gc');

let memoryBytes = 0;
let session: GuestSession | WasmToolSession | undefined;

function obey(bytes: Uint8Array): SandboxAnswer {
  try {
    const command = decodeCommand(bytes);
    let state: VmState;
    if (command.type === 'start') {
      const { options } = command;
      memoryBytes = options.memoryBytes;
      if (options.language === 'wasm') {
        session = new WasmToolSession(options);
      } else {
        engine ??= new wasm.Module(workerData as Uint8Array);
        session = new GuestSession(engine, options);
      }
      state = session.start();
    } else {
      if (session === undefined) throw new HostFault('HOST_INTERNAL', 'worker has no session');
      state = session.deliver(command.delivery, command.timeMs);
    }
    const answer: SandboxAnswer = { type: 'state', state, lines: session.takeLines() };
    if (state.status !== 'waiting') session = undefined;
    return answer;
  } catch (error) {
    session = undefined;
    if (error instanceof HostFault) return { type: 'fault', code: error.code, message: error.message };
    const message = error instanceof Error ? error.message : 'unknown failure';
    return { type: 'fault', code: 'HOST_INTERNAL', message };
  }
}

if (parentPort !== null) {
  const port = parentPort;
  port.on('message', (bytes: Uint8Array) => {
    port.postMessage(encodeAnswer(obey(bytes)));
    if (session === undefined && memoryBytes >= LARGE_BYTES && typeof collect === 'function') collect();
  });
  port.postMessage(encodeAnswer({ type: 'ready' }));
}
