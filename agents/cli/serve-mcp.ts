/**
 * `tracebond serve mcp`: agents as tools of an MCP server over standard input and output, until the client closes them or the process is
 * told to stop.
 *
 * Standard output carries the protocol and nothing else; what the operator should know goes to standard error.
 *
 * @module
 */

import { Console } from 'node:console';
import type { Command } from 'commander';
import { OFF_CHAIN } from '../../runtime/plan.ts';
import { readEnvironment } from './environment.ts';
import { addRuntimeOptions, type RuntimeOptions } from './runtime-options.ts';
import { nextStopSignal, parseCount } from './serve-usage.ts';

type Options = RuntimeOptions & { readonly maxActive?: string };

/** Adds `serve mcp` to `serve`. Runs that are put aside go on when it is started again, or `serve runtime` in the same folder. */
export function registerServeMcp(serve: Command): void {
  const command = serve
    .command('mcp')
    .description('offer agents to an MCP client, each as a tool, over standard input and output')
    .argument('<files...>', 'modules of agents')
    .option('--max-active <number>', 'runs at work at once', '64');
  addRuntimeOptions(command, '--folder').action(async (files: readonly string[], options: Options) => {
    await serveMcp(files, options);
  });
}

async function serveMcp(files: readonly string[], options: Options): Promise<void> {
  // Whatever a library says is not for the client.
  globalThis.console = new Console(process.stderr, process.stderr);
  const maxActive = parseCount('--max-active', options.maxActive, 1);
  const say = (line: string) => console.error(line);
  const { openRuntime, random32 } = await import('./open-runtime.ts');
  const { serveStdio } = await import('@modelcontextprotocol/server/stdio');
  const { createAgentServers } = await import('../../runtime/mcp/agent-server.ts');
  const runtime = await openRuntime(files, { ...options, maxActive }, readEnvironment(), say);
  try {
    const { manager, book } = runtime;
    const onFault = (error: unknown) => console.error(error);
    const toServer = createAgentServers({
      manager,
      book,
      deployment: OFF_CHAIN,
      now: Date.now,
      random: random32,
      onFault,
    });
    const stopped = Promise.race([nextStopSignal(), new Promise<void>((gone) => process.stdin.once('close', gone))]);
    const handle = serveStdio(() => toServer({ id: null, count: () => {} }), { onerror: onFault });
    console.error(`agents ${runtime.agents.map(({ name }) => name).join(', ')}, traces signed by ${manager.operator}`);
    await stopped;
    await handle.close();
  } finally {
    await runtime.close();
  }
}
