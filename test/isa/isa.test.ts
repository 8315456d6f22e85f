import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { bundleProgram, GOLDEN, runProgram } from '../support/isa-program.ts';
import { EMULATED, findMachine, NATIVE_TIERS, TIERS, TierAbsent } from '../support/isa-tiers.ts';
import { temporaryFolder } from '../support/temporary.ts';

const here = { command: process.execPath, args: [] };
const silent = () => {};

describe('the golden program', () => {
  it.each(NATIVE_TIERS)('gives the golden digest: $name', async (tier) => {
    const machine = await findMachine(tier, undefined, silent);
    const { digest, arch } = await runProgram(machine, await bundleProgram(temporaryFolder()), ['small']);
    expect({ digest, arch }).toEqual({ digest: GOLDEN.small, arch: process.arch });
  });

  it('gives the golden digest on an emulated CPU', { timeout: 120_000 }, async (context) => {
    const machine = await findMachine(EMULATED, undefined, silent).catch((fault: unknown) => {
      if (!(fault instanceof TierAbsent)) throw fault;
      console.warn(`SKIPPED: ${EMULATED.name}: ${fault.message}`);
      return undefined;
    });
    if (machine === undefined) return context.skip();
    const { digest, arch } = await runProgram(machine, await bundleProgram(temporaryFolder()), ['small']);
    expect({ digest, arch }).toEqual({ digest: GOLDEN.small, arch: EMULATED.arch });
  });

  it('does not hide an engine that differs', async () => {
    const program = await bundleProgram(temporaryFolder());
    const source = readFileSync(program, 'utf8');
    // both engines alike: only the digests can tell
    const changed = source.replace('2048 / Math.sqrt(headSize)', '2047 / Math.sqrt(headSize)');
    expect(changed).not.toBe(source);
    writeFileSync(program, changed);
    await expect(runProgram(here, program, ['small'])).rejects.toThrow('SELF_TEST_FAILED');
  });
});

describe('tiers', () => {
  it('have names of their own, and one each without AVX-512, without AVX, and of another architecture', () => {
    expect(new Set(TIERS.map(({ name }) => name)).size).toBe(TIERS.length);
    expect(TIERS.map(({ cpu }) => cpu).filter(Boolean)).toEqual(['Haswell', 'Westmere', 'max']);
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
