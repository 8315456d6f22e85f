import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it, vi } from 'vitest';
import { wasm } from '../../../attest/core/webassembly.ts';
import { openEngine, openModel } from '../../../inference/model.ts';
import { tinyGguf } from '../../support/tiny-model.ts';

const KERNELS = new URL('../../../inference/exact/wasm/kernels.wasm', import.meta.url);

/** 1.5 * 2^23, by which the kernels round; one unit more rounds otherwise. */
const MAGIC = Float32Array.of(12_582_912);

vi.mock(import('../../../inference/exact/wasm/threads.ts'), async (original) => ({
  ...(await original()),
  loadKernels: () => wasm.compile(brokenKernels()),
}));

/** The module with another constant in place of the one it rounds by. */
function brokenKernels(): Uint8Array {
  const bytes = new Uint8Array(readFileSync(KERNELS));
  const from = new Uint8Array(MAGIC.buffer);
  const to = new Uint8Array(Float32Array.of(12_582_913).buffer);
  let found = 0;
  for (let at = 0; at + 4 <= bytes.length; at++) {
    if (from.every((byte, i) => bytes[at + i] === byte)) {
      bytes.set(to, at);
      found += 1;
    }
  }
  expect(found).toBeGreaterThan(0);
  return bytes;
}

const folder = mkdtempSync(join(tmpdir(), 'tracebond-open-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('serves nothing with an engine that fails its self-test', async () => {
  const path = join(folder, 'tiny.gguf');
  writeFileSync(path, tinyGguf({}));
  const options = { path, id: 'tiny', cacheDir: join(folder, 'cache'), threads: 1 };
  for (const open of [openModel, openEngine]) {
    await expect(open(options)).rejects.toMatchObject({ name: 'ModelError', code: 'SELF_TEST_FAILED' });
  }
  // The reference needs no kernels.
  const reference = await openModel({ ...options, engine: 'reference' });
  expect(reference.engineName).toBe('reference');
  await reference.sequences.close();
});
