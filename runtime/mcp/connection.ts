/**
 * One connection to an MCP server, through the official SDK: its tools, and calls of them.
 *
 * C1. The client offers the server nothing: no sampling, no elicitation, no roots.
 * C2. No message is longer than {@link MAX_MESSAGE_BYTES}: whatever is longer ends the connection.
 * C3. Schemas of the server are not evaluated here; they are data.
 *
 * Both revisions are spoken: 2026-07-28, which the server is asked for first, and the handshake of 2025-11-25.
 *
 * @module
 */

import {
  Client,
  ClientCredentialsProvider,
  type OAuthClientProvider,
  PrivateKeyJwtProvider,
  ProtocolError,
  SdkError,
  SdkHttpError,
  StreamableHTTPClientTransport,
  type Transport,
} from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { defined } from '../../attest/core/defined.ts';
import type { HttpServerConfig, McpServerConfig } from './config.ts';
import { within } from './within.ts';

/** Most bytes of one message of a server. */
export const MAX_MESSAGE_BYTES = 8 << 20;

/** A tool as its server lists it; untrusted. */
export type ListedTool = Readonly<Record<string, unknown>> & { readonly name: string };

/** What a server answered a call: a result, or an error of the protocol. Untrusted. */
export type McpAnswer =
  | { readonly result: { readonly content: unknown; readonly structuredContent?: unknown; readonly isError?: boolean } }
  | { readonly error: { readonly code: number; readonly message: string } };

