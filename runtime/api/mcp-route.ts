/**
 * `/mcp`: the agents of a runtime as an MCP server over streamable HTTP, with the access keys and limits of the other routes.
 *
 * O1. A page of another origin is refused: whoever is asked to open it must not ask for runs by it (DNS rebinding).
 *
 * Spec: `runtime/spec/mcp.md#agents-as-an-mcp-server`.
 *
 * @module
 */

import { createMcpHandler } from '@modelcontextprotocol/server';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { clientSignal } from '../../inference/api/sse.ts';
import { ApiError } from '../../inference/api-errors.ts';
import { createAgentServers, type McpCaller } from '../mcp/agent-server.ts';
import type { RunContext } from './context.ts';

/** Settings of the route. */
export type McpRouteOptions = {
  /** Names that an Origin header may have, without port; the server's own alone by default. */
  readonly allowedHosts?: readonly string[];
  readonly onFault?: (error: unknown) => void;
};

/**
 * Adds the route.
 *
 * @throws {@link McpError} `UNUSABLE_SCHEMA`
 */
export function addMcp(app: FastifyInstance, context: RunContext, options: McpRouteOptions = {}): void {
  const { allowedHosts, onFault = () => {} } = options;
  const toServer = createAgentServers({ ...context, onFault });
  const handler = createMcpHandler(({ authInfo }) => toServer(authInfo?.extra?.['caller'] as McpCaller), {
    // Nothing is ever told on them: the tools do not change.
    maxSubscriptions: 64,
  });
  app.addHook('preClose', () => handler.close());
  const serve = async (request: FastifyRequest, reply: FastifyReply) => {
    requireOrigin(request, allowedHosts);
    const caller: McpCaller = { id: context.callerOf(request), count: () => context.count(request) };
    const asked = toWebRequest(request, clientSignal(reply));
    // The key itself goes no further than here.
    const authInfo = { token: '', clientId: caller.id ?? '', scopes: [], extra: { caller } };
    return reply.send(await handler.fetch(asked, { authInfo }));
  };
  void app.register(async (scope) => {
    // The SDK reads the body itself, and answers one that is no JSON as the protocol says.
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', { parseAs: 'buffer' }, async (_request: FastifyRequest, body: Buffer) => body);
    for (const method of ['GET', 'POST', 'DELETE'] as const) {
      scope.route({ method, url: '/mcp', exposeHeadRoute: false, handler: serve });
    }
  });
}

/** @throws {@link ApiError} `HOST_NOT_ALLOWED` for an Origin header of somebody else's */
function requireOrigin({ headers, hostname }: FastifyRequest, allowedHosts: readonly string[] | undefined): void {
  const { origin } = headers;
  if (origin === undefined) return;
  const name = URL.canParse(origin) ? new URL(origin).hostname.toLowerCase() : '';
  if (!(allowedHosts ?? [hostname.toLowerCase()]).includes(name)) {
    throw new ApiError('HOST_NOT_ALLOWED', 'expected an Origin header of this server');
  }
}

function toWebRequest({ method, url, headers, body, host }: FastifyRequest, signal: AbortSignal): Request {
  const copied = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    if (name !== 'authorization' && value !== undefined)
      copied.set(name, Array.isArray(value) ? value.join(', ') : value);
  }
  const data = Buffer.isBuffer(body) ? { body: Uint8Array.from(body) } : {};
  return new Request(new URL(url, `http://${host}`), { method, headers: copied, signal, ...data });
}
