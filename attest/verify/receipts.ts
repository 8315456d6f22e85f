/**
 * Receipts of a run: each `inference.end` carries the inference server's signature over everything that decided the
 * output, at this place of this run.
 *
 * @module
 */

import { toHex } from '../core/bytes.ts';
import { RuntimeError } from '../core/error.ts';
import { toReceipt, verifyReceipt } from '../sign/receipt.ts';
import { TraceError } from '../trace/errors.ts';
import { argsOfStart, type InferenceArgs, inferenceRequestOf } from '../trace/inference-call.ts';
import { readIdsPayload, readTextPayload } from '../trace/payload.ts';
import type { RunState } from '../trace/state.ts';
import { deploymentOf } from './identity.ts';
import type { SoundRecord } from './structure.ts';

/** Checks receipts as records go by; holds the requests of inferences that are still open. */
export class ReceiptChecks {
  readonly #requests = new Map<bigint, InferenceArgs>();

  /**
   * Takes the next record.
   *
   * @throws {@link TraceError} `RECEIPT_MISMATCH` when a receipt does not cover what the records say; a receipt whose
   *   facts are withheld is not checked
   */
  take(sound: SoundRecord, state: RunState): void {
    const { record, head, payloads, start } = sound;
    if (record.kind === 'inference.start') {
      const args = argsOfStart(record.body, payloads);
      if (args !== undefined) this.#requests.set(head.index, args);
    }
    if (record.kind === 'inference.lost') this.#requests.delete(head.of);
    if (record.kind !== 'inference.end') return;
    const args = this.#requests.get(head.of);
    this.#requests.delete(head.of);
    const open = state.runOpen;
    if (args === undefined || sound.withheld || start === undefined || open === undefined) return;
    const read = (field: string) => payloads.get(field) as NonNullable<ReturnType<typeof payloads.get>>;
    const facts = {
      ...deploymentOf(open),
      run: state.run,
      index: head.of,
      runSeed: state.runSeed,
      request: inferenceRequestOf(args, open),
      completion: {
        promptIds: readIdsPayload(read('body.prompt.ids'), 'body.prompt.ids'),
        outputIds: readIdsPayload(read('body.output.ids'), 'body.output.ids'),
        text: readTextPayload(read('body.text'), 'body.text'),
        finishReason: record.body.finish,
        masks: record.body.masks,
      },
    };
    try {
      verifyReceipt(toReceipt(facts, record.body.receipt), facts, open.inference.signer);
    } catch (cause) {
      if (!RuntimeError.is(cause)) throw cause;
      const { message } = cause;
      throw new TraceError('RECEIPT_MISMATCH', `body.receipt: ${message} (run ${toHex(state.run)})`, {
        at: { field: 'body.receipt', step: Number(head.index) },
        cause,
      });
    }
  }
}
