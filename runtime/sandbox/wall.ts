/**
 * The second wall: how a child process is started so that code which has broken out of WebAssembly still finds no
 * network, no files, no other processes. The operating system builds it; which one there is, is found out by starting it.
 *
 * W1. A wall is used only after a Node process was started behind it in this very process.
 * W2. Without one the sandbox works all the same, and says so: `none`, with the reasons.
 *
 * Spec: `runtime/spec/sandbox.md#isolation`.
 *
 * @module
 */

import { spawn } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, readlinkSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * `bubblewrap`: own network, processes, names, users, and a file system of Node and the system's libraries alone.
 * `namespaces`: own network, processes, names and users; files are those of the user. `none`: a process, and no wall.
 */
export type WallKind = 'bubblewrap' | 'namespaces' | 'none';

/** A way to start Node. */
export type Wall = {
  readonly kind: WallKind;
  /** What is missing, and why; empty for bubblewrap. */
  readonly reason: string;
  /** The command that runs Node with these arguments behind the wall. It needs no environment. */
  command(nodeArgs: readonly string[]): { readonly file: string; readonly args: readonly string[] };
};

/** Where Node lies behind bubblewrap: its place outside tells where a user's folders are. */
const INNER_NODE = '/opt/node/bin/node';

type Candidate = {
  readonly kind: 'bubblewrap' | 'namespaces';
  readonly file: string;
  readonly args: readonly string[];
};

/** Where the programs are looked for; the variable `PATH` has no say. */
const PROGRAM_FOLDERS = ['/usr/bin', '/bin', '/usr/local/bin', '/run/current-system/sw/bin'];
/** A wall that has not started Node by then is none. */
const PROBE_MS = 10_000;
const PROBE_WORD = 'behind';

let found: Promise<Wall> | undefined;

/** The best wall to be had here; found out once a process. */
export function findWall(): Promise<Wall> {
  found ??= chooseWall(['bubblewrap', 'namespaces']);
  return found;
}

/** Tries walls of some kinds, best first, and keeps no answer. */
export async function chooseWall(kinds: readonly Exclude<WallKind, 'none'>[]): Promise<Wall> {
  const reasons: string[] = [];
  for (const kind of kinds) {
    const program = kind === 'bubblewrap' ? 'bwrap' : 'unshare';
    const file = PROGRAM_FOLDERS.map((folder) => join(folder, program)).find((path) => existsSync(path));
    let refused = `${program} is not installed`;
    for (const args of file === undefined ? [] : kind === 'bubblewrap' ? bubblewrapArgs() : namespaceArgs()) {
      const wall = wallOf({ kind, file: file ?? program, args }, reasons.join('; '));
      const failure = await probe(wall);
      if (failure === undefined) return wall;
      refused = `${program}: ${failure}`;
    }
    reasons.push(refused);
  }
  return noWall(reasons.join('; '));
}

/** Node as it is, and why there is no more. */
export function noWall(reason: string): Wall {
  return { kind: 'none', reason, command: (nodeArgs) => ({ file: process.execPath, args: nodeArgs }) };
}

/** What a program that opens an engine has to tell its user before it runs guests; nothing where there is a wall. */
export function wallWarning(vm: { readonly secondWall: WallKind; readonly wallReason: string }): string | undefined {
  return vm.secondWall === 'none' ? `no second wall: ${vm.wallReason}` : undefined;
}

function wallOf({ kind, file, args }: Candidate, reason: string): Wall {
  const node = kind === 'bubblewrap' ? INNER_NODE : process.execPath;
  return { kind, reason, command: (nodeArgs) => ({ file, args: [...args, '--', node, ...nodeArgs] }) };
}

/** Ways to call bubblewrap, the strictest first: the last options are unknown to older ones. */
function bubblewrapArgs(): string[][] {
  const wall = [
    ['--unshare-all', '--die-with-parent', '--new-session', '--clearenv', '--cap-drop', 'ALL'],
    ['--hostname', 'guest', '--proc', '/proc', '--dev', '/dev'],
    libraries(),
    ['--remount-ro', '/', '--chdir', '/'],
  ].flat();
  const nobody = ['--unshare-user', '--uid', '65534', '--gid', '65534'];
  return [[...wall, ...nobody, '--disable-userns'], [...wall, ...nobody], wall];
}

/** What Node needs to start: itself and shared libraries, all of them public files of the system. */
function libraries(): string[] {
  const args: string[] = [];
  for (const folder of ['/usr/lib', '/usr/lib32', '/usr/lib64', '/lib', '/lib32', '/lib64', '/nix/store']) {
    if (!existsSync(folder)) continue;
    if (lstatSync(folder).isSymbolicLink()) args.push('--symlink', readlinkSync(folder), folder);
    else args.push('--ro-bind', folder, folder);
  }
  args.push('--ro-bind-try', '/etc/ld.so.cache', '/etc/ld.so.cache');
  const node = realpathSync(process.execPath);
  args.push('--ro-bind', node, INNER_NODE);
  // Some builds keep libnode beside the program.
  const own = join(dirname(node), '..', 'lib');
  if (existsSync(own) && readdirSync(own).some((name) => name.startsWith('libnode.'))) {
    args.push('--ro-bind', own, join(dirname(INNER_NODE), '..', 'lib'));
  }
  return args;
}

/** Ways to call unshare: the second where a container forbids a `/proc` of one's own. */
function namespaceArgs(): string[][] {
  const wall = ['--user', '--map-current-user', '--net', '--ipc', '--uts', '--pid', '--fork', '--kill-child'];
  return [[...wall, '--mount-proc'], wall];
}

/** Starts Node behind a wall; returns why that failed, or nothing. */
function probe(wall: Wall): Promise<string | undefined> {
  const { file, args } = wall.command(['-e', `process.stdout.write(${JSON.stringify(PROBE_WORD)})`]);
  return new Promise((resolve) => {
    const child = spawn(file, args, {
      env: {},
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: PROBE_MS,
      killSignal: 'SIGKILL',
    });
    let said = '';
    let complaint = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (complaint.length < 4096) complaint += text;
    });
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => {
      if (code === 0 && said === PROBE_WORD) resolve(undefined);
      else resolve(complaint.trim().split('\n')[0] || `ended with ${signal ?? `exit code ${code}`}`);
    });
  });
}
