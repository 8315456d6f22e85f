/**
 * MCP servers as a run's tools ask them: connections that are opened when they are needed, definitions held to their pinned digests,
 * answers bounded and free of secrets.
 *
 * S1. A tool is called only while its server defines it as its pin says. Definitions are asked for again after a minute, after the server
 *     says that they are others, and on every new connection.
 * S2. Of a server nothing enters a record but its answer: failures are codes, what it writes on standard error is dropped.
 * S3. A call is sent once. Whoever wants it sent again asks again.
 *
 * Spec: `runtime/spec/mcp.md`.
 *
 * @module
 */

import type { Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { isJsonObject, type JsonObject, parseJsonText } from '../../attest/encoding/canonical-json.ts';
import type { HostFailure } from '../../attest/trace/bodies.ts';
import type { Redactor, Secrets } from '../secrets.ts';
import { type McpConfig, type McpServerConfig, renderServer } from './config.ts';
import {
  isMalformedAnswer,
  isSessionLost,
  type ListedTool,
  type McpConnection,
  openMcpConnection,
} from './connection.ts';
import { hashToolDefinition } from './definition.ts';
import { McpError } from './errors.ts';
import { within } from './within.ts';

/** A tool of a server, as a policy pins it. */
export type McpPin = { readonly server: string; readonly tool: string; readonly definition: Hex };

/** What came of a call: the server's answer as JSON text, `{"result": …}` or `{"error": …}`, or why there is none. */
export type McpResult =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly error: Extract<HostFailure, McpFailure> };

/** Failures of a call. */
export type McpFailure = 'UNREACHABLE' | 'TIMEOUT' | 'TOO_LARGE' | 'BAD_REQUEST' | 'TOOL_CHANGED' | 'TOOL_UNKNOWN';

/** Calls tools of MCP servers. */
export type McpServers = {
  /**
   * Calls a tool.
   *
   * @param args - JSON text of an object; untrusted
   * @throws the signal's reason once it is aborted
   */
  call(pin: McpPin, args: string, options: McpCallOptions): Promise<McpResult>;
  /** Which of the pinned tools could not be called now; the operator is told of each. */
  check(pins: readonly McpPin[]): Promise<readonly McpProblem[]>;
  /** A server's tools, with their digests. @throws {@link McpError} `UNKNOWN_SERVER`, `SERVER_UNREACHABLE` */
  list(server: string): Promise<readonly PinnedTool[]>;
  /** Ends every connection, and the servers that were started. */
  close(): Promise<void>;
};

