/**
 * Receipts that a server gave, kept in a folder: one file each, the oldest go when there are too many.
 *
 * K1. A document can be read from the moment that {@link ReceiptStore.put} resolves; its file follows. Only where the disk cannot keep up does
 *     an answer wait for it.
 * K2. A file is whole or absent: it is written aside and renamed.
 * K3. A receipt is given to whom it was made for. Two callers that asked the same got the same receipt, and it is given to both.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RuntimeError } from '../../attest/core/error.ts';
import { type Json, parseJson } from '../../attest/encoding/canonical-json.ts';
import type { Caller } from '../answering.ts';

/** What a store keeps: a document with an id. */
export type StoredDocument = { readonly id: string };

/** Receipts that a server gave. */
export type ReceiptStore<D extends StoredDocument> = {
  /**
   * Keeps a document.
   *
   * @param caller - whom it was made for; null where no keys are required
   * @param responseId - id of the response that carries it, under which it is found too until the server ends
   */
  put(document: D, caller: Caller | null, responseId?: string): Promise<void>;
  /**
   * @param id - of the document or of a response, untrusted
   * @param caller - who asks; null where no keys are required, and then everything is given
   */
  get(id: string, caller: Caller | null): Promise<D | undefined>;
  /** Receipts that are kept, and their bytes. */
  readonly counts: { readonly documents: number; readonly bytes: number };
  /** Waits until all files are written. */
  close(): Promise<void>;
};

/** Text of a document on its way to its file. */
type Pending<D> = { readonly document: D; readonly owners: readonly (string | null)[] };

const ID = /^rcpt_[0-9a-f]{24}$/;
const FILE = /^(rcpt_[0-9a-f]{24})\.json$/;
/** Files that a killed process left. */
const ASIDE = /^rcpt_[0-9a-f]{24}\.json\.new-/;

/** Callers of one receipt that are remembered. */
const MAX_OWNERS = 256;

/** Documents that wait for their files; beyond, answers wait. */
const MAX_PENDING = 256;

/**
 * Opens a store.
 *
 * @throws the system's error if the folder cannot be made or read
 */
export async function openReceiptStore<D extends StoredDocument>(
  options: openReceiptStore.Options<D>,
): Promise<ReceiptStore<D>> {
  const { folder } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const found: { id: string; bytes: number; at: number }[] = [];
  for (const name of await readdir(folder)) {
    if (ASIDE.test(name)) await rm(join(folder, name), { force: true });
    const id = FILE.exec(name)?.[1];
    // Another server of the same folder may remove it meanwhile.
    const file = id === undefined ? undefined : await stat(join(folder, name)).catch(absent);
    if (id !== undefined && file !== undefined) found.push({ id, bytes: file.size, at: file.mtimeMs });
  }
  found.sort((a, b) => a.at - b.at);
  return new FolderStore(options, new Map(found.map(({ id, bytes }) => [id, bytes])));
}

export declare namespace openReceiptStore {
  type Options<D> = {
    /** Made if absent, readable by its owner alone: receipts hold what was asked. */
    readonly folder: string;
    /** Reads a document back. */
    readonly parse: (value: Json) => D;
    /** Most documents; 10,000 by default. */
    readonly maxDocuments?: number;
    /** Most bytes of all files; 256 MiB by default. */
    readonly maxBytes?: number;
    /** Told of a file that could not be written, removed or read. */
    readonly onFault?: (error: unknown) => void;
  };
}

class FolderStore<D extends StoredDocument> implements ReceiptStore<D> {
  readonly #folder: string;
  readonly #parse: (value: Json) => D;
  readonly #maxDocuments: number;
  readonly #maxBytes: number;
  readonly #onFault: (error: unknown) => void;
  /** Bytes of each file, the oldest first. */
  readonly #files: Map<string, number>;
  #bytes: number;
  /** Ids of documents by those of responses, the oldest first. */
  readonly #named = new Map<string, string>();
  /** Not yet in a file. */
  readonly #pending = new Map<string, Pending<D>>();
  #writing: Promise<void> | undefined;

