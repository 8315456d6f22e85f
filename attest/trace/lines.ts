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
