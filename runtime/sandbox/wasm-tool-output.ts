/**
 * What a WASM tool writes: the result on stdout, console lines on stderr, both within one bound.
 *
 * @module
 */

import { ByteWriter } from './wasm-writer.ts';

/** What each thing that leaves counts beside its own bytes, as for JavaScript guests. */
const OVERHEAD_BYTES = 64;
/** Greatest length of a console line, in UTF-16 units; the rest of it is dropped. */
const MAX_LINE_UNITS = 4096;
/** Bytes of a line that are kept: enough for the greatest length. */
const MAX_LINE_BYTES = 4 * MAX_LINE_UNITS;
const LINE_FEED = 0x0a;

/** The output of one session. */
export class WasmToolOutput {
  readonly #most: number;
  readonly #result = new ByteWriter();
  #line = new ByteWriter();
  #lines: string[] = [];
  /** Bytes that count so far: those of the result and of each finished line. */
  #spent = 0;

  /** @param most - bytes that may leave together, each thing counting 64 more */
  constructor(most: number) {
    this.#most = most;
  }

  /** Appends to stdout (1) or stderr (2); false when that is too much, after which nothing of it may be used. */
  write(descriptor: 1 | 2, bytes: Uint8Array): boolean {
    if (descriptor === 1) {
      if (this.#result.length === 0 && bytes.length > 0) this.#spent += OVERHEAD_BYTES;
      this.#spent += bytes.length;
      if (this.#spent > this.#most) return false;
      this.#result.bytes(bytes);
      return true;
    }
    let from = 0;
    while (from < bytes.length) {
      const feed = bytes.indexOf(LINE_FEED, from);
      const to = feed === -1 ? bytes.length : feed;
      this.#line.bytes(bytes.subarray(from, Math.min(to, from + MAX_LINE_BYTES - this.#line.length)));
      if (feed !== -1 && !this.#endLine()) return false;
      from = to + 1;
    }
    return true;
  }

  /** Ends a last line that no line feed has ended; false when that is too much. */
  end(): boolean {
    return this.#line.length === 0 || this.#endLine();
  }

  /** What was written to stdout. */
  result(): Uint8Array {
    return this.#result.view();
  }

  /** Lines finished since the last time. */
  takeLines(): readonly string[] {
    const lines = this.#lines;
    this.#lines = [];
    return lines;
  }

  #endLine(): boolean {
    const decoded = new TextDecoder('utf-8', { ignoreBOM: true }).decode(this.#line.view());
    // A character is not cut in half.
    const line = decoded.slice(0, MAX_LINE_UNITS).replace(/[\ud800-\udbff]$/, '');
    this.#line = new ByteWriter();
    this.#spent += Buffer.byteLength(JSON.stringify(line)) + OVERHEAD_BYTES;
    if (this.#spent > this.#most) return false;
    this.#lines.push(line);
    return true;
  }
}
