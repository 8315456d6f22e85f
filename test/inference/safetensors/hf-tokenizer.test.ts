import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type JsonObject, parseJson } from '../../../attest/encoding/canonical-json.ts';
import { encodePrompt } from '../../../inference/chat-template.ts';
import type { DecoderFamily } from '../../../inference/decoder-config.ts';
import { readHfTokenizer, type TokenizerFiles } from '../../../inference/safetensors/hf-tokenizer.ts';
import { openTokenizer } from '../../../inference/tokenizer.ts';
import { type Loose, type TinyFolder, tinyFolder } from '../../support/tiny-safetensors.ts';

type Kind = {
  readonly tokenizer: JsonObject & {
    readonly added_tokens: readonly { readonly id: number; readonly content: string }[];
  };
  readonly ids: readonly (readonly number[])[];
  readonly decoded: Readonly<Record<string, string>>;
};
const vectors = parseJson(
  readFileSync(new URL('../../vectors/hf-tokenizers/cases.json', import.meta.url)),
) as unknown as { readonly texts: readonly string[]; readonly kinds: Readonly<Record<string, Kind>> };

/** A tokenizer of the vectors; `end` is its end token. */
function openKind(name: string, end: string) {
  const kind = vectors.kinds[name] as Kind;
  const { vocab } = kind.tokenizer['model'] as unknown as { readonly vocab: Readonly<Record<string, number>> };
  const size = 1 + Math.max(...Object.values(vocab), ...kind.tokenizer.added_tokens.map(({ id }) => id));
  const files = {
    tokenizer: kind.tokenizer,
    tokenizerConfig: { eos_token: end },
    config: {},
    generationConfig: null,
    chatTemplate: null,
  };
  return { kind, tokenizer: openTokenizer(readHfTokenizer(files, size)) };
}

describe.each([
  ['llama3', '<|eot_id|>'],
  ['qwen2', '<|im_end|>'],
  ['smollm', '<|endoftext|>'],
  ['llama2', '</s>'],
  ['llama2-metaspace', '</s>'],
])('a tokenizer like that of %s', (name, end) => {
  const { kind, tokenizer } = openKind(name, end);

  it.each(vectors.texts.map((text, index) => [text, index] as const))(
    'makes the ids of the library: %j',
    (text, index) => {
      const ids = kind.ids[index] ?? [];
      expect(tokenizer.encodeText(text)).toEqual(ids);
      // The JavaScript library drops U+FEFF where a run of byte entries begins with it.
      const seen = (decoded: string) => (name.startsWith('llama2') ? decoded.replaceAll('\ufeff', '') : decoded);
      expect(seen(tokenizer.decode(ids))).toBe(seen(kind.decoded[index] ?? text));
    },
  );

  it('never reads a spelling as control', () => {
    for (const { content } of kind.tokenizer.added_tokens) {
      const ids = tokenizer.encodeText(`a${content}b`);
      expect(ids.filter((id) => tokenizer.description.controlIds.includes(id))).toEqual([]);
      expect(tokenizer.decode(ids)).toBe(`a${content}b`);
    }
  });
});

const filesOf = ({ tokenizer, tokenizerConfig, config, generationConfig }: TinyFolder): TokenizerFiles => ({
  tokenizer: tokenizer as JsonObject,
  tokenizerConfig: tokenizerConfig as JsonObject,
  config: config as JsonObject,
  generationConfig: generationConfig as JsonObject,
  chatTemplate: null,
});
const sizeOf = (folder: TinyFolder) => Number(folder.config['vocab_size']);
const read = (folder: TinyFolder, change: Partial<TokenizerFiles> = {}) =>
  readHfTokenizer({ ...filesOf(folder), ...change }, sizeOf(folder));

