import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { hashFile } from '../../../inference/file-digest.ts';
import { ensureGraphFiles } from '../../../inference/float/graph-files.ts';
import { writeGguf } from '../../support/gguf-writer.ts';
import { graphSource } from '../../support/open-graph.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { tinyModel } from '../../support/tiny-model.ts';

function setUp() {
  const { fields, tensors } = tinyModel();
  const origin = graphSource(writeGguf(fields, tensors));
  const cache = temporaryFolder();
  let made = 0;
  const ensure = () => ensureGraphFiles(origin, cache, () => made++);
  return { origin, cache, ensure, made: () => made };
}

it('makes the files once and finds them again', async () => {
  const { ensure, made, cache } = setUp();
  const path = await ensure();
  expect(await ensure()).toBe(path);
  expect(made()).toBe(1);
  expect(readdirSync(cache)).toHaveLength(1);
});

it('makes damaged files anew', async () => {
  const { ensure, made, origin } = setUp();
  const path = await ensure();
  const weights = join(path, '..', 'weights.bin');
  const whole = await hashFile(weights);
  const damages = [
    () => {
      const bytes = readFileSync(weights);
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
      writeFileSync(weights, bytes);
    },
    () => truncate(weights, 100),
    () => writeFileSync(path, 'not a graph'),
    () => writeFileSync(join(path, '..', 'manifest.json'), '{'),
  ];
  for (const [index, damage] of damages.entries()) {
    await damage();
    expect(await ensure()).toBe(path);
    expect(made()).toBe(index + 2);
    expect(await hashFile(weights)).toBe(whole);
    expect(new Uint8Array(readFileSync(path))).toEqual(origin.graph.model);
  }
});

it('may be made by several at once', async () => {
  const { ensure, cache } = setUp();
  const paths = await Promise.all([ensure(), ensure(), ensure()]);
  expect(new Set(paths).size).toBe(1);
  expect(readdirSync(cache)).toHaveLength(1);
  expect(readdirSync(join(paths[0] ?? '', '..')).sort()).toEqual(['manifest.json', 'model.onnx', 'weights.bin']);
});

it('says so when the folder cannot be written', async () => {
  const { origin, cache } = setUp();
  const file = join(cache, 'file');
  writeFileSync(file, '');
  await expect(ensureGraphFiles(origin, join(file, 'cache'))).rejects.toMatchObject({
    name: 'ModelError',
    code: 'CACHE_UNWRITABLE',
  });
});
