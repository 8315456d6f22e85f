/**
 * Texts written through masks by chance, with every property of masks that a test can see checked on the way.
 *
 * @module
 */

import type { Grammar } from '../../inference/structured/grammar.ts';
import { type Mask, type MaskState, type Masks, openMasks } from '../../inference/structured/masks.ts';
import { makeTrie } from '../../inference/structured/trie.ts';
import type { Random } from './random.ts';

/** A vocabulary whose every token is a byte; the id behind them ends an answer. */
export function byteMasks(): Masks {
  const tokens = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
  return openMasks(makeTrie([...tokens, null]), [256]);
}

export type Written = { readonly text: string; readonly ids: readonly number[]; readonly budget: number };

/**
 * Writes a text of a grammar.
 *
 * @param tokens - bytes by id
 * @param spare - tokens beyond the fewest that the text may take
 * @throws Error that tells what is wrong with a mask
 */
export function writeByChance(
  masks: Masks,
  grammar: Grammar,
  tokens: (id: number) => Uint8Array | null,
  random: Random,
  spare: number,
): Written {
  let place = masks.start(grammar);
  const budget = Math.max(1, place.cost + spare);
  const ids: number[] = [];
  const bytes: number[] = [];
  const fail = (what: string): Error => new Error(`${what} after ${JSON.stringify(Buffer.from(bytes).toString())}`);
  for (let left = budget; left > 0 && !place.isEnd; left--) {
    const mask = place.mask(left);
    const id = pick(mask, random);
    const written = tokens(id);
    if (written === null) {
      if (!place.isWhole) throw fail(`end token ${id}`);
      break;
    }
    ids.push(id);
    bytes.push(...written);
    const next: MaskState = place.take(id);
    if (next.cost > left - 1) throw fail(`cost ${next.cost} with ${left - 1} left`);
    place = next;
  }
  if (!place.isWhole) throw fail('not whole');
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
  return { text, ids, budget };
}

/** Any id of a mask; now and then the least likely to be met: one of ASCII punctuation in a byte vocabulary. */
export function pick(mask: Mask, random: Random): number {
  let nth = random.below(mask.count);
  for (let word = 0; word < mask.bits.length; word++) {
    for (let rest = mask.bits[word] as number; rest !== 0; rest &= rest - 1) {
      if (nth-- === 0) return 32 * word + 31 - Math.clz32(rest & -rest);
    }
  }
  throw new Error('a mask that allows nothing');
}

/** The ids of a mask. */
export function idsOf(mask: Mask): number[] {
  const ids: number[] = [];
  mask.bits.forEach((word, i) => {
    for (let rest = word; rest !== 0; rest &= rest - 1) ids.push(32 * i + 31 - Math.clz32(rest & -rest));
  });
  return ids;
}
