/**
 * A receipt with everything that it is about, in one JSON object: who holds it needs nothing else but the model to check it.
 *
 * @module
 */

import type { Hex } from '../../attest/core/bytes.ts';
import type { Receipt } from '../../attest/sign/receipt.ts';
import type { InferenceRequest } from '../../attest/trace/inference-request.ts';

/** What responses carry as `tracebond`, and `GET /v1/receipts/{id}` gives. */
export type ReceiptDocument = {
  readonly format: 'tracebond/receipt@1';
  /** Hexadecimal digits of the receipt's signature's SHA-256, 24 of them, after `rcpt_`: one signed receipt has one id. */
  readonly id: string;
  readonly receipt: Receipt;
  readonly request: InferenceRequest;
  /** Zero outside a run. */
  readonly runSeed: Hex;
  readonly promptIds: readonly number[];
  readonly outputIds: readonly number[];
  readonly masks: Hex | null;
  /** The output, before it is read as content and calls. */
  readonly text: string;
};
