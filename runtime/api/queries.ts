/**
 * What comes beside a body: ids and indices in the path, what stands behind the question mark, headers.
 *
 * @module
 */

import { z } from 'zod';
import type { Hex } from '../../attest/core/bytes.ts';
import type { LosslessJson } from '../../attest/encoding/canonical-json.ts';
import { refuse, refuseValue } from '../../inference/protocol-faults.ts';

/** Where no parameters and no fields are taken. */
export const noFields = z.strictObject({});

/** Whether a text is a run id. */
export function isRunId(text: string): text is Hex {
  return /^0x[0-9a-f]{64}$/.test(text);
}

/**
 * Reads fields by their schema.
 *
 * @param fields - untrusted; a parameter that is there twice is a list
 * @throws {@link ApiError} `UNKNOWN_PARAMETER`, `MISSING_PARAMETER`, `INVALID_TYPE`, `INVALID_VALUE`
 */
export function readFields<S extends z.ZodType>(schema: S, fields: unknown): z.output<S> {
  // A plain object: the parser of queries makes one without a prototype.
  const isObject = typeof fields === 'object' && fields !== null && !Array.isArray(fields);
  const plain = isObject ? Object.fromEntries(Object.entries(fields)) : fields;
  const parsed = schema.safeParse(plain);
  if (!parsed.success) throw refuse(parsed.error.issues, plain as LosslessJson);
  return parsed.data;
}

/** Reads the index of a record in a path. @throws {@link ApiError} `INVALID_VALUE` */
export function readIndex(text: string): bigint {
  if (!/^(?:0|[1-9][0-9]{0,18})$/.test(text)) throw refuseValue('index', 'expected the index of a record');
  return BigInt(text);
}
