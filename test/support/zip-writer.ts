/**
 * Writes small ZIP files for tests.
 *
 * @module
 */

import { deflateRawSync } from 'node:zlib';

export type ZipEntry = {
  readonly name: string;
  readonly content: Uint8Array;
  /** 8: deflate, 0: stored; another number is written as it is, with stored bytes. */
  readonly method?: number;
  /** Length that the directory claims instead of the true one. */
  readonly claimedSize?: number;
  readonly flags?: number;
};

/** The bytes of a ZIP file with these entries. CRCs are left 0: the reader under test knows the SHA-256. */
export function writeZip(entries: readonly ZipEntry[], comment = ''): Buffer {
  const bodies: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, content, method = 8, claimedSize = content.length, flags = 0 } of entries) {
    const packed = method === 8 ? deflateRawSync(content) : Buffer.from(content);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(method, 8);
    local.writeUInt32LE(packed.length, 18);
    local.writeUInt32LE(claimedSize, 22);
    local.writeUInt16LE(Buffer.byteLength(name), 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(flags, 8);
    central.writeUInt16LE(method, 10);
    central.writeUInt32LE(packed.length, 20);
    central.writeUInt32LE(claimedSize, 24);
    central.writeUInt16LE(Buffer.byteLength(name), 28);
    central.writeUInt32LE(offset, 42);
    const body = Buffer.concat([local, Buffer.from(name), packed]);
    bodies.push(body);
    directory.push(Buffer.concat([central, Buffer.from(name)]));
    offset += body.length;
  }
  const list = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(list.length, 12);
  end.writeUInt32LE(offset, 16);
  end.writeUInt16LE(Buffer.byteLength(comment), 20);
  return Buffer.concat([...bodies, list, end, Buffer.from(comment)]);
}
