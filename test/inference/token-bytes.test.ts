import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseGguf } from '../../inference/gguf/reader.ts';
import { bytesSource } from '../../inference/gguf/source.ts';
import { tokenBytes } from '../../inference/token-bytes.ts';
import { openTokenizer, type TextTokenizer } from '../../inference/tokenizer.ts';
import { readTokenizer } from '../../inference/tokenizer-json.ts';
import { writeGguf } from '../support/gguf-writer.ts';
import { describeSmolLM2 } from '../support/smollm2.ts';
import { tokenizerOf } from '../support/smollm2-vocabulary.ts';
import { readStories } from '../support/stories.ts';
import { describeVectors, filesBelow } from '../support/vectors.ts';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function textOf(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Compares each token with what `decode` makes of it behind another, so that no first space is left out. */
function compare(tokenizer: TextTokenizer, before: number): { whole: number; parts: number; nothing: number[] } {
  const all = tokenBytes(tokenizer);
  const start = tokenizer.decode([before]);
  const found = { whole: 0, parts: 0, nothing: [] as number[] };
  all.forEach((bytes, id) => {
    const text = bytes === null ? '' : textOf(bytes);
    if (bytes === null) found.nothing.push(id);
    if (text === undefined) {
      found.parts++;
      expect(tokenizer.decode([before, id]), `token ${id}`).toContain('\ufffd');
    } else {
      found.whole++;
      expect(tokenizer.decode([before, id]), `token ${id}`).toBe(start + text);
    }
  });
  return found;
}

describeSmolLM2('bytes of the tokens of SmolLM2', (path) => {
  const tokenizer = tokenizerOf(path);

  it('are what decode writes', () => {
    const [letter] = tokenizer.encodeText('a') as [number];
    const found = compare(tokenizer, letter);
    expect(found.nothing).toEqual(tokenizer.description.controlIds);
    expect(found.parts).toBeGreaterThan(100);
    expect(found.whole + found.parts).toBe(49_152);
  });

  it('joined, are the bytes of a text', () => {
    const all = tokenBytes(tokenizer);
    for (const text of ['{"a": "é🙂"}', ' leading', '\n\n\t"\\', '日本語 text']) {
      const joined = Buffer.concat(tokenizer.encodeText(text).map((id) => all[id] as Uint8Array));
      expect(joined.toString()).toBe(text);
    }
  });
});

describeVectors('model-stories260k', (folder) => {
  const files = filesBelow(folder);
  const find = (name: string) =>
    new Uint8Array(readFileSync(files.find((file) => file.endsWith(name)) ?? join(folder, name)));
  const { fields } = readStories(find('stories260K.bin'), find('tok512.bin'));
  const tokenizer = openTokenizer(readTokenizer(parseGguf(bytesSource(writeGguf(fields, new Map())))));

  it('of SentencePiece are what decode writes', () => {
    const [first] = tokenizer.encodeText('a') as [number];
    const found = compare(tokenizer, first);
    expect(found.nothing).toEqual([0, 1, 2]);
    expect(found.parts).toBe(128);
  });
});

describe('tokens that are never taken', () => {
  it('have no bytes: control, end, unknown and special ones', () => {
    const vocab = { '<unk>': 0, '<s>': 1, '</s>': 2, '▁a': 3, '<0x0A>': 4, '<mark>': 5, '▁': 6 };
    const added = (id: number, content: string, special: boolean) =>
      ({ id, content, special, single_word: false, lstrip: false, rstrip: false, normalized: false }) as const;
    const description = {
      json: {
        version: '1.0',
        added_tokens: [added(1, '<s>', true), added(5, '<mark>', false)],
        normalizer: null,
        pre_tokenizer: null,
        post_processor: null,
        decoder: { type: 'Sequence', decoders: [{ type: 'Replace' }, { type: 'ByteFallback' }, { type: 'Fuse' }] },
        model: {
          type: 'BPE',
          vocab: Object.fromEntries(Object.entries(vocab).filter(([token]) => token !== '<mark>')),
        },
      },
      tokens: Object.keys(vocab),
      controlIds: [1],
      bosId: 1,
      eosId: 2,
      endIds: [2],
      unknownId: 0,
      addBos: false,
      chatTemplate: null,
    } as const;
    const bytes = tokenBytes({ description, decode: () => '<mark>' });
    const texts = bytes.map((one) => (one === null ? null : Buffer.from(one).toString()));
    expect(texts).toEqual([null, null, null, ' a', '\n', '<mark>', ' ']);
  });
});
