/**
 * Policy as data: what the agent and each of its tools may ask for. The runtime evaluates it before every start and
 * records the decision; a verifier evaluates it again.
 *
 * Spec: `attest/spec/trace.md#policy`.
 *
 * @module
 */

import type { Json } from '../encoding/canonical-json.ts';
import { limitsShape, type PolicyBody, type RunOpenBody } from './bodies.ts';
import { fieldError } from './errors.ts';
import {
  address,
  array,
  decimal64,
  decimal256,
  flag,
  hex32,
  integer,
  name,
  nullable,
  object,
  oneOf,
  type ShapeOf,
  selector,
  tagged,
  text,
} from './shape.ts';
import type { Counters } from './state.ts';
import { amountOf, parseWalletTarget, type WalletBook, type WalletTarget } from './wallet.ts';

const plain = <const C extends string>(capability: C) => object({ capability: oneOf(capability) });

const hostGrants = {
  'http.fetch': object({
    /** CIDR ranges that may be reached though they are not public, such as `127.0.0.1/32`. */
    addresses: array(text(64), 32),
    capability: oneOf('http.fetch'),
    /** Headers that the host adds; `{{secret:NAME}}` stands for a secret that no guest and no record ever holds. */
    headers: array(object({ name: text(64), value: text(512) }), 16),
    /** Whether these servers honour Idempotency-Key, so that a request may be sent again after a crash. */
    idempotent: flag,
    maxBytes: integer(1, 16 * 1024 * 1024),
    methods: array(oneOf('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'), 6),
    origins: array(text(512), 64),
  }),
  'kv.get': plain('kv.get'),
  'kv.put': plain('kv.put'),
  'clock.now': plain('clock.now'),
  'random.bytes': plain('random.bytes'),
  'human.approve': object({
    /** Addresses whose signature decides; with none, the operator's word is taken and the record is opaque. */
    approvers: array(address, 32),
    capability: oneOf('human.approve'),
  }),
  /** Tools of one MCP server; there may be several such grants. */
  'mcp.call': object({
    capability: oneOf('mcp.call'),
    /** Most bytes of an answer. */
    maxBytes: integer(1, 16 * 1024 * 1024),
    server: name(64),
    tools: array(
      object({
        /** Digest of the tool's definition; the tool is called only while its server defines it so. */
        definition: hex32,
        /** Whether a call may be sent again after a crash. */
        idempotent: flag,
        name: text(128),
      }),
      256,
    ),
  }),
  /** What may be sent on one chain; there may be several such grants. Amounts in wei. */
  'wallet.send': object({
    /** The wallet that sends. */
    address,
    /** Above this amount a person has to approve the call first; null: never. */
    approvalAbove: nullable(decimal256),
    calls: array(
      object({
        /** Null: any account. */
        contract: nullable(address),
        selectors: array(selector, 64),
        token: nullable(object({ units: decimal256, wei: decimal256 })),
      }),
      64,
    ),
    capability: oneOf('wallet.send'),
    chain: decimal64,
    /** Most that one call may pay in fees; counted whole. */
    fee: decimal256,
    perCall: decimal256,
    perRun: decimal256,
  }),
} as const;

/** What a tool may be granted: the host's capabilities. Tools call no tools, no model and no agent. */
const toolGrant = tagged('capability', hostGrants);

const grant = tagged('capability', {
  inference: plain('inference'),
  tool: object({ capability: oneOf('tool'), names: array(text(64), 64) }),
  'run.child': object({
    agents: array(object({ digest: hex32, limits: limitsShape, name: text(64) }), 64),
    capability: oneOf('run.child'),
  }),
  ...hostGrants,
});

/** One thing that is granted to the agent. */
export type Grant = ShapeOf<typeof grant>;

/** One thing that is granted to a tool. */
export type ToolGrant = ShapeOf<typeof toolGrant>;

const rules = object({
  agent: array(grant, 64),
  tools: array(object({ grants: array(toolGrant, 64), name: text(64) }), 64),
  version: oneOf(1),
});

