/**
 * The policy of a run: what agent and tools declare, cut down to what the operator grants.
 *
 * @module
 */

import type { PolicyRules, ToolGrant } from '../attest/trace/policy.ts';
import type { ToolManifest } from './sdk/index.ts';

/** What the operator allows. */
export type OperatorGrants = {
  /** Origins that tools may fetch from, if they declare them. */
  readonly origins: readonly string[];
  /** Greatest response in bytes. */
  readonly maxBytes: number;
  /** CIDR ranges that may be reached though they are not public, `127.0.0.1/32` for servers on this computer. */
  readonly addresses?: readonly string[];
};

const ALWAYS = ['clock.now', 'random.bytes', 'kv.get', 'kv.put'] as const;

/**
 * Makes a policy. The agent may infer, use its tools, its store, clock and random bytes. A tool may do what it declares,
 * and fetch from those origins only that the operator grants too.
 */
export function createPolicy(
  tools: ReadonlyMap<string, ToolManifest['capabilities']>,
  grants: OperatorGrants,
): PolicyRules {
  const names = [...tools.keys()].sort();
  return {
    version: 1,
    agent: [{ capability: 'inference' }, { capability: 'tool', names }, ...plainGrants(ALWAYS)],
    tools: names.map((name) => {
      const { fetch = [], kv, clock, random } = tools.get(name) ?? {};
      const origins = grants.origins.filter((origin) => fetch.some((pattern) => coversOrigin(pattern, origin)));
      const fetches: ToolGrant = {
        addresses: grants.addresses ?? [],
        capability: 'http.fetch',
        headers: [],
        idempotent: false,
        maxBytes: grants.maxBytes,
        methods: ['GET'],
        origins,
      };
      const declared = plainGrants([
        ...(kv === true ? (['kv.get', 'kv.put'] as const) : []),
        ...(clock === true ? (['clock.now'] as const) : []),
        ...(random === true ? (['random.bytes'] as const) : []),
      ]);
      return { name, grants: origins.length === 0 ? declared : [fetches, ...declared] };
    }),
  };
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
