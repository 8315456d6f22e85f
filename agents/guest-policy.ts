/**
 * The policy of a run: what agent and tools declare, cut down to what the operator grants.
 *
 * @module
 */

import type { Hex } from '../attest/core/bytes.ts';
import type { Limits } from '../attest/trace/bodies.ts';
import { hashGuestCode } from '../attest/trace/guest.ts';
import type { Grant, PolicyRules, ToolGrant, WalletGrant } from '../attest/trace/policy.ts';
import { templateSecrets } from '../runtime/secrets.ts';
import type { AgentCode } from './guest-code.ts';
import type { CapabilitySet, FetchMethod, FetchRule, McpCapability, WalletRule } from './sdk/index.ts';

/** What the operator allows. */
export type OperatorGrants = {
  /** Origins that tools may fetch from, if they declare them. */
  readonly origins: readonly string[];
  /** Greatest response in bytes. */
  readonly maxBytes: number;
  /** Methods that tools may use, if they declare them; `GET` and `HEAD`, which change nothing, if left out. */
  readonly methods?: readonly FetchMethod[];
  /** CIDR ranges that may be reached though they are not public, `127.0.0.1/32` for servers on this computer. */
  readonly addresses?: readonly string[];
  /** For each secret, the origins that it may be sent to. */
  readonly secrets?: Readonly<Record<string, readonly string[]>>;
  /** Addresses of the people whose signature approves; with none, the operator's own word is taken. */
  readonly approvers?: readonly Hex[];
  /** MCP servers that there are; tools may call what they pinned of these. */
  readonly mcp?: readonly string[];
  /** What the agent's tools may spend of its wallet, if they declare it: for a tool and a chain one entry. */
  readonly wallet?: readonly WalletLimits[];
  /** Agents that may be run as children, with the limits of such a run. */
  readonly agents?: Readonly<Record<string, Limits>>;
};

/** What one tool may spend on one chain; amounts in wei, decimal. */
export type WalletLimits = Omit<WalletGrant, 'capability'> & { readonly tool: string };

const ALWAYS = ['clock.now', 'random.bytes', 'kv.get', 'kv.put'] as const;

/** Methods that change nothing (RFC 9110 §9.2.1). */
const SAFE_METHODS: readonly FetchMethod[] = ['GET', 'HEAD'];

/**
 * Makes a policy. The agent may infer, use its tools, its store, clock and random bytes, ask a person, and run those of its agents that
 * the operator gives limits. A tool may do what it declares, and fetch from those origins and with those methods only that the
 * operator grants too. Headers that the host adds are sent to every origin of a tool, so an origin that must not see one of
 * their secrets is not granted to that tool.
 *
 * @param agents - code of the agent's agents
 * @throws {@link SecretError} `MALFORMED_TEMPLATE` for a header's template that is none
 * @throws TypeError for an origin of the operator's that is no URL
 */
export function createPolicy(
  tools: ReadonlyMap<string, CapabilitySet>,
  grants: OperatorGrants,
  agents: ReadonlyMap<string, AgentCode> = new Map(),
): PolicyRules {
  const names = [...tools.keys()].sort();
  const approval = { approvers: [...(grants.approvers ?? [])], capability: 'human.approve' } as const;
  return {
    version: 1,
    agent: [
      { capability: 'inference' },
      { capability: 'tool', names },
      ...plainGrants(ALWAYS),
      approval,
      ...childGrants(agents, grants),
    ],
    tools: names.map((name) => {
      const { fetch = [], kv, clock, random, approve, mcp = [], wallet = [] } = tools.get(name) ?? {};
      const declared = plainGrants([
        ...(kv === true ? (['kv.get', 'kv.put'] as const) : []),
        ...(clock === true ? (['clock.now'] as const) : []),
        ...(random === true ? (['random.bytes'] as const) : []),
      ]);
      const asking = [...fetchGrants(fetch, grants), ...mcpGrants(mcp, grants)];
      const spending = walletGrants(name, wallet, grants);
      // Whoever may be told to ask a person may ask.
      const asks = approve === true || spending.some(({ approvalAbove }) => approvalAbove !== null);
      return { name, grants: [...asking, ...spending, ...declared, ...(asks ? [approval] : [])] };
    }),
  };
}

