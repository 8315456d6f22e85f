/**
 * Calls tools of MCP servers, and reads what they answer. Arguments and answers travel as JSON text: a trace holds no fractions.
 *
 * @module
 */

/** Content that is no text. */
type McpContent = { readonly type: string } & Readonly<Record<string, unknown>>;

/** What the host gives of an answer (`runtime/spec/host-calls.md#mcpcall`). */
type McpAnswer =
  | { readonly error: { readonly message: string } }
  | {
      readonly error?: undefined;
      readonly result: { readonly content?: unknown; readonly structuredContent?: unknown; readonly isError?: unknown };
    };

/** Makes `ctx.mcp` of a tool. */
export function toMcpCaller(call: (method: string, args: unknown) => Promise<unknown>) {
  return async (server: string, tool: string, input: unknown = {}): Promise<unknown> =>
    readAnswer(String(await call('mcp.call', { server, tool, arguments: JSON.stringify(input) })));
}

/** @throws Error with the server's words for what it calls an error */
function readAnswer(text: string): unknown {
  const answer = JSON.parse(text) as McpAnswer;
  if (answer.error !== undefined) throw new Error(answer.error.message);
  const { content, structuredContent, isError } = answer.result;
  const parts = (Array.isArray(content) ? content : []) as readonly McpContent[];
  const said = parts.flatMap((part) => (part.type === 'text' ? [String(part['text'])] : [])).join('\n');
  if (isError === true) throw new Error(said === '' ? 'the tool failed and said nothing' : said);
  if (structuredContent !== undefined) return structuredContent;
  const others = parts.filter(({ type }) => type !== 'text');
  return others.length === 0 ? said : { text: said, content: others };
}
