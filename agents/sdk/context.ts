/**
 * `ctx`: the only way for agent and tool code to act. Each method is one host call, recorded as one step. Here is what agents and tools
 * share, and the `ctx` of tools.
 *
 * @module
 */

import type { FetchMethod } from './capabilities.ts';
import { toMcpCaller } from './mcp-call.ts';
import { toWalletContext, type WalletContext, type WalletRule } from './wallet.ts';

/** Makes a host call; the engine's end of `runtime/spec/sandbox.md#host-calls`. */
export type HostCaller = (method: string, args: unknown) => Promise<unknown>;

/** What `ctx.fetch` sends besides the URL. */
export type FetchOptions = {
  /** `GET` if left out. */
  readonly method?: FetchMethod;
  /** Of `accept`, `accept-language`, `content-type`, `if-*`; any other is refused (`BAD_REQUEST`). */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | null;
};

/** An answer over HTTP; `body` is text. */
export type FetchAnswer = {
  readonly status: number;
  /** Names in lower case; the host passes on a short list of them. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** The body, parsed. @throws SyntaxError */
  json(): unknown;
};

/** What a person is asked. */
export type ApprovalRequest = {
  /** One line, at most 1,000 characters. */
  readonly summary: string;
  /** What is to be approved, as data: safe integers and text. */
  readonly details?: unknown;
  /** Milliseconds after which it fails (`HOST_CALL_FAILED`, `TIMEOUT`); 0, the default, waits as long as the run may. */
  readonly timeoutMs?: number;
};

/** What a person decided. */
export type ApprovalAnswer = {
  readonly approved: boolean;
  /** Address of the person's key. */
  readonly approver: string | null;
  readonly note: string;
  /** Theirs over run, request and decision; null where the operator's word was taken. */
  readonly signature: string | null;
};

/** A store of texts, kept until the run ends; the agent and each tool have their own. */
export type KeyValue = {
  /** The text under a key, or null. */
  get(key: string): Promise<string | null>;
  put(key: string, value: string): Promise<void>;
};

/**
 * What agents and tools share. A refused or failed call rejects with an `Error` whose `code` is of a closed list
 * (`CAPABILITY_DENIED`, `HOST_CALL_FAILED`, …). Calls that are made before one is awaited are served side by side.
 */
export type BaseContext = {
  /** Milliseconds since 1970, as recorded. */
  now(): Promise<number>;
  /** `length` random bytes, 1 to 65,536, in lower-case hexadecimal with `0x`, as recorded. */
  random(length: number): Promise<string>;
  readonly kv: KeyValue;
  /** Asks a person, and waits, for days if need be; a run that waits holds nothing. */
  approve(request: ApprovalRequest): Promise<ApprovalAnswer>;
  /** Writes a line to the run's log, which is recorded too. */
  log(...values: readonly unknown[]): void;
};

/** The types alone; nothing is there when it runs. */
export type Typed<Sent, Given> = { readonly types?: { readonly sent: (sent: Sent) => void; readonly given: Given } };

/** What `ctx.tool` needs of a tool: its name, and its types. */
export type ToolHandle<Sent, Given> = Typed<Sent, Given> & {
  readonly kind: 'tool';
  readonly name: string;
  /** Whether input and result cross the sandbox's wall as JSON text, since they may hold fractions. */
  readonly asText?: true;
};

/** `ctx` of a tool. */
export type ToolContext = BaseContext & {
  /** Fetches a text; only what the tool's `capabilities.fetch` and the operator allow. */
  fetch(url: string, options?: FetchOptions): Promise<FetchAnswer>;
  /**
   * Calls a tool of an MCP server; only what the tool's `capabilities.mcp` and the operator allow.
   *
   * @throws Error with the server's words for what it calls an error
   */
  mcp(server: string, tool: string, input?: unknown): Promise<unknown>;
  /** The agent's wallet; only what the tool's `capabilities.wallet` and the operator allow. */
  readonly wallet: WalletContext;
};

/**
 * Makes the `ctx` of a tool.
 *
 * @param wallet - what it declares of wallets
 */
export function toToolContext(call: HostCaller, wallet?: readonly WalletRule[]): ToolContext {
  return {
    ...toBaseContext(call),
    mcp: toMcpCaller(call),
    wallet: toWalletContext(call, wallet),
    fetch: async (url, { method = 'GET', headers = {}, body = null } = {}) => {
      const answer = (await call('http.fetch', { url: String(url), method, headers, body })) as Omit<
        FetchAnswer,
        'json'
      >;
      return { ...answer, json: () => JSON.parse(answer.body) as unknown };
    },
  };
}

/** Makes what agents and tools share. */
export function toBaseContext(call: HostCaller): BaseContext {
  return {
    now: () => call('clock.now', {}) as Promise<number>,
    random: (length) => call('random.bytes', { length }) as Promise<string>,
    kv: {
      get: (key) => call('kv.get', { key }) as Promise<string | null>,
      put: async (key, value) => {
        await call('kv.put', { key, value });
      },
    },
    approve: ({ summary, details = null, timeoutMs = 0 }) =>
      call('human.approve', { summary, details, timeoutMs }) as Promise<ApprovalAnswer>,
    log: (...values) => console.log(...values),
  };
}
