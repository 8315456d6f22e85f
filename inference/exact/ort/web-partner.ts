/**
 * Products where the runtime answers asynchronously, as in a browser: the kernels call from inside WebAssembly and cannot wait for a promise, so
 * each thread of theirs has a partner, a worker with the runtime in it, and sleeps on a shared block until the partner has answered.
 *
 * P1. One request at a time: the caller writes it, raises `request`, and sleeps until `answer` is the same number. The block belongs to the
 *     partner in between, to the caller otherwise.
 * P2. Rows are independent, and a graph is handed over in pieces: whatever the size of the area, everything fits that has one row that fits.
 * P3. Numbers tell that something happened, notifications only that it is worth looking: one that comes late changes nothing.
 * P4. A partner that does not answer in time has ended for good: nothing is asked of it again, for it might still write.
 *
 * A caller's thread must be one that may block: in a browser a worker, not the page. The partner has to be started, and the first turn of its
 * event loop done, before the caller sleeps.
 *
 * @module
 */

import { InferenceError, ModelError } from '../../errors.ts';
import type { OpenProduct } from './products.ts';

/** The runtime of a partner. */
export type PartnerRuntime = {
  /** Loads a graph of `product-graph.ts`. */
  open(graph: Uint8Array, size: ProductSize): Promise<PartnerSession>;
};

/** A loaded graph of one product. */
export type PartnerSession = {
  /** Sums `[rows, outputs]` of activations `[rows, columns]`. */
  run(activations: Uint8Array, rows: number): Promise<Int32Array>;
  close(): Promise<void>;
};

/** Extents of a matrix. */
export type ProductSize = { readonly columns: number; readonly outputs: number };

/** A thread's end of the block. */
export type Partner = {
  readonly open: OpenProduct;
  /** Lets the partner end; its sessions are closed. */
  stop(): void;
};

/** Words at the beginning of the block; what the requests mean by `a` to `d` stands at {@link REQUESTS}. */
const WORDS = { request: 0, answer: 1, kind: 2, session: 3, a: 4, b: 5, c: 6, d: 7, failed: 8, length: 9 } as const;

const HEAD_BYTES = 64;

/**
 * graph: the next `a` bytes of the session's graph are in the area, `b` bytes are still to come; after the last the session is opened, with `c`
 * columns and `d` outputs. run: `a` rows of activations are in the area, their sums take the place.
 */
const REQUESTS = { graph: 1, run: 2, close: 3, stop: 4 } as const;

/** 4 MiB: 256 rows of 16,384 columns and 4,096 outputs. */
const AREA_BYTES = 1 << 22;

const PATIENCE_MS = 60_000;

/** Longest reason of a failure, in bytes. */
const LONGEST_REASON = 1024;

/** Makes the block that a caller and its partner share. */
export function newPartnerBlock(areaBytes: number = AREA_BYTES): SharedArrayBuffer {
  if (!Number.isSafeInteger(areaBytes) || areaBytes < LONGEST_REASON || areaBytes % 4 !== 0) {
    throw new RangeError(`expected a multiple of 4 and at least ${LONGEST_REASON} bytes, got ${areaBytes}`);
  }
  return new SharedArrayBuffer(HEAD_BYTES + areaBytes);
}

/**
 * The caller's end. Its calls block the thread, at most for the patience.
 *
 * `open` throws {@link ModelError} `GRAPH_REFUSED` if the runtime does not accept a graph; `run` and `close` {@link InferenceError}
 * `GRAPH_FAILED` if it fails; all of them `ENGINE_CLOSED` if the partner does not answer, did not answer before, or was stopped.
 *
 * @param block - of {@link newPartnerBlock}, served by one partner and used by nobody else
 */
export function connectPartner(block: SharedArrayBuffer, options: connectPartner.Options = {}): Partner {
  const { patienceMs = PATIENCE_MS } = options;
  const words = new Int32Array(block, 0, HEAD_BYTES / 4);
  const area = new Uint8Array(block, HEAD_BYTES);
  let lastSession = 0;
  let ended = '';

  /** Returns the reason of a failure, if there was one. */
  const ask = (kind: number, session: number, a = 0, b = 0, c = 0, d = 0): string | undefined => {
    if (ended !== '') throw new InferenceError('ENGINE_CLOSED', ended);
    words.set([kind, session, a, b, c, d, 0, 0], WORDS.kind);
    const before = Atomics.load(words, WORDS.answer);
    const number = (before + 1) | 0;
    Atomics.store(words, WORDS.request, number);
    Atomics.notify(words, WORDS.request);
    if (!changed(words, WORDS.answer, before, patienceMs)) {
      ended = `the partner did not answer within ${patienceMs} ms`;
      throw new InferenceError('ENGINE_CLOSED', ended, { at: { patienceMs } });
    }
    if (words[WORDS.failed] === 0) return undefined;
    return new TextDecoder().decode(area.slice(0, words[WORDS.length]));
  };
  const must = (reason: string | undefined) => {
    if (reason !== undefined) throw new InferenceError('GRAPH_FAILED', `the runtime failed: ${reason}`);
  };

  const open: OpenProduct = (graph, { columns, outputs }) => {
    const perRow = Math.max(columns, 4 * outputs);
    const mostRows = Math.floor(area.length / perRow);
    if (mostRows < 1) throw new RangeError(`a row takes ${perRow} bytes, the area has ${area.length}`);
    const session = ++lastSession;
    for (let rest = graph; ; ) {
      const piece = rest.subarray(0, area.length);
      rest = rest.subarray(piece.length);
      area.set(piece);
      const reason = ask(REQUESTS.graph, session, piece.length, rest.length, columns, outputs);
      if (reason !== undefined) throw new ModelError('GRAPH_REFUSED', `the runtime refused a product: ${reason}`);
      if (rest.length === 0) break;
    }
    return {
      run(activations, rows, sums) {
        if (activations.length !== rows * columns || sums.length !== rows * outputs) {
          throw new RangeError(`${activations.length} activations and ${sums.length} sums for ${rows} rows`);
        }
        for (let first = 0; first < rows; first += mostRows) {
          const count = Math.min(mostRows, rows - first);
          area.set(activations.subarray(first * columns, (first + count) * columns));
          must(ask(REQUESTS.run, session, count));
          sums.set(new Int32Array(block, HEAD_BYTES, count * outputs), first * outputs);
        }
      },
      close: () => must(ask(REQUESTS.close, session)),
    };
  };
  return {
    open,
    stop() {
      if (ended !== '') return;
      must(ask(REQUESTS.stop, 0));
      ended = 'the partner was stopped';
    },
  };
}