/** The policy of a run. */
export type PolicyRules = ShapeOf<typeof rules>;

/** Reads a policy document. @throws {@link TraceError} `MALFORMED_BODY` with the dotted path */
export function parsePolicy(value: Json): PolicyRules {
  const policy = rules(value, 'policy');
  requireUnits(policy.agent, 'policy.agent');
  for (const [i, { grants }] of policy.tools.entries()) requireUnits(grants, `policy.tools.${i}.grants`);
  return policy;
}

/** Who asks, and for what. `target` is a tool name, `METHOD url`, a key, or the model id. */
export type PolicyRequest = { readonly tool: string | null; readonly capability: string; readonly target: string };

/** Decision on a request, with the place of the rule that made it. */
export type PolicyDecision = Pick<PolicyBody, 'decision' | 'form' | 'rule'>;

/** What a run has used, and may use. */
export type RunUse = {
  readonly counters: Counters;
  readonly open: Pick<RunOpenBody, 'limits' | 'exposure'>;
  readonly wallet: Pick<WalletBook, 'spent' | 'spentUnder' | 'isApproved'>;
};

/**
 * Decides a request. Everything that no grant names is denied; a request beyond the limit of steps is denied first.
 */
export function evaluatePolicy(policy: PolicyRules, request: PolicyRequest, use: RunUse): PolicyDecision {
  const { counters, open } = use;
  if (counters.steps + 1n > BigInt(open.limits.steps)) return { decision: 'deny', form: 'limit', rule: 'limits.steps' };
  const who = ownerOf(request.tool);
  const grants = grantsOf(policy, request.tool);
  if (request.capability === 'wallet.send') return evaluateSend(policy, request, use);
  for (const [i, candidate] of grants.entries()) {
    if (candidate.capability !== request.capability) continue;
    const rule = `${who}.${i}`;
    if (candidate.capability === 'http.fetch') {
      const allowed = allowsFetch(candidate, request.target);
      return { decision: allowed ? 'allow' : 'deny', form: 'origin-list', rule };
    }
    if (candidate.capability === 'tool' && !candidate.names.includes(request.target)) continue;
    if (candidate.capability === 'mcp.call' && !listsTool(candidate, request.target)) continue;
    if (candidate.capability === 'run.child' && childGrant(policy, request.target) === undefined) continue;
    return { decision: 'allow', form: 'grant', rule };
  }
  return { decision: 'deny', form: 'deny', rule: `${who}.default` };
}

/** The grant of one capability to the agent or to a tool, or undefined. */
export function grantOf<C extends ToolGrant['capability']>(
  policy: PolicyRules,
  tool: string | null,
  capability: C,
): Extract<ToolGrant, { capability: C }> | undefined {
  return grantsOf(policy, tool).find(
    (entry): entry is Extract<ToolGrant, { capability: C }> => entry.capability === capability,
  );
}

