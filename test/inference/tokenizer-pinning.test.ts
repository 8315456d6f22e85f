import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PreTrainedTokenizer } from '@xenova/transformers';
import { describe, expect, it, vi } from 'vitest';
import { CLASSES_UNICODE } from '../../inference/character-classes.ts';
import { parseGguf } from '../../inference/gguf/reader.ts';
import { bytesSource, openFileSource } from '../../inference/gguf/source.ts';
import { NORMAL_FORM_TABLE } from '../../inference/normal-form.ts';
import { openTokenizer } from '../../inference/tokenizer.ts';
import { readTokenizer, type TokenizerDescription } from '../../inference/tokenizer-json.ts';
import { pinTokenizer } from '../../inference/tokenizer-pinning.ts';
import { type Field, writeGguf } from '../support/gguf-writer.ts';
import { seededRandom } from '../support/random.ts';
import { describeSmolLM2 } from '../support/smollm2.ts';
import { tinyModel } from '../support/tiny-model.ts';
import { engineUnicode } from '../support/unicode-tables.ts';
import { vectorsDir } from '../support/vectors.ts';

const WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const isolated = (Regex: string) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false });
const byteLevel = (use_regex: boolean) => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex,
});
const sequence = (...pretokenizers: readonly object[]) => ({ type: 'Sequence', pretokenizers });

/** As llama.cpp splits for the model that ships. */
const SMOLLM = sequence(isolated('\\p{N}'), byteLevel(true));

function describeTiny(change: (fields: Map<string, Field>) => void = () => {}): TokenizerDescription {
  const { fields } = tinyModel();
  change(fields);
  return readTokenizer(parseGguf(bytesSource(writeGguf(fields, new Map()))));
}

const withParts = (parts: object): TokenizerDescription => {
  const description = describeTiny();
  return { ...description, json: { ...description.json, ...parts } };
};

const ENGINE_IS_OURS = engineUnicode() === CLASSES_UNICODE;

/** Texts over many scripts, with digits, white space, emoji, contractions, single surrogates. */
function* texts(count: number): Generator<string> {
  const random = seededRandom(41);
  for (let i = 0; i < count; i++) {
    yield Array.from({ length: 1 + random.below(40) }, () => {
      const kind = random.below(10);
      if (kind === 0) return random.pick([' ', '\n', '\r\n', '\t', '\u00a0', '\u3000', '\u200b', '\u2028', '   ']);
      if (kind === 1) return random.pick(["'s", "'LL", " don't", "'ſ", '…', '١٢', '½', 'Ⅷ', '🙂', '👩‍👩‍👧', '\ud800']);
      const limit = random.pick([0x80, 0x80, 0x250, 0x3000, 0xd800, 0x20000]);
      return (random.chance(15) ? ' ' : '') + String.fromCodePoint(random.below(limit));
    }).join('');
  }
}

function corpus(): string[] {
  const folder = vectorsDir();
  if (folder === undefined) console.warn('SKIPPED: the list of naughty strings is not here (set TRACEBOND_VECTORS)');
  const naughty = folder === undefined ? [] : JSON.parse(readFileSync(join(folder, 'blns/blns.json'), 'utf8'));
  const prompts = ['ledger.csv', 'policy.txt', 'agent.ts'].map((file) =>
    readFileSync(new URL(`../../agents/examples/expense-auditor/${file}`, import.meta.url), 'utf8'),
  );
  return [...prompts, ...naughty, ...texts(4000)];
}

/** The library with a pre-tokenizer as it comes: properties are looked up by the engine. */
function byTheEngine({ json, tokens, eosId }: TokenizerDescription, pre_tokenizer: object): (text: string) => number[] {
  const library = new PreTrainedTokenizer(
    { ...json, added_tokens: [], pre_tokenizer },
    { tokenizer_class: 'PreTrainedTokenizer', eos_token: tokens[eosId] },
  );
  return (text) => (text === '' ? [] : library.encode(text, { add_special_tokens: false }));
}

