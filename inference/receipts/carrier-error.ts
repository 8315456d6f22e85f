/**
 * Files in which a receipt is looked for, and what is wrong with them.
 *
 * @module
 */

import type { z } from 'zod';
import { RuntimeError } from '../../attest/core/error.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';

export type CarrierErrorCode =
  /** Nothing in it is a receipt: another JSON, an error, a stream that was cut off. */
  | 'NO_RECEIPT'
  /** A receipt, and around it what no answer of the API is; `at.field`. */
  | 'MALFORMED_ANSWER';

/** A file without a receipt. */
export class CarrierError extends RuntimeError<CarrierErrorCode> {
  override readonly name = 'CarrierError';
}

/**
 * A part of an answer in its form.
 *
 * @param value - untrusted
 * @param under - where it stands in the answer, `data.3`; empty for the whole
 * @throws {@link CarrierError} `MALFORMED_ANSWER`
 */
export function readPart<S extends z.ZodType>(schema: S, value: Json, under = ''): z.output<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const path = [...(under === '' ? [] : [under]), ...(issue?.path ?? []).map(String)];
  throw malformed(path.join('.').slice(0, 64), issue?.message ?? 'not understood');
}

/** Where there is no receipt. */
export function noReceipt(message: string): CarrierError {
  return new CarrierError('NO_RECEIPT', message);
}

/** What no answer says. */
export function malformed(field: string, message: string): CarrierError {
  return new CarrierError('MALFORMED_ANSWER', `${field || 'the whole'}: ${message}`, { at: { field } });
}
