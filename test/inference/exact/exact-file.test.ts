import { mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { convertModel } from '../../../inference/exact/convert.ts';
import {
  type ExactFile,
  ensureExactFile,
  exactModelFrom,
  readExactModel,
  viewExactModel,
} from '../../../inference/exact/exact-file.ts';
import { fileLayout } from '../../../inference/exact/file-layout.ts';
import { randomSource } from '../../support/random-source.ts';
import { temporaryFolder } from '../../support/temporary.ts';

const SOURCE = randomSource({ family: 'qwen3', embedding: 40, headSize: 10 });

const { commitment: COMMITMENT, ranges: RANGES, ...MODEL } = exactModelFrom(SOURCE);

const BYTES = Buffer.alloc(fileLayout(MODEL.shape).bytes);
convertModel(SOURCE, (offset, bytes) => BYTES.set(bytes, offset));

let cache: string;

beforeEach(() => {
  cache = join(temporaryFolder(), 'cache');
});

describe('ensureExactFile', () => {
  it('makes the file that the conversion in memory makes', async () => {
    const file = await ensure();
    expect(file.commitment).toBe(COMMITMENT);
    expect(file.ranges).toEqual(RANGES);
    expect(file.shape).toEqual(MODEL.shape);
    expect(file.tokenizer).toBe(SOURCE.tokenizer);
    expect(readExactModel(file)).toEqual(MODEL);
    expect(readFileSync(file.path).length).toBe(file.layout.bytes);
    file.close();
  });

  it('leaves one folder, named by the digest of the source and the version', async () => {
    (await ensure()).close();
    const digest = await SOURCE.digest();
    expect(readdirSync(cache)).toEqual([`${digest.slice(2)}-exact-v1`]);
    expect(readdirSync(folder()).sort()).toEqual(['manifest.json', 'weights.bin']);
  });

  it('finds it the second time, without a word and without a conversion', async () => {
    (await ensure()).close();
    const messages: string[] = [];
    const unreadable = { ...SOURCE, readRows: () => expect.unreachable('no weights are read') };
    const file = await ensureExactFile(unreadable, cache, (message) => messages.push(message));
    expect(file.commitment).toBe(COMMITMENT);
    expect(messages).toEqual([]);
    file.close();
  });

  const damages: readonly (readonly [string, () => void])[] = [
    [
      'a flipped bit in the weights',
      () => edit('weights.bin', (bytes) => bytes.with(4000, (bytes[4000] as number) ^ 1)),
    ],
    [
      'a flipped bit in the last byte',
      () => edit('weights.bin', (bytes) => bytes.with(-1, (bytes.at(-1) as number) ^ 1)),
    ],
    ['weights cut short', () => truncateSync(join(folder(), 'weights.bin'), 5000)],
    ['weights that are too long', () => edit('weights.bin', (bytes) => Buffer.concat([bytes, Buffer.of(0)]))],
    ['no weights', () => rmSync(join(folder(), 'weights.bin'))],
    ['no manifest', () => rmSync(join(folder(), 'manifest.json'))],
    ['an empty manifest', () => edit('manifest.json', () => Buffer.of())],
    ['a manifest that is null', () => edit('manifest.json', () => Buffer.from('null'))],
    ['a manifest of another version', () => manifest({ version: 'exact/v2' })],
    ['a manifest of another converter', () => manifest({ converter: 0 })],
    ['a manifest of another shape', () => manifest({ shape: { ...MODEL.shape, layers: 3 } })],
    ['a manifest of another tokenizer', () => manifest({ tokenizer: `0x${'00'.repeat(32)}` })],
    ['a manifest whose commitment is none', () => manifest({ commitment: '0x12' })],
    ['a manifest without bounds', () => manifest({ ranges: undefined })],
    ['a manifest with too few bounds', () => manifest({ ranges: [['1', 1]] })],
    ['a manifest with a bound that is none', () => manifest({ ranges: [['x', 1]] })],
    ['a file in place of the folder', () => replaceFolder()],
  ];
  it.each(damages)('makes it anew after %s', async (_, damage) => {
    (await ensure()).close();
    damage();
    const messages: string[] = [];
    const file = await ensureExactFile(SOURCE, cache, (message) => messages.push(message));
    expect(messages.length).toBeGreaterThan(0);
    expect(file.commitment).toBe(COMMITMENT);
    expect(file.ranges).toEqual(RANGES);
    expect(loaded(file).equals(BYTES)).toBe(true);
    file.close();
  });

  it('a tokenizer that is read differently gives another commitment, not the one in the cache', async () => {
    (await ensure()).close();
    const source = { ...SOURCE, tokenizer: { ...SOURCE.tokenizer, eosId: 1 } };
    const file = await ensureExactFile(source, cache);
    expect(file.commitment).toBe(exactModelFrom(source).commitment);
    expect(file.commitment).not.toBe(COMMITMENT);
    file.close();
  });

  it('several makers at once all get a whole file', async () => {
    const files = await Promise.all([1, 2, 3, 4].map(() => ensureExactFile(SOURCE, cache)));
    for (const file of files) {
      expect(loaded(file).equals(BYTES)).toBe(true);
      file.close();
    }
    expect(readdirSync(cache)).toHaveLength(1);
  });

  it('says so where the cache cannot be written, and leaves nothing', async () => {
    const blocked = join(temporaryFolder(), 'file');
    writeFileSync(blocked, '');
    await expect(ensureExactFile(SOURCE, blocked)).rejects.toMatchObject({
      code: 'CACHE_UNWRITABLE',
      at: { folder: blocked },
    });
  });

  it('a model that is refused leaves nothing behind', async () => {
    const source = randomSource({ alter: (_, __, values) => values.fill(Number.NaN) });
    await expect(ensureExactFile(source, cache)).rejects.toMatchObject({ code: 'WEIGHT_NOT_FINITE' });
    expect(readdirSync(cache)).toEqual([]);
  });

  it('a folder of a maker that was stopped is not taken for whole', async () => {
    const digest = await SOURCE.digest();
    mkdirSync(join(cache, `${digest.slice(2)}-exact-v1`), { recursive: true });
    const file = await ensure();
    expect(file.commitment).toBe(COMMITMENT);
    file.close();
  });
});

describe('load', () => {
  it('copies the file to an offset of shared memory', async () => {
    const file = await ensure();
    const shared = new SharedArrayBuffer(64 + file.layout.bytes + 8);
    const into = new Uint8Array(shared);
    file.load(into, 64);
    expect(Buffer.from(into.slice(64, -8)).equals(readFileSync(file.path))).toBe(true);
    expect(into.slice(0, 64).every((byte) => byte === 0) && into.slice(-8).every((byte) => byte === 0)).toBe(true);
    const view = viewExactModel(file.shape, file.layout, shared, 64);
    expect(view.matrices[3]?.weights.buffer).toBe(shared);
    expect(view.matrices[3]).toEqual(MODEL.matrices[3]);
    file.close();
  });

  it('refuses a file that changed since it was opened', async () => {
    const file = await ensure();
    const bytes = readFileSync(file.path);
    for (const change of [bytes.with(70, (bytes[70] as number) ^ 4), bytes.subarray(1)]) {
      writeFileSync(file.path, change);
      expect(() => file.load(new Uint8Array(file.layout.bytes), 0)).toThrow(
        expect.objectContaining({ code: 'CACHE_DAMAGED', at: { file: file.path } }),
      );
    }
    file.close();
  });

  it('refuses room that is too small', async () => {
    const file = await ensure();
    expect(() => file.load(new Uint8Array(file.layout.bytes), 1)).toThrow(RangeError);
    file.close();
  });

  it('a closed file cannot be read', async () => {
    const file = await ensure();
    file.close();
    expect(() => file.load(new Uint8Array(file.layout.bytes), 0)).toThrow(
      expect.objectContaining({ code: 'FILE_UNREADABLE' }),
    );
  });
});

function ensure(): Promise<ExactFile> {
  return ensureExactFile(SOURCE, cache);
}

function loaded(file: ExactFile): Buffer {
  const bytes = Buffer.alloc(file.layout.bytes);
  file.load(bytes, 0);
  return bytes;
}

function folder(): string {
  const [name] = readdirSync(cache);
  return join(cache, name ?? '');
}

function edit(name: string, change: (bytes: Buffer) => Uint8Array): void {
  const path = join(folder(), name);
  writeFileSync(path, change(readFileSync(path)));
}

function replaceFolder(): void {
  const path = folder();
  rmSync(path, { recursive: true });
  writeFileSync(path, '');
}

function manifest(change: object): void {
  edit('manifest.json', (bytes) => Buffer.from(JSON.stringify({ ...JSON.parse(bytes.toString()), ...change })));
}
