import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { RuntimeError } from '../../../attest/core/error.ts';
import { openEngine } from '../../../inference/model.ts';
import { writeGguf } from '../../support/gguf-writer.ts';
import { lcg, tinyModel } from '../../support/tiny-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'tracebond-hostile-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const { fields, tensors } = tinyModel();
const sound = writeGguf(fields, tensors);
/** Most faults are sought where the structure is. */
const header =
  sound.length - [...tensors.values()].reduce((sum, { bytes }) => sum + Math.ceil(bytes.length / 32) * 32, 0);

/** One seeded fault: a flipped bit, an extreme or small number, a cut, bytes moved or left out. */
function mutate(seed: number): Uint8Array {
  const next = lcg(seed * 7919 + 13);
  const random = (limit: number) => Math.floor((next() / 2 ** 32) * limit);
  const bytes = Uint8Array.from(sound);
  const view = new DataView(bytes.buffer);
  const place = seed % 5 === 0 ? random(bytes.length - 8) : random(header - 8);
  switch (seed % 8) {
    case 0:
      bytes[place] = (bytes[place] ?? 0) ^ (1 << random(8));
      return bytes;
    case 1:
      view.setBigUint64(place, 0xffff_ffff_ffff_ffffn, true);
      return bytes;
    case 2:
      view.setBigUint64(place, BigInt(random(1 << 30)) << BigInt(random(32)), true);
      return bytes;
    case 3:
      return bytes.slice(0, random(bytes.length));
    case 4:
      view.setUint32(place, [0, 0x8000_0000, 0x7fff_ffff, 0xffff_ffff, 9][random(5)] ?? 0, true);
      return bytes;
    case 5:
      bytes.copyWithin(place, random(header), random(header) + 64);
      return bytes;
    case 6:
      return Uint8Array.from([...bytes.subarray(0, place), ...bytes.subarray(place + 1 + random(40))]);
    default:
      for (let i = 0; i < 24; i++) bytes[random(header)] = random(256);
      return bytes;
  }
}

describe('200 mutations of a sound model', () => {
  it('are refused with a typed error or served with one, quickly and in little memory', {
    timeout: 120_000,
  }, async () => {
    const path = join(folder, 'model.gguf');
    const codes = new Map<string, number>();
    let served = 0;
    for (let seed = 0; seed < 200; seed++) {
      writeFileSync(path, mutate(seed));
      const before = process.memoryUsage();
      const start = performance.now();
      const fault = await attempt(path);
      expect(performance.now() - start, `seed ${seed}`).toBeLessThan(5000);
      const after = process.memoryUsage();
      expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers, `seed ${seed}`).toBeLessThan(
        300e6,
      );
      if (fault === undefined) served++;
      else {
        if (!RuntimeError.is(fault)) throw new Error(`seed ${seed} gave an untyped error`, { cause: fault });
        codes.set(fault.code, (codes.get(fault.code) ?? 0) + 1);
      }
    }
    // The corpus must reach more than one check, and be mostly faults.
    expect(codes.size).toBeGreaterThan(8);
    expect(served).toBeLessThan(100);
    console.log(`served ${served}; refused ${[...codes].map(([name, count]) => `${name} ${count}`).join(', ')}`);
  });
});

/** Opens and asks; the fault, or undefined if there was none. */
async function attempt(path: string): Promise<unknown> {
  try {
    const engine = await openEngine({ path, id: 'hostile', cacheDir: join(folder, 'cache') });
    try {
      await engine.complete({ messages: [{ role: 'user', content: 'the' }], maxTokens: 2 });
      return undefined;
    } catch (fault) {
      return fault;
    } finally {
      await engine.close();
      rmSync(join(folder, 'cache'), { recursive: true, force: true });
    }
  } catch (fault) {
    return fault;
  }
}
