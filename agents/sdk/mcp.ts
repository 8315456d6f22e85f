/**
 * Tools of MCP servers as tools of an agent. Their definitions are pinned when the agent is written (`tracebond mcp pin`): the runtime
 * calls a tool only while its server defines it so.
 *
 * Spec: `runtime/spec/mcp.md`.
 *
 * @module
 */

import { assertName, type Limits } from './limits.ts';
import { jsonSchema } from './schema.ts';
import { defineTool, type Tool } from './tool.ts';

/** A tool's definition, as its server gave it; as compilers read an imported file, what is absent may be `undefined`. */
export type McpDefinition = {
  readonly name: string;
  readonly description?: string | undefined;
  readonly inputSchema: object;
  readonly annotations?:
    | { readonly readOnlyHint?: boolean | undefined; readonly idempotentHint?: boolean | undefined }
    | undefined;
};

/** The content of a file that `tracebond mcp pin` wrote. */
export type PinnedMcpServer = {
  readonly server: string;
  readonly tools: readonly { readonly definition: McpDefinition; readonly digest: string }[];
};

/** Settings of a tool. */
export type McpToolOptions = {
  /** What the agent's model knows it by; made from the server's name of it if left out. */
  readonly name?: string;
  readonly limits?: Partial<Limits>;
  /**
   * Whether a call may be sent again after a crash. If left out, what the definition's annotations say: `readOnlyHint` or
   * `idempotentHint`.
   */
  readonly idempotent?: boolean;
};

/** Settings of all tools of a server. */
export type McpToolsOptions = Pick<McpToolOptions, 'limits'> & {
  /** Put before each name, as `files_`. */
  readonly prefix?: string;
};

/** What an MCP tool takes. Numbers may be fractions: its input and its result cross the sandbox's wall as JSON text. */
export type McpInput = Readonly<Record<string, unknown>>;

/**
 * One tool of a pinned server. Its result is the answer's `structuredContent`, or its text; an answer with other content is
 * `{text, content}`. It throws what the server calls an error.
 *
 * @throws TypeError if the server has no such tool, or its pin is malformed
 */
export function mcpTool(pinned: PinnedMcpServer, tool: string, options: McpToolOptions = {}): Tool<McpInput, unknown> {
  const { server, tools } = requirePinned(pinned);
  const found = tools.find(({ definition }) => definition?.name === tool);
  if (found === undefined) throw new TypeError(`no tool ${tool} of MCP server ${server} is pinned`);
  const { definition, digest } = found;
  if (typeof digest !== 'string' || !/^0x[0-9a-f]{64}$/.test(digest)) {
    throw new TypeError(`the pin of tool ${tool} of MCP server ${server} has no digest`);
  }
  const { readOnlyHint, idempotentHint } = definition.annotations ?? {};
  const { idempotent = readOnlyHint === true || idempotentHint === true } = options;
  const name = options.name ?? toToolName(tool);
  assertName(name);
  const defined = defineTool<McpInput, unknown>({
    name,
    description: definition.description ?? '',
    inputSchema: jsonSchema<McpInput>(definition.inputSchema as Record<string, unknown>),
    capabilities: { mcp: [{ server, tool, definition: digest, idempotent }] },
    ...(options.limits === undefined ? {} : { limits: options.limits }),
    execute: (input, ctx) => ctx.mcp(server, tool, input),
  });
  return { ...defined, asText: true };
}

/**
 * All tools of a pinned server.
 *
 * @throws TypeError as {@link mcpTool}, and for two tools that would have one name
 */
export function mcpTools(pinned: PinnedMcpServer, options: McpToolsOptions = {}): readonly Tool<McpInput, unknown>[] {
  const { prefix = '', ...rest } = options;
  const { server, tools } = requirePinned(pinned);
  const made = tools.map(({ definition }) => {
    const name = toToolName(`${prefix}${definition.name}`);
    return mcpTool(pinned, definition.name, { ...rest, name });
  });
  for (const [i, { name }] of made.entries()) {
    const other = made.findIndex((tool) => tool.name === name);
    if (other === i) continue;
    const names = [tools[other]?.definition.name, tools[i]?.definition.name].join(' and ');
    throw new TypeError(`tools ${names} of MCP server ${server} would both be called ${name}: name one with mcpTool`);
  }
  return made;
}

/** The server's name of a tool as one of ours: in lower case, `_` for whatever may not stand in it, `t_` before what is no letter, 64 long. */
function toToolName(name: string): string {
  const lower = name.toLowerCase().replace(/[^a-z0-9_-]/g, '_');
  return (/^[a-z]/.test(lower) ? lower : `t_${lower}`).slice(0, 64);
}

function requirePinned(pinned: PinnedMcpServer): PinnedMcpServer {
  if (typeof pinned?.server !== 'string' || !Array.isArray(pinned.tools)) {
    throw new TypeError('expected the content of a file that `tracebond mcp pin` wrote');
  }
  return pinned;
}
