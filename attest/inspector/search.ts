/**
 * Finds a text in the payloads of a bundle: reads the file once more, one line at a time, and keeps nothing but the places.
 *
 * @module
 */

import { RuntimeError } from '../core/error.ts';
import { fromBase64 } from '../encoding/base64.ts';
import type { Json } from '../encoding/canonical-json.ts';
import { parseBody, payloadFields } from '../trace/bodies.ts';
import { parseHead } from '../trace/head.ts';
import { readLines } from '../trace/line-reader.ts';
import { MEDIA } from '../trace/payload.ts';
import type { BundleFile } from './bundle-check.ts';
import { MAX_SPANS } from './line-map.ts';
import { fields } from './row.ts';

/** Records in whose payloads a text stands, with the first field of each where it does. */
export type Found = {
  readonly places: ReadonlyMap<number, string>;
  /** Whether it was found in so many records that the search ended. */
  readonly isCut: boolean;
};

/** Most records that a search finds. */
export const MAX_FOUND = 20_000;

/** Lines between two pauses. */
const LINES = 200;

/**
 * Looks for a text, in whatever case. Payloads that do not fit are searched too: where a text stands is no statement about it.
 *
 * @param text - not empty
 * @param pause - awaited again and again; resolves to whether to go on
 * @returns undefined where `pause` ended it
 * @throws what `file` throws
 */
export async function searchPayloads(
  file: BundleFile,
  text: string,
  pause: () => Promise<boolean>,
): Promise<Found | undefined> {
  const wanted = text.toLowerCase();
  // JSON writes some characters in another way.
  const written = JSON.stringify(wanted).slice(1, -1);
  const places = new Map<number, string>();
  let index = -1;
  let nth = 0;
  let record: Uint8Array = new Uint8Array(0);
  let lines = 0;
  try {
    for await (const { bytes, complete } of readLines(file.stream(0))) {
      lines += 1;
      if (lines % LINES === 0 && !(await pause())) return undefined;
      if (!complete || bytes.length < 3) continue;
      if (bytes[2] === 0x72) {
        index += 1;
        if (index >= MAX_SPANS) break;
        [record, nth] = [bytes.slice(), 0];
      } else if (bytes[2] === 0x77) nth += 1;
      else if (bytes[2] === 0x70) {
        if (index >= 0 && !places.has(index)) {
          const { media, content } = contentOf(bytes);
          if (content.includes(media === MEDIA.json ? written : wanted)) places.set(index, fieldOf(record, nth));
          if (places.size >= MAX_FOUND) return { places, isCut: true };
        }
        nth += 1;
      }
    }
  } catch (error) {
    // A line without end: nothing behind it is a record.
    if (!RuntimeError.is(error)) throw error;
  }
  return { places, isCut: false };
}

/** Text of a payload line in lower case; empty where it has none. */
function contentOf(bytes: Uint8Array): { readonly media: string; readonly content: string } {
  const line = fields(fields(jsonOf(bytes))['payload']);
  const media = String(line['media']);
  const chunks = Array.isArray(line['chunks']) ? line['chunks'] : [];
  if (media !== MEDIA.text && media !== MEDIA.json) return { media, content: '' };
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let content = '';
  for (const chunk of chunks) {
    try {
      content += decoder.decode(fromBase64(String(chunk)), { stream: true });
    } catch (error) {
      if (!RuntimeError.is(error)) throw error;
    }
  }
  return { media, content: content.toLowerCase() };
}

function fieldOf(bytes: Uint8Array, nth: number): string {
  const record = fields(fields(jsonOf(bytes))['record']);
  try {
    const { kind } = parseHead(record['head'] ?? null);
    return payloadFields(parseBody(kind, record['body'] ?? null))[nth]?.field ?? `payload ${nth}`;
  } catch (error) {
    if (!RuntimeError.is(error)) throw error;
    return `payload ${nth}`;
  }
}

function jsonOf(bytes: Uint8Array): Json {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    if (!(error instanceof SyntaxError) && !(error instanceof RangeError)) throw error;
    return null;
  }
}
