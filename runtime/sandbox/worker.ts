/**
 * Entry of a sandbox worker: one guest at a time, commanded by `quickjs-vm.ts`. The worker is not a wall of its own; it
 * gives the guest a stack of fixed size and lets the host end one that runs too long.
 *
 * @module
 */

import { parentPort } from 'node:worker_threads';
import type { WasmModule } from '../../attest/core/webassembly.ts';
import { GuestSession } from './guest-session.ts';
import { type Delivery, HostFault, type VmOptions, type VmState } from './vm.ts';
import { WasmToolSession } from './wasm-tool.ts';

/** What the host asks of a worker; each is answered once. */
export type WorkerCommand =
  | { readonly type: 'start'; readonly module: WasmModule; readonly options: VmOptions }
  | { readonly type: 'deliver'; readonly delivery: Delivery; readonly timeMs: number | undefined };

/** A worker's answer; `ready` comes unasked, once. */
export type WorkerAnswer =
  | { readonly type: 'ready' }
  | { readonly type: 'state'; readonly state: VmState; readonly lines: readonly string[] }
  | { readonly type: 'fault'; readonly code: HostFault['code']; readonly message: string };

let session: GuestSession | WasmToolSession | undefined;

function obey(command: WorkerCommand): WorkerAnswer {
  try {
    let state: VmState;
    if (command.type === 'start') {
      const { module, options } = command;
      session = options.language === 'wasm' ? new WasmToolSession(options) : new GuestSession(module, options);
      state = session.start();
    } else {
      if (session === undefined) throw new HostFault('HOST_INTERNAL', 'worker has no session');
      state = session.deliver(command.delivery, command.timeMs);
    }
    const answer: WorkerAnswer = { type: 'state', state, lines: session.takeLines() };
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
  port.on('message', (command: WorkerCommand) => port.postMessage(obey(command)));
  port.postMessage({ type: 'ready' } satisfies WorkerAnswer);
}
