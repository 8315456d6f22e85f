/**
 * Responses that were given, for `GET /v1/responses/{id}`, `previous_response_id` and references to items. In memory alone: they are gone
 * when the server ends. (Receipts are kept elsewhere, and longer.)
 *
 * R1. What one caller stored, no other finds.
 * R2. Number and bytes are bounded. What is over is dropped: the longest unused of the caller who holds the most bytes.
 * R3. What was not used for `ttlMs` is not found any more.
 *
 * @module
 */

import type { Item } from './responses-items.ts';

/** A response that is kept; nothing in it changes any more. */
export type StoredResponse<Body> = {
  readonly id: string;
  /** What was answered, as it went over the wire. */
  readonly body: Body;
  /** The whole conversation before the answer, without instructions. */
  readonly input: readonly Item[];
  readonly output: readonly Item[];
};

/** Keeps responses by caller and id. */
export type ResponseStore<Body = unknown> = {
  /** Keeps a response under a new id, unless it alone is larger than all that may be kept. */
  put(owner: string, response: StoredResponse<Body>): void;
  get(owner: string, id: string): StoredResponse<Body> | undefined;
  /** An item of a kept response's output or input. */
  findItem(owner: string, itemId: string): Item | undefined;
  /** Forgets a response and its items; whether it was there. */
  delete(owner: string, id: string): boolean;
  /** What is kept now. */
  readonly size: { readonly count: number; readonly bytes: number };
};

/** Bounds of a store. */
export type ResponseStoreOptions = {
  /** Milliseconds since some time that does not change. */
  readonly now: () => number;
  /** Most responses; 10,000 by default. */
  readonly maxCount?: number;
  /** Most bytes, 128 MiB by default: UTF-16 units of the JSON of body, input and output. */
  readonly maxBytes?: number;
  /** Milliseconds without use after which a response is forgotten; a day by default. */
  readonly ttlMs?: number;
};

type Entry<Body> = {
  readonly response: StoredResponse<Body>;
  readonly bytes: number;
  usedAt: number;
};

/** What one caller has. */
type Shelf<Body> = {
  /** The longest unused first. */
  readonly entries: Map<string, Entry<Body>>;
  /** Id of an item to the response that has it. */
  readonly items: Map<string, { readonly item: Item; readonly responseId: string }>;
  bytes: number;
};

/** An empty store. */
export function createResponseStore<Body>(options: ResponseStoreOptions): ResponseStore<Body> {
  const { now, maxCount = 10_000, maxBytes = 128 << 20, ttlMs = 24 * 3600 * 1000 } = options;
  const shelves = new Map<string, Shelf<Body>>();
  let count = 0;
  let bytes = 0;

  const drop = (owner: string, shelf: Shelf<Body>, id: string, entry: Entry<Body>) => {
    shelf.entries.delete(id);
    for (const { id: itemId } of [...entry.response.output, ...entry.response.input]) {
      if (shelf.items.get(itemId)?.responseId === id) shelf.items.delete(itemId);
    }
    shelf.bytes -= entry.bytes;
    bytes -= entry.bytes;
    count -= 1;
    if (shelf.entries.size === 0) shelves.delete(owner);
  };
  const forgetOld = () => {
    for (const [owner, shelf] of shelves) {
      for (const [id, entry] of shelf.entries) {
        if (now() - entry.usedAt < ttlMs) break;
        drop(owner, shelf, id, entry);
      }
    }
  };
  const forgetOver = () => {
    while (count > maxCount || bytes > maxBytes) {
      const [owner, shelf] = [...shelves].reduce((most, next) => (next[1].bytes > most[1].bytes ? next : most));
      const [id, entry] = shelf.entries.entries().next().value ?? [];
      if (id === undefined || entry === undefined) throw new TypeError('expected a response to forget');
      drop(owner, shelf, id, entry);
    }
  };
  const use = (owner: string, id: string): StoredResponse<Body> | undefined => {
    const shelf = shelves.get(owner);
    const entry = shelf?.entries.get(id);
    if (shelf === undefined || entry === undefined) return undefined;
    if (now() - entry.usedAt >= ttlMs) {
      drop(owner, shelf, id, entry);
      return undefined;
    }
    entry.usedAt = now();
    shelf.entries.delete(id);
    shelf.entries.set(id, entry);
    return entry.response;
  };

  return {
    put(owner, response) {
      forgetOld();
      const { id, body, input, output } = response;
      const size = JSON.stringify([body, input, output]).length;
      if (size > maxBytes || maxCount < 1) return;
      const shelf = shelves.get(owner) ?? { entries: new Map(), items: new Map(), bytes: 0 };
      if (shelf.entries.has(id)) throw new TypeError(`response ${id} is kept already`);
      shelves.set(owner, shelf);
      shelf.entries.set(id, { response, bytes: size, usedAt: now() });
      shelf.bytes += size;
      bytes += size;
      count += 1;
      for (const item of output) shelf.items.set(item.id, { item, responseId: id });
      for (const item of input) {
        // A client may give its items any id: not that of an answer's.
        if (!shelf.items.has(item.id)) shelf.items.set(item.id, { item, responseId: id });
      }
      forgetOver();
    },
    get: use,
    findItem(owner, itemId) {
      const found = shelves.get(owner)?.items.get(itemId);
      return found === undefined || use(owner, found.responseId) === undefined ? undefined : found.item;
    },
    delete(owner, id) {
      const shelf = shelves.get(owner);
      if (shelf === undefined || use(owner, id) === undefined) return false;
      const entry = shelf.entries.get(id);
      if (entry !== undefined) drop(owner, shelf, id, entry);
      return true;
    },
    get size() {
      return { count, bytes };
    },
  };
}
