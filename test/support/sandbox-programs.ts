/**
 * Guest programs for tests of the sandbox, and the options they run under.
 *
 * @module
 */

import type { Delivery, HostCall, Vm, VmOptions, VmState } from '../../runtime/sandbox/vm.ts';

/** A script whose `run(entry, input, call)` has this body. */
export function script(body: string): string {
  return `globalThis.__tracebond = { run: async (entry, input, call) => { ${body} } };`;
}

/** Small limits, fixed seed and time. */
export function guestOptions(body: string, options: Partial<VmOptions> = {}): VmOptions {
  return {
    source: script(body),
    entry: 'agent',
    input: null,
    fuel: 100_000_000n,
    memoryBytes: 16 << 20,
    wallMs: 30_000,
    seed: new Uint8Array(32).fill(7),
    startTimeMs: 1_700_000_000_000,
    outputBytes: 65_536,
    ...options,
  };
}

/** Runs a body until it waits or ends. */
export async function runOnce(vm: Vm, body: string, options: Partial<VmOptions> = {}): Promise<VmState> {
  const session = await vm.open(guestOptions(body, options));
  try {
    return await session.start();
  } finally {
    await session.close();
  }
}

/** Which open call is answered next: the last made, the first made, or each in turn. */
export type DeliveryOrder = 'newest' | 'oldest' | 'alternating';

/**
 * Runs a body to its end, answering every call with its own method and arguments; one of the method `host.fail` fails with
 * the code that its argument names.
 */
export async function runToEnd(
  vm: Vm,
  body: string,
  options: Partial<VmOptions> = {},
  order: DeliveryOrder = 'newest',
): Promise<{ readonly states: readonly VmState[]; readonly log: readonly string[] }> {
  const session = await vm.open(guestOptions(body, options));
  const states: VmState[] = [];
  const open: HostCall[] = [];
  try {
    let state = await session.start();
    for (let time = 1; ; time++) {
      states.push(state);
      if (state.status !== 'waiting') return { states, log: session.log };
      open.push(...state.calls);
      const next = order === 'newest' || (order === 'alternating' && time % 2 === 0) ? open.pop() : open.shift();
      if (next === undefined) throw new Error('waiting for nothing');
      state = await session.deliver(answer(next), 1_700_000_000_000 + 1000 * time);
    }
  } finally {
    await session.close();
  }
}

function answer({ id, method, args }: HostCall): Delivery {
  if (method !== 'host.fail') return { id, ok: true, value: { method, args } };
  return { id, ok: false, error: { code: String(args), message: `call ${id} failed` } };
}
