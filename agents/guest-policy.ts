/**
 * The policy of a run: what agent and tools declare, cut down to what the operator grants.
 *
 * @module
 */

import type { Grant, PolicyRules } from '../attest/trace/policy.ts';

/** What the manifest of a tool says of its needs. */
export type DeclaredCapabilities = {
  readonly fetch?: readonly string[];
  readonly kv?: unknown;
};

/** What the operator allows. */
export type OperatorGrants = {
  /** Origins that tools may fetch from, if they declare them. */
  readonly origins: readonly string[];
  /** Greatest response in bytes. */
  readonly maxBytes: number;
};

const ALWAYS = ['clock.now', 'random.bytes', 'kv.get', 'kv.put'] as const;

/**
 * Makes a policy. The agent may infer, use its tools, its store, clock and random bytes; a tool may fetch from those
 * origins that it declares and the operator grants.
 *
 * @param tools - declared capabilities by tool name
 */
export function createPolicy(tools: ReadonlyMap<string, DeclaredCapabilities>, grants: OperatorGrants): PolicyRules {
  const names = [...tools.keys()].sort();
  return {
    version: 1,
    agent: [
      { capability: 'inference' },
      { capability: 'tool', names },
      ...ALWAYS.map((capability): Grant => ({ capability })),
    ],
    tools: names.map((name) => {
      const declared = tools.get(name)?.fetch ?? [];
      const origins = grants.origins.filter((origin) => declared.some((pattern) => coversOrigin(pattern, origin)));
      const fetch: Grant = { capability: 'http.fetch', maxBytes: grants.maxBytes, methods: ['GET'], origins };
      const own = ALWAYS.map((capability): Grant => ({ capability }));
      return { name, grants: origins.length === 0 ? own : [fetch, ...own] };
    }),
  };
}

/**
 * Whether a declared pattern covers an origin: `https://host`, `https://host/*`, or with `*` as the port.
 */
export function coversOrigin(pattern: string, origin: string): boolean {
  const found = /^(https?):\/\/([^/:*]+)(?::([0-9]+|\*))?(?:\/\*?)?$/.exec(pattern);
  if (found === null) return false;
  const [, protocol, host, port] = found;
  const url = new URL(origin);
  if (url.protocol !== `${protocol}:` || url.hostname !== host) return false;
  return port === '*' || url.origin === new URL(`${protocol}://${host}${port === undefined ? '' : `:${port}`}`).origin;
}