export type McpCallOptions = {
  /** Most bytes of the answer's text. */
  readonly maxBytes: number;
  /** For connecting and calling together; what the configuration says goes before it. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
};

/** A pinned tool that cannot be called. */
export type McpProblem = McpPin & { readonly failure: McpFailure };

/** A definition with its digest. */
export type PinnedTool = { readonly definition: JsonObject; readonly digest: Hex };

/** How long definitions are believed. */
const DEFINITIONS_MS = 60_000;
/** For connecting and listing, where no call says otherwise. */
const CHECK_MS = 15_000;
/** Nesting of arguments. */
const MAX_DEPTH = 128;

/** Ports of {@link openMcpServers}. */
export type McpServersPorts = {
  readonly secrets: Secrets;
  /** Told what the operator should know, a line each. */
  readonly say: (line: string) => void;
  /** Milliseconds of a clock that never goes back. */
  readonly now?: () => number;
};

/**
 * Opens the servers of a configuration; none is started or asked before it is needed.
 *
 * @throws {@link McpError} `MALFORMED_CONFIG` for a secret that is not there
 */
export function openMcpServers(
  config: McpConfig,
  { secrets, say, now = () => performance.now() }: McpServersPorts,
): McpServers {
  const servers = new Map(
    [...config].map(([name, written]) => {
      const rendered = renderServer(name, written, secrets);
      return [name, new Server(name, rendered.config, rendered.redactor, say, now)] as const;
    }),
  );
  return {
    async call(pin, args, options) {
      const server = servers.get(pin.server);
      return server === undefined ? { ok: false, error: 'UNREACHABLE' } : server.call(pin, args, options);
    },
    async check(pins) {
      const checked = await Promise.all(
        pins.map(async (pin) => {
          const server = servers.get(pin.server);
          if (server !== undefined) return server.check(pin);
          say(`mcp: there is no server ${quote(pin.server)}, of which ${quote(pin.tool)} is pinned`);
          return 'UNREACHABLE' as const;
        }),
      );
      return checked.flatMap((failure, i) => (failure === undefined ? [] : [{ ...(pins[i] as McpPin), failure }]));
    },
    async list(name) {
      const server = servers.get(name);
      if (server === undefined) throw new McpError('UNKNOWN_SERVER', `there is no MCP server ${quote(name)}`);
      return server.list();
    },
    async close() {
      await Promise.all([...servers.values()].map((server) => server.close()));
    },
  };
}

type Definitions = ReadonlyMap<string, { readonly tool: ListedTool; readonly digest: Hex | undefined }>;

/** One server and its connection, if it has one. */
class Server {
  readonly #name: string;
  readonly #config: McpServerConfig;
  readonly #redactor: Redactor;
  readonly #say: (line: string) => void;
  readonly #now: () => number;
  #connection: Promise<McpConnection> | undefined;
  #definitions: { readonly at: number; readonly found: Promise<Definitions> } | undefined;
  /** Changes that the operator was told of. */
  readonly #told = new Set<string>();
  readonly #closing = new AbortController();

  constructor(
    name: string,
    config: McpServerConfig,
    redactor: Redactor,
    say: (line: string) => void,
    now: () => number,
  ) {
    this.#name = name;
    this.#config = config;
    this.#redactor = redactor;
    this.#say = say;
    this.#now = now;
  }

  async call(pin: McpPin, args: string, { maxBytes, timeoutMs, signal }: McpCallOptions): Promise<McpResult> {
    const asked = readArguments(args);
    if (asked === undefined) return { ok: false, error: 'BAD_REQUEST' };
    const deadline = AbortSignal.timeout(this.#config.timeoutMs ?? timeoutMs);
    const either = AbortSignal.any([signal, deadline]);
    let connection: McpConnection | undefined;
    try {
      connection = await this.#connect(either);
      const known = (await this.#define(connection, either)).get(pin.tool);
      const failure = this.#compare(pin, known?.digest, known !== undefined);
      if (known === undefined || failure !== undefined) return { ok: false, error: failure ?? 'TOOL_UNKNOWN' };
      const answer = await within(connection.callTool(known.tool, asked, either), either);
      const text = this.#redactor.redact(JSON.stringify(answer));
      return Buffer.byteLength(text) > maxBytes ? { ok: false, error: 'TOO_LARGE' } : { ok: true, text };
    } catch (error) {
      signal.throwIfAborted();
      if (deadline.aborted) return { ok: false, error: 'TIMEOUT' };
      this.#tellFailure(error);
      if (isSessionLost(error)) await connection?.close();
      return { ok: false, error: connection?.overflowed === true ? 'TOO_LARGE' : 'UNREACHABLE' };
    }
  }

  async check(pin: McpPin): Promise<McpFailure | undefined> {
    try {
      const signal = AbortSignal.timeout(CHECK_MS);
      const known = (await this.#define(await this.#connect(signal), signal)).get(pin.tool);
      return this.#compare(pin, known?.digest, known !== undefined);
    } catch (error) {
      this.#tellFailure(error);
      return 'UNREACHABLE';
    }
  }

  async list(): Promise<readonly PinnedTool[]> {
    try {
      const signal = AbortSignal.timeout(CHECK_MS);
      const definitions = await this.#define(await this.#connect(signal), signal);
      return [...definitions.values()].map(({ tool, digest }) => {
        if (digest === undefined) throw new TypeError(`the definition of ${quote(tool.name)} has no canonical form`);
        return { definition: JSON.parse(JSON.stringify(tool)) as JsonObject, digest };
      });
    } catch (cause) {
      const message = `MCP server ${quote(this.#name)} cannot be used: ${this.#describe(cause)}`;
      throw new McpError('SERVER_UNREACHABLE', message, { at: { server: this.#name }, cause });
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('the servers are closed'));
    const opening = this.#connection;
    this.#drop();
    // One that could not be opened was told to whoever wanted it.
    await opening?.then(
      (connection) => connection.close(),
      () => undefined,
    );
  }

  #drop(): void {
    this.#connection = undefined;
    this.#definitions = undefined;
  }

  /** The connection; all that want one at a time wait for the same, and each no longer than its signal. */
  #connect(signal: AbortSignal): Promise<McpConnection> {
    this.#closing.signal.throwIfAborted();
    if (this.#connection === undefined) {
      const deadline = AbortSignal.timeout(Math.max(CHECK_MS, this.#config.timeoutMs ?? 0));
      const forget = () => {
        if (this.#connection === opening) this.#drop();
      };
      const events = {
        onToolsChanged: () => {
          this.#definitions = undefined;
        },
        onClose: forget,
      };
      const opening: Promise<McpConnection> = openMcpConnection(
        this.#config,
        events,
        AbortSignal.any([deadline, this.#closing.signal]),
      );
      this.#connection = opening;
      opening.catch(forget);
    }
    return within(this.#connection, signal);
  }

  #define(connection: McpConnection, signal: AbortSignal): Promise<Definitions> {
    const at = this.#now();
    if (this.#definitions === undefined || at - this.#definitions.at >= DEFINITIONS_MS) {
      const found = listDefinitions(connection);
      const entry = { at, found };
      this.#definitions = entry;
      found.catch(() => {
        if (this.#definitions === entry) this.#definitions = undefined;
      });
    }
    return within(this.#definitions.found, signal);
  }

  /** Holds a definition to its pin; tells the operator once of each change. */
  #compare({ tool, definition }: McpPin, digest: Hex | undefined, isThere: boolean): McpFailure | undefined {
    if (digest === definition) return undefined;
    const failure = isThere ? 'TOOL_CHANGED' : 'TOOL_UNKNOWN';
    const key = JSON.stringify([tool, definition, digest ?? null]);
    if (!this.#told.has(key)) {
      this.#told.add(key);
      const said = isThere
        ? `defines the tool ${quote(tool)} otherwise than it was pinned (${definition} was pinned, ${digest ?? 'none'} is): it is refused`
        : `has no tool ${quote(tool)}, which was pinned`;
      this.#say(`mcp: ${failure}: server ${quote(this.#name)} ${said}`);
    }
    return failure;
  }

  #tellFailure(error: unknown): void {
    this.#say(`mcp: server ${quote(this.#name)}: ${this.#describe(error)}`);
  }

  #describe(error: unknown): string {
    const { code } = (error ?? {}) as { readonly code?: unknown };
    const name = isMalformedAnswer(error)
      ? 'its answer is none of the protocol'
      : error instanceof Error
        ? error.message
        : String(error);
    const line = quote(this.#redactor.redact(name).slice(0, 500));
    return typeof code === 'string' || typeof code === 'number' ? `${code} ${line}` : line;
  }
}

async function listDefinitions(connection: McpConnection): Promise<Definitions> {
  // Longer than any call waits; whoever waits has a signal of its own.
  const tools = await connection.listTools(AbortSignal.timeout(10 * CHECK_MS));
  const found = new Map<string, { tool: ListedTool; digest: Hex | undefined }>();
  for (const tool of tools) {
    // Of two with one name none can be told from the other.
    found.set(tool.name, { tool, digest: found.has(tool.name) ? undefined : digestOf(tool) });
  }
  return found;
}

function digestOf(tool: ListedTool): Hex | undefined {
  try {
    return hashToolDefinition(tool);
  } catch (error) {
    // attacker-controlled: what has no canonical form equals no pin.
    if (RuntimeError.is(error)) return undefined;
    throw error;
  }
}

function readArguments(text: string): JsonObject | undefined {
  try {
    const value = parseJsonText(text, { maxDepth: MAX_DEPTH });
    return isJsonObject(value) ? value : undefined;
  } catch (error) {
    if (RuntimeError.is(error)) return undefined;
    throw error;
  }
}

/** As JSON, so that what others wrote cannot steer a terminal. */
function quote(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\u009f\u2028\u2029]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
