/**
 * Puts a runtime together: agents bundled, sandbox, model, operator's key, journals, spans. Off chain in this version.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { defined } from '../../attest/core/defined.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import type { InferenceIdentity } from '../../attest/trace/bodies.ts';
import { hashGuestCode } from '../../attest/trace/guest.ts';
import { type InferenceClient, openInferenceClient } from '../../inference/client.ts';
import { openRunMetrics, type RunMetrics } from '../../runtime/api/metrics.ts';
import { openRequestBook, type RequestBook } from '../../runtime/api/requests.ts';
import { openRunManager } from '../../runtime/manager.ts';
import type { ManagedAgent, RunManager } from '../../runtime/manager-types.ts';
import type { McpPin, McpServers } from '../../runtime/mcp/servers.ts';
import { OFF_CHAIN } from '../../runtime/plan.ts';
import type { Machinery } from '../../runtime/queue/ports.ts';
import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import type { Secrets } from '../../runtime/secrets.ts';
import type { RunSpans } from '../../runtime/telemetry/spans.ts';
import type { Wallets } from '../../runtime/wallet/wallet.ts';
import { bundleAgent } from '../bundle.ts';
import { type AgentCode, toAgentCode } from '../guest-code.ts';
import { createPolicy } from '../guest-policy.ts';
import { pinsOf } from '../mcp/pins.ts';
import type { Environment } from './environment.ts';
import { startOwnInference } from './own-inference.ts';
import { type RedisSettings, readRedisOptions } from './redis-options.ts';
import { type RuntimeOptions, type RuntimeSettings, RuntimeUsageError, readRuntimeOptions } from './runtime-options.ts';
import { keyOfFile, readSecretKey } from './secret-key.ts';
import { walletLimitsOf, walletSecret } from './wallet-config.ts';

/** A runtime that is open. */
export type OpenRuntime = {
  readonly manager: RunManager;
  readonly book: RequestBook;
  readonly metrics: RunMetrics;
  readonly agents: readonly ManagedAgent[];
  readonly settings: RuntimeSettings;
  /** Where runs are queued and kept, to show. */
  readonly place: string;
  /** Puts runs aside as they stand, and ends everything. */
  close(): Promise<void>;
};

/** 32 random bytes. */
export function random32(): Uint8Array {
  return Uint8Array.from(randomBytes(32));
}

/**
 * Opens a runtime; runs that a process left behind go on.
 *
 * @param files - modules of agents
 * @param say - told what the operator should know, a line each
 * @throws {@link RuntimeUsageError} before anything is opened
 * @throws {@link BundleError}, {@link ClientError}, {@link ModelError}, and what the model's server throws
 */
