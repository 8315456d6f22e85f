/**
 * What each token of a vocabulary adds to a text.
 *
 * @module
 */

import type { TokenText } from './answer-text.ts';
import type { TokenProbability } from './engine.ts';
import { tokenBytes } from './token-bytes.ts';
import type { TextTokenizer } from './tokenizer.ts';

const SPACE = 0x20;

/** The tokens of one vocabulary, by id. */
export class TokenTable implements TokenText {
  /** Bytes of each; null for control tokens and ids without a token. */
  readonly bytes: readonly (Uint8Array | null)[];
  /** Whether a text loses the space with which its first token begins, as SentencePiece's do. */
  readonly #losesFirstSpace: boolean;

  constructor(tokenizer: Pick<TextTokenizer, 'description' | 'decode'>) {
    this.bytes = tokenBytes(tokenizer);
    const spaced = this.bytes.findIndex((bytes) => bytes !== null && bytes.length > 1 && bytes[0] === SPACE);
    this.#losesFirstSpace = spaced >= 0 && !tokenizer.decode([spaced]).startsWith(' ');
  }

  bytesOf(id: number, isFirst: boolean): Uint8Array | null {
    const bytes = this.bytes[id] ?? null;
    if (bytes === null || !isFirst || !this.#losesFirstSpace || bytes[0] !== SPACE) return bytes;
    return bytes.subarray(1);
  }

  /** A token as clients are told of it; what is no UTF-8 by itself is U+FFFD in its text. */
  describe(id: number): Pick<TokenProbability, 'text' | 'bytes'> {
    const bytes = this.bytes[id] ?? null;
    if (bytes === null) return { text: '', bytes: null };
    return { text: new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes), bytes: [...bytes] };
  }
}
