/** Runs of real guest code in the real sandbox, with the toy model: seconds instead of a model load. */

import { randomBytes } from 'node:crypto';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import type { Limits } from '../../attest/trace/bodies.ts';
import { type GuestCode, hashGuestCode } from '../../attest/trace/guest.ts';
import type { PolicyRules } from '../../attest/trace/policy.ts';
import { TraceWriter } from '../../attest/trace/writer.ts';
import { createRequest, OFF_CHAIN, planRun } from '../../runtime/plan.ts';
import { createExecutor } from '../../runtime/replay.ts';
import { runAgent } from '../../runtime/run.ts';
import type { RunPorts } from '../../runtime/run-types.ts';
import type { Vm } from '../../runtime/sandbox/vm.ts';
import { OPERATOR, OPERATOR_KEY, requireEnded, TOY_IDENTITY, TOY_LIMITS, toyClient, toyRecomputer } from './toy-run.ts';

/** A guest's script from the body of its async function `(input, call)`. */
export function script(body: string): string {
  return `globalThis.__tracebond = { run: async (entry, input, call) => { ${body} } };`;
}

export const OPEN_POLICY: PolicyRules = {
  version: 1,
  agent: [
    { capability: 'inference' },
    { capability: 'tool', names: ['tool'] },
    { capability: 'kv.get' },
    { capability: 'kv.put' },
    { capability: 'clock.now' },
    { capability: 'random.bytes' },
  ],
  tools: [{ name: 'tool', grants: [{ capability: 'random.bytes' }] }],
};

export type RealOptions = {
  readonly agent: string;
  readonly tool?: string;
  readonly limits?: Partial<Limits>;
  readonly agentFuel?: string;
  readonly toolFuel?: string;
  readonly memoryMb?: number;
  readonly ports?: Partial<RunPorts>;
  /** Clock of the records. */
  readonly now?: () => number;
};

/** Runs `agent` (a script body) with a tool named `tool`. */
export async function realRun(vm: Vm, options: RealOptions) {
  const code = (body: string, fuel: string): GuestCode => ({
    language: 'javascript',
    limits: { fuel, memoryMb: options.memoryMb ?? 32, outputBytes: 65_536 },
    manifest: {},
    source: script(body),
  });
  const agent = code(options.agent, options.agentFuel ?? '300000000');
  const tools = new Map([['tool', code(options.tool ?? 'return null;', options.toolFuel ?? '300000000')]]);
  const random = () => Uint8Array.from(randomBytes(32));
  const caller = createRequest({
    agent: hashGuestCode(agent),
    input: { n: 1 } as Json,
    limits: { ...TOY_LIMITS, bytes: '10000000', fuel: '5000000000', ...options.limits },
    expiry: 2_000_000_000n,
    callerKey: random(),
    deployment: OFF_CHAIN,
    random,
  });
  const { run, plan } = planRun({
    caller,
    agent,
    tools,
    policy: OPEN_POLICY,
    operator: OPERATOR,
    deployment: OFF_CHAIN,
    attempt: 0n,
    deadline: 2_000_000_000n,
    exposure: 0n,
    engine: vm.engine,
    inference: TOY_IDENTITY,
    random,
  });
  const parts: Uint8Array[] = [];
  const sink = { append: async (bytes: Uint8Array) => void parts.push(bytes) };
  const writer = new TraceWriter({ sink, now: options.now ?? Date.now, salt: random }, run, OFF_CHAIN, OPERATOR_KEY);
  const result = requireEnded(
    await runAgent({ vm, inference: toyClient, writer, now: options.now ?? Date.now, ...options.ports }, plan),
  );
  return { result, bytes: Buffer.concat(parts), executor: createExecutor(vm, toyRecomputer) };
}
