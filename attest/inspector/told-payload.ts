/**
 * The beginning of a payload that was checked, for people who ask what was asked and what came out. Plain text, never markup.
 *
 * @module
 */

import { RuntimeError } from '../core/error.ts';
import type { Json } from '../encoding/canonical-json.ts';
import { MEDIA, type Payload, readJsonPayload } from '../trace/payload.ts';
import type { SoundRecord } from '../verify/structure.ts';

/** A part of a payload. Texts are untrusted. */
export type ToldPart = {
  /** Member of the JSON object; null: the payload is one value. */
  readonly name: string | null;
  /** At most {@link MAX_TOLD} characters. */
  readonly text: string;
  /** Whether `text` is only the beginning. */
  readonly isCut: boolean;
};

/** What the payload of a field holds; `withheld`: the bundle shows its commitment alone; `unreadable`: no text, or no JSON that says so. */
export type ToldPayload = {
  /** Record that commits to it. */
  readonly step: number;
  readonly field: string;
  readonly state: 'shown' | 'withheld' | 'unreadable';
  readonly parts: readonly ToldPart[];
};

/** Most characters of one part. */
export const MAX_TOLD = 8192;

/** Most members of an object that are told one by one. */
const MAX_PARTS = 8;

/** Larger JSON is not indented: nesting makes it many times as long. */
const MAX_INDENTED_BYTES = 16 * 1024;

/** Larger payloads are not parsed. */
const MAX_PARSED_BYTES = 1 << 20;

/**
 * Tells the payload of a field of a record.
 *
 * @param sound - a record that fits, so that each of its payloads has the commitment that the body names
 */
export function tellPayload({ head, payloads }: SoundRecord, field: string): ToldPayload {
  const payload = payloads.get(field);
  const place = { step: Number(head.index), field };
  if (payload === undefined) return { ...place, state: 'withheld', parts: [] };
  const parts = partsOf(payload, field);
  return parts === undefined ? { ...place, state: 'unreadable', parts: [] } : { ...place, state: 'shown', parts };
}

function partsOf(payload: Payload, field: string): readonly ToldPart[] | undefined {
  const { media, data } = payload;
  if (media === MEDIA.json && data.length <= MAX_PARSED_BYTES) {
    const value = jsonOf(payload, field);
    if (value === undefined) return undefined;
    const members = typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : [];
    const indent = data.length > MAX_INDENTED_BYTES ? undefined : 2;
    return members.length === 0 || members.length > MAX_PARTS
      ? [part(null, value, indent)]
      : members.map(([name, member]) => part(name, member, indent));
  }
  if (media !== MEDIA.text && media !== MEDIA.json) return undefined;
  // Four bytes a character at most; what is cut in the middle of one gives U+FFFD at the end, which is cut off too.
  const begin = data.subarray(0, 4 * (MAX_TOLD + 1));
  return [cut(null, new TextDecoder('utf-8', { ignoreBOM: true }).decode(begin), data.length > begin.length)];
}

function part(name: string | null, value: Json, indent: number | undefined): ToldPart {
  return cut(
    name === null ? null : name.slice(0, 200),
    typeof value === 'string' ? value : JSON.stringify(value, null, indent),
  );
}

function cut(name: string | null, text: string, isMore = false): ToldPart {
  return { name, text: text.slice(0, MAX_TOLD), isCut: isMore || text.length > MAX_TOLD };
}

/** The JSON of a payload; undefined where it is none. */
export function jsonOf(payload: Payload | undefined, field: string): Json | undefined {
  if (payload === undefined) return undefined;
  try {
    return readJsonPayload(payload, field);
  } catch (error) {
    if (!RuntimeError.is(error)) throw error;
    return undefined;
  }
}
