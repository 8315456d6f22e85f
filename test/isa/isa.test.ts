import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bundleProgram, GOLDEN, runLibrary, runProgram } from '../support/isa-program.ts';
import { findMachine, NATIVE_TIERS, TIERS, TierAbsent } from '../support/isa-tiers.ts';
import { temporaryFolder } from '../support/temporary.ts';

const here = { command: process.execPath, args: [] };
const silent = () => {};

/**
 * V8's compilers make the kernels' code; that of ONNX Runtime is the same with each of them. `npm run test:isa`, which CI runs too, has both
 * parts on all tiers, and the emulated CPUs.
 */
const NATIVE_PARTS = NATIVE_TIERS.flatMap((tier, i) => [
  { ...tier, part: 'kernels' as const },
  ...(i === 0 ? [{ ...tier, part: 'ort' as const }] : []),
]);

describe('the golden program', () => {
  it.each(NATIVE_PARTS)('gives the golden digest: $name, $part', async ({ part, ...tier }) => {
    const machine = await findMachine(tier, undefined, silent);
    const { digest, arch } = await runProgram(machine, await bundleProgram(temporaryFolder()), part, ['small']);
    expect({ digest, arch }).toEqual({ digest: GOLDEN.small, arch: process.arch });
  });

  it.each([
    // all engines alike: only the digests can tell
    ['kernels', '2048 / Math.sqrt(headSize)', '2047 / Math.sqrt(headSize)', 'SELF_TEST_FAILED'],
    ['ort', '2048 / Math.sqrt(headSize)', '2047 / Math.sqrt(headSize)', 'SELF_TEST_FAILED'],
    ['ort', 'weight - 256 * high', 'weight - 255 * high', 'SELF_TEST_FAILED'],
    ['library', 'initOrt();', 'initOrt(null.no);', 'Cannot read'],
  ] as const)('does not hide an engine that differs: %s, %s', async (part, from, to, word) => {
    const folder = temporaryFolder();
    const changed = await bundleProgram(folder);
    const files = readdirSync(folder).filter((name) => name.endsWith('.js'));
    const found = files.filter((name) => readFileSync(join(folder, name), 'utf8').includes(from));
    expect(found.length).toBeGreaterThan(0);
    for (const name of found) {
      const file = join(folder, name);
      writeFileSync(file, readFileSync(file, 'utf8').replace(from, to));
    }
    if (part !== 'library') await expect(runProgram(here, changed, part, ['small'])).rejects.toThrow(word);
    else await expect(runLibrary(here, changed)).rejects.toThrow(new RegExp(`cannot be loaded.*${word}`));
  });

  it('tells an ONNX Runtime that cannot be loaded from one that computes wrong', async () => {
    const folder = temporaryFolder();
    const alone = await bundleProgram(folder);
    rmSync(join(folder, 'node_modules'));
    await expect(runLibrary(here, alone)).rejects.toThrow(TierAbsent);
    await expect(runLibrary(here, alone)).rejects.toThrow(/cannot be loaded.*onnxruntime-node/);
    // the kernels need nothing of it
    expect((await runProgram(here, alone, 'kernels', ['small'])).digest).toBe(GOLDEN.small);
    expect(await runLibrary(here, await bundleProgram(temporaryFolder()))).toMatch(
      /^adds (in 32 bits|(unsigned by )?signed bytes in 16 bits)$/,
    );
  });
});

describe('tiers', () => {
  it('have names of their own, and one each without AVX-512, without AVX, and of another architecture', () => {
    expect(new Set(TIERS.map(({ name }) => name)).size).toBe(TIERS.length);
    expect(TIERS.map(({ cpu }) => cpu).filter(Boolean)).toEqual([
      'Haswell',
      'Westmere',
      'max',
      'neoverse-n1',
      'cortex-a57',
    ]);
  });

  it('are absent, not passed, where nothing is found and nothing may be fetched', async () => {
    const path = process.env['PATH'];
    process.env['PATH'] = temporaryFolder();
    try {
      for (const tier of TIERS.filter(({ cpu }) => cpu !== undefined)) {
        await expect(findMachine(tier, undefined, silent)).rejects.toThrow(TierAbsent);
        // no npm, no apt-get: the reason is told, and nothing half fetched stays
        await expect(findMachine(tier, temporaryFolder(), silent)).rejects.toThrow(/cannot be fetched|emulated on/);
      }
    } finally {
      process.env['PATH'] = path;
    }
  });
});