describeSmolLM2('ids by our table and by the engine', (path) => {
  const source = openFileSource(path);
  const description = readTokenizer(parseGguf(source));
  source.close();

  const itHere = ENGINE_IS_OURS ? it : it.skip;
  itHere.each([
    ['as read', null],
    ['smollm', SMOLLM],
    ['gpt-2', sequence(byteLevel(true))],
    ['qwen2', sequence(isolated(WORDS), byteLevel(false))],
    ['llama-bpe', sequence(isolated(WORDS.replace('|\\p{N}|', '|\\p{N}{1,3}|')), byteLevel(false))],
  ])('%s: equal on every text', (name, pre_tokenizer) => {
    const theirs = byTheEngine(description, pre_tokenizer ?? SMOLLM);
    const ours =
      pre_tokenizer === null
        ? openTokenizer(description)
        : openTokenizer({ ...description, json: { ...description.json, pre_tokenizer } });
    let compared = 0;
    for (const text of corpus()) {
      // The library's built-in pattern has JavaScript's \s, see below.
      if (/^(as read|smollm|gpt-2)$/.test(name) && /[\u0085\ufeff]/.test(text)) continue;
      expect(ours.encodeText(text), JSON.stringify(text)).toEqual(theirs(text));
      compared++;
    }
    expect(compared).toBeGreaterThan(4000);
  });

  it('U+0085 is white space and U+FEFF is not, as in the reference tokenizer', () => {
    const ours = openTokenizer(description);
    // Ids of the Rust library (tokenizers 0.23.3) from the same vocabulary.
    const special = [' \u0085x', '  \ufeffx', '\ufeffHello'];
    expect(special.map((text) => ours.encodeText(text))).toEqual([
      [216, 141, 223, 104],
      [216, 216, 186, 136, 140, 104],
      [186, 136, 140, 19556],
    ]);
    const builtIn = byTheEngine(description, SMOLLM);
    expect(special.map(builtIn).slice(0, 2)).toEqual([
      [3351, 223, 104],
      [256, 186, 136, 140, 104],
    ]);
  });
});

