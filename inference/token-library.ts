/**
 * What of a tokenizer comes from a library: merges of pieces, joining them again, and the language of chat templates. All
 * else (which text may become a control token, normal forms, classes of characters) is decided in `tokenizer.ts` and before.
 *
 * Adapters: `huggingface-library.ts` and `float/transformers-library.ts`. They wrap the same code and give the same results;
 * the second costs the memory and the start of a whole inference library.
 *
 * @module
 */

import type { TokenizerDescription } from './tokenizer-json.ts';

/** A library opened on one description. */
export type TokenLibrary = {
  /** Ids of a text that is not empty, without tokens put in front or behind; entries may be undefined for a faulty vocabulary. */
  encode(text: string): number[];
  /** Text of ids, at least one. */
  decode(ids: readonly number[]): string;
  /**
   * The description's template over messages, with the start of an answer behind them; compiled when first used. null where
   * there is none.
   *
   * @throws whatever the template raises, or the language's parser
   */
  readonly render: ((messages: readonly object[]) => string) | null;
};

/**
 * Opens a library.
 *
 * @param description - pinned; its added tokens are cut out of texts
 * @throws whatever the library raises on parts that it cannot read
 */
export type OpenTokenLibrary = (description: TokenizerDescription) => TokenLibrary;