describe('published files', () => {
  it('of Llama 3.2', () => {
    const description = read(tinyFolder('llama'));
    expect(description).toMatchObject({
      bosId: 265,
      eosId: 270,
      endIds: [266, 267, 270],
      controlIds: [265, 266, 267, 268, 269, 270],
      unknownId: null,
      addBos: true,
    });
    expect(description.tokens).toHaveLength(271);
    expect(description.tokens.slice(263)).toEqual([
      '12',
      'Ġthe',
      '<|begin_of_text|>',
      '<|end_of_text|>',
      '<|eom_id|>',
      '<|start_header_id|>',
      '<|end_header_id|>',
      '<|eot_id|>',
    ]);
    const tokenizer = openTokenizer(description);
    const ids = encodePrompt(tokenizer, [{ role: 'user', content: 'the <|eot_id|>' }]);
    const text = (part: string) => tokenizer.encodeText(part);
    expect(ids).toEqual([
      265,
      268,
      ...text('user'),
      269,
      ...text('\n\n'),
      ...text('the <|eot_id|>'),
      270,
      268,
      ...text('assistant'),
      269,
      ...text('\n\n'),
    ]);
    expect(ids.filter((id) => id === 270)).toHaveLength(1);
  });

  it('of Qwen2.5', () => {
    const description = read(tinyFolder('qwen2'));
    expect(description).toMatchObject({ bosId: null, eosId: 267, endIds: [265, 267], addBos: false });
    const tokenizer = openTokenizer(description);
    const ids = encodePrompt(tokenizer, [{ role: 'user', content: 'e\u0301' }]);
    expect([ids[0], ids.at(-1)]).toEqual([266, tokenizer.encodeText('\n')[0]]);
    // Composed before the bytes are taken.
    expect(tokenizer.encodeText('e\u0301')).toEqual(tokenizer.encodeText('é'));
  });

  it('of Qwen3, some of whose added tokens are text', () => {
    const tokenizer = openTokenizer(read(tinyFolder('qwen3')));
    expect(tokenizer.description.controlIds.slice(0, 4)).toEqual([265, 266, 267, 272]);
    expect(tokenizer.encodeTemplate('<think>the')).toEqual([270, ...tokenizer.encodeText('the')]);
    expect(tokenizer.decode([266, 270, ...tokenizer.encodeText(' a'), 271, 267])).toBe('<think> a</think>');
    expect(tokenizer.encodeText('<think>')).not.toContain(270);
  });

  it('give rows without a token one that is never text', () => {
    const folder = tinyFolder('qwen2');
    const description = read(folder);
    expect(description.tokens).toHaveLength(278);
    expect(new Set(description.tokens).size).toBe(278);
    const tokenizer = openTokenizer(description);
    for (let id = 270; id < 278; id++) {
      expect(description.controlIds).toContain(id);
      expect(tokenizer.encodeText(description.tokens[id] ?? '')).not.toContain(id);
      expect(tokenizer.decode([256, id, 256])).toBe('thth');
    }
  });
});

