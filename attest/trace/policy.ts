/**
 * Policy as data: what the agent and each of its tools may ask for. The runtime evaluates it before every start and
 * records the decision; a verifier evaluates it again.
 *
 * Spec: `attest/spec/trace.md#policy`.
 *
 * @module
 */

import type { Json } from '../encoding/canonical-json.ts';
import { type Limits, limitsShape, type PolicyBody } from './bodies.ts';
import { address, array, flag, hex32, integer, object, oneOf, type ShapeOf, tagged, text } from './shape.ts';
import type { Counters } from './state.ts';

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
  return rules(value, 'policy');
}

/** Who asks, and for what. `target` is a tool name, `METHOD url`, a key, or the model id. */
export type PolicyRequest = { readonly tool: string | null; readonly capability: string; readonly target: string };

/** Decision on a request, with the place of the rule that made it. */
export type PolicyDecision = Pick<PolicyBody, 'decision' | 'form' | 'rule'>;

/**
 * Decides a request. Everything that no grant names is denied; a request beyond the limit of steps is denied first.
 */
export function evaluatePolicy(
  policy: PolicyRules,
  request: PolicyRequest,
  counters: Counters,
  limits: Limits,
): PolicyDecision {
  if (counters.steps + 1n > BigInt(limits.steps)) return { decision: 'deny', form: 'limit', rule: 'limits.steps' };
  const who = request.tool === null ? 'agent' : `tools.${request.tool}`;
  const grants =
    request.tool === null ? policy.agent : (policy.tools.find((tool) => tool.name === request.tool)?.grants ?? []);
  for (const [i, candidate] of grants.entries()) {
    if (candidate.capability !== request.capability) continue;
    const rule = `${who}.${i}`;
    if (candidate.capability === 'http.fetch') {
      const allowed = allowsFetch(candidate, request.target);
      return { decision: allowed ? 'allow' : 'deny', form: 'origin-list', rule };
    }
    if (candidate.capability === 'tool' && !candidate.names.includes(request.target)) continue;
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
  const grants = tool === null ? policy.agent : (policy.tools.find((entry) => entry.name === tool)?.grants ?? []);
  return grants.find((entry): entry is Extract<ToolGrant, { capability: C }> => entry.capability === capability);
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
