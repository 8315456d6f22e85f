/**
 * Digests of files too large to hold.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type Hex, toHex } from '../attest/core/bytes.ts';
import { ModelError } from './errors.ts';

/**
 * SHA-256 of a file, streamed.
 *
 * @throws {@link ModelError} `FILE_UNREADABLE`
 */
export async function hashFile(path: string): Promise<Hex> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  } catch (cause) {
    throw new ModelError('FILE_UNREADABLE', `cannot read ${path}`, { at: { file: path }, cause });
  }
  return toHex(hash.digest());
}