export async function openRuntime(
  files: readonly string[],
  options: RuntimeOptions & { readonly maxActive?: number | undefined; readonly works?: boolean },
  environment: Environment,
  say: (line: string) => void,
): Promise<OpenRuntime> {
  const settings = readRuntimeOptions(options, environment);
  const redis = readRedisOptions(options.redis, environment);
  const key = operatorKey(environment, say);
  const closers: (() => Promise<void>)[] = [];
  const close = async () => {
    for (const end of closers.splice(0).reverse()) await end();
  };
  try {
    const vm = await openQuickJsVm();
    closers.push(() => vm.close());
    if (vm.secondWall === 'none') say(`no second wall: ${vm.wallReason}`);
    else if (vm.wallReason !== '') say(`second wall is ${vm.secondWall}: ${vm.wallReason}`);
    const wallets = await openWalletsOf(
      settings,
      walletSecret(environment, () => key),
      say,
    );
    if (wallets !== undefined) closers.push(() => wallets.close());
    const agents: ManagedAgent[] = [];
    const pins: McpPin[] = [];
    for (const file of files) {
      const code = toAgentCode(await bundleAgent(file, { vm }));
      for (const agent of toManaged(code, settings, wallets)) addAgent(agents, agent);
      pins.push(...pinsOf(code));
    }
    const secrets: Secrets = { get: (name) => settings.secrets.get(name) };
    const mcp = await openMcp(settings, pins, secrets, say);
    if (mcp !== undefined) closers.push(() => mcp.close());
    const { client, end } = await openModel(options, settings, environment, say);
    closers.push(end);
    const identity = await identityOf(client);
    let manager: RunManager | undefined;
    const spans = await openSpans(settings, (run) => manager?.list().find((one) => one.run === run)?.parent?.run);
    if (spans !== undefined) closers.push(() => spans.close());
    const metrics = openRunMetrics({ withProcess: true });
    const onFault = (run: string | undefined, error: unknown) => console.error(`run ${run ?? '?'}: ${describe(error)}`);
    const shared = redis && (await openShared(redis, settings, options.maxActive, onFault));
    const place = shared?.place ?? settings.folder;
    const opened = await openRunManager(
      {
        vm,
        inference: client,
        secrets,
        ...defined({ mcp, wallets }),
        now: Date.now,
        random: random32,
        key,
        deployment: OFF_CHAIN,
        identity,
        onRecord(run, agent, seen) {
          metrics.onRecord(run, agent, seen);
          spans?.onRecord(run, agent, seen);
        },
        onFault,
      },
      {
        agents,
        works: options.works ?? true,
        ...(shared === undefined
          ? { folder: settings.folder, ...defined({ maxActive: options.maxActive }) }
          : { machinery: shared.machinery }),
      },
    );
    manager = opened;
    closers.push(() => opened.close());
    const book = await openRequestBook(join(settings.folder, 'requests'));
    say('off chain: no bond stands behind these runs, verify them with --signer');
    return { manager: opened, book, metrics, agents, settings, place, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** An agent and those that it may run, with what the operator grants. */
function toManaged(code: AgentCode, settings: RuntimeSettings, wallets?: Wallets): readonly ManagedAgent[] {
  const { grants, limits } = settings;
  const children = Object.fromEntries([...code.agents.keys()].map((name) => [name, limits]));
  const wallet = wallets === undefined ? [] : walletLimitsOf(settings.wallet, nameOf(code), wallets);
  const policy = createPolicy(code.capabilities, { ...grants, agents: children, wallet }, code.agents);
  const own = { name: nameOf(code), agent: code.agent, tools: code.tools, policy, limits };
  return [own, ...[...code.agents.values()].flatMap((child) => toManaged(child, settings, wallets))];
}

/** Adds an agent; one that several agents run is there once. */
function addAgent(agents: ManagedAgent[], agent: ManagedAgent): void {
  const known = agents.find(({ name }) => name === agent.name);
  if (known === undefined) agents.push(agent);
  else if (hashGuestCode(known.agent) !== hashGuestCode(agent.agent)) {
    throw new RuntimeUsageError('DUPLICATE_AGENT', `two agents are called ${agent.name}`, {
      at: { agent: agent.name },
    });
  }
}

function nameOf({ agent }: AgentCode): string {
  return String((agent.manifest as { readonly name?: unknown } | null)?.name ?? '');
}

/** The operator's key: that of the environment, or one of its own that stays, since runs go on under their key only. */
export function operatorKey({ env, tracebondHome }: Environment, say: (line: string) => void): Uint8Array {
  const refuse = (reason: string) => new RuntimeUsageError('BAD_OPERATOR_KEY', reason);
  const given = env['TRACEBOND_OPERATOR_KEY'];
  if (given) return readSecretKey(given, (reason) => refuse(`TRACEBOND_OPERATOR_KEY: ${reason}`));
  const path = join(tracebondHome, 'operator.key');
  const { key } = keyOfFile(path, refuse);
  say(`SIMULATED operator ${addressOf(key)}: its key was made here and lies in ${path}; set TRACEBOND_OPERATOR_KEY`);
  return key;
}

/** The wallets of a runtime; loaded only where a chain is configured. */
async function openWalletsOf(
  { wallet }: RuntimeSettings,
  secret: Uint8Array,
  say: (line: string) => void,
): Promise<Wallets | undefined> {
  if (wallet.chains.size === 0) return undefined;
  const { openConfiguredWallets } = await import('./open-wallets.ts');
  return openConfiguredWallets(wallet, secret, say);
}

async function openModel(
  { model, profile }: RuntimeOptions,
  { inference }: RuntimeSettings,
  environment: Environment,
  say: (line: string) => void,
): Promise<{ readonly client: InferenceClient; readonly end: () => Promise<void> }> {
  const { env, tracebondHome } = environment;
  if (inference !== undefined) {
    const client = openInferenceClient({ url: inference, ...withKey(env['TRACEBOND_INFERENCE_KEY']) });
    return { client, end: async () => {} };
  }
  const path = join(tracebondHome, 'inference.key');
  const refuse = (reason: string) => new RuntimeUsageError('BAD_OPERATOR_KEY', reason);
  const given = env['TRACEBOND_SIGNING_KEY'];
  const signingKey = given
    ? readSecretKey(given, (reason) => refuse(`TRACEBOND_SIGNING_KEY: ${reason}`))
    : keyOfFile(path, refuse).key;
  if (!given) say(`SIMULATED signing key of the model ${addressOf(signingKey)}: it was made here and lies in ${path}`);
  const own = await startOwnInference({ model, profile }, signingKey, environment);
  const client = openInferenceClient({ url: own.url, signer: addressOf(signingKey), ...withKey(own.accessKey) });
  return { client, end: () => own.close() };
}

/** What a run names of the model in its first record. */
async function identityOf(client: InferenceClient): Promise<InferenceIdentity> {
  const { engine, id, model, operations, profile, profileName, tokenizer } = await client.identity();
  const signer = await client.signer();
  return { engine, id, model, operations, profile, profileName, signer, tokenizer };
}

/** Requests with an access key. */
function withKey(key: string | undefined): { readonly fetch?: typeof fetch } {
  if (key === undefined || key === '') return {};
  const authorization = `Bearer ${key}`;
  return {
    fetch: (input, init = {}) => fetch(input, { ...init, headers: { ...(init.headers as object), authorization } }),
  };
}

/** The machinery of many machines, loaded only where there are. */
async function openShared(
  { url, durability, prefix }: RedisSettings,
  { folder }: RuntimeSettings,
  concurrency: number | undefined,
  onFault: (run: string | undefined, error: unknown) => void,
): Promise<{ readonly machinery: Machinery; readonly place: string }> {
  const { openRedisMachinery } = await import('../../runtime/queue/redis-machinery.ts');
  const options = { url, durability, prefix, folder, onFault, ...defined({ concurrency }) };
  const machinery = await openRedisMachinery(options);
  const risk = durability === 'always' ? '' : ` (${durability}: a power cut there may cost the bond)`;
  return { machinery, place: `Redis at ${machinery.place}${risk}, bundles in ${folder}` };
}

/** The MCP servers, loaded only where there are any or some are wanted; the operator hears at once of pins that do not hold. */
async function openMcp(
  { mcp: config }: RuntimeSettings,
  pins: readonly McpPin[],
  secrets: Secrets,
  say: (line: string) => void,
): Promise<McpServers | undefined> {
  if (config.size === 0 && pins.length === 0) return undefined;
  const { openMcpServers } = await import('../../runtime/mcp/servers.ts');
  const servers = openMcpServers(config, { secrets, say });
  await servers.check(pins);
  return servers;
}

/** Loaded only where spans are wanted. */
async function openSpans(
  { otlp }: RuntimeSettings,
  parentOf: (run: `0x${string}`) => `0x${string}` | undefined,
): Promise<RunSpans | undefined> {
  if (otlp === undefined) return undefined;
  const { openOtlpSpans } = await import('../../runtime/telemetry/otlp.ts');
  return openOtlpSpans(otlp, { version: '0.1.0', parentOf });
}

function describe(error: unknown): string {
  return error instanceof Error
    ? `${(error as { code?: string }).code ?? error.name}: ${error.message}`
    : String(error);
}
