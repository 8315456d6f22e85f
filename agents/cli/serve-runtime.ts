/**
 * `tracebond serve runtime`: agents behind the HTTP API of their runs until the process is told to stop.
 *
 * Standard output gets one line, when the server answers; what the operator should know goes to standard error.
 *
 * @module
 */

import { type Command, Option } from 'commander';
import { readEnvironment } from './environment.ts';
import { readRedisOptions } from './redis-options.ts';
import { addRuntimeOptions, type RuntimeOptions, RuntimeUsageError } from './runtime-options.ts';
import { findKeys, nextStopSignal, parseCount, parsePort } from './serve-usage.ts';

type Options = RuntimeOptions & {
  readonly agent?: readonly string[];
  readonly host: string;
  readonly port: string;
  readonly keys?: string;
  readonly maxActive?: string;
  readonly retain?: string;
  readonly insecure?: true;
  readonly work: boolean;
};

/** Adds `serve runtime` to `serve`. The command ends on SIGINT or SIGTERM; runs go on when it is started again. */
export function registerServeRuntime(serve: Command): void {
  const command = serve
    .command('runtime')
    .description('run agents over an HTTP API: every step recorded, a crash loses nothing')
    .addOption(
      new Option('--agent <file>', 'module of an agent; several times').argParser(
        (file: string, files: readonly string[] = []) => [...files, file],
      ),
    )
    .option('--port <number>', 'port to listen on; 0 picks a free one', '8090')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--keys <file>', 'file of access keys, made by `access-keys create`; the user’s own file by default')
    .option('--max-active <number>', 'runs at work at once', '64')
    .option('--retain <days>', 'delete payloads of runs that ended so long ago; kept for ever by default')
    .option('--no-work', 'only take requests: the workers of a Redis server do the work')
    .addOption(new Option('--insecure', 'listen on an address that others can reach, without access keys'));
  addRuntimeOptions(command, '--folder').action(async (options: Options) => {
    const server = await startRuntime(options);
    const stopped = nextStopSignal();
    process.stdout.write(`listening ${server.url}\n`);
    await stopped;
    await server.close();
  });
}

/** Starts the server that the options describe. @throws what `openRuntime` does, and {@link ServeUsageError}, {@link ServerError} */
async function startRuntime(options: Options): Promise<{ readonly url: string; close(): Promise<void> }> {
  const environment = readEnvironment();
  const { agent: files = [], host } = options;
  if (files.length === 0) throw new RuntimeUsageError('NO_AGENT', 'give the module of an agent: --agent FILE');
  const port = parsePort(options.port);
  const maxActive = parseCount('--max-active', options.maxActive, 1);
  const days = readDays(options.retain);
  const keys = findKeys(options, 'run the agents', environment);
  if (!options.work && readRedisOptions(options.redis, environment) === undefined) {
    throw new RuntimeUsageError('BAD_REDIS', '--no-work: nobody else works on runs without a Redis server');
  }
  // Loaded when it is asked for.
  const { openRuntime } = await import('./open-runtime.ts');
  const { listenRuntime } = await import('./listen-runtime.ts');
  const say = (line: string) => console.error(line);
  const runtime = await openRuntime(files, { ...options, maxActive, works: options.work }, environment, say);
  try {
    const server = await listenRuntime(runtime, { host, port, days, keys });
    const names = runtime.agents.map(({ name }) => name).join(', ');
    console.error(
      `agents ${names}, traces signed by ${runtime.manager.operator} in ${runtime.place}, ` +
        (keys === undefined ? 'no access keys' : 'access keys required'),
    );
    return {
      url: server.url,
      async close() {
        await server.close(() => runtime.close());
      },
    };
  } catch (error) {
    await runtime.close();
    throw error;
  }
}

function readDays(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const days = Number(text);
  if (!/^\d{1,5}(?:\.\d{1,6})?$/.test(text)) {
    throw new RuntimeUsageError('BAD_DAYS', `--retain: expected a number of days, got ${JSON.stringify(text)}`);
  }
  return days;
}
