/**
 * The head of a record: 252 bytes at fixed offsets, so that a contract reads it without a JSON parser.
 *
 * Spec: `attest/spec/trace.md#head`.
 *
 * @module
 */

import { concatBytes, fromHex, type Hex, toHex, uintBytes } from '../core/bytes.ts';
import { type Digest, taggedHash } from '../core/hash.ts';
import type { Json } from '../encoding/canonical-json.ts';
import { fieldError } from './errors.ts';
import { CLASS_CODES, isKind, isRecordClass, KIND_CODES, type Kind, type RecordClass } from './kinds.ts';
import { decimal64, exactObject, hex32, text } from './shape.ts';

/** Length of an encoded head in bytes. */
export const HEAD_BYTES = 252;

/** Version of the head layout that this release reads and writes. */
export const HEAD_VERSION = 1;

/** One record's fixed part; digests are 32 bytes. */
export type Head = {
  readonly kind: Kind;
  readonly class: RecordClass;
  /** Position in the run, from 0. */
  readonly index: bigint;
  /** Operator's clock, milliseconds since 1970; reported, never decreasing. */
  readonly at: bigint;
  /** Index of the start that this record completes, else its own index. */
  readonly of: bigint;
  readonly run: Digest;
  /** Leaf hash of the record before; of record 0: the run id. */
  readonly prev: Digest;
  /** State digest before this record. */
  readonly pre: Digest;
  /** State digest after this record. */
  readonly post: Digest;
  /** What a contract compares with the list in `run.open`: model, tool, policy, agent or request. */
  readonly subject: Digest;
  readonly body: Digest;
  /** Root of the facts of this kind, or zero. */
  readonly facts: Digest;
};

/** Fields of a head in wire order, for comparisons that name the first difference. */
export const HEAD_FIELDS = [
  'kind',
  'class',
  'index',
  'at',
  'of',
  'run',
  'prev',
  'pre',
  'post',
  'subject',
  'body',
  'facts',
] as const satisfies readonly (keyof Head)[];

/** Writes a head as its {@link HEAD_BYTES} bytes, big-endian. */
export function encodeHead(head: Head): Uint8Array {
  return concatBytes(
    Uint8Array.of(HEAD_VERSION, KIND_CODES[head.kind], CLASS_CODES[head.class], 0),
    uintBytes(head.index, 8),
    uintBytes(head.at, 8),
    uintBytes(head.of, 8),
    head.run,
    head.prev,
    head.pre,
    head.post,
    head.subject,
    head.body,
    head.facts,
  );
}

/** Leaf hash of a record: SHA-256(0x00 || head). */
export function hashHead(head: Head): Digest {
  return taggedHash('record', encodeHead(head));
}

/** A head as the JSON fields of a bundle line. */
export function headToJson(head: Head): { [field: string]: Json } {
  return {
    version: HEAD_VERSION,
    kind: head.kind,
    class: head.class,
    flags: 0,
    index: head.index.toString(),
    at: head.at.toString(),
    of: head.of.toString(),
    run: toHex(head.run),
    prev: toHex(head.prev),
    pre: toHex(head.pre),
    post: toHex(head.post),
    subject: toHex(head.subject),
    body: toHex(head.body),
    facts: toHex(head.facts),
  };
}

/**
 * Reads the JSON fields of a head; shape only.
 *
 * @throws {@link TraceError} `MALFORMED_HEAD`, `UNSUPPORTED_VERSION`
 */
export function parseHead(value: Json): Head {
  const fields = exactObject(
    value,
    'head',
    [
      'version',
      'kind',
      'class',
      'flags',
      'index',
      'at',
      'of',
      'run',
      'prev',
      'pre',
      'post',
      'subject',
      'body',
      'facts',
    ],
    'MALFORMED_HEAD',
  );
  if (fields['version'] !== HEAD_VERSION) throw fieldError('UNSUPPORTED_VERSION', 'head.version', 'expected 1');
  if (fields['flags'] !== 0) throw fieldError('MALFORMED_HEAD', 'head.flags', 'expected 0');
  const kind = text(64)(fields['kind'] as Json, 'head.kind', 'MALFORMED_HEAD');
  const recordClass = text(64)(fields['class'] as Json, 'head.class', 'MALFORMED_HEAD');
  if (!isKind(kind)) throw fieldError('MALFORMED_HEAD', 'head.kind', `unknown kind ${JSON.stringify(kind)}`);
  if (!isRecordClass(recordClass)) throw fieldError('MALFORMED_HEAD', 'head.class', 'unknown class');
  const number = (name: string) => BigInt(decimal64(fields[name] as Json, `head.${name}`, 'MALFORMED_HEAD'));
  const digest = (name: string) => fromHex(hex32(fields[name] as Json, `head.${name}`, 'MALFORMED_HEAD'));
  return {
    kind,
    class: recordClass,
    index: number('index'),
    at: number('at'),
    of: number('of'),
    run: digest('run'),
    prev: digest('prev'),
    pre: digest('pre'),
    post: digest('post'),
    subject: digest('subject'),
    body: digest('body'),
    facts: digest('facts'),
  };
}

/** One field of a head as a text for messages and reports. */
export function headFieldText(head: Head, field: (typeof HEAD_FIELDS)[number]): string | Hex {
  const value = head[field];
  return value instanceof Uint8Array ? toHex(value) : value.toString();
}
