/**
 * A Redis server of its own for a test: on a free port of this computer, with its data in a folder, killed at the end.
 *
 * @module
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** A server that runs, or may be started again on the same data and port. */
export type RedisServerProcess = {
  readonly port: number;
  readonly url: string;
  readonly pid: number;
  /** Kills it as a crash would. */
  kill(): Promise<void>;
  start(): Promise<void>;
  /** Kills it and takes its data away. */
  close(): Promise<void>;
};

const BINARY = ['/usr/bin/redis-server', '/usr/local/bin/redis-server', '/opt/homebrew/bin/redis-server'].find((path) =>
  existsSync(path),
);
const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'always', '--save', ''];

/** Starts a server; `settings` go before its own. */
export async function startRedis(settings: readonly string[] = DURABLE): Promise<RedisServerProcess> {
  if (BINARY === undefined) throw new Error('redis-server is not here; on Debian: apt-get install redis-server');
  const binary = BINARY;
  const folder = await mkdtemp(join(tmpdir(), 'tracebond-redis-'));
  const port = await freePort();
  let child: ChildProcess;
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--loglevel', 'warning', ...settings];
  const start = async () => {
    child = spawn(binary, args, { stdio: 'ignore' });
    for (let tries = 0; !(await answers(port)); tries++) {
      if (child.exitCode !== null || tries > 500) throw new Error(`redis-server ended with ${child.exitCode}`);
      await delay(10);
    }
  };
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  await start();
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    get pid() {
      return child.pid ?? 0;
    },
    kill,
    start,
    async close() {
      await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Whether a server answers, and has read its data. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1' });
    const end = (is: boolean) => {
      socket.destroy();
      resolve(is);
    };
    socket.setTimeout(1_000, () => end(false));
    socket.once('error', () => end(false));
    socket.once('data', (bytes) => end(/^(\+PONG|-NOAUTH)/.test(bytes.toString('latin1'))));
    socket.once('connect', () => socket.write('PING\r\n'));
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
