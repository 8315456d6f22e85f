/**
 * What the routes of the server share.
 *
 * @module
 */

import type { FastifyRequest } from 'fastify';
import type { Hex } from '../../attest/core/bytes.ts';
import type { Answering, Caller } from '../answering.ts';
import type { Embedding } from '../embed.ts';
import type { ModelIdentity } from '../engine.ts';
import type { ReceiptDomain } from '../protocol.ts';
import type { EmbeddingDocument } from '../receipts/embedding-document.ts';
import type { ReceiptDocument } from '../receipts/receipt-document.ts';

/** A model that this server offers. */
export type ServedModel = {
  /** Name in the API. */
  readonly id: string;
  readonly state: 'cold' | 'loading' | 'ready' | 'failed';
  /** Null as long as it was never opened. */
  readonly identity: ModelIdentity | null;
};

/** The models of this server, as they are now. Asking opens none. */
export type ModelCatalog = {
  /** In the order in which the server was told of them; the first is open from the start. */
  list(): readonly ServedModel[];
  /** By id, or by the digest in its identity where that is known. */
  find(idOrDigest: string): ServedModel | undefined;
};

/** Receipts that this server gave. */
export type ReceiptLookup = {
  /**
   * @param id - untrusted
   * @param caller - who asks; a receipt is given to whom it was made for, and to everybody where no keys are required
   */
  get(id: string, caller: Caller | null): Promise<ReceiptDocument | EmbeddingDocument | undefined>;
};

/** What the routes work with. */
export type ServerContext = {
  readonly answer: Answering;
  readonly embed: Embedding;
  readonly catalog: ModelCatalog;
  readonly receipts: ReceiptLookup;
  /** Address of the key that signs receipts. */
  readonly signer: Hex;
  /** Chain and contract that every receipt is for, or null: each request names its own, or is off chain. */
  readonly domain: ReceiptDomain;
  /** Whether a request to the first model would be computed now rather than after a start of its engine. */
  readonly isReady: () => boolean;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Whose access key a request came with; null where none is required. */
  readonly callerOf: (request: FastifyRequest) => Caller | null;
};
