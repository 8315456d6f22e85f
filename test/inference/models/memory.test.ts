import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { defaultMemoryBound, estimateMemory } from '../../../inference/models/memory.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { tinyGguf } from '../../support/tiny-model.ts';

it.each([
  [1000, 0, 500],
  [1000, 200, 100],
  [1000, 2 ** 63, 500],
])('the bound with %i bytes of memory and a limit of %i is %i', (total, constrained, expected) => {
  expect(defaultMemoryBound(total, constrained)).toBe(expected);
});

it('this computer has a bound', () => {
  expect(defaultMemoryBound()).toBeGreaterThan(1e8);
});

it.skipIf(process.platform !== 'linux')('a model is not left open, whatever it is', () => {
  const paths = [tinyGguf(), tinyGguf({ family: 'qwen2' }), new Uint8Array(24)].map((bytes, i) => {
    const path = join(temporaryFolder(), `${i}.gguf`);
    writeFileSync(path, bytes);
    return path;
  });
  const before = readdirSync('/proc/self/fd').length;
  for (let i = 0; i < 10; i++) {
    for (const path of paths.slice(0, 2)) estimateMemory(path);
    expect(() => estimateMemory(paths[2] ?? '')).toThrow();
  }
  expect(readdirSync('/proc/self/fd').length).toBeLessThan(before + 10);
});

it('a model of no weight takes what its process takes, and a broken one says why', () => {
  const path = join(temporaryFolder(), 'x.gguf');
  writeFileSync(path, tinyGguf({ family: 'qwen2' }));
  expect(estimateMemory(path)).toBeGreaterThan(195e6);
  expect(estimateMemory(path)).toBeLessThan(200e6);
  expect(estimateMemory(path, 'float-same-isa')).toBeGreaterThan(estimateMemory(path));
  writeFileSync(path, 'noise noise noise noise');
  expect(() => estimateMemory(path)).toThrow(expect.objectContaining({ code: 'NOT_GGUF' }));
});
