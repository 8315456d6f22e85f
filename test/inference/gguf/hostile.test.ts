import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { RuntimeError } from '../../../attest/core/error.ts';
import { openGgufSource } from '../../../inference/gguf/gguf-source.ts';
import { parseGguf } from '../../../inference/gguf/reader.ts';
import { bytesSource } from '../../../inference/gguf/source.ts';
import { openEngine } from '../../../inference/model.ts';
import { LAYER_TENSORS, MODEL_TENSORS, type TensorPlace, tensorShape } from '../../../inference/model-source.ts';
import { lcg, type TinyOptions, tinyGguf } from '../../support/tiny-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'tracebond-hostile-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/**
 * For nine files of ten: an engine proves itself before it loads anything, and this one is quickest at it. What is hostile has been read and
 * converted before, alike for all engines.
 */
const QUICK = { engine: 'wasm', threads: 1 } as const;

type Sound = { readonly sound: Uint8Array; readonly header: number };

/** A whole file; most faults are sought where the structure is. */
function make(options: TinyOptions): Sound {
  const sound = tinyGguf(options);
  return { sound, header: parseGguf(bytesSource(sound)).dataOffset };
}

/** One seeded fault: a flipped bit, an extreme or small number, a cut, bytes moved or left out. */
function mutate({ sound, header }: Sound, seed: number): Uint8Array {
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
    const sound = make({});
    const codes = new Map<string, number>();
    let served = 0;
    for (let seed = 0; seed < 200; seed++) {
      writeFileSync(path, mutate(sound, seed));
      const before = process.memoryUsage();
      const start = performance.now();
      const fault = await attempt(path, seed % 10 === 0 ? {} : QUICK);
      // Far above what a quiet computer takes: it only must not hang.
      expect(performance.now() - start, `seed ${seed}`).toBeLessThan(20_000);
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

it('500 mutations of sources with divisors, biases and norms of heads are refused with a typed error or read whole', () => {
  const sounds = [make({ scaling: 'divisors', biases: true }), make({ family: 'qwen3', tied: true })];
  const path = join(folder, 'source.gguf');
  const codes = new Map<string, number>();
  for (let seed = 0; seed < 500; seed++) {
    const sound = sounds[seed % 2];
    if (sound === undefined) throw new RangeError('seed');
    writeFileSync(path, mutate(sound, 1000 + seed));
    const code = readWhole(path, seed);
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  console.log([...codes].map(([name, count]) => `${name} ${count}`).join(', '));
  expect(codes.size).toBeGreaterThan(8);
  expect(codes.get('read')).toBeLessThan(300);
});

/** Opens and reads every row; the code of the fault, or `read`. */
function readWhole(path: string, seed: number): string {
  try {
    const source = openGgufSource(path);
    try {
      const { config } = source;
      const places: TensorPlace[] = MODEL_TENSORS.map((tensor) => ({ tensor }));
      for (let layer = 0; layer < config.layers; layer++) {
        for (const tensor of LAYER_TENSORS) places.push({ tensor, layer });
      }
      for (const place of places) {
        const [rows, columns] = tensorShape(config, place.tensor) ?? [0, 0];
        if (rows > 0) source.readRows(place, 0, rows, new Float32Array(rows * columns));
      }
      return 'read';
    } finally {
      source.close();
    }
  } catch (fault) {
    if (!RuntimeError.is(fault)) throw new Error(`seed ${seed} gave an untyped error`, { cause: fault });
    return fault.code;
  }
}

/** Opens and asks; the fault, or undefined if there was none. */
async function attempt(path: string, choice: typeof QUICK | Record<string, never>): Promise<unknown> {
  try {
    const engine = await openEngine({ path, id: 'hostile', cacheDir: join(folder, 'cache'), ...choice });
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
