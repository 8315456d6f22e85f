/**
 * `tracebond mcp`: pins the tools of an MCP server for an agent to import, and holds pins to what the server says now.
 *
 * Exit codes: 0 all is as pinned, 1 called wrongly, a server that cannot be used, or a pin that does not hold.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { isServerName, type McpConfig, type McpServerConfig } from '../../runtime/mcp/config.ts';
import { McpError } from '../../runtime/mcp/errors.ts';
import { openMcpServers } from '../../runtime/mcp/servers.ts';
import { parsePinFile, pinFileText } from '../mcp/pins.ts';
import { type Environment, readEnvironment } from './environment.ts';
import { readMcpConfig } from './mcp-config.ts';
import { readSecrets } from './runtime-options.ts';

type Shared = { readonly mcpConfig?: string; readonly secret?: readonly string[] };
type PinOptions = Shared & { readonly command?: string; readonly url?: string; readonly out?: string };

/** Adds the commands. `exit` receives the exit code. */
export function registerMcp(program: Command, exit: (code: number) => void): void {
  const mcp = program.command('mcp').description('tools of MCP servers for agents');
  addShared(
    mcp
      .command('pin')
      .description('write down the tools of a server, each with the digest of its definition, for an agent to import')
      .argument('<name>', 'name of the server, as the file of servers has it')
      .argument('[args...]', 'arguments of the program, after --')
      .option('--command <program>', 'start this program, which speaks over its standard input and output')
      .option('--url <url>', 'ask this address, over streamable HTTP')
      .option('--out <file>', 'file to write; NAME.mcp.json by default'),
  ).action(async (name: string, args: readonly string[], options: PinOptions) => {
    await pin(name, args, options, readEnvironment());
  });
  addShared(
    mcp
      .command('check')
      .description('hold files of pins to their digests, and to what their servers say now')
      .argument('<files...>', 'files that `mcp pin` wrote'),
  ).action(async (files: readonly string[], options: Shared) => {
    exit(await check(files, options, readEnvironment()));
  });
}

function addShared(command: Command): Command {
  const secret = new Option('--secret <name=variable>', 'secret from a variable of the environment; several times');
  return command
    .option('--mcp-config <file>', 'file of MCP servers; $TRACEBOND_MCP_CONFIG by default')
    .addOption(secret.argParser((value: string, values: readonly string[] = []) => [...values, value]));
}

async function pin(
  name: string,
  args: readonly string[],
  options: PinOptions,
  environment: Environment,
): Promise<void> {
  const config = targetOf(name, args, options, environment);
  const out = resolve(options.out ?? `${name}.mcp.json`);
  const servers = open(config, options, environment);
  try {
    const tools = await servers.list(name);
    const text = pinFileText({ server: name, tools });
    parsePinFile(Buffer.from(text, 'utf8'));
    await writeFile(`${out}.tmp`, text);
    await rename(`${out}.tmp`, out);
    console.error(`${tools.length} tools of ${name} in ${out}`);
    if (options.command === undefined && options.url === undefined) return;
    const entry = { mcpServers: Object.fromEntries(config) };
    console.error(`runs need --mcp-config with a file that holds\n${JSON.stringify(entry, null, 2)}`);
  } finally {
    await servers.close();
  }
}

/** The server to ask: what the options say, else that of the file of servers. */
function targetOf(
  name: string,
  args: readonly string[],
  { command, url, mcpConfig }: PinOptions,
  environment: Environment,
): McpConfig {
  const refuse = (message: string) => new McpError('MALFORMED_CONFIG', message);
  if (!isServerName(name)) throw refuse('name of a server: expected 1 to 64 of A-Z, a-z, 0-9, ".", "_", "-"');
  if (command !== undefined && url !== undefined) throw refuse('expected --command or --url, not both');
  if (command === undefined && args.length > 0) throw refuse('arguments go with --command');
  if (command !== undefined) return new Map([[name, { command, args: [...args] } satisfies McpServerConfig]]);
  if (url === undefined) return readMcpConfig(mcpConfig, environment);
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) throw refuse('--url: expected an http(s) URL');
  return new Map([[name, { type: 'http', url } satisfies McpServerConfig]]);
}

async function check(files: readonly string[], options: Shared, environment: Environment): Promise<number> {
  const pinned = files.map((file) => {
    try {
      return { file, ...parsePinFile(readFileSync(file)) };
    } catch (error) {
      if (!(error instanceof McpError)) throw error;
      throw new McpError(error.code, `${file}: ${error.message}`, { at: { ...error.at, file }, cause: error });
    }
  });
  const servers = open(readMcpConfig(options.mcpConfig, environment), options, environment);
  try {
    let failed = 0;
    for (const { file, server, tools } of pinned) {
      const pins = tools.map(({ definition, digest }) => ({
        server,
        tool: String(definition['name']),
        definition: digest,
      }));
      const problems = await servers.check(pins);
      failed += problems.length;
      console.log(`${file}: ${tools.length - problems.length} of ${tools.length} tools are as pinned`);
    }
    return failed === 0 ? 0 : 1;
  } finally {
    await servers.close();
  }
}

function open(config: McpConfig, { secret }: Shared, { env }: Environment) {
  const secrets = readSecrets(secret, env);
  return openMcpServers(config, { secrets: { get: (name) => secrets.get(name) }, say: (line) => console.error(line) });
}
