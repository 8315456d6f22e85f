/**
 * One entry out of a ZIP file (a Python wheel is one), without a dependency and without unpacking the rest. No ZIP64, no
 * encryption: a file that needs them is refused.
 *
 * Format: PKWARE APPNOTE.TXT 6.3.10, §4.3.7 (local header), §4.3.12 (central directory), §4.3.16 (its end).
 *
 * @module
 */

import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { PassThrough, pipeline } from 'node:stream';
import { createInflateRaw } from 'node:zlib';
import { SetupError } from './setup-error.mjs';

const END_SIZE = 22;
const MAX_COMMENT = 0xffff;
const MAX_DIRECTORY = 1 << 24;

/**
 * Opens the content of an entry as a stream of bytes. Its CRC is not checked: the caller knows the SHA-256.
 *
 * @param {string} path - the ZIP file, untrusted
 * @param {string} name - the entry's name
 * @param {number} [sizeBytes] - length that the content must have by the directory
 * @returns {Promise<import('node:stream').Readable>}
 * @throws {SetupError} `MALFORMED_ZIP`, `NO_SUCH_ENTRY`, `WRONG_SIZE`
 */
export async function openZipEntry(path, name, sizeBytes) {
  const file = await open(path, 'r');
  try {
    const entry = await findEntry(file, name);
    if (sizeBytes !== undefined && entry.size !== sizeBytes) {
      throw new SetupError('WRONG_SIZE', `${name} has ${entry.size} bytes, expected ${sizeBytes}`);
    }
    const local = await readAt(file, entry.offset, 30);
    if (local.readUInt32LE(0) !== 0x04034b50) throw malformed('no local header');
    const start = entry.offset + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);
    const raw = createReadStream(path, { start, end: start + entry.packedSize - 1, highWaterMark: 1 << 18 });
    const out = entry.method === 8 ? createInflateRaw() : new PassThrough();
    // The error reaches the reader through `out`, which pipeline destroys with it.
    return pipeline(raw, out, () => undefined);
  } finally {
    await file.close();
  }
}

async function findEntry(file, name) {
  const { size } = await file.stat();
  const tail = await readAt(file, Math.max(0, size - END_SIZE - MAX_COMMENT), Math.min(size, END_SIZE + MAX_COMMENT));
  const end = tail.lastIndexOf(Buffer.from([0x50, 0x4b, 0x05, 0x06]));
  if (end < 0 || end + END_SIZE > tail.length) throw malformed('no central directory');
  const count = tail.readUInt16LE(end + 10);
  const length = tail.readUInt32LE(end + 12);
  const offset = tail.readUInt32LE(end + 16);
  if (length > MAX_DIRECTORY || offset + length > size) throw malformed('central directory out of bounds');
  const directory = await readAt(file, offset, length);
  let largest = { name: '', size: -1 };
  for (let i = 0, at = 0; i < count; i++) {
    if (at + 46 > length || directory.readUInt32LE(at) !== 0x02014b50) throw malformed('broken central directory');
    const nameEnd = at + 46 + directory.readUInt16LE(at + 28);
    const found = directory.toString('utf8', at + 46, nameEnd);
    const unpacked = directory.readUInt32LE(at + 24);
    if (unpacked > largest.size) largest = { name: found, size: unpacked };
    if (found === name) {
      const method = directory.readUInt16LE(at + 10);
      const encrypted = (directory.readUInt16LE(at + 8) & 1) === 1;
      const packedSize = directory.readUInt32LE(at + 20);
      const entry = {
        method,
        packedSize,
        size: unpacked,
        offset: directory.readUInt32LE(at + 42),
      };
      if (encrypted || (method !== 0 && method !== 8)) throw malformed(`entry is packed by method ${method}`);
      if (packedSize === 0 || entry.offset + 30 + packedSize > size) throw malformed('entry out of bounds');
      return entry;
    }
    at = nameEnd + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
  }
  const hint = largest.size < 0 ? '' : `; its largest file is ${JSON.stringify(largest.name.slice(0, 200))}`;
  throw new SetupError('NO_SUCH_ENTRY', `no ${name} inside${hint}`);
}

async function readAt(file, position, length) {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, position);
  if (bytesRead !== length) throw malformed('file ends early');
  return buffer;
}

function malformed(what) {
  return new SetupError('MALFORMED_ZIP', `not a usable ZIP file: ${what}`);
}