describe('a pinned tokenizer', () => {
  it('holds no property and no shorthand, whatever the reader', () => {
    for (const name of ['gpt-2', 'smollm', 'qwen2', 'llama-bpe']) {
      const { json } = describeTiny((fields) => fields.set('tokenizer.ggml.pre', { type: 'string', value: name }));
      const text = JSON.stringify([json.normalizer, json.pre_tokenizer, json.decoder]);
      expect(text).toMatch(/\\u\{1d7ce\}/);
      expect(text).not.toMatch(/\\\\[pPsSdDwWbB]/);
      const parts = (json.pre_tokenizer as { pretokenizers: { type: string; use_regex?: boolean }[] }).pretokenizers;
      expect(parts.filter(({ type }) => type === 'ByteLevel').map(({ use_regex }) => use_regex)).toEqual([false]);
    }
  });

  it('gives the engine no pattern with a property while it is opened and used', () => {
    const sources: string[] = [];
    const Original = globalThis.RegExp;
    globalThis.RegExp = new Proxy(Original, {
      construct(target, [pattern, flags]: [string | RegExp, string?]) {
        sources.push(typeof pattern === 'string' ? pattern : pattern.source);
        return new target(pattern, flags);
      },
    });
    try {
      const parts = { pre_tokenizer: sequence({ type: 'Digits', individual_digits: true }, byteLevel(true)) };
      openTokenizer(withParts(parts)).encodeText('Two words, 25 ½ ٣');
      openTokenizer(withParts({ pre_tokenizer: sequence(isolated(WORDS), byteLevel(false)) })).encodeText('it’s 1');
    } finally {
      globalThis.RegExp = Original;
    }
    const patterns = sources.filter((source) => source.includes('1d7ce'));
    expect(patterns.length).toBeGreaterThanOrEqual(3);
    expect(sources.filter((source) => /\\[pP]\{|\\[sSdDwWbB]/.test(source))).toEqual([]);
  });

  it('is left alone the second time', () => {
    for (const name of ['gpt-2', 'smollm', 'qwen2', 'llama-bpe']) {
      const once = describeTiny((fields) => fields.set('tokenizer.ggml.pre', { type: 'string', value: name }));
      expect(pinTokenizer(once)).toEqual(once);
      expect(openTokenizer(once).description).toEqual(once);
    }
  });

  it('has the published parts of SmolLM2, Llama 2 and Llama 3 in other words', () => {
    const published = withParts({
      pre_tokenizer: sequence({ type: 'Digits', individual_digits: true }, byteLevel(true)),
    });
    expect(pinTokenizer(published)).toEqual(describeTiny());
    const spaces = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
    const llama2 = {
      normalizer: { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, spaces] },
      pre_tokenizer: null,
      decoder: { type: 'Sequence', decoders: [{ type: 'ByteFallback' }, { type: 'Fuse' }] },
    };
    expect(pinTokenizer(withParts(llama2)).json).toMatchObject(llama2);
  });

  it('splits at runs of digits where they are not single', () => {
    const runs = openTokenizer(withParts({ pre_tokenizer: sequence({ type: 'Digits' }, byteLevel(false)) }));
    expect(runs.description.json.pre_tokenizer).toMatchObject({
      pretokenizers: [{ type: 'Split', behavior: 'Removed', invert: true }, { type: 'ByteLevel' }],
    });
    expect(runs.decode(runs.encodeText('a12b'))).toBe('a12b');
  });

  it.each<[string, object]>([
    ['an unknown class', { pre_tokenizer: isolated('\\p{Han}') }],
    ['a class in a normaliser', { normalizer: { type: 'Replace', pattern: { Regex: '\\w' }, content: '' } }],
    ['a class in a decoder', { decoder: { type: 'Replace', pattern: { Regex: '\\w' }, content: '' } }],
    ['lower case', { normalizer: { type: 'Lowercase' } }],
    ['accents', { normalizer: { type: 'Sequence', normalizers: [{ type: 'StripAccents' }] } }],
    ['trimming', { normalizer: { type: 'Strip', strip_left: true, strip_right: true } }],
    ['a compatibility form', { normalizer: { type: 'NFKC' } }],
    ['a decomposed form', { normalizer: { type: 'NFD' } }],
    ['NFC by another table', { normalizer: { type: 'NFC', table: `0x${'00'.repeat(32)}` } }],
    [
      'NFC after another part',
      { normalizer: { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: 'e' }, { type: 'NFC' }] } },
    ],
    ['BERT', { normalizer: { type: 'BertNormalizer' } }],
    ['a compiled map', { normalizer: { type: 'Precompiled', precompiled_charsmap: '' } }],
    ['words', { pre_tokenizer: { type: 'Whitespace' } }],
    ['white space', { pre_tokenizer: { type: 'WhitespaceSplit' } }],
    ['punctuation', { pre_tokenizer: { type: 'Punctuation' } }],
    ['a name of Object', { pre_tokenizer: { type: 'constructor' } }],
    ['a space in front', { pre_tokenizer: { ...byteLevel(true), add_prefix_space: true } }],
    ['no word about the space in front', { pre_tokenizer: { type: 'ByteLevel' } }],
    ['merging with the one before', { pre_tokenizer: { ...isolated('a'), behavior: 'MergedWithPrevious' } }],
    ['removal of matches', { pre_tokenizer: { ...isolated('a'), behavior: 'Removed' } }],
    ['isolation inverted', { pre_tokenizer: { ...isolated('a'), invert: true } }],
    ['a sequence in a sequence', { pre_tokenizer: sequence(sequence(byteLevel(false))) }],
    ['another decoder', { decoder: { type: 'CTC' } }],
  ])('refuses %s', (_, parts) => {
    for (const take of [pinTokenizer, openTokenizer]) {
      expect(() => take(withParts(parts))).toThrowError(
        expect.objectContaining({ name: 'ModelError', code: 'UNSUPPORTED_TOKENIZER' }),
      );
    }
  });

  it.each<[string, object]>([
    ['no type', { pre_tokenizer: {} }],
    ['a type that is a number', { pre_tokenizer: { type: 1 } }],
    ['a text for a part', { normalizer: 'NFC' }],
    ['no part in a sequence', { pre_tokenizer: { type: 'Sequence', pretokenizers: [null] } }],
    ['no list', { pre_tokenizer: { type: 'Sequence', pretokenizers: { length: 1 } } }],
    ['too long a list', { pre_tokenizer: sequence(...Array.from({ length: 33 }, () => byteLevel(false))) }],
    ['no pattern', { pre_tokenizer: { ...isolated('a'), pattern: null } }],
    ['a pattern that is a number', { pre_tokenizer: { ...isolated('a'), pattern: { Regex: 1 } } }],
  ])('is malformed with %s', (_, parts) => {
    expect(() => pinTokenizer(withParts(parts))).toThrowError(
      expect.objectContaining({ name: 'ModelError', code: 'MALFORMED_TOKENIZER' }),
    );
  });

  it('a pattern that is no pattern is MALFORMED_TOKENIZER when it is opened', () => {
    const description = withParts({ pre_tokenizer: isolated('a{2,1}') });
    expect(() => openTokenizer(description)).toThrowError(expect.objectContaining({ code: 'MALFORMED_TOKENIZER' }));
  });
});