export declare namespace connectPartner {
  type Options = {
    /** How long the thread sleeps for one answer, in milliseconds; a minute by default. */
    readonly patienceMs?: number;
  };
}

/**
 * The partner's end: serves requests until it is stopped. Blocks its thread between them; while the runtime works its event loop runs.
 */
export async function servePartner(block: SharedArrayBuffer, runtime: PartnerRuntime): Promise<void> {
  const words = new Int32Array(block, 0, HEAD_BYTES / 4);
  const service = new PartnerService(block, runtime);
  for (let last = 0; ; ) {
    changed(words, WORDS.request, last);
    last = Atomics.load(words, WORDS.request);
    const [kind = 0, session = 0, a = 0, b = 0, c = 0, d = 0] = words.subarray(WORDS.kind);
    try {
      await service.answer(kind, session, [a, b, c, d]);
    } catch (error) {
      const reason = new TextEncoder().encode(error instanceof Error ? error.message : String(error));
      const told = reason.subarray(0, LONGEST_REASON);
      new Uint8Array(block, HEAD_BYTES).set(told);
      words[WORDS.length] = told.length;
      words[WORDS.failed] = 1;
    }
    Atomics.store(words, WORDS.answer, last);
    Atomics.notify(words, WORDS.answer);
    if (kind === REQUESTS.stop) return;
  }
}

/**
 * Sleeps until the word at `index` is no longer `old`; false if it still is after `patienceMs`. A call of `wait` may be woken by the notification
 * of an earlier change, which the other side sends after the change has been seen: only the word itself decides.
 */
function changed(words: Int32Array, index: number, old: number, patienceMs = Number.POSITIVE_INFINITY): boolean {
  const until = performance.now() + patienceMs;
  while (Atomics.load(words, index) === old) {
    const left = until - performance.now();
    if (left <= 0) return false;
    Atomics.wait(words, index, old, left);
  }
  return true;
}

type Arguments = readonly [a: number, b: number, c: number, d: number];

type Served = { readonly size: ProductSize; readonly graph: Uint8Array[]; session?: PartnerSession };

class PartnerService {
  readonly #block: SharedArrayBuffer;
  readonly #area: Uint8Array;
  readonly #runtime: PartnerRuntime;
  readonly #served = new Map<number, Served>();

  constructor(block: SharedArrayBuffer, runtime: PartnerRuntime) {
    this.#block = block;
    this.#area = new Uint8Array(block, HEAD_BYTES);
    this.#runtime = runtime;
  }

  async answer(kind: number, session: number, [a, b, columns, outputs]: Arguments): Promise<void> {
    switch (kind) {
      case REQUESTS.graph:
        if (!this.#served.has(session)) this.#served.set(session, { size: { columns, outputs }, graph: [] });
        return this.#takePiece(session, this.#area.slice(0, a), b === 0);
      case REQUESTS.run:
        return this.#run(session, a);
      case REQUESTS.close:
        return this.#close(session);
      case REQUESTS.stop:
        for (const one of [...this.#served.keys()]) await this.#close(one);
        return;
      default:
        throw new RangeError(`no request ${kind}`);
    }
  }

  async #takePiece(session: number, piece: Uint8Array, isLast: boolean): Promise<void> {
    const served = this.#find(session);
    served.graph.push(piece);
    if (!isLast) return;
    const graph = join(served.graph.splice(0));
    try {
      served.session = await this.#runtime.open(graph, served.size);
    } catch (error) {
      this.#served.delete(session);
      throw error;
    }
  }

  async #run(number: number, rows: number): Promise<void> {
    const { session, size } = this.#find(number);
    if (session === undefined) throw new RangeError(`session ${number} is not open`);
    const sums = await session.run(this.#area.slice(0, rows * size.columns), rows);
    const expected = rows * size.outputs;
    if (sums.length !== expected) throw new RangeError(`expected ${expected} sums, got ${sums.length}`);
    new Int32Array(this.#block, HEAD_BYTES).set(sums);
  }

  async #close(number: number): Promise<void> {
    const { session } = this.#find(number);
    this.#served.delete(number);
    await session?.close();
  }

  #find(number: number): Served {
    const served = this.#served.get(number);
    if (served === undefined) throw new RangeError(`no session ${number}`);
    return served;
  }
}

function join(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
