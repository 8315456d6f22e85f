/**
 * Whether a recorded end of a guest is the one that its execution gives.
 *
 * @module
 */

import { canonicalJson } from '../encoding/canonical-json.ts';
import { type Payload, readJsonPayload, readTextPayload } from '../trace/payload.ts';
import type { GuestState } from './executor.ts';
import { cannot, compare, diverged, type Outcome } from './outcome.ts';

/**
 * Compares a recorded result or error with the state of the guest that gave it.
 *
 * @param payloads - those of the record that the bundle shows, by field
 * @param output - the record's commitment to a result, or null
 * @param error - the record's error, or null
 * @param field - where the result stands in the record: `body.output` or `body.result`
 * @returns undefined if nothing differs
 */
export function compareGuestResult(
  payloads: ReadonlyMap<string, Payload>,
  state: GuestState,
  output: string | null,
  error: { readonly code: string; readonly message: string } | null,
  field: string,
): Outcome | undefined {
  const payload = payloads.get(field);
  const message = payloads.get('body.error.message');
  if (output !== null && state.status !== 'done') return diverged(field, 'a result', state.status);
  if (error !== null && state.status !== 'failed') return diverged('body.error', error.code, state.status);
  if (state.status === 'done') {
    if (output === null) return diverged(field, 'no result', canonicalJson(state.value));
    if (payload === undefined) return cannot('PAYLOAD_WITHHELD');
    return compare(field, readJsonPayload(payload, field), state.value);
  }
  if (state.status === 'failed') {
    if (error === null) return diverged('body.error', 'no error', state.error.code);
    if (message === undefined) return cannot('PAYLOAD_WITHHELD');
    return (
      compare('body.error.code', error.code, state.error.code) ??
      compare('body.error.message', readTextPayload(message, 'body.error.message'), state.error.message)
    );
  }
  return undefined;
}
