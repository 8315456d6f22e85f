/** MCP servers for tests: the fixture, and the official one with everything. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { json } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import type { McpConfig, McpServerConfig } from '../../runtime/mcp/config.ts';
import { openMcpServers } from '../../runtime/mcp/servers.ts';

const FIXTURE = fileURLToPath(new URL('mcp-fixture-server.mjs', import.meta.url));
const EVERYTHING = fileURLToPath(
  new URL('../../node_modules/@modelcontextprotocol/server-everything/dist/index.js', import.meta.url),
);

/** The fixture as a configuration names it. */
export function fixtureServer(...args: readonly string[]): McpServerConfig {
  return { command: process.execPath, args: [FIXTURE, ...args] };
}

/** The official server, over standard input and output. */
export const EVERYTHING_STDIO: McpServerConfig = { command: process.execPath, args: [EVERYTHING, 'stdio'] };

/** Starts the official server over HTTP; it ends with the test. */
export async function everythingHttp(): Promise<McpServerConfig> {
  const port = await freePort();
  const child = spawn(process.execPath, [EVERYTHING, 'streamableHttp'], {
    env: { ...process.env, PORT: String(port) },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  for (let said = ''; !said.includes('listening'); ) {
    const [chunk] = (await once(child.stderr, 'data')) as [Buffer];
    said += chunk.toString('utf8');
  }
  child.stderr.resume();
  return { type: 'http', url: `http://127.0.0.1:${port}/mcp` };
}

/** A server over HTTP with sessions of 2025-11-25, which `forget` makes it forget; it ends with the test. */
export async function forgetfulServer() {
  let session = 1;
  const tool = { name: 'count', inputSchema: { type: 'object' } };
  const results: Readonly<Record<string, object>> = {
    initialize: { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'f', version: '1' } },
    'tools/list': { tools: [tool] },
    'tools/call': { content: [] },
  };
  const server = createHttpServer(async (request, response) => {
    const { id, method } = (request.method === 'POST' ? await json(request) : {}) as { id?: number; method?: string };
    const known = request.headers['mcp-session-id'];
    if (request.method !== 'POST') return response.writeHead(405).end();
    if (method !== 'initialize' && known !== `s${session}`)
      return response.writeHead(known === undefined ? 400 : 404).end();
    const result = results[method ?? ''];
    if (id === undefined || result === undefined) return response.writeHead(202).end();
    response.writeHead(200, { 'content-type': 'application/json', 'mcp-session-id': `s${session}` });
    return response.end(JSON.stringify({ jsonrpc: '2.0', id, result }));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as { readonly port: number }).port}/mcp`;
  const config: McpServerConfig = { type: 'http', url };
  const forget = () => {
    session += 1;
  };
  return { config, forget };
}

/** An address where whoever connects is never answered; it ends with the test. */
export async function silentServer(): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => sockets.add(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return `http://127.0.0.1:${(server.address() as { readonly port: number }).port}/mcp`;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { readonly port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** Servers that end with the test, and what their operator was told. */
export function testServers(
  servers: Readonly<Record<string, McpServerConfig>>,
  ports: { readonly secrets?: Readonly<Record<string, string>>; readonly now?: () => number } = {},
) {
  const config: McpConfig = new Map(Object.entries(servers));
  const said: string[] = [];
  const { secrets = {}, now } = ports;
  const opened = openMcpServers(config, {
    secrets: { get: (name) => secrets[name] },
    say: (line) => said.push(line),
    ...(now === undefined ? {} : { now }),
  });
  onTestFinished(() => opened.close());
  return { servers: opened, said };
}
