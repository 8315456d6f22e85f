import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { RuntimeError } from '../../../attest/core/error.ts';
import type { DecoderFamily } from '../../../inference/decoder-config.ts';
import {
  LAYER_TENSORS,
  MODEL_TENSORS,
  type ModelSource,
  type TensorPlace,
  tensorShape,
} from '../../../inference/model-source.ts';
import { openSafetensorsSource } from '../../../inference/safetensors/safetensors-source.ts';
import { openTokenizer } from '../../../inference/tokenizer.ts';
import { type Random, seededRandom } from '../../support/random.ts';
import { folderFiles, tinyFolder, writeFolder } from '../../support/tiny-safetensors.ts';

const root = mkdtempSync(join(tmpdir(), 'tracebond-hostile-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const FAMILIES: readonly [DecoderFamily, ...DecoderFamily[]] = ['llama', 'qwen2', 'qwen3'];
const folders = new Map(
  FAMILIES.map((family, index) => {
    const path = mkdtempSync(join(root, `${family}-`));
    const files = folderFiles(tinyFolder(family), index === 0 ? 1 : 2);
    writeFolder(path, files);
    return [family, { path, files }];
  }),
);

/** Opens the folder and reads everything; the code of the refusal, or `served`. */
function outcome(path: string): string {
  let source: ModelSource | undefined;
  try {
    source = openSafetensorsSource(path);
    readAll(source);
    const tokenizer = openTokenizer(source.tokenizer);
    tokenizer.decode(tokenizer.encodeText("The 12 o'clock é\n"));
    return 'served';
  } catch (error) {
    if (!RuntimeError.is(error)) throw error;
    expect(error.name).toMatch(/^(ModelError|InferenceError)$/);
    // What is said of a hostile file stays short.
    expect(error.message.length).toBeLessThan(2000);
    expect(JSON.stringify(error.at).length).toBeLessThan(2000);
    return error.code;
  } finally {
    source?.close();
  }
}

function readAll(source: ModelSource): void {
  const { config } = source;
  const layers = Array.from({ length: config.layers }, (_, layer) => layer);
  const places: TensorPlace[] = [
    ...MODEL_TENSORS.map((tensor) => ({ tensor })),
    ...layers.flatMap((layer) => LAYER_TENSORS.map((tensor) => ({ tensor, layer }))),
  ];
  for (const place of places) {
    const [rows, columns] = tensorShape(config, place.tensor) ?? [0, 0];
    if (rows > 0) source.readRows(place, 0, rows, new Float32Array(rows * columns));
  }
}

/** Puts other bytes in the place of a file while `run` runs. */
function withFile(family: DecoderFamily, name: string, bytes: Uint8Array, run: (path: string) => void): void {
  const { path, files } = folders.get(family) ?? { path: '', files: new Map<string, Uint8Array>() };
  try {
    writeFileSync(join(path, name), bytes);
    run(path);
  } finally {
    writeFileSync(join(path, name), files.get(name) ?? new Uint8Array());
  }
}

/** One fault: a flipped bit, a changed letter, a cut, an extreme number, bytes moved, left out or doubled. */
function mutate(sound: Uint8Array, random: Random): Uint8Array {
  const bytes = Uint8Array.from(sound);
  // Most faults are sought where the structure is.
  const place = random.below(random.chance(80) ? Math.min(bytes.length, 4096) : bytes.length);
  const signs = Buffer.from('{}[],:"0123456789-.eE \\\0ntf');
  switch (random.below(8)) {
    case 0:
      bytes[place] = (bytes[place] ?? 0) ^ (1 << random.below(8));
      return bytes;
    case 1:
    case 2:
      bytes[place] = signs[random.below(signs.length)] ?? 0;
      return bytes;
    case 3:
      return bytes.slice(0, place);
    case 4: {
      const numbers = [
        '-1',
        '1e999',
        '9007199254740993',
        '0.5',
        '4294967296',
        'null',
        '[]',
        '{}',
        '""',
        '1e30',
      ] as const;
      const text = Buffer.from(bytes).toString('latin1');
      const at = text.slice(place).search(/\d+/);
      if (at < 0) return bytes.slice(1);
      const changed = text.slice(0, place + at) + text.slice(place + at).replace(/\d+/, random.pick(numbers));
      return new Uint8Array(Buffer.from(changed, 'latin1'));
    }
    case 5:
      return bytes.copyWithin(place, random.below(bytes.length), random.below(bytes.length));
    case 6:
      return new Uint8Array(Buffer.concat([bytes.subarray(0, place), bytes.subarray(place + 1 + random.below(40))]));
    default: {
      const length = random.below(200);
      return new Uint8Array(Buffer.concat([bytes.subarray(0, place + length), bytes.subarray(place)]));
    }
  }
}

describe('sound folders', () => {
  it.each(FAMILIES)('of %s are served', (family) => {
    expect(outcome(folders.get(family)?.path ?? '')).toBe('served');
  });
});

/** Files in one and in two parts. */
const CUT = (['llama', 'qwen3'] as const).flatMap((family) =>
  [...(folders.get(family)?.files ?? [])].map(([name, bytes]) => [family, name, bytes] as const),
);

describe('a folder cut short', () => {
  it.each(CUT)('of %s, in %s, is refused wherever it is cut', (family, name, bytes) => {
    const cuts = new Set<number>([bytes.length - 1, bytes.length - 2]);
    for (let at = 0; at < Math.min(24, bytes.length); at++) cuts.add(at);
    for (let part = 0; part < 40; part++) cuts.add(Math.floor((part * bytes.length) / 40));
    if (name.endsWith('.safetensors')) {
      const header = 8 + Number(Buffer.from(bytes).readBigUInt64LE());
      for (let at = header - 4; at < header + 4; at++) cuts.add(at);
    }
    for (const cut of cuts) {
      withFile(family, name, bytes.subarray(0, cut), (path) => {
        const code = outcome(path);
        if (code === 'served') expect([cut, code]).toEqual([cut, 'refused']);
      });
    }
  });
});

describe('600 mutations', () => {
  it('are refused with a typed error or served, in little memory', { timeout: 120_000 }, () => {
    const random = seededRandom(20_25);
    const codes = new Map<string, number>();
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 600; i++) {
      const family = random.pick(FAMILIES);
      const files = folders.get(family)?.files ?? new Map<string, Uint8Array>();
      const names = [...files.keys()];
      const name = names[random.below(names.length)] ?? '';
      withFile(family, name, mutate(files.get(name) ?? new Uint8Array(), random), (path) => {
        const started = performance.now();
        const code = outcome(path);
        expect(performance.now() - started).toBeLessThan(5000);
        codes.set(code, (codes.get(code) ?? 0) + 1);
      });
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(500e6);
    const served = codes.get('served') ?? 0;
    // Most faults lie where something reads; noise in the weights is as good as other noise.
    expect(served).toBeLessThan(300);
    expect(codes.size).toBeGreaterThan(10);
    console.log(`${served} of 600 served, refused: ${JSON.stringify(Object.fromEntries([...codes].sort()))}`);
  });
});
