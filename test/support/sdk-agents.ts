/** Agents of the SDK from their source to a verified bundle: real bundler, real sandbox, a manager of runs, a scripted model. */

import { createReadStream } from 'node:fs';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BundledAgent, bundleAgent } from '../../agents/bundle.ts';
import { type AgentCode, toAgentCode } from '../../agents/guest-code.ts';
import { createPolicy, type OperatorGrants } from '../../agents/guest-policy.ts';
import type { Hex } from '../../attest/core/bytes.ts';
import { utf8 } from '../../attest/core/bytes.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { signReceipt } from '../../attest/sign/receipt.ts';
import type { InferenceRequest } from '../../attest/trace/inference-request.ts';
import { verifyChildren } from '../../attest/verify/child-bundles.ts';
import { trustSigner } from '../../attest/verify/trust.ts';
import { verifyBundle } from '../../attest/verify/verifier.ts';
import type { InferenceClient } from '../../inference/client.ts';
import type { ManagedAgent, ManagerPorts, RunManager } from '../../runtime/manager-types.ts';
import { createExecutor, type Recomputer } from '../../runtime/replay.ts';
import type { RunStatus } from '../../runtime/run-status.ts';
import type { Vm } from '../../runtime/sandbox/vm.ts';
import { alongClaim } from './along-claim.ts';
import { openManaged } from './managed.ts';
import { OPERATOR, SIGNER_KEY, TOY_IDENTITY, TOY_LIMITS } from './toy-run.ts';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));

/** What a scripted model says to a request: a function of nothing else, so that a verifier finds the same. */
export type Script = (request: InferenceRequest) => string;

/** Limits of a run of such an agent. */
export const SDK_LIMITS = { ...TOY_LIMITS, bytes: '10000000', fuel: '20000000000' } as const;

/** Makes a folder in which modules find `zod` and other packages. */
export async function prepareFolder(folder: string): Promise<void> {
  await symlink(join(REPOSITORY, 'node_modules'), join(folder, 'node_modules'));
}

/** Writes a module and bundles it. */
export async function bundleSource(vm: Vm, folder: string, name: string, source: string): Promise<BundledAgent> {
  const path = join(folder, name, 'agent.ts');
  await mkdir(join(folder, name), { recursive: true });
  await writeFile(path, source);
  return bundleAgent(path, { vm });
}

/** An agent and those that it may run, as a manager takes them. */
export function toManaged(bundle: BundledAgent, grants: Partial<OperatorGrants> = {}): readonly ManagedAgent[] {
  const all: OperatorGrants = { origins: [], maxBytes: 65_536, ...grants };
  const manage = (name: string, code: AgentCode): readonly ManagedAgent[] => [
    {
      name,
      agent: code.agent,
      tools: code.tools,
      policy: createPolicy(code.capabilities, all, code.agents),
      limits: SDK_LIMITS,
    },
    ...[...code.agents].flatMap(([child, of]) => manage(child, of)),
  ];
  return manage(bundle.agent.manifest.name, toAgentCode(bundle));
}

/** A manager whose model says what a script says. */
export function openScripted(
  vm: Vm,
  folder: string,
  agents: readonly ManagedAgent[],
  model: Script,
  ports: Partial<ManagerPorts> = {},
): Promise<RunManager> {
  return openManaged(vm, folder, agents, { inference: scriptedClient(model), ...ports });
}

/** Runs an agent until it is over or put aside. */
export async function runScripted(manager: RunManager, agent: string, input: Json): Promise<RunStatus> {
  const { run } = await manager.create({ agent, input });
  return manager.settled(run);
}

/** Verifies a run with its children, the model asked again. */
export async function verifyScripted(vm: Vm, manager: RunManager, run: Hex, model: Script) {
  const recomputer: Recomputer = {
    identity: TOY_IDENTITY,
    check: async (request, _seed, claim) => alongClaim(answerOf(request, model), claim),
  };
  const ports = {
    executor: createExecutor(vm, recomputer),
    trust: trustSigner(OPERATOR),
    now: () => performance.now(),
  };
  const children = verifyChildren(ports, async (child) => createReadStream(manager.bundle(child)));
  return verifyBundle({ ...ports, children }, [await readFile(manager.bundle(run))]);
}

function scriptedClient(model: Script): Pick<InferenceClient, 'complete'> {
  return {
    complete: async (request, place) => {
      const completion = answerOf(request, model);
      return { ...completion, receipt: signReceipt({ ...place, request, completion }, SIGNER_KEY) };
    },
  };
}

function answerOf(request: InferenceRequest, model: Script) {
  const text = model(request);
  return {
    promptIds: [...utf8(request.messages.map((message) => message.content).join('|'))],
    outputIds: [...utf8(text)],
    text,
    finishReason: request.responseFormat.type === 'choice' ? ('choice' as const) : ('stop' as const),
    masks: null,
  };
}

/** The text of calls as a model writes them. */
export function callsText(...calls: readonly (readonly [name: string, input: unknown])[]): string {
  return calls
    .map(([name, input]) => {
      const written = typeof input === 'string' ? input : JSON.stringify(input);
      return `<tool_call>\n{"name": "${name}", "arguments": ${written}}\n</tool_call>`;
    })
    .join('\n');
}
