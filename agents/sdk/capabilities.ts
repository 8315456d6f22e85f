/**
 * What a tool declares that it needs, in the form in which its manifest holds it. The operator's grants cut it down
 * (`guest-policy.ts`); whatever is not declared is denied.
 *
 * @module
 */

import { toWalletRules, type WalletCapability, type WalletRule } from './wallet.ts';

/** Methods of `ctx.fetch`. */
export const FETCH_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;

/** A method of `ctx.fetch`. */
export type FetchMethod = (typeof FETCH_METHODS)[number];

/** Requests that a tool wants to make. */
export type FetchCapability = {
  /** An origin, `https://books.example.com/*`; the port may be `*`. */
  readonly url: string;
  /** `['GET']` if left out. */
  readonly methods?: readonly FetchMethod[];
  /** Headers that the host adds. `{{secret:NAME}}` in a value stands for a secret that no guest ever sees. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether the server honours Idempotency-Key, so that a request may be sent again after a crash. */
  readonly idempotent?: boolean;
  /** Greatest response in bytes; what the operator allows if left out. */
  readonly maxBytes?: number;
};

/** A tool of an MCP server that a tool calls, as `tracebond mcp pin` pinned it. */
export type McpCapability = {
  /** As the operator's configuration names it. */
  readonly server: string;
  /** As the server names it. */
  readonly tool: string;
  /** Digest of its definition. */
  readonly definition: string;
  /** Whether a call may be sent again after a crash. */
  readonly idempotent: boolean;
};

/** What a developer writes. */
export type Capabilities = {
  /** What `ctx.fetch` may ask; a text is the URL of a `GET`. Rules of one tool differ in their URLs only. */
  readonly fetch?: readonly (string | FetchCapability)[];
  /** `ctx.kv`, a namespace of the tool's own. */
  readonly kv?: boolean;
  /** `ctx.now`. */
  readonly clock?: boolean;
  /** `ctx.random`. */
  readonly random?: boolean;
  /** `ctx.approve`. */
  readonly approve?: boolean;
  /** What `ctx.mcp` may call. */
  readonly mcp?: readonly McpCapability[];
  /** What `ctx.wallet` may send. */
  readonly wallet?: readonly WalletCapability[];
};

/** One rule of {@link CapabilitySet}. */
export type FetchRule = {
  readonly url: string;
  readonly methods: readonly FetchMethod[];
  readonly headers: readonly { readonly name: string; readonly value: string }[];
  readonly idempotent: boolean;
  readonly maxBytes: number | null;
};

/** Capabilities, checked and complete, as manifests hold them. */
export type CapabilitySet = {
  readonly fetch: readonly FetchRule[];
  readonly kv: boolean;
  readonly clock: boolean;
  readonly random: boolean;
  readonly approve: boolean;
  /** Left out where there is none. */
  readonly mcp?: readonly McpCapability[];
  /** Left out where there is none. */
  readonly wallet?: readonly WalletRule[];
};

/**
 * Completes and checks capabilities.
 *
 * @param owner - the tool, for messages
 * @throws TypeError for a malformed rule or pin, or rules of one tool that differ in more than their URLs: a policy has one grant of requests
 *   for each tool, so the methods and headers meant for one origin would hold for the others
 */
export function toCapabilities(declared: Capabilities = {}, owner: string): CapabilitySet {
  const { fetch = [], kv = false, clock = false, random = false, approve = false, mcp = [], wallet = [] } = declared;
  if (!Array.isArray(fetch)) throw new TypeError(`capabilities.fetch of tool ${owner} must be a list`);
  const rules = fetch.map((rule) => toFetchRule(rule, owner));
  if (!differInUrlsOnly(rules)) {
    throw new TypeError(`rules of capabilities.fetch of tool ${owner} differ in more than their URLs`);
  }
  return {
    fetch: rules,
    kv: kv === true,
    clock: clock === true,
    random: random === true,
    approve: approve === true,
    ...toMcp(mcp, owner),
    ...toWallet(wallet, owner),
  };
}

function toWallet(declared: unknown, owner: string): Pick<CapabilitySet, 'wallet'> {
  const wallet = toWalletRules(declared, owner);
  return wallet.length === 0 ? {} : { wallet };
}

function toMcp(declared: unknown, owner: string): Pick<CapabilitySet, 'mcp'> {
  const refuse = (what: string) => new TypeError(`capabilities.mcp of tool ${owner}: ${what}`);
  if (!Array.isArray(declared)) throw refuse('expected a list');
  const tools = declared.map((entry: Partial<McpCapability> | null): McpCapability => {
    const { server, tool, definition, idempotent } = entry ?? {};
    if (typeof server !== 'string' || !/^[A-Za-z0-9._-]{1,64}$/.test(server)) throw refuse('a server has no name');
    if (typeof tool !== 'string' || tool.length === 0 || tool.length > 128) throw refuse('a tool has no name');
    if (typeof definition !== 'string' || !/^0x[0-9a-f]{64}$/.test(definition)) {
      throw refuse(`the definition of ${tool} must be the digest of a pin`);
    }
    return { server, tool, definition, idempotent: idempotent === true };
  });
  const names = tools.map(({ server, tool }) => `${server} ${tool}`);
  if (new Set(names).size !== names.length) throw refuse('a tool is listed twice');
  return tools.length === 0 ? {} : { mcp: tools };
}

/** Whether the rules of one tool can be one grant. */
export function differInUrlsOnly(rules: readonly FetchRule[]): boolean {
  return new Set(rules.map(({ url: _url, ...rest }) => JSON.stringify(rest))).size <= 1;
}

function toFetchRule(rule: unknown, owner: string): FetchRule {
  const refuse = (what: string) => new TypeError(`capabilities.fetch of tool ${owner}: ${what}`);
  const written = typeof rule === 'string' ? { url: rule } : (rule as Partial<FetchCapability> | null);
  const { url, methods = ['GET'], headers = {}, idempotent = false, maxBytes = null } = written ?? {};
  if (typeof url !== 'string') throw refuse('expected texts or rules with a url');
  if (!Array.isArray(methods) || methods.length === 0 || !methods.every((method) => FETCH_METHODS.includes(method))) {
    throw refuse(`methods must be of ${FETCH_METHODS.join(', ')}`);
  }
  const entries = Object.entries(headers as Readonly<Record<string, unknown>>);
  const named = entries.map(([name, value]) => {
    if (!/^[A-Za-z0-9-]{1,64}$/.test(name) || typeof value !== 'string') throw refuse(`header ${name} is malformed`);
    return { name: name.toLowerCase(), value };
  });
  if (maxBytes !== null && (!Number.isSafeInteger(maxBytes) || maxBytes < 1)) {
    throw refuse('maxBytes must be a whole number from 1');
  }
  return {
    url,
    methods: FETCH_METHODS.filter((method) => methods.includes(method)),
    headers: named.sort((a, b) => (a.name < b.name ? -1 : 1)),
    idempotent: idempotent === true,
    maxBytes,
  };
}