  constructor(options: openReceiptStore.Options<D>, files: Map<string, number>) {
    this.#folder = options.folder;
    this.#parse = options.parse;
    this.#maxDocuments = options.maxDocuments ?? 10_000;
    this.#maxBytes = options.maxBytes ?? 256 * 2 ** 20;
    this.#onFault = options.onFault ?? (() => {});
    this.#files = files;
    this.#bytes = [...files.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  get counts() {
    return { documents: this.#files.size, bytes: this.#bytes };
  }

  async put(document: D, caller: Caller | null, responseId?: string): Promise<void> {
    const { id } = document;
    if (responseId !== undefined) this.#name(responseId, id);
    const owners = new Set(this.#pending.get(id)?.owners ?? []);
    owners.add(caller?.id ?? null);
    this.#pending.set(id, { document, owners: [...owners] });
    this.#writing ??= this.#writeAll();
    while (this.#pending.size > MAX_PENDING) await this.#writing;
  }

  async get(name: string, caller: Caller | null): Promise<D | undefined> {
    const id = this.#named.get(name) ?? name;
    if (!ID.test(id)) return undefined;
    const maySee = ({ owners }: Pending<D>) => caller === null || owners.includes(caller.id);
    const pending = this.#pending.get(id);
    if (pending !== undefined && maySee(pending)) return pending.document;
    const kept = await this.#read(id);
    return kept !== undefined && maySee(kept) ? kept.document : undefined;
  }

  #name(responseId: string, id: string): void {
    this.#named.set(responseId, id);
    const [oldest] = this.#named.keys();
    if (this.#named.size > this.#maxDocuments && oldest !== undefined) this.#named.delete(oldest);
  }

  async close(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  /** Writes one file after the other until none waits. */
  async #writeAll(): Promise<void> {
    // The caller goes on first.
    await undefined;
    for (;;) {
      const [next] = this.#pending;
      if (next === undefined) break;
      const [id, pending] = next;
      try {
        await this.#write(id, pending);
        await this.#evict();
      } catch (error) {
        this.#onFault(error);
      }
      // Unless another caller asked the same meanwhile.
      if (this.#pending.get(id) === pending) this.#pending.delete(id);
    }
    this.#writing = undefined;
  }

  async #write(id: string, { document, owners }: Pending<D>): Promise<void> {
    const before = this.#files.has(id) ? await this.#read(id) : undefined;
    const all = [...new Set([...(before?.owners ?? []), ...owners])].slice(-MAX_OWNERS);
    const bytes = Buffer.from(JSON.stringify({ owners: all, document }));
    const path = this.#path(id);
    const aside = `${path}.new-${randomBytes(8).toString('hex')}`;
    try {
      await writeFile(aside, bytes, { mode: 0o600, flag: 'wx' });
      await rename(aside, path);
    } catch (error) {
      await rm(aside, { force: true });
      throw error;
    }
    this.#forget(id);
    this.#files.set(id, bytes.length);
    this.#bytes += bytes.length;
  }

  /** Removes the oldest files until the rest is within bounds; the newest stays. */
  async #evict(): Promise<void> {
    for (const id of this.#files.keys()) {
      const isWithin = this.#files.size <= this.#maxDocuments && this.#bytes <= this.#maxBytes;
      if (isWithin || this.#files.size === 1) return;
      this.#forget(id);
      await rm(this.#path(id), { force: true });
    }
  }

  #forget(id: string): void {
    this.#bytes -= this.#files.get(id) ?? 0;
    this.#files.delete(id);
  }

  /** A document out of its file; undefined where there is none, or the file is damaged. */
  async #read(id: string): Promise<Pending<D> | undefined> {
    const bytes = await readFile(this.#path(id)).catch(absent);
    if (bytes === undefined) return undefined;
    try {
      const { owners, document } = (parseJson(bytes) ?? {}) as { readonly [key: string]: Json };
      const parsed = this.#parse(document ?? null);
      if (parsed.id !== id || !Array.isArray(owners)) throw new SyntaxError(`${id}.json holds something else`);
      return { document: parsed, owners: owners.map((owner) => (owner === null ? null : String(owner))) };
    } catch (error) {
      if (!RuntimeError.is(error) && !(error instanceof SyntaxError)) throw error;
      this.#onFault(error);
      return undefined;
    }
  }

  #path(id: string): string {
    return join(this.#folder, `${id}.json`);
  }
}

/** Nothing, for a file that is not there. */
function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
  return undefined;
}
