import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { expect, it } from 'vitest';
import { openZipEntry } from '../../../agents/setup/zip.mjs';
import { seededRandom } from '../../support/random.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { writeZip, type ZipEntry } from '../../support/zip-writer.ts';

const CONTENT = seededRandom(3).bytes(5_000);
const OTHER: ZipEntry = { name: 'a/first.py', content: CONTENT.subarray(0, 99) };

async function read(bytes: Uint8Array, name = 'a/model.gguf', sizeBytes = CONTENT.length): Promise<Uint8Array> {
  const path = join(temporaryFolder(), 'x.whl');
  writeFileSync(path, bytes);
  return await buffer(await openZipEntry(path, name, sizeBytes));
}

it.each([0, 8])('reads an entry packed by method %i, whatever comment follows', async (method) => {
  const zip = writeZip([OTHER, { name: 'a/model.gguf', content: CONTENT, method }, OTHER], 'a comment');
  expect(Buffer.from(await read(zip)).equals(CONTENT)).toBe(true);
});

it.each<[string, Uint8Array, string]>([
  ['nothing', new Uint8Array(0), 'MALFORMED_ZIP'],
  ['a page of HTML', Buffer.from('<html>'.repeat(50)), 'MALFORMED_ZIP'],
  ['a file without the entry', writeZip([OTHER]), 'NO_SUCH_ENTRY'],
  ['an entry of another size', writeZip([{ name: 'a/model.gguf', content: OTHER.content }]), 'WRONG_SIZE'],
  ['an unknown method', writeZip([{ name: 'a/model.gguf', content: CONTENT, method: 93 }]), 'MALFORMED_ZIP'],
  ['an encrypted entry', writeZip([{ name: 'a/model.gguf', content: CONTENT, flags: 1 }]), 'MALFORMED_ZIP'],
  ['a file cut at its start', writeZip([{ name: 'a/model.gguf', content: CONTENT }]).subarray(100), 'MALFORMED_ZIP'],
  ['a file cut at its end', writeZip([{ name: 'a/model.gguf', content: CONTENT }]).subarray(0, -9), 'MALFORMED_ZIP'],
])('refuses %s', async (_, bytes, code) => {
  await expect(read(bytes)).rejects.toMatchObject({ name: 'SetupError', code });
});

it('tells what lies where the entry does not', async () => {
  const zip = writeZip([OTHER, { name: 'weights/model.gguf', content: CONTENT }]);
  await expect(read(zip)).rejects.toThrow('no a/model.gguf inside; its largest file is "weights/model.gguf"');
});

it('never crashes on a damaged file', async () => {
  const zip = writeZip([OTHER, { name: 'a/model.gguf', content: CONTENT }]);
  const random = seededRandom(11);
  for (let round = 0; round < 200; round++) {
    const bytes = Buffer.from(zip);
    // The headers and the directory are few bytes among the content: aim at them.
    const at = random.chance(70) ? bytes.length - 1 - random.below(160) : random.below(200);
    bytes[at] = random.below(256);
    const outcome = await read(bytes).catch((error: Error & { code?: string }) => error);
    if (outcome instanceof Error) expect(`${outcome.name} ${outcome.code}`).toMatch(/^SetupError [A-Z_]+$|^Error Z_/);
  }
});
