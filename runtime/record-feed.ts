/**
 * The records of a journal as they become durable, however long ago they were written.
 *
 * @module
 */

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

/** Tells when a journal may have grown; resolves `false` when it never will again. */
export type Growth = { next(signal?: AbortSignal): Promise<boolean> };

/** Records of a journal from index `from` on. */
export async function* feedRecords(source: AsyncIterable<Uint8Array>, from: bigint): AsyncGenerator<RecordView> {
  for await (const view of collect(readLines(source))) {
    if (view.index >= from) yield view;
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
