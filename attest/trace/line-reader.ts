/**
 * Cuts a stream of bytes into lines, in memory bounded by the longest line.
 *
 * @module
 */

import { fieldError } from './errors.ts';
import { MAX_LINE_BYTES } from './lines.ts';

/** One line without its LF; `complete` is false for bytes after the last LF. */
export type RawLine = { readonly bytes: Uint8Array; readonly complete: boolean };

/**
 * Lines of a byte stream.
 *
 * @throws {@link TraceError} `MALFORMED_LINE` for a line above {@link MAX_LINE_BYTES}
 */
export async function* readLines(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<RawLine> {
  // attacker-controlled: the size of the pieces; held bytes are copied together, so that tiny pieces cost no more
  let buffer = new Uint8Array(0);
  let held = 0;
  for await (const piece of source) {
    let from = 0;
    for (;;) {
      const end = piece.indexOf(0x0a, from);
      const part = piece.subarray(from, end < 0 ? piece.length : end);
      const length = held + part.length;
      if (length > MAX_LINE_BYTES) throw fieldError('MALFORMED_LINE', 'line', `longer than ${MAX_LINE_BYTES} bytes`);
      if (end >= 0 && held === 0) {
        yield { bytes: part, complete: true };
      } else {
        if (length > buffer.length) buffer = grow(buffer, held, length);
        buffer.set(part, held);
        held = length;
        if (end < 0) break;
        yield { bytes: buffer.slice(0, held), complete: true };
        held = 0;
      }
      from = end + 1;
    }
  }
  if (held > 0) yield { bytes: buffer.slice(0, held), complete: false };
}

function grow(buffer: Uint8Array, held: number, length: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(Math.max(length, Math.min(2 * buffer.length, MAX_LINE_BYTES)));
  larger.set(buffer.subarray(0, held));
  return larger;
}

/**
 * Whether bytes without a final LF can be the beginning of a line that was cut off. They cannot when the JSON text ended
 * before them or is not JSON so far: then a byte was changed, not lost.
 */
export function isCutOff(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0x7b) return false;
  let depth = 0;
  let inText = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number;
    if (inText) {
      if (byte === 0x5c) i++;
      else if (byte === 0x22) inText = false;
      else if (byte < 0x20) return false;
    } else if (byte === 0x22) inText = true;
    else if (byte === 0x7b || byte === 0x5b) depth++;
    else if (byte === 0x7d || byte === 0x5d) {
      depth--;
      if (depth === 0) return i === bytes.length - 1;
    }
  }
  return true;
}