/** Digest and limits of an agent that may be run as a child, or undefined. */
export function childGrant(policy: PolicyRules, agent: string) {
  for (const entry of policy.agent) {
    if (entry.capability !== 'run.child') continue;
    const found = entry.agents.find(({ name }) => name === agent);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** A grant to call tools of an MCP server. */
export type McpGrant = Extract<ToolGrant, { capability: 'mcp.call' }>;

/** A grant to send transactions. */
export type WalletGrant = Extract<ToolGrant, { capability: 'wallet.send' }>;

/** The grant and its entry under which a guest calls a tool of an MCP server (`SERVER TOOL`), or undefined. */
export function mcpGrantOf(policy: PolicyRules, tool: string | null, target: string) {
  for (const grant of grantsOf(policy, tool)) {
    if (grant.capability !== 'mcp.call') continue;
    const entry = grant.tools.find(({ name: listed }) => target === `${grant.server} ${listed}`);
    if (entry !== undefined) return { grant, entry };
  }
  return undefined;
}

/** What a send is made under: the first grant that covers the call, its place in the policy, and what the send counts for. */
export type CoveredSend = {
  readonly grant: WalletGrant;
  /** Place of the grant. */
  readonly rule: string;
  /** Wei. */
  readonly amount: bigint;
  /** Whether a person has to approve it first. */
  readonly needsApproval: boolean;
  readonly target: WalletTarget;
};

/** The grant under which a guest sends (`walletTargetOf`), whatever is left of it; undefined where none covers the call. */
export function coveredSend(policy: PolicyRules, tool: string | null, target: string): CoveredSend | undefined {
  const send = parseWalletTarget(target);
  if (send === undefined) return undefined;
  for (const [i, grant] of grantsOf(policy, tool).entries()) {
    if (grant.capability !== 'wallet.send') continue;
    const amount = amountOf(grant, send);
    if (amount === undefined) continue;
    const needsApproval = grant.approvalAbove !== null && amount > BigInt(grant.approvalAbove);
    return { grant, rule: `${ownerOf(tool)}.${i}`, amount, needsApproval, target: send };
  }
  return undefined;
}

/** The most that a run under this policy can spend, in wei: what its wallet grants allow together. */
export function exposureOf(policy: PolicyRules): bigint {
  const grants: readonly Grant[] = [...policy.agent, ...policy.tools.flatMap(({ grants: own }) => own)];
  return grants.reduce((sum, grant) => sum + (grant.capability === 'wallet.send' ? BigInt(grant.perRun) : 0n), 0n);
}

function evaluateSend(policy: PolicyRules, { tool, target }: PolicyRequest, { open, wallet }: RunUse): PolicyDecision {
  const covered = coveredSend(policy, tool, target);
  if (covered === undefined) {
    const at = grantsOf(policy, tool).findIndex(({ capability }) => capability === 'wallet.send');
    return { decision: 'deny', form: 'deny', rule: `${ownerOf(tool)}.${at < 0 ? 'default' : `${at}.calls`}` };
  }
  const { grant, rule, amount, needsApproval } = covered;
  const denied = (name: string): PolicyDecision => ({ decision: 'deny', form: 'limit', rule: name });
  if (amount > BigInt(grant.perCall)) return denied(`${rule}.perCall`);
  if (wallet.spentUnder(rule) + amount > BigInt(grant.perRun)) return denied(`${rule}.perRun`);
  if (wallet.spent + amount > BigInt(open.exposure)) return denied('exposure');
  if (needsApproval && !wallet.isApproved(tool, covered.target.digest)) return denied(`${rule}.approvalAbove`);
  return { decision: 'allow', form: 'grant', rule };
}

function listsTool(grant: McpGrant, target: string): boolean {
  return grant.tools.some(({ name: listed }) => target === `${grant.server} ${listed}`);
}

function ownerOf(tool: string | null): string {
  return tool === null ? 'agent' : `tools.${tool}`;
}

function grantsOf(policy: PolicyRules, tool: string | null): readonly Grant[] {
  return tool === null ? policy.agent : (policy.tools.find((entry) => entry.name === tool)?.grants ?? []);
}

/** A token is worth something by a number of units that is not zero. */
function requireUnits(grants: readonly Grant[], path: string): void {
  for (const [i, grant] of grants.entries()) {
    if (grant.capability !== 'wallet.send') continue;
    for (const [j, { token }] of grant.calls.entries()) {
      if (token?.units !== '0') continue;
      throw fieldError('MALFORMED_BODY', `${path}.${i}.calls.${j}.token.units`, 'expected a number above 0');
    }
  }
}

/** Whether a grant allows `METHOD url`: a listed method, an http(s) URL without credentials, a listed origin. */
export function allowsFetch(fetch: Extract<Grant, { capability: 'http.fetch' }>, target: string): boolean {
  const space = target.indexOf(' ');
  const method = target.slice(0, space);
  const url = parseUrl(target.slice(space + 1));
  if (url === null || url.username !== '' || url.password !== '') return false;
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return false;
  return (fetch.methods as readonly string[]).includes(method) && fetch.origins.includes(url.origin);
}

function parseUrl(value: string): URL | null {
  return URL.canParse(value) ? new URL(value) : null;
}
