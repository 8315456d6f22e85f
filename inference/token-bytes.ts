/**
 * The bytes that each token adds to a text, for whoever restricts what a model may write.
 *
 * @module
 */

import { utf8 } from '../attest/core/bytes.ts';
import type { TextTokenizer } from './tokenizer.ts';

/** What a vocabulary of SentencePiece writes for a space, and for a byte that no entry has. */
const METASPACE = /▁/gu;
const BYTE_ENTRY = /^<0x([0-9A-Fa-f]{2})>$/;

/**
 * Bytes of every id of a tokenizer, as `decode` joins them. A space in front of a whole text that `decode` leaves out is
 * counted here: whether a token stands first is not its own affair.
 *
 * @returns by id; null for control tokens and others that add no text, and for entries that are not whole: they are never
 * to be taken
 */
export function tokenBytes({
  description,
  decode,
}: Pick<TextTokenizer, 'description' | 'decode'>): readonly (Uint8Array | null)[] {
  const { json, tokens, controlIds, endIds, unknownId } = description;
  const never = new Set([...controlIds, ...endIds, ...(unknownId === null ? [] : [unknownId])]);
  const added = new Map(json.added_tokens.map((token) => [token.id, token]));
  const parts = decoderParts(json.decoder);
  const ofText = parts.has('ByteLevel') ? byteLevel() : sentencePiece(parts);
  const model = json.model as { readonly vocab?: unknown };
  const vocabulary = typeof model.vocab === 'object' && model.vocab !== null ? model.vocab : {};
  return tokens.map((token, id) => {
    const own = added.get(id);
    if (never.has(id) || own?.special === true || token === '') return null;
    // An added token is written as it is spelled, unless the vocabulary has the spelling and the decoder reads it so.
    if (own !== undefined && (parts.has('ByteLevel') || !Object.hasOwn(vocabulary, own.content))) {
      return decode([id]) === own.content ? utf8(own.content) : null;
    }
    return ofText(token);
  });
}

/** Kinds of a decoder and of its parts. */
function decoderParts(decoder: object): ReadonlySet<string> {
  const whole = decoder as { readonly type?: unknown; readonly decoders?: readonly { readonly type?: unknown }[] };
  return new Set([whole, ...(whole.decoders ?? [])].map(({ type }) => String(type)));
}

/** Byte-level BPE spells each byte as a letter: printable ones as themselves, the others from U+0100 on (GPT-2's `encoder.py`). */
function byteLevel(): (token: string) => Uint8Array | null {
  const byteOf = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const isPrintable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    byteOf.set(String.fromCodePoint(isPrintable ? byte : next++), byte);
  }
  return (token) => {
    const bytes = [...token].map((letter) => byteOf.get(letter));
    return bytes.includes(undefined) ? null : Uint8Array.from(bytes as number[]);
  };
}

function sentencePiece(parts: ReadonlySet<string>): (token: string) => Uint8Array | null {
  return (token) => {
    const byte = parts.has('ByteFallback') ? BYTE_ENTRY.exec(token) : null;
    if (byte !== null) return Uint8Array.of(Number.parseInt(byte[1] as string, 16));
    return utf8(token.replace(METASPACE, ' '));
  };
}