/** An open connection. */
export type McpConnection = {
  /** Revision of the protocol that was agreed on. */
  readonly revision: string;
  /** All tools, every page of the list. */
  listTools(signal: AbortSignal): Promise<readonly ListedTool[]>;
  /** Calls a tool; rejects where no answer came. */
  callTool(tool: ListedTool, args: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<McpAnswer>;
  /** Whether a message was longer than may be. */
  readonly overflowed: boolean;
  close(): Promise<void>;
};

/** What a connection tells its owner. */
export type ConnectionEvents = {
  /** The server says that its tools are others. */
  readonly onToolsChanged: () => void;
  /** The connection has ended, whoever ended it. */
  readonly onClose: () => void;
};

/** No request ends by the SDK's own clock: the signal decides. */
const NO_TIMEOUT_MS = 2 ** 31 - 1;
/** How long a local server may say nothing before it is taken for one of the older revision. */
const PROBE_MS = 5_000;
/** Pages of a list. */
const MAX_PAGES = 64;

/**
 * Connects.
 *
 * @param config - with its secrets in place
 * @throws whatever the SDK and the operating system throw; the signal's reason where that ended it
 */
export async function openMcpConnection(
  config: McpServerConfig,
  events: ConnectionEvents,
  signal: AbortSignal,
): Promise<McpConnection> {
  signal.throwIfAborted();
  let overflowed = false;
  const client = new Client(
    { name: 'tracebond', version: '0.1.0' },
    {
      capabilities: {},
      versionNegotiation: { mode: 'auto', probe: { timeoutMs: PROBE_MS } },
      inputRequired: { autoFulfill: false },
      jsonSchemaValidator: {
        getValidator: () => (data) => ({ valid: true, data: data as never, errorMessage: undefined }),
      },
      listMaxPages: MAX_PAGES,
      listChanged: { tools: { autoRefresh: false, debounceMs: 0, onChanged: events.onToolsChanged } },
    },
  );
  const overflow = () => {
    overflowed = true;
    void client.close();
  };
  client.onclose = events.onClose;
  client.onerror = (error) => {
    // The transport ends itself then; what was asked is answered with the end of the connection.
    if (/exceeded maximum size/.test(error.message)) overflowed = true;
  };
  const transport = 'url' in config ? toHttp(config, overflow) : toStdio(config);
  const options = { signal, timeout: NO_TIMEOUT_MS };
  try {
    // The SDK looks at the signal only once it knows which revision is spoken.
    await within(client.connect(transport, options), signal);
  } catch (error) {
    await transport.close();
    signal.throwIfAborted();
    throw error;
  }
  return {
    revision: client.getNegotiatedProtocolVersion() ?? '',
    get overflowed() {
      return overflowed;
    },
    async listTools(at) {
      // The SDK would say so on standard output.
      if (client.getServerCapabilities()?.tools === undefined) return [];
      const { tools } = await client.listTools(undefined, { signal: at, timeout: NO_TIMEOUT_MS, cacheMode: 'refresh' });
      return tools;
    },
    async callTool(tool, args, at) {
      const request = { name: tool.name, arguments: { ...args } };
      try {
        const { content, structuredContent, isError } = await client.callTool(request, {
          signal: at,
          timeout: NO_TIMEOUT_MS,
          toolDefinition: tool as never,
        });
        return { result: { content, ...defined({ structuredContent, isError }) } };
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        return { error: { code: error.code, message: error.message } };
      }
    },
    close: () => client.close(),
  };
}

/** Whether an error of the SDK says that the server's answer was none of the protocol. */
export function isMalformedAnswer(error: unknown): boolean {
  return (
    error instanceof SdkError &&
    /^(?:INVALID_RESULT|UNSUPPORTED_RESULT_TYPE|LIST_PAGINATION_EXCEEDED)$/.test(error.code)
  );
}

/** Whether an HTTP server has forgotten the session that it gave: the connection is of no more use to anybody. */
export function isSessionLost(error: unknown): boolean {
  return error instanceof SdkHttpError && (error.status === 404 || error.status === 400);
}

function toStdio({ command, args, env, cwd }: Exclude<McpServerConfig, HttpServerConfig>): Transport {
  // What the server writes for its operator is not shown: it may hold whatever the server was asked.
  return new StdioClientTransport({
    command,
    stderr: 'ignore',
    maxBufferSize: MAX_MESSAGE_BYTES,
    ...defined({ args, env, cwd }),
  });
}

function toHttp({ url, headers, auth }: HttpServerConfig, overflow: () => void): Transport {
  return new StreamableHTTPClientTransport(new URL(url), {
    requestInit: { headers: headers ?? {} },
    fetch: async (input, init) => boundBody(await fetch(input, init), overflow),
    onInsufficientScope: 'throw',
    ...(auth === undefined ? {} : { authProvider: toProvider(auth) }),
  });
}

function toProvider(auth: NonNullable<HttpServerConfig['auth']>): OAuthClientProvider {
  const { clientId, clientSecret, privateKey, algorithm = 'ES256', issuer, scope } = auth;
  const more = { expectedIssuer: issuer, ...defined({ scope }) };
  if (clientSecret !== undefined) return new ClientCredentialsProvider({ clientId, clientSecret, ...more });
  return new PrivateKeyJwtProvider({ clientId, privateKey: privateKey ?? '', algorithm, ...more });
}

/** The same response, ended where a message of it is too long: a body as a whole, of a stream of events each of them. */
function boundBody(response: Response, overflow: () => void): Response {
  if (response.body === null) return response;
  const isStream = /^text\/event-stream\b/.test(response.headers.get('content-type') ?? '');
  let length = 0;
  let last = 0;
  const bounded = response.body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        for (const byte of isStream ? chunk : []) {
          // An empty line ends an event.
          if (byte === 0x0a && last === 0x0a) length = 0;
          else length += 1;
          if (byte !== 0x0d) last = byte;
        }
        if (!isStream) length += chunk.length;
        if (length > MAX_MESSAGE_BYTES) {
          overflow();
          controller.error(new Error('a message exceeded maximum size'));
          return;
        }
        controller.enqueue(chunk);
      },
    }),
  );
  const { status, statusText, headers } = response;
  const copy = new Response(bounded, { status, statusText, headers });
  // The SDK looks where a redirect led to.
  Object.defineProperties(copy, { url: { value: response.url }, redirected: { value: response.redirected } });
  return copy;
}
