/**
 * Digests of files too large to hold.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { type Hex, toHex } from '../attest/core/bytes.ts';
import { ModelError } from './errors.ts';

/** Bytes read at a time, into one buffer: garbage of this size would stay in memory for long. */
const READ_BYTES = 1 << 20;

/**
 * SHA-256 of a file, streamed.
 *
 * @throws {@link ModelError} `FILE_UNREADABLE`
 */
export async function hashFile(path: string): Promise<Hex> {
  const hash = createHash('sha256');
  try {
    await using file = await open(path, 'r');
    const buffer = new Uint8Array(READ_BYTES);
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, READ_BYTES);
      if (bytesRead === 0) break;
      hash.update(buffer.subarray(0, bytesRead));
    }
  } catch (cause) {
    throw new ModelError('FILE_UNREADABLE', `cannot read ${path}`, { at: { file: path }, cause });
  }
  return toHex(hash.digest());
}