/** The one grant of requests of a tool, or none. Its rules differ in their URLs only (`sdk/capabilities.ts`). */
function fetchGrants(rules: readonly FetchRule[], grants: OperatorGrants): readonly ToolGrant[] {
  const [rule] = rules;
  if (rule === undefined) return [];
  const { headers, idempotent } = rule;
  const secrets = headers.flatMap(({ value }) => templateSecrets(value));
  const mayGo = (secret: string, origin: string) =>
    Object.hasOwn(grants.secrets ?? {}, secret) && canonical(grants.secrets?.[secret]).includes(origin);
  const origins = canonical(grants.origins)
    .filter((origin) => rules.some(({ url }) => coversOrigin(url, origin)))
    .filter((origin) => secrets.every((secret) => mayGo(secret, origin)));
  const methods = rule.methods.filter((method) => (grants.methods ?? SAFE_METHODS).includes(method));
  if (origins.length === 0 || methods.length === 0) return [];
  const maxBytes = Math.min(grants.maxBytes, rule.maxBytes ?? grants.maxBytes);
  return [
    {
      addresses: [...(grants.addresses ?? [])],
      capability: 'http.fetch',
      headers: [...headers],
      idempotent,
      maxBytes,
      methods,
      origins,
    },
  ];
}

/** The grants of a tool's MCP tools, one for each server that there is. */
function mcpGrants(pins: readonly McpCapability[], { mcp = [], maxBytes }: OperatorGrants): readonly ToolGrant[] {
  return [...new Set(pins.map(({ server }) => server))]
    .filter((server) => mcp.includes(server))
    .sort()
    .map((server) => ({
      capability: 'mcp.call',
      maxBytes,
      server,
      tools: pins
        .filter((pin) => pin.server === server)
        .map(({ tool, definition, idempotent }) => ({ definition: definition as Hex, idempotent, name: tool }))
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
    }));
}

/** The grants of a tool to spend: what it declares, as far as the operator lists it too. */
function walletGrants(
  name: string,
  rules: readonly WalletRule[],
  { wallet = [] }: OperatorGrants,
): readonly WalletGrant[] {
  return wallet.flatMap(({ tool, ...limits }) => {
    const rule = rules.find(({ chain }) => chain === limits.chain);
    if (tool !== name || rule === undefined) return [];
    const calls = limits.calls.flatMap((granted) => rule.calls.flatMap((declared) => meet(granted, declared)));
    return calls.length === 0 ? [] : [{ ...limits, calls, capability: 'wallet.send' } as const];
  });
}

/** What both the operator and the tool list; the operator says what a token counts for. */
function meet(
  granted: WalletGrant['calls'][number],
  declared: WalletRule['calls'][number],
): readonly WalletGrant['calls'][number][] {
  const { contract, selectors, token } = granted;
  if (contract !== null && declared.contract !== null && contract !== declared.contract) return [];
  const both = selectors.filter((one) => declared.selectors.includes(one));
  return both.length === 0 ? [] : [{ contract: contract ?? (declared.contract as Hex | null), selectors: both, token }];
}

function childGrants(
  agents: ReadonlyMap<string, AgentCode>,
  { agents: limits = {} }: OperatorGrants,
): readonly Grant[] {
  const granted = [...agents]
    .filter(([name]) => Object.hasOwn(limits, name))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, code]) => {
      const own = limits[name];
      return own === undefined ? [] : [{ digest: hashGuestCode(code.agent), limits: own, name }];
    });
  return granted.length === 0 ? [] : [{ agents: granted, capability: 'run.child' }];
}

/** Origins as URL parsers write them, each once. */
function canonical(origins: readonly string[] = []): readonly string[] {
  return [...new Set(origins.map((origin) => new URL(origin).origin))];
}

function plainGrants(capabilities: readonly (typeof ALWAYS)[number][]): readonly ToolGrant[] {
  return capabilities.map((capability) => ({ capability }));
}

/**
 * Whether a declared pattern covers a whole origin: `https://host`, `https://host/*`, or with `*` as the port. A pattern
 * with a path covers none: this version grants origins, not paths.
 */
export function coversOrigin(pattern: string, origin: string): boolean {
  const found = /^(https?):\/\/([^/:*]+)(?::([0-9]+|\*))?(?:\/\*?)?$/.exec(pattern);
  if (found === null) return false;
  const [, protocol, host, port] = found;
  const url = new URL(origin);
  if (url.protocol !== `${protocol}:` || url.hostname !== host) return false;
  return port === '*' || url.origin === new URL(`${protocol}://${host}${port === undefined ? '' : `:${port}`}`).origin;
}
