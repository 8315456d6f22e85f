import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { utf8 } from '../../attest/core/bytes.ts';
import { AnswerText, endsLike } from '../../inference/answer-text.ts';

/** One token a byte; 256 is a control token. */
const bytes = { bytesOf: (id: number) => (id > 255 ? null : Uint8Array.of(id)) };

function write(text: AnswerText, ids: readonly number[]): string[] {
  return ids.map((id) => text.push(id));
}

describe('AnswerText', () => {
  it('gives whole characters, and U+FFFD for what is none', () => {
    const text = new AnswerText(bytes, []);
    expect(write(text, [...utf8('aé')])).toEqual(['a', '', 'é']);
    expect(write(text, [256, 0xff, 0xe2, 0x82])).toEqual(['', '\ufffd', '', '']);
    expect(text.end()).toBe('\ufffd');
    expect(text.text).toBe('aé\ufffd\ufffd');
  });

  it('keeps a byte order mark', () => {
    const text = new AnswerText(bytes, []);
    write(text, [0xef, 0xbb, 0xbf]);
    expect(text.text).toBe('\ufeff');
  });

  it('holds back what may be a stop text, ends before the first', () => {
    const text = new AnswerText(bytes, ['stop', 'top!']);
    expect(write(text, [...utf8('a sto')])).toEqual(['a', ' ', '', '', '']);
    expect(text.push(0x6d)).toBe('stom');
    expect(text.isStopped).toBe(false);
    expect(write(text, [...utf8('stop')]).join('')).toBe('');
    expect(text.isStopped).toBe(true);
    expect(text.end()).toBe('');
    expect(text.text).toBe('a stom');
  });

  it('gives the rest of what was held back at the end', () => {
    const text = new AnswerText(bytes, ['stop']);
    write(text, [...utf8('sto')]);
    expect(text.text).toBe('');
    expect(text.end()).toBe('sto');
    expect(text.isStopped).toBe(false);
  });

  it('tells the first token of a text, not a control token before it', () => {
    const seen: boolean[] = [];
    const text = new AnswerText(
      {
        bytesOf(id, isFirst) {
          seen.push(isFirst);
          return bytes.bytesOf(id);
        },
      },
      [],
    );
    write(text, [256, 0x61, 0x62]);
    expect(seen).toEqual([true, true, false]);
  });

  it('is the whole text up to the first stop text, for any text', () => {
    const letters = fc.array(fc.constantFrom('a', 'b', 'ab', 'é', '𝄞'), { maxLength: 30 }).map((all) => all.join(''));
    const stops = fc.array(fc.constantFrom('ab', 'ba', 'aab', 'é𝄞', 'bbb'), { maxLength: 3 });
    fc.assert(
      fc.property(letters, stops, (whole, stop) => {
        const text = new AnswerText(bytes, stop);
        let given = '';
        for (const id of utf8(whole)) {
          given += text.push(id);
          if (text.isStopped) break;
        }
        given += text.end();
        const places = stop.map((one) => whole.indexOf(one)).filter((at) => at >= 0);
        // Of several the one that ends first is seen first; nothing before it is lost.
        const ends = stop
          .map((one) => whole.indexOf(one) + one.length)
          .filter((_, i) => whole.includes(stop[i] as string));
        const seen = whole.slice(0, Math.min(...ends));
        const expected =
          places.length === 0
            ? whole
            : whole.slice(0, Math.min(...stop.map((one) => seen.indexOf(one)).filter((at) => at >= 0)));
        expect(given).toBe(expected);
        expect(text.text).toBe(given);
      }),
      { seed: 7, numRuns: 500 },
    );
  });
});

it('endsLike', () => {
  expect(endsLike('abc', 'cde')).toBe(1);
  expect(endsLike('abcd', 'cde')).toBe(2);
  expect(endsLike('cde', 'cde')).toBe(0);
  expect(endsLike('', 'cde')).toBe(0);
});