describe('a tokenizer with NFC', () => {
  const plain = openTokenizer(describeTiny());

  it('names the table that it goes by', () => {
    const { json } = pinTokenizer(withParts({ normalizer: { type: 'NFC' } }));
    expect(json.normalizer).toEqual({ type: 'NFC', table: NORMAL_FORM_TABLE.digest });
    expect(pinTokenizer(withParts({ normalizer: json.normalizer })).json).toEqual(json);
  });

  it.each([
    ['alone', { type: 'NFC' }],
    ['in a sequence', { type: 'Sequence', normalizers: [{ type: 'NFC' }] }],
  ])('normalises texts and template parts, each by itself: %s', (_, normalizer) => {
    const tokenizer = openTokenizer(withParts({ normalizer }));
    expect(tokenizer.encodeText('e\u0301 A\u030a')).toEqual(plain.encodeText('é Å'));
    // The mark does not reach the sign that ends the control token.
    expect(tokenizer.encodeTemplate('<|im_end|>\u0338e\u0301')).toEqual([2, ...plain.encodeText('\u0338é')]);
  });

  it('does what comes after it', () => {
    const replace = { type: 'Replace', pattern: { String: 'é' }, content: 'x' };
    const tokenizer = openTokenizer(
      withParts({ normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, replace] } }),
    );
    expect(tokenizer.encodeText('e\u0301')).toEqual(plain.encodeText('x'));
  });

  it('never asks the engine for a normal form', () => {
    const normalize = vi.spyOn(String.prototype, 'normalize');
    openTokenizer(withParts({ normalizer: { type: 'NFC' } })).encodeText('e\u0301');
    expect(normalize).not.toHaveBeenCalled();
    normalize.mockRestore();
  });
});

describe('the tokenizer of Llama 3', () => {
  const llama3 = (change: (fields: Map<string, Field>) => void = () => {}) =>
    openTokenizer(
      describeTiny((fields) => {
        fields.set('tokenizer.ggml.pre', { type: 'string', value: 'llama-bpe' });
        change(fields);
      }),
    );

  it('takes up to three digits together and ignores the case of contractions', () => {
    const { pretokenizers } = llama3().description.json.pre_tokenizer as {
      pretokenizers: [{ pattern: { Regex: string } }];
    };
    const { Regex } = pretokenizers[0].pattern;
    expect(Regex.startsWith("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n")).toBe(true);
    const pattern = new RegExp(Regex.replace('(?i:', '(?:'), 'gu');
    expect('12345 it’s  so\n\n  x'.match(pattern)).toEqual(['123', '45', ' it', '’s', ' ', ' so', '\n\n', ' ', ' x']);
  });

  it('starts prompts with the start token unless the file says otherwise', () => {
    expect(llama3().description.addBos).toBe(true);
    const silent = llama3((fields) => fields.set('tokenizer.ggml.add_bos_token', { type: 'bool', value: false }));
    expect(silent.description.addBos).toBe(false);
    expect(openTokenizer(describeTiny()).description.addBos).toBe(false);
  });

  it('takes a piece that is an entry whole, whatever the merges', () => {
    const withEntry = (fields: Map<string, Field>) => {
      const tokens = [...describeTiny().tokens, 'xyz'];
      fields.set('tokenizer.ggml.tokens', { type: 'strings', value: tokens });
      fields.set('tokenizer.ggml.token_type', { type: 'i32s', value: tokens.map((_, id) => (id < 3 ? 3 : 1)) });
    };
    expect(llama3(withEntry).encodeText('xyz')).toHaveLength(1);
    expect(openTokenizer(describeTiny(withEntry)).encodeText('xyz')).toHaveLength(3);
  });
});

