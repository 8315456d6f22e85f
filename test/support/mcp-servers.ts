/** MCP servers for tests: the fixture, and the official one with everything. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
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