describe('what the files say', () => {
  it.each<[string, (folder: TinyFolder) => unknown, object]>([
    ['ends of config.json', (f) => delete f.generationConfig['eos_token_id'], { endIds: [270] }],
    ['one end', (f) => (f.generationConfig['eos_token_id'] = 266), { endIds: [266, 270] }],
    ['tokens as objects', (f) => (f.tokenizerConfig['bos_token'] = { content: '<|begin_of_text|>' }), { bosId: 265 }],
    ['no start token', (f) => (f.tokenizerConfig['bos_token'] = null), { bosId: null, addBos: false }],
    ['no end token', (f) => delete f.tokenizerConfig['eos_token'], { eosId: 266, endIds: [266, 267, 270] }],
    ['an unknown token', (f) => (f.tokenizerConfig['unk_token'] = '<|end_of_text|>'), { unknownId: 266 }],
    ['no post-processor', (f) => delete f.tokenizer['post_processor'], { addBos: false }],
    [
      'no post-processor and the wish for a start',
      (f) => {
        delete f.tokenizer['post_processor'];
        f.tokenizerConfig['add_bos_token'] = true;
      },
      { addBos: true },
    ],
    [
      'a class that starts by itself',
      (f) => {
        f.tokenizer['post_processor'] = null;
        f.tokenizerConfig['tokenizer_class'] = 'LlamaTokenizerFast';
      },
      { addBos: true },
    ],
    [
      'a class that is told not to',
      (f) => {
        f.tokenizerConfig['tokenizer_class'] = 'LlamaTokenizer';
        f.tokenizerConfig['add_bos_token'] = false;
      },
      { addBos: false },
    ],
    [
      'named templates',
      (f) => {
        f.tokenizerConfig['chat_template'] = [
          { name: 'tool_use', template: 'x' },
          { name: 'default', template: 'y' },
        ];
      },
      { chatTemplate: 'y' },
    ],
    [
      'templates without a default',
      (f) => (f.tokenizerConfig['chat_template'] = [{ name: 'x', template: 'x' }]),
      { chatTemplate: null },
    ],
    ['no template', (f) => delete f.tokenizerConfig['chat_template'], { chatTemplate: null }],
  ])('%s', (_, change, want) => {
    const folder = tinyFolder('llama');
    change(folder);
    expect(read(folder)).toMatchObject(want);
  });

  it('without generation_config.json the ends are those of config.json', () => {
    const folder = tinyFolder('llama');
    folder.config['eos_token_id'] = 268;
    expect(read(folder, { generationConfig: null }).endIds).toEqual([268, 270]);
  });

  it('a template of its own goes first', () => {
    expect(read(tinyFolder('llama'), { chatTemplate: 'own' }).chatTemplate).toBe('own');
  });

  it('merges as texts or as pairs', () => {
    const [texts, pairs] = [tinyFolder('llama'), tinyFolder('llama')];
    const model = pairs.tokenizer['model'] as { merges: unknown };
    model.merges = (model.merges as string[]).map((merge) => merge.split(' '));
    expect(read(pairs)).toEqual(read(texts));
  });

  it('an unknown token where bytes are missing is no text', () => {
    const folder = tinyFolder('llama');
    const model = folder.tokenizer['model'] as { unk_token: string; vocab: Record<string, number> };
    model.unk_token = '<|end_of_text|>';
    expect(read(folder)).toEqual({ ...read(tinyFolder('llama')), unknownId: 266 });
    const id = model.vocab['!'] ?? 0;
    delete model.vocab['!'];
    model.vocab['!!'] = id;
    const tokenizer = openTokenizer(read(folder));
    expect(() => tokenizer.encodeText('!')).toThrowError(expect.objectContaining({ code: 'CONTROL_TOKEN_IN_TEXT' }));
  });
});

type Parts = Record<'model' | 'pre_tokenizer' | 'decoder' | 'normalizer' | 'post_processor', Loose>;
const parts = (folder: TinyFolder) => folder.tokenizer as unknown as Parts & { added_tokens: Loose[] };

