import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openQuickJsVm } from '../../../runtime/sandbox/quickjs-vm.ts';
import { chooseWall, findWall, noWall, type Wall, type WallKind, wallWarning } from '../../../runtime/sandbox/wall.ts';
import { runOnce } from '../../support/sandbox-programs.ts';

const SECRET = 'canary-7c1f';
let folder: string;
let server: Server;
let port: number;
let connections = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'wall-'));
  writeFileSync(join(folder, 'secret'), SECRET, { mode: 0o644 });
  server = createServer((socket) => {
    connections++;
    socket.on('error', () => undefined).end(SECRET);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = (server.address() as { port: number }).port;
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

/** What code that has left WebAssembly could do: it runs in Node itself, with all of its modules. */
const PROBE = `
const fs = require('node:fs'), os = require('node:os'), net = require('node:net'), { spawnSync } = require('node:child_process');
const attempt = (run) => { try { return run(); } catch (error) { return 'refused: ' + error.code; } };
const { port, files } = JSON.parse(process.argv[1]);
const seen = {
  interfaces: Object.keys(os.networkInterfaces()),
  files: files.map((file) => attempt(() => fs.statSync(file).isDirectory() ? fs.readdirSync(file).join() : fs.readFileSync(file, 'utf8'))),
  write: attempt(() => fs.writeFileSync('/written', 'x')),
  writeTmp: attempt(() => fs.writeFileSync('/tmp/written-by-probe', 'x')),
  root: attempt(() => fs.readdirSync('/').join()),
  processes: attempt(() => fs.readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name)).length),
  descriptors: attempt(() => fs.readdirSync('/proc/self/fd').filter((fd) => {
    const to = attempt(() => fs.readlinkSync('/proc/self/fd/' + fd));
    return Number(fd) > 2 && !/anon_inode|^refused|^pipe:|proc/.test(to);
  })),
  environment: Object.keys(process.env).filter((name) => name !== 'PWD' && name !== '_' && name !== 'SHLVL'),
  host: os.hostname(),
  uid: process.getuid(),
  shell: attempt(() => spawnSync('/bin/sh', ['-c', 'id']).error?.code ?? 'ran'),
  kill: attempt(() => process.kill(JSON.parse(process.argv[1]).parent, 0)),
};
const socket = net.connect(port, '127.0.0.1');
const say = (connect) => { process.stdout.write(JSON.stringify({ ...seen, connect })); process.exit(0); };
socket.on('error', (error) => say('refused: ' + error.code)).on('data', (data) => say(String(data)));
`;

type Seen = {
  readonly interfaces: readonly string[];
  readonly files: readonly string[];
  readonly write: string;
  readonly writeTmp: string;
  readonly root: string;
  readonly processes: number;
  readonly descriptors: readonly string[];
  readonly environment: readonly string[];
  readonly uid: number;
  readonly shell: string;
  readonly kill: boolean | string;
  readonly connect: string;
};

const FILES = [
  'secret',
  '/etc/passwd',
  '/etc/hostname',
  homedir(),
  '/tmp',
  process.cwd(),
  join(process.cwd(), 'package.json'),
];

async function lookAround(wall: Wall): Promise<Seen> {
  const files = FILES.map((file) => (file === 'secret' ? join(folder, file) : file));
  const { file, args } = wall.command(['-e', PROBE, JSON.stringify({ port, files, parent: process.pid })]);
  // Not spawnSync: the server has to be able to answer.
  const child = spawn(file, args, { env: {}, cwd: '/', stdio: ['pipe', 'pipe', 'inherit'] });
  const text = await read(child);
  return JSON.parse(text) as Seen;
}

async function read(child: ChildProcess): Promise<string> {
  let text = '';
  child.stdout?.on('data', (piece: Buffer) => {
    text += piece.toString();
  });
  await once(child, 'close');
  return text;
}

/** Runs with the wall of a kind, or says that there is none here. */
function behind(kind: Exclude<WallKind, 'none'>, run: (wall: Wall) => Promise<void>): (c: Skippable) => Promise<void> {
  return async ({ skip }) => {
    const wall = await chooseWall([kind]);
    if (wall.kind !== kind) {
      console.log(`skipped, no ${kind} here: ${wall.reason}`);
      skip(wall.reason);
    }
    await run(wall);
  };
}
type Skippable = { skip(note: string): void };

describe('without a wall', () => {
  it('the probe sees all there is: it is a probe', async () => {
    const seen = await lookAround(noWall('on purpose'));
    expect(seen.files[0]).toBe(SECRET);
    expect(seen.connect).toBe(SECRET);
    expect(seen.kill).toBe(true);
    expect(connections).toBe(1);
  });

  it('there is a reason for each kind that was tried', async () => {
    expect(await chooseWall([])).toMatchObject({ kind: 'none', reason: '' });
    expect(noWall('on purpose').reason).toBe('on purpose');
    expect(wallWarning({ secondWall: 'none', wallReason: 'on purpose' })).toBe('no second wall: on purpose');
    expect(wallWarning({ secondWall: 'namespaces', wallReason: 'bwrap is not installed' })).toBeUndefined();
  });
});

describe('behind bubblewrap', () => {
  it(
    'there is no network, no file but those of the system, no other process, nothing to write to',
    behind('bubblewrap', async (wall) => {
      const before = connections;
      const seen = await lookAround(wall);
      expect(seen.interfaces.filter((name) => name !== 'lo')).toEqual([]);
      expect(seen.connect).toMatch(/^refused: (ECONNREFUSED|ENETUNREACH)$/);
      expect(connections).toBe(before);
      expect(seen.files).toEqual(FILES.map(() => 'refused: ENOENT'));
      expect(seen.write).toMatch(/^refused: E/);
      expect(seen.writeTmp).toMatch(/^refused: E/);
      expect(seen.root.split(',').filter((name) => !/^(dev|etc|lib\w*|proc|usr|opt|nix)$/.test(name))).toEqual([]);
      expect(seen.processes).toBeLessThanOrEqual(2);
      expect(seen.descriptors).toEqual([]);
      expect(seen.environment).toEqual([]);
      expect(seen.shell).toBe('ENOENT');
      expect(seen.kill).toBe('refused: ESRCH');
    }),
  );

  it(
    'guests run',
    behind('bubblewrap', async (wall) => {
      const vm = await openQuickJsVm({ wall });
      expect([vm.secondWall, vm.wallReason]).toEqual(['bubblewrap', '']);
      expect(await runOnce(vm, 'return 1;')).toMatchObject({ status: 'done', value: 1 });
      await vm.close();
    }),
  );
});

describe('behind namespaces', () => {
  it(
    'there is no network and no process to signal',
    behind('namespaces', async (wall) => {
      const before = connections;
      const seen = await lookAround(wall);
      expect(seen.interfaces).toEqual([]);
      expect(seen.connect).toMatch(/^refused: (ECONNREFUSED|ENETUNREACH)$/);
      expect(connections).toBe(before);
      expect(seen.kill).toBe('refused: ESRCH');
      expect(seen.descriptors).toEqual([]);
      expect(seen.environment).toEqual([]);
    }),
  );

  it(
    'guests run as elsewhere',
    behind('namespaces', async (wall) => {
      const vm = await openQuickJsVm({ wall });
      const open = await openQuickJsVm({ wall: noWall('on purpose') });
      expect(vm.secondWall).toBe('namespaces');
      expect(await runOnce(vm, 'return 1;')).toEqual(await runOnce(open, 'return 1;'));
      expect(vm.engine).toBe(open.engine);
      await vm.close();
      await open.close();
    }),
  );
});

describe('the wall of this process', () => {
  it('is found once, and is that of every engine', async () => {
    expect(await findWall()).toBe(await findWall());
    const vm = await openQuickJsVm();
    const wall = await findWall();
    expect([vm.secondWall, vm.wallReason]).toEqual([wall.kind, wall.reason]);
    await vm.close();
  });
});
