/**
 * The lines of a bundle: JSON Lines, each line the canonical JSON of an object with one field that names its kind.
 *
 * Spec: `attest/spec/trace.md#bundle`.
 *
 * @module
 */

import { equalBytes, type Hex } from '../core/bytes.ts';
import { canonicalBytes, type Json, parseCanonical } from '../encoding/canonical-json.ts';
import { type KindBody, parseBody } from './bodies.ts';
import { checkpointToJson, parseCheckpoint, type SignedCheckpoint } from './checkpoint.ts';
import { fieldError, TraceError } from './errors.ts';
import { type Head, headToJson, parseHead } from './head.ts';
import { type Payload, parsePayload, payloadToJson } from './payload.ts';
import { exactObject, hex32 } from './shape.ts';

/** Name and version in the first line of a bundle. */
export const BUNDLE_FORMAT = { format: 'tracebond/trace', version: 1 } as const;

/** Longest line in bytes: a payload of the greatest size in base64, with room for its fields. */
export const MAX_LINE_BYTES = 24 * 1024 * 1024;

/** Most values in one line: an agent record with all its calls has fewer than a third of it. */
export const MAX_LINE_VALUES = 65_536;

/** Below this size a line cannot hold enough values to matter. */
const COUNTED_LINE_BYTES = 1024 * 1024;

/** One line of a bundle. */
export type BundleLine =
  | { readonly type: 'header' }
  | { readonly type: 'record'; readonly head: Head; readonly record: KindBody }
  | { readonly type: 'payload'; readonly commitment: Hex; readonly payload: Payload }
  | { readonly type: 'withheld'; readonly commitment: Hex }
  | { readonly type: 'checkpoint'; readonly checkpoint: SignedCheckpoint };

/** Writes a line, LF included. */
export function encodeLine(line: BundleLine): Uint8Array {
  const json = canonicalBytes(lineToJson(line));
  const out = new Uint8Array(json.length + 1);
  out.set(json);
  out[json.length] = 0x0a;
  return out;
}

function lineToJson(line: BundleLine): Json {
  switch (line.type) {
    case 'header':
      return { ...BUNDLE_FORMAT };
    case 'record':
      return { record: { body: line.record.body as Json, head: headToJson(line.head) } };
    case 'payload':
      return { payload: payloadToJson(line.payload) };
    case 'withheld':
      return { withheld: line.commitment };
    case 'checkpoint':
      return { checkpoint: checkpointToJson(line.checkpoint) };
  }
}

/**
 * Reads one line without its LF. A line that is not byte for byte what {@link encodeLine} would write is refused.
 *
 * @param bytes - untrusted, at most {@link MAX_LINE_BYTES}
 * @throws {@link TraceError} `MALFORMED_LINE`, or the fault of the part that is wrong
 */
export function parseLine(bytes: Uint8Array): BundleLine {
  if (bytes.length > MAX_LINE_BYTES) throw fieldError('MALFORMED_LINE', 'line', `longer than ${MAX_LINE_BYTES} bytes`);
  // attacker-controlled: the number of values, each of which costs many times its bytes once it is read
  if (bytes.length > COUNTED_LINE_BYTES && countValues(bytes) > MAX_LINE_VALUES) {
    throw fieldError('MALFORMED_LINE', 'line', `more than ${MAX_LINE_VALUES} values`);
  }
  let value: Json;
  try {
    value = parseCanonical(bytes);
  } catch (cause) {
    throw fieldError('MALFORMED_LINE', 'line', `not canonical JSON: ${(cause as Error).message}`, cause);
  }
  const fields = value as { readonly [key: string]: Json };
  const keys = Object.keys(fields).join();
  switch (keys) {
    case 'format,version':
      if (!equalBytes(bytes, canonicalBytes({ ...BUNDLE_FORMAT }))) {
        throw fieldError('UNSUPPORTED_VERSION', 'header', `expected ${JSON.stringify(BUNDLE_FORMAT)}`);
      }
      return { type: 'header' };
    case 'record': {
      const record = exactObject(fields['record'] as Json, 'record', ['body', 'head'], 'MALFORMED_LINE');
      const head = parseHead(record['head'] as Json);
      return { type: 'record', head, record: parseBody(head.kind, record['body'] as Json) };
    }
    case 'payload':
      return { type: 'payload', ...parsePayload(fields['payload'] as Json) };
    case 'withheld':
      return { type: 'withheld', commitment: hex32(fields['withheld'] as Json, 'withheld', 'MALFORMED_LINE') };
    case 'checkpoint':
      return { type: 'checkpoint', checkpoint: parseCheckpoint(fields['checkpoint'] as Json) };
    default:
      throw new TraceError('MALFORMED_LINE', `line: unknown fields ${keys.slice(0, 80)}`, { at: { field: 'line' } });
  }
}

/** Commas and opening brackets outside texts: at least as many as the values of a JSON text less one. */
function countValues(bytes: Uint8Array): number {
  let count = 0;
  let inText = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (inText) {
      if (byte === 0x5c) i++;
      else if (byte === 0x22) inText = false;
    } else if (byte === 0x22) inText = true;
    else if (byte === 0x2c || byte === 0x5b || byte === 0x7b) count++;
  }
  return count;
}