describe('what is refused', () => {
  const on = (part: keyof Parts, key: string, value: unknown) => (folder: TinyFolder) => {
    parts(folder)[part][key] = value;
  };
  const steps =
    (...pretokenizers: object[]) =>
    (folder: TinyFolder) => {
      parts(folder).pre_tokenizer['pretokenizers'] = pretokenizers;
    };
  const BYTES = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  const split = (change: object) => {
    const pattern = { Regex: '\\p{N}' };
    return steps({ type: 'Split', pattern, behavior: 'Isolated', invert: false, ...change }, BYTES);
  };
  const added = (change: Loose) => (folder: TinyFolder) => {
    Object.assign(parts(folder).added_tokens[1] ?? {}, change);
  };

  it.each<[string, DecoderFamily, (folder: TinyFolder) => unknown, string]>([
    ['another model', 'llama', on('model', 'type', 'Unigram'), 'UNSUPPORTED_TOKENIZER'],
    ['pieces with scores', 'llama', on('model', 'vocab', [['a', 0]]), 'UNSUPPORTED_TOKENIZER'],
    ['no merges', 'llama', on('model', 'merges', undefined), 'UNSUPPORTED_TOKENIZER'],
    ['no model', 'llama', (f) => delete f.tokenizer['model'], 'MALFORMED_TOKENIZER'],
    ['dropout', 'llama', on('model', 'dropout', 0.1), 'UNSUPPORTED_TOKENIZER'],
    ['prefixes of pieces', 'llama', on('model', 'continuing_subword_prefix', '##'), 'UNSUPPORTED_TOKENIZER'],
    ['ends of words', 'llama', on('model', 'end_of_word_suffix', '</w>'), 'UNSUPPORTED_TOKENIZER'],
    ['byte fallback without bytes', 'llama', on('model', 'byte_fallback', true), 'UNSUPPORTED_TOKENIZER'],
    ['lower case', 'llama', (f) => (f.tokenizer['normalizer'] = { type: 'Lowercase' }), 'UNSUPPORTED_TOKENIZER'],
    ['NFKC', 'qwen2', on('normalizer', 'type', 'NFKC'), 'UNSUPPORTED_TOKENIZER'],
    ['an unknown pattern', 'llama', split({ pattern: { Regex: '(a+)+$' } }), 'UNSUPPORTED_TOKENIZER'],
    ['a text as pattern', 'llama', split({ pattern: { String: '\\p{N}' } }), 'UNSUPPORTED_TOKENIZER'],
    ['an inverted pattern', 'llama', split({ invert: true }), 'UNSUPPORTED_TOKENIZER'],
    ['another behaviour', 'llama', split({ behavior: 'MergedWithNext' }), 'UNSUPPORTED_TOKENIZER'],
    ['a space in front', 'llama', steps({ ...BYTES, add_prefix_space: true }), 'UNSUPPORTED_TOKENIZER'],
    ['no byte letters', 'llama', steps({ type: 'Digits', individual_digits: true }), 'UNSUPPORTED_TOKENIZER'],
    ['byte letters first', 'llama', steps(BYTES, { type: 'Digits' }), 'UNSUPPORTED_TOKENIZER'],
    ['no steps', 'llama', steps(), 'UNSUPPORTED_TOKENIZER'],
    [
      'a sequence in a sequence',
      'llama',
      steps({ type: 'Sequence', pretokenizers: [] }, BYTES),
      'UNSUPPORTED_TOKENIZER',
    ],
    ['no pre-tokenizer', 'llama', (f) => (f.tokenizer['pre_tokenizer'] = null), 'UNSUPPORTED_TOKENIZER'],
    ['another decoder', 'llama', on('decoder', 'type', 'WordPiece'), 'UNSUPPORTED_TOKENIZER'],
    ['no decoder', 'llama', (f) => (f.tokenizer['decoder'] = null), 'UNSUPPORTED_TOKENIZER'],
    ['another post-processor', 'llama', on('post_processor', 'type', 'BertProcessing'), 'UNSUPPORTED_TOKENIZER'],
    [
      'an end token behind the text',
      'llama',
      (f) => {
        const single = [{ Sequence: { id: 'A' } }, { SpecialToken: { id: '<|begin_of_text|>' } }];
        f.tokenizer['post_processor'] = { type: 'TemplateProcessing', single };
      },
      'UNSUPPORTED_TOKENIZER',
    ],
    ['the wish for an end token', 'llama', (f) => (f.tokenizerConfig['add_eos_token'] = true), 'UNSUPPORTED_TOKENIZER'],
    ['a token that takes spaces', 'llama', added({ lstrip: true }), 'UNSUPPORTED_TOKENIZER'],
    ['a token that is a word', 'llama', added({ single_word: true }), 'UNSUPPORTED_TOKENIZER'],
    ['a token in normalised text', 'qwen2', added({ normalized: true }), 'UNSUPPORTED_TOKENIZER'],
    ['too many rows', 'llama', (f) => (f.config['vocab_size'] = 100_000), 'UNSUPPORTED_TOKENIZER'],
    ['too few rows', 'llama', (f) => (f.config['vocab_size'] = 270), 'MALFORMED_TOKENIZER'],
    ['an id twice', 'llama', (f) => (parts(f).model['vocab'] = { a: 0, b: 0 }), 'MALFORMED_TOKENIZER'],
    ['half an id', 'llama', (f) => (parts(f).model['vocab'] = { a: 0.5 }), 'MALFORMED_TOKENIZER'],
    ['an empty entry', 'llama', (f) => (parts(f).model['vocab'] = { '': 0 }), 'MALFORMED_TOKENIZER'],
    ['a long entry', 'llama', (f) => (parts(f).model['vocab'] = { ['x'.repeat(5000)]: 0 }), 'MALFORMED_TOKENIZER'],
    [
      'a space in an entry',
      'llama',
      (f) => Object.assign(parts(f).model['vocab'] as Loose, { 'a b': 265 }),
      'MALFORMED_TOKENIZER',
    ],
    ['a merge of one', 'llama', on('model', 'merges', ['th']), 'MALFORMED_TOKENIZER'],
    ['a merge of three', 'llama', on('model', 'merges', ['t h e']), 'MALFORMED_TOKENIZER'],
    ['a merge into nothing', 'llama', on('model', 'merges', [['q', 'z']]), 'MALFORMED_TOKENIZER'],
    ['a merge of numbers', 'llama', on('model', 'merges', [[1, 2]]), 'MALFORMED_TOKENIZER'],
    ['an added token without text', 'llama', added({ content: 1 }), 'MALFORMED_TOKENIZER'],
    ['an added token of another id', 'llama', added({ id: 267 }), 'MALFORMED_TOKENIZER'],
    [
      'an added token that is an entry of another id',
      'llama',
      (f) => {
        delete f.tokenizerConfig['added_tokens_decoder'];
        added({ content: 'th' })(f);
      },
      'MALFORMED_TOKENIZER',
    ],
    ['an added token over an entry', 'llama', added({ id: 5 }), 'MALFORMED_TOKENIZER'],
    ['an added token twice', 'llama', added({ id: 265, content: '<|begin_of_text|>' }), 'MALFORMED_TOKENIZER'],
    ['added tokens that are no list', 'llama', (f) => (f.tokenizer['added_tokens'] = {}), 'MALFORMED_TOKENIZER'],
    ['a start token of no entry', 'llama', (f) => (f.tokenizerConfig['bos_token'] = '<s>'), 'MALFORMED_TOKENIZER'],
    ['an end token that is text', 'llama', (f) => (f.tokenizerConfig['eos_token'] = 'the'), 'MALFORMED_TOKENIZER'],
    [
      'an end token that is special nowhere',
      'llama',
      (f) => Object.assign(parts(f).added_tokens[5] ?? {}, { special: false }),
      'MALFORMED_TOKENIZER',
    ],
    [
      'a token that tokenizer.json lacks',
      'llama',
      (f) => Object.assign(f.tokenizerConfig['added_tokens_decoder'] as Loose, { 4: { content: 'x' } }),
      'MALFORMED_TOKENIZER',
    ],
    ['an end beyond the rows', 'llama', (f) => (f.generationConfig['eos_token_id'] = [271]), 'MALFORMED_METADATA'],
    ['an end that is a text', 'llama', (f) => (f.generationConfig['eos_token_id'] = '270'), 'MALFORMED_METADATA'],
    ['a template that is a number', 'llama', (f) => (f.tokenizerConfig['chat_template'] = 1), 'MALFORMED_TEMPLATE'],
    [
      'a template beyond measure',
      'llama',
      (f) => (f.tokenizerConfig['chat_template'] = 'x'.repeat(2 ** 20 + 1)),
      'MALFORMED_TEMPLATE',
    ],
    [
      'no end at all',
      'llama',
      (f) => {
        delete f.tokenizerConfig['eos_token'];
        delete f.generationConfig['eos_token_id'];
      },
      'MISSING_METADATA',
    ],
  ])('%s', (_, family, change, code) => {
    const folder = tinyFolder(family);
    change(folder);
    expect(() => read(folder)).toThrowError(expect.objectContaining({ name: 'ModelError', code }));
  });
});

