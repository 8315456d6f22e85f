/**
 * Where the bytes of a model file come from: a port with a file and a byte-string adapter.
 *
 * @module
 */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { ModelError } from '../errors.ts';

/** Random access to an immutable string of `size` bytes. */
export type ByteSource = {
  readonly size: number;
  /**
   * Copies or views bytes `[offset, offset + length)`.
   *
   * @throws {@link ModelError} `TRUNCATED` if that range leaves the source
   */
  read(offset: number, length: number): Uint8Array;
  /**
   * Fills `out` with the bytes from `offset` on.
   *
   * @throws {@link ModelError} as {@link ByteSource.read}
   */
  readInto(offset: number, out: Uint8Array): void;
  /** May be called twice. */
  close(): void;
};

/** A source over bytes in memory; keeps a reference. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.length,
    read(offset, length) {
      checkRange(offset, length, bytes.length);
      return bytes.subarray(offset, offset + length);
    },
    readInto(offset, out) {
      checkRange(offset, out.length, bytes.length);
      out.set(bytes.subarray(offset, offset + out.length));
    },
    close() {},
  };
}

/**
 * Opens a file; the caller closes it.
 *
 * @throws {@link ModelError} `FILE_UNREADABLE` if it cannot be opened or is not a regular file
 */
export function openFileSource(path: string): ByteSource {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (cause) {
    throw new ModelError('FILE_UNREADABLE', `cannot open the model file ${path}`, { at: { file: path }, cause });
  }
  const stat = fstatSync(descriptor);
  if (!stat.isFile()) {
    closeSync(descriptor);
    throw new ModelError('FILE_UNREADABLE', `${path} is not a regular file`, { at: { file: path } });
  }
  let open = true;
  const fill = (offset: number, out: Uint8Array) => {
    // A closed descriptor's number may belong to another file by now.
    if (!open) throw new ModelError('FILE_UNREADABLE', `${path} is closed`, { at: { file: path } });
    for (let done = 0; done < out.length; ) {
      const count = readAt(descriptor, out, done, offset + done, path);
      // The file may shrink while it is read.
      if (count === 0) throw new ModelError('TRUNCATED', `file ends at byte ${offset + done}`, { at: { file: path } });
      done += count;
    }
  };
  return {
    size: stat.size,
    read(offset, length) {
      checkRange(offset, length, stat.size);
      const out = new Uint8Array(length);
      fill(offset, out);
      return out;
    },
    readInto(offset, out) {
      checkRange(offset, out.length, stat.size);
      fill(offset, out);
    },
    close() {
      if (open) closeSync(descriptor);
      open = false;
    },
  };
}

function readAt(descriptor: number, out: Uint8Array, at: number, position: number, path: string): number {
  try {
    return readSync(descriptor, out, at, out.length - at, position);
  } catch (cause) {
    throw new ModelError('FILE_UNREADABLE', `cannot read ${path}`, { at: { file: path, offset: position }, cause });
  }
}

function checkRange(offset: number, length: number, size: number): void {
  if (
    !Number.isSafeInteger(offset) ||
    !Number.isSafeInteger(length) ||
    offset < 0 ||
    length < 0 ||
    offset + length > size
  ) {
    throw new ModelError('TRUNCATED', `bytes ${offset} to ${offset + length} are outside a file of ${size} bytes`, {
      at: { offset },
    });
  }
}
