/**
 * What the routes of the server share.
 *
 * @module
 */

import type { Hex } from '../../attest/core/bytes.ts';
import type { Engine } from '../engine.ts';
import type { ReceiptDomain } from '../protocol.ts';

/** What the routes work with. */
export type ServerContext = {
  /** Takes one request after the other, see `queue.ts`. */
  readonly engine: Pick<Engine, 'identity' | 'complete'>;
  /** 32 bytes; signs receipts and nothing else. */
  readonly privateKey: Uint8Array;
  /** Address of that key. */
  readonly signer: Hex;
  /** Chain and contract that every receipt is for, or null: each request names its own, or is off chain. */
  readonly domain: ReceiptDomain;
  /** Whether a request would be computed now rather than after a start of the engine. */
  readonly isReady: () => boolean;
  /** Milliseconds since 1970. */
  readonly now: () => number;
};
