/** A manager of runs over the real sandbox and the toy model, with agents from script bodies. */

import { randomBytes } from 'node:crypto';
import { defined } from '../../attest/core/defined.ts';
import type { Limits } from '../../attest/trace/bodies.ts';
import type { GuestCode } from '../../attest/trace/guest.ts';
import type { PolicyRules } from '../../attest/trace/policy.ts';
import { openRunManager } from '../../runtime/manager.ts';
import type { ManagedAgent, ManagerPorts } from '../../runtime/manager-types.ts';
import { OFF_CHAIN } from '../../runtime/plan.ts';
import type { Vm } from '../../runtime/sandbox/vm.ts';
import { script } from './real-run.ts';
import { OPERATOR_KEY, TOY_IDENTITY, TOY_LIMITS, toyClient } from './toy-run.ts';

/** Guest code from the body of its async function `(input, call)`. */
export function guest(name: string, body: string, fuel = '300000000'): GuestCode {
  return {
    language: 'javascript',
    limits: { fuel, memoryMb: 32, outputBytes: 65_536 },
    manifest: { name },
    source: script(body),
  };
}

type Grants = PolicyRules['agent'];

/** An agent that may do what `grants` say, with tools from script bodies. */
export function managed(
  name: string,
  body: string,
  options: {
    readonly grants?: Grants;
    readonly tools?: Readonly<
      Record<string, { readonly body: string; readonly grants: PolicyRules['tools'][0]['grants'] }>
    >;
    readonly limits?: Partial<Limits>;
  } = {},
): ManagedAgent {
  const tools = Object.entries(options.tools ?? {});
  return {
    name,
    agent: guest(name, body),
    tools: new Map(tools.map(([tool, { body: code }]) => [tool, guest(tool, code)])),
    policy: {
      version: 1,
      agent: [
        { capability: 'inference' },
        { capability: 'tool', names: tools.map(([tool]) => tool) },
        ...(['kv.get', 'kv.put', 'clock.now', 'random.bytes'] as const).map((capability) => ({ capability })),
        ...(options.grants ?? []),
      ],
      tools: tools.map(([tool, { grants }]) => ({ name: tool, grants })),
    },
    limits: { ...TOY_LIMITS, bytes: '10000000', fuel: '5000000000', ...options.limits },
  };
}

/** A grant of requests to one origin of this computer. */
export function fetchFrom(origin: string, more: { readonly idempotent?: boolean } = {}) {
  return {
    addresses: ['127.0.0.1/32'],
    capability: 'http.fetch',
    headers: [],
    idempotent: more.idempotent ?? false,
    maxBytes: 65_536,
    methods: ['GET', 'POST'],
    origins: [origin],
  } as const;
}

/** Opens a manager over a folder; every port may be replaced. */
export function openManaged(
  vm: Vm,
  folder: string,
  agents: readonly ManagedAgent[],
  ports: Partial<ManagerPorts> = {},
  maxActive?: number,
) {
  return openManagedBy(vm, { folder, agents, ...defined({ maxActive }) }, ports);
}

/** Opens a manager over whatever machinery; every port may be replaced. */
export function openManagedBy(
  vm: Vm,
  options: Parameters<typeof openRunManager>[1],
  ports: Partial<ManagerPorts> = {},
) {
  return openRunManager(
    {
      vm,
      inference: toyClient,
      now: Date.now,
      random: () => Uint8Array.from(randomBytes(32)),
      key: OPERATOR_KEY,
      deployment: OFF_CHAIN,
      identity: TOY_IDENTITY,
      ...ports,
    },
    options,
  );
}
