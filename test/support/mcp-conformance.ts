/** Runs the official conformance package of MCP in a process of its own. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { HttpServerConfig, McpServerConfig } from '../../runtime/mcp/config.ts';
import { openMcpServers } from '../../runtime/mcp/servers.ts';
import { temporaryFolder } from './temporary.ts';

const HOOK = new URL('mcp-conformance-hook.mjs', import.meta.url).href;
const RELAY = fileURLToPath(new URL('mcp-conformance-relay.mjs', import.meta.url));
const PACKAGE = fileURLToPath(
  new URL('../../node_modules/@modelcontextprotocol/conformance/dist/index.js', import.meta.url),
);

/** One check of a scenario. */
type Check = { readonly id: string; readonly status: string; readonly errorMessage?: string };

/**
 * Runs scenarios.
 *
 * @returns what failed in each scenario, by its name; none failed where the list is empty
 */
export async function runConformance(args: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
  const out = temporaryFolder();
  const child = spawn(process.execPath, ['--import', HOOK, PACKAGE, ...args, '--output-dir', out], {
    cwd: out,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  child.stdout.on('data', (chunk) => {
    said += chunk;
  });
  child.stderr.on('data', (chunk) => {
    said += chunk;
  });
  await once(child, 'close');
  const results = new Map<string, readonly string[]>();
  for (const path of (await readdir(out, { recursive: true })).filter((name) => name.endsWith('checks.json'))) {
    const name = path
      .replace(/[/\\]checks\.json$/, '')
      .replace(/^server-/, '')
      .replace(/-\d{4}-\d\d-\d\dT.*$/, '');
    const checks = JSON.parse(await readFile(join(out, path), 'utf8')) as readonly Check[];
    const failed = checks.filter(({ status }) => status === 'FAILURE');
    results.set(
      name,
      failed.map(({ id, errorMessage = '' }) => `${id}: ${errorMessage}`),
    );
  }
  if (results.size === 0) throw new Error(said);
  return results;
}

/** What a scenario tells its client of how to sign in. */
type Context = {
  readonly client_id?: string;
  readonly client_secret?: string;
  readonly private_key_pem?: string;
  readonly signing_algorithm?: string;
} | null;

/** Has the package try this project's client: every tool of each server that it opens is called once. */
export async function runClientConformance(args: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
  const relay = createServer(async (request, response) => {
    try {
      const asked = (await json(request)) as { readonly url: string; readonly context: Context };
      const said = await useServer(asked.url, asked.context);
      response.writeHead(said.some((line) => line.startsWith('mcp:')) ? 500 : 200).end(said.join('\n'));
    } catch (error) {
      response.writeHead(500).end(String(error));
    }
  }).listen(0, '127.0.0.1');
  await once(relay, 'listening');
  try {
    const { port } = relay.address() as { readonly port: number };
    return await runConformance(['client', '--command', `${process.execPath} ${RELAY} ${port}`, ...args]);
  } finally {
    relay.close();
  }
}

async function useServer(url: string, context: Context): Promise<readonly string[]> {
  const said: string[] = [];
  const config: McpServerConfig = { type: 'http', url, ...(context === null ? {} : await toAuth(url, context)) };
  const servers = openMcpServers(new Map([['it', config]]), {
    secrets: { get: () => undefined },
    say: (line) => said.push(line),
  });
  try {
    for (const { definition, digest } of await servers.list('it')) {
      const pin = { server: 'it', tool: String(definition['name']), definition: digest };
      const options = { maxBytes: 65_536, timeoutMs: 10_000, signal: new AbortController().signal };
      const result = await servers.call(pin, JSON.stringify(ARGUMENTS[pin.tool] ?? {}), options);
      said.push(`${pin.tool}: ${JSON.stringify(result)}`);
    }
  } finally {
    await servers.close();
  }
  return said;
}

const ARGUMENTS: Readonly<Record<string, object>> = { add_numbers: { a: 5, b: 3 } };

async function toAuth(url: string, context: NonNullable<Context>): Promise<Partial<HttpServerConfig>> {
  const { client_id: clientId, client_secret: clientSecret, private_key_pem: privateKey } = context;
  if (clientId === undefined) return {};
  // An operator writes it down; here it is the one whose credentials these are.
  const found = await fetch(new URL('/.well-known/oauth-protected-resource/mcp', url));
  const { authorization_servers: [issuer = ''] = [] } = (await found.json()) as { authorization_servers?: string[] };
  const algorithm = context.signing_algorithm;
  return { auth: { type: 'client_credentials', clientId, clientSecret, privateKey, algorithm, issuer } };
}
