/**
 * Another judge of JSON Schema (Ajv, draft 2020-12, with ajv-formats in full).
 *
 * @module
 */

import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import type { Json } from '../../attest/encoding/canonical-json.ts';

/**
 * Compiles a schema.
 *
 * @returns what is wrong with a value; empty if nothing
 */
export function judgeOf(schema: Json): (value: unknown) => string {
  // Own properties: `constructor` is a name like any other. Multiples in binary64 come out within a millionth of whole.
  const ajv = new Ajv2020({ strict: false, logger: false, ownProperties: true, multipleOfPrecision: 6 });
  formats.default(ajv);
  const validate = ajv.compile(schema as boolean | object);
  return (value) => (validate(value) ? '' : ajv.errorsText(validate.errors));
}
