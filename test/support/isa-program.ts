/**
 * What runs on every CPU: the golden program, bundled so that an emulated Node needs no loader, and the command `generate`.
 *
 * @module
 */

import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { SHIPPED_MODEL } from '../../inference/model-path.ts';
import type { IsaPart, IsaReport } from './isa-child.ts';
import { type Machine, TierAbsent } from './isa-tiers.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Longest that one program may take under emulation. */
const PATIENCE_MS = 1_200_000;

/** What every CPU gives. */
export const GOLDEN = {
  program: '0xab2fb85a5de23c9b1c66a6e41c9b981000e6142bb3400c5fd512a951f76d660b',
  /** The program in its small form. */
  small: '0xd03034b2efe696b113b3f6414f11987c6a0232d4b15350ddf149732c65568e59',
  /** `logitsDigest` of {@link GENERATE}. */
  generate: '0x7f0ef125d438eb3d2a9ea214459fd24381e4ca352fecc92e6820d72b2d041b25',
} as const;

/** Arguments of `tracebond`; greedy, so that the logits follow from the prompt. */
const GENERATE = ['generate', '--model', SHIPPED_MODEL.id, '--prompt', 'Light is', '--max-tokens', '8', '--json'];

/** A program that did not end well. */
export class ProgramFailed extends Error {
  override readonly name = 'ProgramFailed';
}

/** What a program gave. */
export type IsaResult = { readonly digest: string; readonly arch: string; readonly seconds: number };

/** Bundles the golden program into a folder of its own, made anew, where it finds ONNX Runtime if it asks for it; returns its path. */
export async function bundleProgram(folder: string): Promise<string> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await build({
    entryPoints: {
      golden: join(ROOT, 'test/support/isa-child.ts'),
      'thread-main': join(ROOT, 'inference/exact/ort/thread-main.ts'),
    },
    outdir: folder,
    bundle: true,
    // What is loaded late stays in files of its own.
    splitting: true,
    external: ['onnxruntime-node'],
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'error',
  });
  copyFileSync(join(ROOT, 'inference/exact/wasm/kernels.wasm'), join(folder, 'kernels.wasm'));
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}\n');
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  return join(folder, 'golden.js');
}

/**
 * Runs a part of the golden program.
 *
 * @throws {@link ProgramFailed} with what it printed last
 */
export async function runProgram(
  machine: Machine,
  program: string,
  part: IsaPart,
  args: readonly string[] = [],
): Promise<IsaResult> {
  const { output, seconds } = await run(machine, [program, part, ...args]);
  const { digest, arch } = JSON.parse(output) as IsaReport;
  return { digest, arch, seconds };
}

/**
 * Loads ONNX Runtime and nothing else; returns a word on the instructions it computes with.
 *
 * @throws {@link TierAbsent} why it cannot be loaded
 */
export async function runLibrary(machine: Machine, program: string): Promise<string> {
  try {
    return (JSON.parse((await run(machine, [program, 'library'])).output) as IsaReport).adds ?? '';
  } catch (fault) {
    throw new TierAbsent(`ONNX Runtime cannot be loaded: ${fault instanceof Error ? fault.message : String(fault)}`);
  }
}

/**
 * Runs `tracebond generate` of the build on one thread.
 *
 * @param entry - from {@link writeGenerate}
 * @throws {@link ProgramFailed} with what it printed last
 */
export async function runGenerate(
  machine: Machine,
  entry: string,
  engine: 'wasm' | 'ort' | 'auto',
): Promise<Omit<IsaResult, 'arch'>> {
  const { output, seconds } = await run(machine, [entry, ...GENERATE, '--engine', engine, '--threads', '1']);
  return { digest: (JSON.parse(output) as { readonly logitsDigest: string }).logitsDigest, seconds };
}

/** Writes what starts the command of the build, which itself only exports it; returns its path. */
export function writeGenerate(folder: string): string {
  mkdirSync(folder, { recursive: true });
  const entry = join(folder, 'generate.mjs');
  const main = pathToFileURL(join(ROOT, 'dist/agents/cli/main.js')).href;
  writeFileSync(entry, `import { main } from ${JSON.stringify(main)};\nprocess.exitCode = await main(process.argv);\n`);
  return entry;
}

/** Builds `dist` unless it is newer than all of its sources. @throws Error with the compiler's words */
export async function ensureBuild(onProgress: (message: string) => void): Promise<void> {
  const built = statSync(join(ROOT, 'dist/agents/cli/main.js'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const isNewer = ['attest', 'inference', 'runtime', 'agents'].some((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true }).some(
      (entry) => entry.isFile() && statSync(join(entry.parentPath, entry.name)).mtimeMs > built,
    ),
  );
  if (!isNewer) return;
  onProgress('building dist');
  await promisify(execFile)('npm', ['run', 'build'], { cwd: ROOT });
}

async function run(
  { command, args }: Machine,
  program: readonly string[],
): Promise<{ output: string; seconds: number }> {
  const started = performance.now();
  const { NODE_OPTIONS: _, ...env } = process.env;
  const options = { env, timeout: PATIENCE_MS, maxBuffer: 1 << 24 };
  try {
    const { stdout } = await promisify(execFile)(command, [...args, ...program], options);
    return { output: stdout, seconds: (performance.now() - started) / 1000 };
  } catch (fault) {
    const { code, signal, stderr } = fault as { code?: unknown; signal?: unknown; stderr?: string };
    const words = (stderr ?? '').split('\n').filter((line) => /error|signal|cannot|differ|code: '/i.test(line));
    const said = words.filter((line) => !/\bthrow\b/.test(line)).map((line) => line.trim());
    throw new ProgramFailed(`ended with ${signal ?? code}: ${said.slice(0, 3).join(' ')}`, { cause: fault });
  }
}
