/**
 * Faults of a JSON Schema that a request brings. All are the client's: they become status 400 before a token is decoded.
 *
 * @module
 */

import { RuntimeError } from '../../attest/core/error.ts';

export type SchemaErrorCode =
  /** A keyword, or a use of one, that this engine does not enforce. */
  | 'SCHEMA_UNSUPPORTED'
  /** Not a schema: a value of the wrong type, a pattern that is none, a reference to nowhere or to itself. */
  | 'SCHEMA_MALFORMED'
  /** No value that can be written satisfies it. */
  | 'SCHEMA_UNSATISFIABLE'
  /** It would take more states, alternatives or bytes than a request may. */
  | 'SCHEMA_TOO_LARGE';

/** `at.path` is a JSON pointer into the schema, `at.keyword` the keyword at fault (empty where it is the whole). */
export class SchemaError extends RuntimeError<SchemaErrorCode> {
  override readonly name = 'SchemaError';
}

/** Makes a {@link SchemaError} that names its place. */
export function schemaError(code: SchemaErrorCode, path: string, keyword: string, reason: string): SchemaError {
  const place = `${path === '' ? '#' : `#${path.slice(0, 256)}`}${keyword === '' ? '' : ` ${keyword}`}`;
  return new SchemaError(code, `schema at ${place}: ${reason}`, { at: { path: path.slice(0, 1024), keyword } });
}
