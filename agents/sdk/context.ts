/**
 * `ctx`: the only way for agent and tool code to act. Each method is one host call, recorded as one step.
 *
 * @module
 */

/** Makes a host call; the engine's end of `runtime/spec/sandbox.md#host-calls`. */
export type HostCaller = (method: string, args: unknown) => Promise<unknown>;

/** One message of a conversation. */
export type Message = { readonly role: 'system' | 'user' | 'assistant'; readonly content: string };

/** Tokens of an answer to a request that names no most. */
const DEFAULT_MAX_TOKENS = 256;

/** What a model is asked. */
export type InferRequest = {
  readonly messages: readonly Message[];
  /** Most tokens of the answer; 256 if left out. */
  readonly maxTokens?: number;
  /** Free text, or exactly one of some strings. */
  readonly responseFormat?:
    | { readonly type: 'text' }
    | { readonly type: 'choice'; readonly choices: readonly string[] };
  /** At most four texts that end the answer and are not part of it. */
  readonly stop?: readonly string[];
};

/** A model's answer; `finishReason` is that of the inference server, such as `stop` or `length`. */
export type InferAnswer = { readonly text: string; readonly finishReason: string };

/** An answer over HTTP; `body` is text. */
export type FetchAnswer = { readonly status: number; readonly body: string };

/** A store of texts, kept from run to run. */
export type KeyValue = {
  /** The text under a key, or null. */
  get(key: string): Promise<string | null>;
  put(key: string, value: string): Promise<void>;
};

/**
 * What agents and tools share. A refused or failed call rejects with an `Error` whose `code` is of a closed list
 * (`CAPABILITY_DENIED`, `HOST_CALL_FAILED`, …).
 */
export type BaseContext = {
  /** Milliseconds since 1970, as recorded. */
  now(): Promise<number>;
  /** `length` random bytes, 1 to 65,536, in lower-case hexadecimal with `0x`, as recorded. */
  random(length: number): Promise<string>;
  readonly kv: KeyValue;
  /** Writes a line to the run's log, which is recorded too. */
  log(...values: readonly unknown[]): void;
};

/** What `ctx.tool` needs of a tool: its name, and its types. */
export type ToolHandle<Sent, Given> = {
  readonly kind: 'tool';
  readonly name: string;
  /** The types alone; nothing is there when it runs. */
  readonly types?: { readonly sent: (sent: Sent) => void; readonly given: Given };
};

/** `ctx` of an agent. */
export type AgentContext = BaseContext & {
  /** Asks the agent's model. */
  infer(request: InferRequest): Promise<InferAnswer>;
  /** Runs a tool in a sandbox of its own. */
  tool<Sent, Given>(tool: ToolHandle<Sent, Given>, input: Sent): Promise<Given>;
};

/** `ctx` of a tool. */
export type ToolContext = BaseContext & {
  /** Fetches a text; only what the tool's `capabilities.fetch` allows. */
  fetch(url: string, options?: { readonly method?: string }): Promise<FetchAnswer>;
};

/** Makes the `ctx` of an agent. */
export function toAgentContext(call: HostCaller): AgentContext {
  return {
    ...toBaseContext(call),
    infer: (request) =>
      call('inference', {
        messages: request.messages.map(({ role, content }) => ({ role, content, name: null })),
        maxTokens: request.maxTokens ?? DEFAULT_MAX_TOKENS,
        responseFormat: request.responseFormat ?? { type: 'text' },
        stop: request.stop ?? [],
      }) as Promise<InferAnswer>,
    tool: <Sent, Given>(tool: ToolHandle<Sent, Given>, input: Sent) =>
      call('tool', { name: tool.name, input }) as Promise<Given>,
  };
}

/** Makes the `ctx` of a tool. */
export function toToolContext(call: HostCaller): ToolContext {
  return {
    ...toBaseContext(call),
    fetch: (url, options = {}) =>
      call('http.fetch', {
        url: String(url),
        method: options.method ?? 'GET',
        headers: {},
        body: null,
      }) as Promise<FetchAnswer>,
  };
}

function toBaseContext(call: HostCaller): BaseContext {
  return {
    now: () => call('clock.now', {}) as Promise<number>,
    random: (length) => call('random.bytes', { length }) as Promise<string>,
    kv: {
      get: (key) => call('kv.get', { key }) as Promise<string | null>,
      put: async (key, value) => {
        await call('kv.put', { key, value });
      },
    },
    log: (...values) => console.log(...values),
  };
}
