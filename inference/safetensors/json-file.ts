/**
 * Reads the JSON of a model folder: strict, and with a bound on its values before any of them is made, because a short
 * text can spell very many.
 *
 * @module
 */

import {
  isJsonObject,
  type JsonLimits,
  type JsonObject,
  type LosslessJson,
  parseJson,
  parseLosslessJson,
} from '../../attest/encoding/canonical-json.ts';
import { EncodingError } from '../../attest/encoding/errors.ts';
import type { JsonOf } from '../../attest/encoding/json-scanner.ts';
import { ModelError } from '../errors.ts';

/**
 * Reads a JSON object.
 *
 * @param bytes - untrusted
 * @param file - name for the error's place
 * @throws {@link ModelError} `TOO_LARGE`, `TOO_DEEP`, `DUPLICATE_KEY`, or `options.fault` (`MALFORMED_METADATA` by
 *   default) for what is no JSON object; all with `at.file`
 */
export function parseJsonObject(bytes: Uint8Array, file: string, options: parseJsonObject.Options): JsonObject {
  return parseObject<number>(bytes, file, options, parseJson);
}

/** {@link parseJsonObject} whose integers are `bigint`, and told from `2.0` and `1e2`. */
export function parseLosslessObject(
  bytes: Uint8Array,
  file: string,
  options: parseJsonObject.Options,
): { readonly [key: string]: LosslessJson } {
  return parseObject<number | bigint>(bytes, file, options, parseLosslessJson);
}

export declare namespace parseJsonObject {
  type Options = {
    readonly maxBytes: number;
    /** Bound on values, counted by the signs `{`, `[` and `,`, those within texts too. */
    readonly maxValues: number;
    readonly maxDepth: number;
    readonly fault?: ModelError['code'];
  };
}

function parseObject<N>(
  bytes: Uint8Array,
  file: string,
  options: parseJsonObject.Options,
  parse: (bytes: Uint8Array, limits: JsonLimits) => JsonOf<N>,
): { readonly [key: string]: JsonOf<N> } {
  const { maxBytes, maxValues, maxDepth, fault = 'MALFORMED_METADATA' } = options;
  if (bytes.length > maxBytes) {
    throw new ModelError('TOO_LARGE', `${file} has ${bytes.length} bytes, at most ${maxBytes}`, { at: { file } });
  }
  // attacker-controlled: 100 MB of `{},{},` would be gigabytes of objects
  if (valuesAtMost(bytes) > maxValues) {
    throw new ModelError('TOO_LARGE', `${file} holds more than ${maxValues} values`, { at: { file } });
  }
  let value: JsonOf<N>;
  try {
    value = parse(bytes, { maxBytes, maxDepth });
  } catch (cause) {
    if (!(cause instanceof EncodingError)) throw cause;
    const code = cause.code === 'DUPLICATE_KEY' || cause.code === 'TOO_DEEP' ? cause.code : fault;
    throw new ModelError(code, `${file}: ${cause.message}`, { at: { file, ...cause.at }, cause });
  }
  if (!isJsonObject(value)) throw new ModelError(fault, `${file} is no JSON object`, { at: { file } });
  return value;
}

/** Every value but the outermost stands behind one of these signs. */
function valuesAtMost(bytes: Uint8Array): number {
  let count = 1;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === 0x2c || byte === 0x5b || byte === 0x7b) count++;
  }
  return count;
}