describe('a SentencePiece-like tokenizer', () => {
  const kind = vectors.kinds['llama2'] as Kind;
  const change = (tokenizer: object) =>
    readHfTokenizer(
      {
        tokenizer: { ...kind.tokenizer, ...tokenizer } as JsonObject,
        tokenizerConfig: { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>', tokenizer_class: 'LlamaTokenizer' },
        config: {},
        generationConfig: null,
        chatTemplate: null,
      },
      459,
    );

  it('has its control tokens, of which the unknown one is none', () => {
    expect(change({})).toMatchObject({ bosId: 1, eosId: 2, unknownId: 0, controlIds: [1, 2], addBos: true });
  });

  it.each<[string, object]>([
    ['two prefixes', { pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false } }],
    ['no prefix at all', { normalizer: null }],
    [
      'a splitting pre-tokenizer',
      {
        normalizer: null,
        pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: true },
      },
    ],
    ['another sign for spaces', { normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '_' } }],
    ['a normal form', { normalizer: { type: 'NFKC' } }],
    ['a byte-level decoder', { decoder: { type: 'ByteLevel' } }],
  ])('is refused with %s', (_, tokenizer) => {
    expect(() => change(tokenizer)).toThrowError(expect.objectContaining({ code: 'UNSUPPORTED_TOKENIZER' }));
  });
});
