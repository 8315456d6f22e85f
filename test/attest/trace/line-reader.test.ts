import { describe, expect, it } from 'vitest';
import { utf8 } from '../../../attest/core/bytes.ts';
import { isCutOff, readLines } from '../../../attest/trace/line-reader.ts';
import { MAX_LINE_BYTES } from '../../../attest/trace/lines.ts';

async function read(...pieces: readonly (string | Uint8Array)[]) {
  const found: string[] = [];
  for await (const { bytes, complete } of readLines(pieces.map((p) => (typeof p === 'string' ? utf8(p) : p)))) {
    found.push(`${new TextDecoder().decode(bytes)}${complete ? '' : '…'}`);
  }
  return found;
}

describe('readLines', () => {
  it('cuts at LF alone, wherever the pieces end', async () => {
    expect(await read('a\nbc\n')).toEqual(['a', 'bc']);
    expect(await read('a', '\n', 'b', 'c', '\n')).toEqual(['a', 'bc']);
    expect(await read('', 'a\nb', '', 'c\n\nd')).toEqual(['a', 'bc', '', 'd…']);
    expect(await read('a\rb\u2028c\n')).toEqual(['a\rb\u2028c']);
    expect(await read()).toEqual([]);
    expect(await read('\n')).toEqual(['']);
    expect(await read('ab\nc', 'd\nef', 'g\n')).toEqual(['ab', 'cd', 'efg']);
  });

  it('keeps a line that it gave whole while it reads the next', async () => {
    const lines: Uint8Array[] = [];
    for await (const { bytes } of readLines(['fir', 'st\nse', 'cond\nx', 'y\n'].map(utf8))) lines.push(bytes);
    expect(lines.map((line) => new TextDecoder().decode(line))).toEqual(['first', 'second', 'xy']);
  });

  it('takes the longest line and refuses a longer one', async () => {
    const half = new Uint8Array(MAX_LINE_BYTES / 2).fill(0x61);
    expect((await read(half, half, '\n'))[0]).toHaveLength(MAX_LINE_BYTES);
    await expect(read(half, half, 'a')).rejects.toMatchObject({ code: 'MALFORMED_LINE' });
    await expect(read(half, half, 'a\n')).rejects.toMatchObject({ code: 'MALFORMED_LINE' });
  });
});

describe('isCutOff', () => {
  it.each(['{', '{"a":', '{"a":"}', '{"a":"\\"}', '{"a":{"b":[1', '{"a":1}', '{"a":"x"}'])('of %j', (text) => {
    expect(isCutOff(utf8(text))).toBe(true);
  });
  it.each(['', ' ', 'x', '[', '"', '{"a":1} ', '{}{', '{"a":"\n', '{"a":1}}'])('not of %j', (text) => {
    expect(isCutOff(utf8(text))).toBe(false);
  });
});
