/**
 * A process in a root of its own, as a container has it: its own processes, host name and network, the image's environment and user,
 * no capability. Made by bubblewrap, which takes it down when the process or this one ends.
 *
 * @module
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import type { Readable } from 'node:stream';

/** What a process sees. */
export type Box = {
  /** Folder that becomes `/`. */
  readonly root: string;
  readonly env: Readonly<Record<string, string>>;
  readonly folder: string;
  /** `UID:GID`; `0:0` has all capabilities over the root. */
  readonly user: string;
  readonly binds: readonly { readonly source: string; readonly target: string; readonly readOnly?: true }[];
  /** Whether this computer's network is reached; else there is a loopback alone. */
  readonly network: boolean;
  /** The root cannot be written, and `/tmp` is empty; as `docker run --read-only --tmpfs /tmp`. */
  readonly readOnly: boolean;
};

export type Ended = { readonly code: number | null; readonly output: string };

/** The first process of a box that goes on. */
export type Running = {
  /** All that it wrote so far. */
  output(): string;
  /** Runs something beside it, as `docker exec`. */
  exec(words: readonly string[], limitMs?: number): Promise<Ended>;
  /** Sends the first process a signal, as `docker stop` does, and waits for its end. `code` is null where it had to be killed. */
  stop(signal: NodeJS.Signals, limitMs: number): Promise<Ended>;
  readonly ended: Promise<Ended>;
};

const OUTPUT_LIMIT = 1 << 16;
const EXEC_MS = 30_000;

/** Runs a command to its end, or to its limit. */
export async function run(box: Box, words: readonly string[], limitMs: number): Promise<Ended> {
  const running = await start(box, words);
  const timer = setTimeout(() => void running.stop('SIGKILL', 0), limitMs);
  const ended = await running.ended;
  clearTimeout(timer);
  return ended;
}

/** Starts a command as the first process of a box. @throws Error if the box cannot be made */
export async function start(box: Box, words: readonly string[]): Promise<Running> {
  const child = spawn('bwrap', [...describe(box), '--', ...asUser(box.user), ...words], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  });
  const { read, ended } = follow(child);
  const first = await firstPid(child, ended, read);
  // All in the box ends with its first process.
  const kill = () => send(first, 'SIGKILL');
  process.once('exit', kill);
  void ended.then(() => process.off('exit', kill));
  return {
    output: read,
    ended,
    exec: (command, limitMs = EXEC_MS) => runIn(first, box, command, limitMs),
    async stop(signal, limitMs) {
      send(first, signal);
      let killed = false;
      const timer = setTimeout(() => {
        killed = true;
        send(first, 'SIGKILL');
      }, limitMs);
      const { code, output } = await ended;
      clearTimeout(timer);
      return { code: killed ? null : code, output };
    },
  };
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // It has ended by itself.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function describe({ root, env, folder, binds, network, readOnly }: Box): string[] {
  return [
    ...(readOnly ? ['--ro-bind', root, '/', '--perms', '1777', '--tmpfs', '/tmp'] : ['--bind', root, '/']),
    ...['--dev', '/dev', '--perms', '1777', '--tmpfs', '/dev/shm', '--proc', '/proc'],
    ...binds.flatMap((bind) => [bind.readOnly ? '--ro-bind' : '--bind', bind.source, bind.target]),
    ...['--unshare-pid', '--unshare-ipc', '--unshare-uts', '--hostname', 'image'],
    ...(network ? [] : ['--unshare-net']),
    ...['--as-pid-1', '--die-with-parent', '--cap-add', 'ALL', '--info-fd', '3', '--clearenv', '--chdir', folder],
    ...Object.entries(env).flatMap(([name, value]) => ['--setenv', name, value]),
  ];
}

function asUser(user: string): string[] {
  if (user === '0:0') return [];
  const [uid = '', gid = ''] = user.split(':');
  return [
    'setpriv',
    '--reuid',
    uid,
    '--regid',
    gid,
    '--clear-groups',
    '--bounding-set=-all',
    '--no-new-privs',
    '--pdeathsig',
    'KILL',
    '--',
  ];
}

async function runIn(first: number, box: Box, words: readonly string[], limitMs: number): Promise<Ended> {
  const enter = ['--target', String(first), '--mount', '--pid', '--net', '--ipc', '--uts', '--root', '--wd'];
  const env = Object.entries(box.env).map(([name, value]) => `${name}=${value}`);
  const child = spawn('nsenter', [...enter, 'env', '-i', ...env, ...asUser(box.user), ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
  const ended = await follow(child).ended;
  clearTimeout(timer);
  return ended;
}

/** What bubblewrap says of the process that it started, by its number here. */
async function firstPid(child: ChildProcess, ended: Promise<Ended>, read: () => string): Promise<number> {
  const info = child.stdio[3] as Readable;
  const said = new Promise<number>((found) => {
    let text = '';
    info.setEncoding('utf8').on('data', (part: string) => {
      text += part;
      const pid = /"child-pid": (\d+)/.exec(text)?.[1];
      if (pid !== undefined) found(Number(pid));
    });
  });
  const pid = await Promise.race([said, ended.then(() => undefined)]);
  if (pid === undefined) throw new Error(`no box could be made: ${read().trim()}`);
  // It is told before the root is changed.
  let hasEnded = false;
  void ended.then(() => {
    hasEnded = true;
  });
  while (!hasEnded && programOf(pid) === 'bwrap') await new Promise((waited) => setTimeout(waited, 5));
  return pid;
}

/** Undefined when the process is gone. */
function programOf(pid: number): string | undefined {
  try {
    return basename(readlinkSync(`/proc/${pid}/exe`));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}

function follow(child: ChildProcess): { read(): string; readonly ended: Promise<Ended> } {
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-OUTPUT_LIMIT);
    });
  }
  const ended = new Promise<Ended>((done, failed) => {
    child.once('error', failed);
    child.once('close', (code) => done({ code, output }));
  });
  return { read: () => output, ended };
}
