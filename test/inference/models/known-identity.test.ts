import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Hex } from '../../../attest/core/bytes.ts';
import { ensureExactFile, exactFolder, readExactFacts } from '../../../inference/exact/exact-file.ts';
import { openExact } from '../../../inference/exact/open-exact.ts';
import { openSource } from '../../../inference/model-files.ts';
import { modelFolder } from '../../../inference/model-path.ts';
import { cachedCommitment } from '../../../inference/models/derived.ts';
import { knownIdentity } from '../../../inference/models/known-identity.ts';
import { writeModelManifest } from '../../../inference/models/manifest.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { tinyGguf } from '../../support/tiny-model.ts';

/** A store with a tiny model by reference. */
async function start() {
  const home = temporaryFolder();
  const path = join(home, 'Tiny.gguf');
  writeFileSync(path, tinyGguf({ family: 'llama' }));
  const options = { cacheDir: join(home, 'cache'), env: { TRACEBOND_CACHE: join(home, 'cache') }, home };
  const source = openSource(path);
  const digest = await source.digest();
  const folder = join(modelFolder(options.env, home), 'tiny');
  mkdirSync(folder, { recursive: true });
  await writeModelManifest(folder, {
    version: 1,
    id: 'tiny',
    origin: { kind: 'path', path },
    format: 'gguf',
    files: [{ name: 'Tiny.gguf', sizeBytes: readFileSync(path).length, sha256: digest.slice(2) }],
    digest,
    commitment: null,
    pulledAt: '2026-11-21T00:00:00.000Z',
  });
  return { path, options, source, digest };
}

it('is nothing before the first conversion, and then what the opened model says', async () => {
  const { path, options, source, digest } = await start();
  expect(knownIdentity('tiny', path, options)).toBeUndefined();
  expect(cachedCommitment(options.cacheDir, digest)).toBeNull();
  const opened = await openExact(source, { id: 'tiny', cacheDir: options.cacheDir, engine: 'reference' });
  source.close();
  expect(knownIdentity('tiny', path, options)).toEqual(opened.identity);
  expect(cachedCommitment(options.cacheDir, digest)).toBe(opened.commitment);
  // Of a file that the store does not know nothing is known without reading it.
  expect(knownIdentity('tiny', `${path}.other`, options)).toBeUndefined();
  opened.sequences.close();
});

it.each<[string, (manifest: Record<string, unknown>) => unknown]>([
  ['another version', (manifest) => ({ ...manifest, version: 'exact/v0' })],
  ['another converter', (manifest) => ({ ...manifest, converter: 0 })],
  ['no commitment', (manifest) => ({ ...manifest, commitment: 'x' })],
  ['no tokenizer', (manifest) => ({ ...manifest, tokenizer: 7 })],
])('is nothing where the cache has %s', async (_, change) => {
  const { options, source, digest } = await start();
  (await ensureExactFile(source, options.cacheDir)).close();
  source.close();
  const path = join(exactFolder(options.cacheDir, digest), 'manifest.json');
  expect(readExactFacts(options.cacheDir, digest)).toBeDefined();
  writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, 'utf8')))));
  expect(readExactFacts(options.cacheDir, digest)).toBeUndefined();
});

it('is nothing for a digest that was never seen', () => {
  const never: Hex = `0x${'9'.repeat(64)}`;
  expect(readExactFacts(temporaryFolder(), never)).toBeUndefined();
});
