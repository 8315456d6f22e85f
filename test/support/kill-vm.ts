/**
 * The sandbox's engine in the thread of the caller: the same code, metering and digest as in a sandbox process, without
 * its wall and without its clock. Tests that open hundreds of guests use it; nothing else may.
 *
 * @module
 */

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { Hex } from '../../attest/core/bytes.ts';
import { wasm } from '../../attest/core/webassembly.ts';
import { GuestSession } from '../../runtime/sandbox/guest-session.ts';
import { meterModule } from '../../runtime/sandbox/meter.ts';
import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import { type Delivery, HostFault, type Vm, type VmOptions, type VmSession } from '../../runtime/sandbox/vm.ts';
import { noWall } from '../../runtime/sandbox/wall.ts';

/** The metered engine with its digest. */
export type MeteredEngine = { readonly digest: Hex; readonly bytes: Uint8Array };

/** An engine in this thread; `open` counts the sessions that are open. */
export type InThreadVm = Vm & { readonly sessions: () => number };

/** Meters the engine once, as the sandbox does (half a second). */
export async function meterEngine(): Promise<MeteredEngine> {
  const vm = await openQuickJsVm({ wall: noWall('no process is started') });
  await vm.close();
  const path = createRequire(import.meta.url).resolve('@jitl/quickjs-wasmfile-release-sync/wasm');
  return { digest: vm.engine, bytes: meterModule(await readFile(path)).bytes };
}

/** Opens the engine in this thread. Guests that never end are held by their fuel alone. */
export function inThreadVm({ digest, bytes }: MeteredEngine): InThreadVm {
  const module = new wasm.Module(bytes);
  let open = 0;
  const vm: InThreadVm = {
    engine: digest,
    secondWall: 'none',
    wallReason: 'guests run in the thread of a test',
    sessions: () => open,
    open: async (options: VmOptions): Promise<VmSession> => {
      open += 1;
      let guest: GuestSession | undefined = new GuestSession(module, options);
      const alive = () => {
        if (guest === undefined) throw new HostFault('WORKER_LOST', 'the session was ended');
        return guest;
      };
      return {
        log: [],
        start: async () => alive().start(),
        deliver: async (delivery: Delivery, timeMs?: number) => alive().deliver(delivery, timeMs),
        close: async () => {
          if (guest !== undefined) open -= 1;
          guest = undefined;
        },
      };
    },
    close: async () => {},
  };
  return vm;
}

let shared: Promise<MeteredEngine> | undefined;

/** The engine of this process, metered once. */
export async function sharedInThreadVm(): Promise<InThreadVm> {
  shared ??= meterEngine();
  return inThreadVm(await shared);
}
