/**
 * What a recorded end gives to the guest that waits for it. The runtime, when it continues a run, and the verifier share it.
 *
 * Spec: `attest/spec/trace.md#bodies`.
 *
 * @module
 */

import type { Json } from '../encoding/canonical-json.ts';
import type { GuestFailure, KindBody } from './bodies.ts';
import { failedDelivery, type GuestDelivery } from './guest.ts';
import { type Payload, readJsonPayload, readTextPayload } from './payload.ts';

/** Records that complete a start. */
export type Completion = Extract<KindBody, { kind: `${string}.end` | `${string}.lost` }>;

/** Whether a record completes a start. */
export function isCompletion(record: KindBody): record is Completion {
  return record.kind.endsWith('.end') || record.kind.endsWith('.lost');
}

/**
 * The delivery of an end or a loss.
 *
 * @param payloads - by field; what is missing was withheld
 * @param id - of the call that is answered
 * @returns undefined where a payload that the delivery needs is withheld
 * @throws {@link TraceError} `MALFORMED_PAYLOAD`
 */
export function deliveryOf(
  record: Completion,
  payloads: ReadonlyMap<string, Payload>,
  id: number,
): GuestDelivery | undefined {
  const json = (field: string): Json | undefined => {
    const payload = payloads.get(field);
    return payload === undefined ? undefined : readJsonPayload(payload, field);
  };
  const given = (value: Json | undefined): GuestDelivery | undefined =>
    value === undefined ? undefined : { id, ok: true, value };
  const failed = (error: GuestFailure): GuestDelivery | undefined => {
    const message = payloads.get('body.error.message');
    if (message === undefined) return undefined;
    return { id, ok: false, error: { code: error.code, message: readTextPayload(message, 'body.error.message') } };
  };
  switch (record.kind) {
    case 'inference.end': {
      const text = payloads.get('body.text');
      if (text === undefined) return undefined;
      return given({ finishReason: record.body.finish, text: readTextPayload(text, 'body.text') });
    }
    case 'tool.end':
      return record.body.error === null ? given(json('body.result')) : failed(record.body.error);
    case 'run.child.end':
      return record.body.error === null ? given(json('body.output')) : failed(record.body.error);
    case 'host.end':
      return record.body.error === null ? given(json('body.response')) : failedDelivery(id, record.body.error);
    default:
      return failedDelivery(id, record.body.reason);
  }
}
