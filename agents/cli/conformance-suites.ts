/**
 * What each suite of `tracebond conformance` does with one case. Pure: a line of bytes in, a result out.
 *
 * @module
 */

import { fromHex, toHex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { fromBase64 } from '../../attest/encoding/base64.ts';
import {
  canonicalJson,
  isJsonObject,
  type LosslessJson,
  parseCanonical,
  parseJson,
  parseJsonText,
  parseLosslessJson,
} from '../../attest/encoding/canonical-json.ts';
import { verifyConsistency } from '../../attest/merkle/consistency.ts';
import { verifyInclusion } from '../../attest/merkle/inclusion.ts';
import { hashTypedData, type TypedData } from '../../attest/sign/eip712.ts';
import { verifySha256 } from '../../attest/sign/secp256k1.ts';
import { evaluateSsrf, type SsrfResult } from './conformance-ssrf.ts';

/** A suite's name on the command line. */
export type Suite = keyof typeof SUITES;

/** One line of output; `error` is a code, from the case itself or from what it tests. */
export type ConformanceResult =
  | { readonly ok: true }
  | { readonly canonical: string }
  | { readonly digest: string }
  | SsrfResult
  | { readonly error: string };

export type CaseErrorCode = 'MALFORMED_CASE' | 'LINE_TOO_LONG';

/** A line that is no case of its suite: not an object, or a field missing or of another type. */
export class CaseError extends RuntimeError<CaseErrorCode> {
  override readonly name = 'CaseError';
}

/**
 * Evaluates one case; every fault of the line or of what it holds is a result.
 *
 * @param line - untrusted: one JSON object in UTF-8
 */
export function evaluateCase(suite: Suite, line: Uint8Array): ConformanceResult {
  try {
    const fields = parseLosslessJson(line);
    if (!isJsonObject(fields)) throw new CaseError('MALFORMED_CASE', 'case is no object');
    return SUITES[suite](fields);
  } catch (error) {
    if (RuntimeError.is(error)) return { error: error.code };
    throw error;
  }
}

type Fields = { readonly [field: string]: LosslessJson };

const SUITES = {
  /** `{json}`: a JSON text, answered in its canonical form. */
  jcs: (fields: Fields): ConformanceResult => ({ canonical: canonicalJson(parseJsonText(text(fields, 'json'))) }),
  /** `{hex}`: bytes that are JSON or are not. */
  json: (fields: Fields): ConformanceResult => {
    parseJson(hex(fields, 'hex'));
    return { ok: true };
  },
  /** `{hex}`: bytes that are a canonical record body or are not. */
  record: (fields: Fields): ConformanceResult => {
    parseCanonical(hex(fields, 'hex'));
    return { ok: true };
  },
  /** `{leafIdx, treeSize, root, leafHash, proof}`, the fields of transparency-dev/merkle. */
  'merkle-inclusion': (fields: Fields): ConformanceResult => {
    const proof = {
      index: integer(fields, 'leafIdx'),
      size: integer(fields, 'treeSize'),
      leafHash: base64(fields, 'leafHash'),
      path: path(fields, 'proof'),
    };
    verifyInclusion(proof, base64(fields, 'root'));
    return { ok: true };
  },
  /** `{size1, size2, root1, root2, proof}`, the fields of transparency-dev/merkle. */
  'merkle-consistency': (fields: Fields): ConformanceResult => {
    const proof = {
      oldSize: integer(fields, 'size1'),
      newSize: integer(fields, 'size2'),
      path: path(fields, 'proof'),
    };
    verifyConsistency(proof, base64(fields, 'root1'), base64(fields, 'root2'));
    return { ok: true };
  },
  /** `{domain, types, primaryType, message}`, checked by the hash itself. */
  eip712: (fields: Fields): ConformanceResult => ({ digest: toHex(hashTypedData(fields as unknown as TypedData)) }),
  /** `{publicKey, message, signature}` in hexadecimal: SEC1 key, message to be hashed, `r || s`. */
  secp256k1: (fields: Fields): ConformanceResult => {
    verifySha256(hex(fields, 'publicKey'), hex(fields, 'message'), hex(fields, 'signature'));
    return { ok: true };
  },
  /** `{url, resolved}`: a URL, and the addresses that its host resolves to. */
  ssrf: (fields: Fields): ConformanceResult => evaluateSsrf(fields),
} as const;

/** Names of the suites. */
export const SUITE_NAMES = Object.keys(SUITES) as readonly Suite[];

function field(fields: Fields, name: string): LosslessJson | undefined {
  return Object.hasOwn(fields, name) ? fields[name] : undefined;
}

function text(fields: Fields, name: string): string {
  const value = field(fields, name);
  if (typeof value !== 'string') throw new CaseError('MALFORMED_CASE', `${name} is no text`, { at: { field: name } });
  return value;
}

/** Hexadecimal as vector files write it: either case, `0x` or not. */
function hex(fields: Fields, name: string): Uint8Array {
  const digits = text(fields, name).toLowerCase();
  return fromHex(digits.startsWith('0x') ? digits : `0x${digits}`);
}

function base64(fields: Fields, name: string): Uint8Array {
  return fromBase64(text(fields, name));
}

/** An integer of any size, written without fraction and exponent. */
function integer(fields: Fields, name: string): bigint {
  const value = field(fields, name);
  if (typeof value !== 'bigint')
    throw new CaseError('MALFORMED_CASE', `${name} is no integer`, { at: { field: name } });
  return value;
}

/** A list of hashes; Go writes `null` for an empty one. */
function path(fields: Fields, name: string): Uint8Array[] {
  const value = field(fields, name);
  if (value === null) return [];
  if (!Array.isArray(value)) throw new CaseError('MALFORMED_CASE', `${name} is no list`, { at: { field: name } });
  return value.map((hash: LosslessJson) => {
    if (typeof hash !== 'string')
      throw new CaseError('MALFORMED_CASE', `${name} holds no text`, { at: { field: name } });
    return fromBase64(hash);
  });
}
