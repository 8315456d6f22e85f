/**
 * Runs the deterministic programs without a process and a wall around them, in a thread of this process, and prints what
 * was seen, with the hash of the guest's linear memory at every end, as JSON.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { type WasmMemory, wasm } from '../../attest/core/webassembly.ts';
import { GuestSession } from '../../runtime/sandbox/guest-session.ts';
import { meterModule } from '../../runtime/sandbox/meter.ts';
import type { Vm, VmState } from '../../runtime/sandbox/vm.ts';
import { WasmToolSession } from '../../runtime/sandbox/wasm-tool.ts';
import { type DeterminismReport, observeAll } from './determinism-programs.ts';

/** The stack that guests have in a sandbox process. */
const STACK_MIB = 16;

if (isMainThread) {
  const thread = new Worker(new URL(import.meta.url), { env: {}, resourceLimits: { stackSizeMb: STACK_MIB } });
  thread.on('message', (report: DeterminismReport) => process.stdout.write(JSON.stringify(report)));
} else {
  parentPort?.postMessage(await observeAll(openBareVm()));
}

/** The engine in this very thread. A state that is an end has a member more, `memory`. */
function openBareVm(): Vm {
  const path = createRequire(import.meta.url).resolve('@jitl/quickjs-wasmfile-release-sync/wasm');
  const engine = new wasm.Module(meterModule(readFileSync(path)).bytes);
  const made = watchMemories();
  const withMemory = (state: VmState): VmState => {
    if (state.status === 'waiting') return state;
    const memory = made.last === undefined ? 'none' : hash(made.last);
    return { ...state, ...{ memory } };
  };
  return {
    engine: '0x',
    secondWall: 'none',
    wallReason: 'a test',
    async open(options) {
      made.last = undefined;
      const log: string[] = [];
      const session = options.language === 'wasm' ? new WasmToolSession(options) : new GuestSession(engine, options);
      const told = (state: VmState): VmState => {
        log.push(...session.takeLines());
        return withMemory(state);
      };
      return {
        log,
        start: async () => told(session.start()),
        deliver: async (delivery, timeMs) => told(session.deliver(delivery, timeMs)),
        close: async () => undefined,
      };
    },
    close: async () => undefined,
  };
}

/** Keeps the memory of the newest instance: one that it imports, or one that it exports. */
function watchMemories(): { last: WasmMemory | undefined } {
  const made: { last: WasmMemory | undefined } = { last: undefined };
  const { Instance } = wasm;
  class WatchedInstance extends Instance {
    constructor(...args: ConstructorParameters<typeof Instance>) {
      super(...args);
      const memory = [...Object.values(args[1]).flatMap((from) => Object.values(from)), this.exports['memory']];
      made.last = memory.find(isMemory);
    }
  }
  Reflect.set(wasm, 'Instance', WatchedInstance);
  return made;
}

function isMemory(value: unknown): value is WasmMemory {
  return value instanceof wasm.Memory;
}

function hash({ buffer }: WasmMemory): string {
  return `${buffer.byteLength} ${createHash('sha256').update(new Uint8Array(buffer)).digest('hex')}`;
}
