import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { hashFile } from '../../inference/file-digest.ts';
import { temporaryFolder } from '../support/temporary.ts';

it.each<[string, Uint8Array, string]>([
  ['nothing', new Uint8Array(0), '0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
  ['abc', Buffer.from('abc'), '0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
])('SHA-256 of %s', async (_, bytes, digest) => {
  const path = join(temporaryFolder(), 'file');
  writeFileSync(path, bytes);
  expect(await hashFile(path)).toBe(digest);
});

it('goes over several pieces', async () => {
  const bytes = new Uint8Array(3_000_001).map((_, i) => i * 31);
  const path = join(temporaryFolder(), 'file');
  writeFileSync(path, bytes);
  expect(await hashFile(path)).toBe(`0x${createHash('sha256').update(bytes).digest('hex')}`);
});

it('a file that is not there, or a folder, is FILE_UNREADABLE', async () => {
  const folder = temporaryFolder();
  for (const path of [folder, join(folder, 'none')]) {
    await expect(hashFile(path)).rejects.toMatchObject({
      name: 'ModelError',
      code: 'FILE_UNREADABLE',
      at: { file: path },
    });
  }
});
