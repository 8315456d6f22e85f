/**
 * The fewest tokens that a text can be cut into.
 *
 * @module
 */

import { childOf, isToken, type TokenTrie } from './trie.ts';

/** Counts for one vocabulary. Texts that end alike, one after the other, are counted once as far as they do. */
export class Cutter {
  readonly #trie: TokenTrie;
  #text = new Uint8Array(0);
  /** Number of tokens of the last `i` bytes of the text. */
  #fewest = Float64Array.of(0);

  constructor(trie: TokenTrie) {
    this.#trie = trie;
  }

  /** Number of tokens; infinite if a byte of the text is no token by itself and in none that fits. */
  fewestTokens(text: Uint8Array): number {
    const trie = this.#trie;
    const fewest = new Float64Array(text.length + 1);
    let done = this.#commonEnd(text);
    // What follows a place decides, not what comes before it.
    fewest.set(this.#fewest.subarray(0, done + 1));
    while (done < text.length) {
      done++;
      let node = 0;
      let best = Number.POSITIVE_INFINITY;
      for (let left = done; left > 0; left--) {
        node = childOf(trie, node, text[text.length - left] as number);
        if (node < 0) break;
        if (isToken(trie, node)) best = Math.min(best, 1 + (fewest[left - 1] as number));
      }
      fewest[done] = best;
    }
    this.#text = Uint8Array.from(text);
    this.#fewest = fewest;
    return fewest[text.length] as number;
  }

  #commonEnd(text: Uint8Array): number {
    const last = this.#text;
    const most = Math.min(text.length, last.length);
    let same = 0;
    while (same < most && text[text.length - 1 - same] === last[last.length - 1 - same]) same++;
    return same;
  }
}
