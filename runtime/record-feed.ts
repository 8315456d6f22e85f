/**
 * The records of a journal as they become durable: from the file, however long ago they were written, and then as they come.
 *
 * @module
 */

import { open } from 'node:fs/promises';
import type { Json } from '../attest/encoding/canonical-json.ts';
import { payloadFields } from '../attest/trace/bodies.ts';
import { headToJson } from '../attest/trace/head.ts';
import { readLines } from '../attest/trace/line-reader.ts';
import { parseLine } from '../attest/trace/lines.ts';
import { MEDIA, type Payload, readIdsPayload, readJsonPayload, readTextPayload } from '../attest/trace/payload.ts';

/** A record as users see it: payloads are read, a withheld one is `{withheld}`. */
export type RecordView = {
  readonly index: bigint;
  readonly head: { readonly [field: string]: Json };
  readonly body: Json;
  readonly payloads: { readonly [field: string]: Json };
};

/** Tells when a file may have grown; resolves `false` when it never will again. */
export type Growth = { next(signal?: AbortSignal): Promise<boolean> };

/**
 * Records of a journal from index `from` on.
 *
 * @param growth - waits for more; undefined: ends with what the file holds
 */
export async function* feedRecords(
  path: string,
  from: bigint,
  growth?: Growth,
  signal?: AbortSignal,
): AsyncGenerator<RecordView> {
  const file = await open(path, 'r');
  try {
    for await (const view of collect(readLines(readGrowing(file, growth, signal)))) {
      if (view.index >= from) yield view;
    }
  } finally {
    await file.close();
  }
}

async function* readGrowing(
  file: Awaited<ReturnType<typeof open>>,
  growth: Growth | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  let position = 0;
  let isLast = growth === undefined;
  for (;;) {
    const piece = Buffer.alloc(64 * 1024);
    const { bytesRead } = await file.read(piece, 0, piece.length, position);
    position += bytesRead;
    if (bytesRead > 0) {
      yield piece.subarray(0, bytesRead);
      continue;
    }
    if (isLast || signal?.aborted === true || growth === undefined) return;
    // What was written before the end was told is still read.
    isLast = !(await growth.next(signal));
  }
}

async function* collect(lines: ReturnType<typeof readLines>): AsyncGenerator<RecordView> {
  let current: { view: RecordView; fields: string[]; payloads: { [field: string]: Json } } | undefined;
  for await (const { bytes, complete } of lines) {
    if (!complete) return;
    const line = parseLine(bytes);
    if (line.type === 'record') {
      const payloads: { [field: string]: Json } = {};
      const fields = payloadFields(line.record).map(({ field }) => field);
      const { head, record } = line;
      const view = { index: head.index, head: headToJson(head), body: record.body as Json, payloads };
      current = { view, fields, payloads };
    } else if (current !== undefined && (line.type === 'payload' || line.type === 'withheld')) {
      const field = current.fields.shift() ?? '';
      current.payloads[field] =
        line.type === 'payload' ? readPayload(line.payload, field) : { withheld: line.commitment };
    }
    if (current?.fields.length === 0) {
      yield current.view;
      current = undefined;
    }
  }
}

function readPayload(payload: Payload, field: string): Json {
  if (payload.media === MEDIA.text) return readTextPayload(payload, field);
  if (payload.media === MEDIA.ids) return readIdsPayload(payload, field);
  return readJsonPayload(payload, field);
}
