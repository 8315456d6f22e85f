/**
 * Where the records of a bundle lie in its file: found from the bytes as they go by, whatever they are worth, so that the page holds
 * places instead of payloads and reads a record again when somebody looks at it.
 *
 * @module
 */

/** Bytes `[start, end)` of a file. */
export type Span = { readonly start: number; readonly end: number };

/** Lines of one record: its own, with those of its payloads. */
export type RecordSpan = { readonly start: number; end: number };

/** A checkpoint line; `after` is the number of record lines before it. */
export type CheckpointSpan = Span & { readonly after: number };

/** Tells lines apart by the third byte: `{"record"`, `{"payload"`, `{"withheld"`, `{"checkpoint"`. */
const RECORD = 0x72;
const PAYLOAD = 0x70;
const WITHHELD = 0x77;
const CHECKPOINT = 0x63;

/** Most lines that are remembered; what lies beyond is checked and cannot be shown. */
export const MAX_SPANS = 200_000;

/** Takes the bytes of a file from `start` on, in order. */
export class LineMap {
  readonly records: RecordSpan[] = [];
  readonly checkpoints: CheckpointSpan[] = [];
  /** Record lines in all, those beyond {@link MAX_SPANS} included. */
  count = 0;
  #position: number;
  #lineStart: number;
  #mark: number | undefined;

  constructor(start = 0) {
    this.#position = start;
    this.#lineStart = start;
  }

  /** Bytes so far. */
  get position(): number {
    return this.#position;
  }

  /** Takes the next bytes. */
  take(piece: Uint8Array): void {
    for (let from = 0; from < piece.length; ) {
      const third = this.#lineStart + 2 - this.#position;
      if (third >= from && third < piece.length) this.#mark = piece[third];
      const end = piece.indexOf(0x0a, from);
      if (end < 0) break;
      // The third byte of a line is its own: an empty line has none.
      if (third <= end) this.#line(this.#position + end + 1);
      this.#lineStart = this.#position + end + 1;
      this.#mark = undefined;
      from = end + 1;
    }
    this.#position += piece.length;
  }

  /** The same bytes, taken as they go by. */
  async *along(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of source) {
      this.take(piece);
      yield piece;
    }
  }

  #line(end: number): void {
    const start = this.#lineStart;
    if (this.#mark === RECORD) {
      this.count += 1;
      if (this.records.length < MAX_SPANS) this.records.push({ start, end });
    } else if (this.#mark === CHECKPOINT) {
      if (this.checkpoints.length < MAX_SPANS) this.checkpoints.push({ start, end, after: this.count });
    } else if ((this.#mark === PAYLOAD || this.#mark === WITHHELD) && this.count === this.records.length) {
      const last = this.records.at(-1);
      if (last !== undefined) last.end = end;
    }
  }
}
