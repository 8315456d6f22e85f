/**
 * `tracebond serve worker`: takes runs from the queue of many machines and works on them until the process is told to stop. It has no API of
 * runs; with `--port` it tells how it is and what it counts.
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
  readonly port?: string;
  readonly keys?: string;
  readonly maxActive?: string;
  readonly insecure?: true;
};

/** Adds `serve worker` to `serve`. Runs that are at work when it ends are taken up by others. */
export function registerServeWorker(serve: Command): void {
  const command = serve
    .command('worker')
    .description('work on runs that are shared through a Redis server, beside other workers')
    .addOption(
      new Option(
        '--agent <file>',
        'module of an agent; several times; the same as those of the other processes',
      ).argParser((file: string, files: readonly string[] = []) => [...files, file]),
    )
    .option('--port <number>', 'port of /metrics and /health; 0 picks a free one; none by default')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--keys <file>', 'file of access keys, made by `access-keys create`; the user’s own file by default')
    .option('--max-active <number>', 'runs at work at once', '64')
    .addOption(new Option('--insecure', 'listen on an address that others can reach, without access keys'));
  addRuntimeOptions(command, '--folder').action(async (options: Options) => {
    const worker = await startWorker(options);
    const stopped = nextStopSignal();
    process.stdout.write(worker.url === undefined ? 'working\n' : `working ${worker.url}\n`);
    await stopped;
    await worker.close();
  });
}

async function startWorker(options: Options): Promise<{ readonly url?: string; close(): Promise<void> }> {
  const environment = readEnvironment();
  const { agent: files = [], host } = options;
  if (readRedisOptions(options.redis, environment) === undefined) {
    throw new RuntimeUsageError('BAD_REDIS', 'a worker takes runs from a Redis server: set REDIS_URL or give --redis');
  }
  const port = options.port === undefined ? undefined : parsePort(options.port);
  const maxActive = parseCount('--max-active', options.maxActive, 1);
  const keys =
    port === undefined ? undefined : findKeys({ ...options, port: String(port) }, 'see what it counts', environment);
  // Loaded when it is asked for.
  const { openRuntime } = await import('./open-runtime.ts');
  const runtime = await openRuntime(files, { ...options, maxActive }, environment, (line) => console.error(line));
  try {
    console.error(`works on ${runtime.place}, traces signed by ${runtime.manager.operator}`);
    if (port === undefined) return { close: () => runtime.close() };
    const { listenWorker } = await import('./listen-runtime.ts');
    const server = await listenWorker(runtime, { host, port, keys });
    return { url: server.url, close: () => server.close(() => runtime.close()) };
  } catch (error) {
    await runtime.close();
    throw error;
  }
}
