/**
 * Guest programs for tests of the sandbox, and the options they run under.
 *
 * @module
 */

import type { Json } from '../../attest/encoding/canonical-json.ts';
import type { Vm, VmOptions, VmState } from '../../runtime/sandbox/vm.ts';

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

/** Runs a body to its end, answering every call with its own method and arguments, newest call first. */
export async function runToEnd(
  vm: Vm,
  body: string,
  options: Partial<VmOptions> = {},
): Promise<{ readonly states: readonly VmState[]; readonly log: readonly string[] }> {
  const session = await vm.open(guestOptions(body, options));
  const states: VmState[] = [];
  const open: { readonly id: number; readonly value: Json }[] = [];
  try {
    let state = await session.start();
    for (let time = 1; ; time++) {
      states.push(state);
      if (state.status !== 'waiting') return { states, log: session.log };
      for (const { id, method, args } of state.calls) open.push({ id, value: { method, args } });
      const next = open.pop();
      if (next === undefined) throw new Error('waiting for nothing');
      state = await session.deliver({ ok: true, ...next }, 1_700_000_000_000 + 1000 * time);
    }
  } finally {
    await session.close();
  }
}

/** Programs whose results, fuel and ends must not depend on the host. */
export const DETERMINISTIC_PROGRAMS: readonly (readonly [name: string, body: string])[] = [
  ['arithmetic', 'let s = 0; for (let i = 1; i < 3000; i++) s += Math.sin(i) / i; return String(s);'],
  [
    'strings',
    'let t = ""; for (let i = 0; i < 2000; i++) t += String.fromCodePoint(97 + (i * 7) % 26); return t.replaceAll("a", "ä");',
  ],
  [
    'sorting',
    'const a = Array.from({ length: 500 }, () => Math.random()); a.sort((x, y) => x - y); return a.slice(0, 5).map(String);',
  ],
  [
    'maps',
    'const m = new Map(); for (let i = 0; i < 2000; i++) m.set({ i }, i); return [...m.values()].reduce((a, b) => a + b);',
  ],
  ['json', 'return JSON.parse(JSON.stringify(Array.from({ length: 300 }, (_, i) => ({ i, t: String(i / 3) }))));'],
  ['regular expressions', 'return "2024-05-06 and 2025-07-08".match(/(\\d{4})-(\\d{2})/g).join();'],
  [
    'dates',
    'return [String(new Date(2024, 5, 1, 12)), new Date(2024, 0, 1).getTimezoneOffset(), Date.now(), new Date().toLocaleString()];',
  ],
  ['random', 'return Array.from({ length: 8 }, () => String(Math.random()));'],
  ['big integers', 'return String((2n ** 4000n) % 1000000007n);'],
  [
    'typed arrays',
    'const u = new Float64Array(1000).fill(NaN); u[1] = -0; return [...new Uint8Array(u.buffer).subarray(0, 24)];',
  ],
  ['errors', 'try { null.x } catch (e) { return [e.name, e.message, e.stack]; }'],
  ['names', 'return Object.getOwnPropertyNames(globalThis);'],
  [
    'host calls',
    'const r = await Promise.race([call("kv.get", { key: "a" }), call("kv.get", { key: "b" })]); return [r, Date.now()];',
  ],
  ['out of fuel', 'for (;;) await null;'],
  ['out of memory', 'const a = []; for (;;) a.push(new Uint8Array(100000).fill(1));'],
  ['out of depth', 'const f = (n) => f(n + 1) + 1; return f(0);'],
  ['parser depth', 'return eval("[".repeat(30000));'],
];
