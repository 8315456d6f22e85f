/**
 * The fewest tokens that a text can be cut into.
 *
 * @module
 */

import { childOf, isToken, type TokenTrie } from './trie.ts';

/**
 * Number of tokens; infinite if a byte of the text is no token by itself and in none that fits.
 *
 * @param most - texts that need more are said to need `most + 1`
 */
export function fewestTokens(trie: TokenTrie, text: Uint8Array, most = Number.POSITIVE_INFINITY): number {
  const fewest = new Float64Array(text.length + 1).fill(Number.POSITIVE_INFINITY);
  fewest[text.length] = 0;
  for (let from = text.length - 1; from >= 0; from--) {
    let node = 0;
    let best = Number.POSITIVE_INFINITY;
    for (let at = from; at < text.length; at++) {
      node = childOf(trie, node, text[at] as number);
      if (node < 0) break;
      if (isToken(trie, node)) best = Math.min(best, 1 + (fewest[at + 1] as number));
    }
    fewest[from] = best;
  }
  return Math.min(fewest[0] as number, most + 1);
}