describe('a space before the first piece', () => {
  const metaspace = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false };
  // Spaces are an entry of their own here, so that they can be counted.
  const base = describeTiny((fields) => {
    const tokens = describeTiny().tokens.with(10, '▁');
    fields.set('tokenizer.ggml.tokens', { type: 'strings', value: [...tokens] });
    fields.set('tokenizer.ggml.merges', { type: 'strings', value: [] });
  });
  const decoder = { type: 'Sequence', decoders: [{ type: 'Fuse' }] };
  const withMetaspace = (pre_tokenizer: object, more: object = {}) => ({
    ...base,
    json: { ...base.json, pre_tokenizer, decoder, ...more },
  });
  const texts = ['a', ' a', '▁a', 'a<|im_end|>b', '<|im_end|>b', '<|im_end|> b<|im_end|>c', ''];

  it.each([
    ['first', [['▁a'], ['▁a'], ['▁a'], ['▁a', 'b'], ['b'], ['▁b', 'c'], ['']]],
    ['never', [['a'], ['▁a'], ['▁a'], ['a', 'b'], ['b'], ['▁b', 'c'], ['']]],
    ['always', [['▁a'], ['▁a'], ['▁a'], ['▁a', '▁b'], ['▁b'], ['▁b', '▁c'], ['']]],
  ])('%s', (prepend_scheme, expected) => {
    const tokenizer = openTokenizer(withMetaspace({ ...metaspace, prepend_scheme }));
    const pieces = texts.map((text) => tokenizer.decode(tokenizer.encodeTemplate(text)));
    expect(pieces).toEqual(expected.map((parts) => parts.join('')));
    // As the library counts pieces itself, given all added tokens.
    const { json, tokens, eosId } = pinTokenizer(withMetaspace({ ...metaspace, prepend_scheme }));
    const library = new PreTrainedTokenizer(json, {
      tokenizer_class: 'PreTrainedTokenizer',
      eos_token: tokens[eosId],
    });
    for (const text of texts.filter((one) => one !== '')) {
      expect(tokenizer.encodeTemplate(text)).toEqual(library.encode(text, { add_special_tokens: false }));
    }
  });

  it.each([
    ['after another part', withMetaspace(sequence(byteLevel(false), metaspace))],
    ['with another sign', withMetaspace({ ...metaspace, replacement: '_' })],
    ['after another normaliser', withMetaspace(metaspace, { normalizer: { type: 'Prepend', prepend: 'x' } })],
  ])('is refused %s', (_, description) => {
    expect(() => openTokenizer(description)).toThrowError(expect.objectContaining({ code: 'UNSUPPORTED_TOKENIZER' }));
  });
});

describe('added tokens', () => {
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false } as const;
  const base = describeTiny();
  const added = [
    { id: 0, content: '<|endoftext|>', special: true, ...plain },
    { id: 300, content: '<think>', special: false, ...plain },
    { id: 301, content: '<think> (deep)', special: false, ...plain },
    { id: 302, content: '$^.*+?()[]{}|\\/', special: false, ...plain },
  ];
  const tokenizer = openTokenizer({ ...base, json: { ...base.json, added_tokens: added } });

  it('are cut out of template parts, the longest first, and of nothing else', () => {
    expect(tokenizer.encodeTemplate('<think> (deep)<think><|endoftext|>$^.*+?()[]{}|\\/')).toEqual([301, 300, 0, 302]);
    expect(tokenizer.encodeTemplate('a<think>b')).toEqual([
      ...tokenizer.encodeText('a'),
      300,
      ...tokenizer.encodeText('b'),
    ]);
    expect(tokenizer.encodeText('<think>').every((id) => id < 262)).toBe(true);
  });

  it('are written as they are spelled, or not at all', () => {
    expect(tokenizer.decode([...tokenizer.encodeText('é '), 301, 0, ...tokenizer.encodeText('ü'), 302])).toBe(
      'é <think> (deep)ü$^.*+?()[]{}|\\/',
    );
  });

  it('may be none', () => {
    const none = openTokenizer({ ...base, json: { ...base.json, added_tokens: [] } });
    expect(none.encodeTemplate('<|im_end|>')).toEqual(none.encodeText('<|im_end|>'));
  });
});
