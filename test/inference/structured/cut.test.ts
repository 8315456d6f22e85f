import { expect, it } from 'vitest';
import { utf8 } from '../../../attest/core/bytes.ts';
import { Cutter } from '../../../inference/structured/cut.ts';
import { makeTrie } from '../../../inference/structured/trie.ts';
import { seededRandom } from '../../support/random.ts';

const cutter = (words: readonly string[]) => new Cutter(makeTrie(words.map(utf8)));
const fewest = (words: readonly string[], text: string) => cutter(words).fewestTokens(utf8(text));

it('takes the fewest tokens, not the longest or the shortest first', () => {
  expect(fewest(['a', 'b', 'c', 'ab', 'bcc', 'abc'], 'abcc')).toBe(2);
  expect(fewest(['a', 'b', 'c', 'd', 'e', 'ab', 'abc', 'cde'], 'abcde')).toBe(2);
  expect(fewest(['a', 'b', 'ab', 'aba'], 'abab')).toBe(2);
  expect(fewest(['a', 'b', 'c', 'bc', 'abc', 'ab', 'cb'], 'abcb')).toBe(2);
  expect(fewest(['a', 'aa', 'aaa'], 'aaaaaaa')).toBe(3);
});

it('takes none for an empty text and infinitely many for one that cannot be cut', () => {
  expect(fewest(['a'], '')).toBe(0);
  expect(fewest(['a', 'ab'], 'ba')).toBe(Number.POSITIVE_INFINITY);
});

it('counts a text the same whatever it counted before', () => {
  const words = ['a', 'b', 'ab', 'bb', 'aab', 'bba'];
  const random = seededRandom(5);
  const one = cutter(words);
  let before = '';
  for (let i = 0; i < 300; i++) {
    const beginning = Array.from({ length: random.below(6) }, () => random.pick(['a', 'b'])).join('');
    const text = beginning + before.slice(random.below(before.length + 1));
    expect(one.fewestTokens(utf8(text))).toBe(fewest(words, text));
    before = text.slice(-30);
  }
});
