/**
 * The tokenizer of a GGUF, written as the `tokenizer.json` that the Hugging Face tokenizer library reads.
 *
 * Two models are supported: `gpt2` (byte-level BPE with merges; pre-tokenizers `smollm`, `gpt-2`, `qwen2`, `llama-bpe`)
 * and `llama` (SentencePiece BPE: merges are not in the file, they follow from the scores). As in llama.cpp no text of a
 * GGUF is normalised; the `tokenizer.json` of Qwen2 asks for NFC.
 *
 * Sources: `llama-vocab.cpp` of llama.cpp (pre-tokenizer patterns, token types), `convert_slow_tokenizer.py` of
 * transformers (merges from scores).
 *
 * @module
 */

import { ModelError } from './errors.ts';
import { type Metadata, readMetadata } from './gguf/metadata.ts';
import type { Gguf } from './gguf/types.ts';
import { pinTokenizer } from './tokenizer-pinning.ts';

/** `tokenizer.ggml.token_type`: what a vocabulary entry is. */
const TOKEN_TYPE = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** Longer entries are refused: merges are found by splitting each entry at every place. */
const MAX_TOKEN_LENGTH = 512;

const MAX_VOCABULARY = 1 << 20;

/**
 * All of a tokenizer that decides ids and text; plain JSON, its digest names the tokenizer. Readers end with
 * {@link pinTokenizer}.
 */
export type TokenizerDescription = {
  /** For template parts: control tokens are recognised in the text. */
  readonly json: TokenizerJson;
  readonly tokens: readonly string[];
  /** Ids that stand for control, in ascending order: never produced from text. */
  readonly controlIds: readonly number[];
  readonly bosId: number | null;
  readonly eosId: number;
  /** Ids that end an answer, ascending: end of sequence and, where the file names one, end of turn. */
  readonly endIds: readonly number[];
  readonly unknownId: number | null;
  /** Whether a prompt starts with `bosId`. */
  readonly addBos: boolean;
  readonly chatTemplate: string | null;
};

/** The parts of `tokenizer.json` that are written here. */
export type TokenizerJson = {
  readonly version: '1.0';
  readonly added_tokens: readonly AddedToken[];
  readonly normalizer: object | null;
  readonly pre_tokenizer: object | null;
  readonly post_processor: null;
  readonly decoder: object;
  readonly model: object;
};

/** A token that template parts spell out. */
export type AddedToken = {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly single_word: false;
  readonly lstrip: false;
  readonly rstrip: false;
  readonly normalized: false;
};

/**
 * Reads the tokenizer of a file.
 *
 * @param gguf - parsed, its contents untrusted
 * @throws {@link ModelError} `MISSING_METADATA`, `MALFORMED_METADATA`, `MALFORMED_TOKENIZER`, `UNSUPPORTED_TOKENIZER`
 */
export function readTokenizer(gguf: Gguf): TokenizerDescription {
  const metadata = readMetadata(gguf.metadata);
  const kind = metadata.text('tokenizer.ggml.model');
  if (kind !== 'gpt2' && kind !== 'llama') {
    throw new ModelError('UNSUPPORTED_TOKENIZER', `expected tokenizer gpt2 or llama, got ${kind.slice(0, 64)}`, {
      at: { key: 'tokenizer.ggml.model' },
    });
  }
  const tokens = readTokens(metadata);
  const types = readPerToken(metadata, 'tokenizer.ggml.token_type', tokens.length);
  const idsOf = (...wanted: readonly number[]) => types.flatMap((type, id) => (wanted.includes(type) ? [id] : []));
  const special = new Set(idsOf(TOKEN_TYPE.control, TOKEN_TYPE.unknown));
  const addedIds = idsOf(TOKEN_TYPE.control, TOKEN_TYPE.unknown, TOKEN_TYPE.userDefined);
  const added = addedIds.map(
    (id): AddedToken => ({
      id,
      content: tokens[id] as string,
      special: special.has(id),
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    }),
  );

  const eosId = metadata.tokenId('tokenizer.ggml.eos_token_id', tokens.length);
  const eotId = metadata.optionalTokenId('tokenizer.ggml.eot_token_id', tokens.length) ?? eosId;
  const bosId = metadata.optionalTokenId('tokenizer.ggml.bos_token_id', tokens.length) ?? null;
  const unknownId = metadata.optionalTokenId('tokenizer.ggml.unknown_token_id', tokens.length) ?? null;
  const parts =
    kind === 'gpt2' ? byteLevelParts(metadata, tokens) : sentencePieceParts(metadata, tokens, types, unknownId);
  return pinTokenizer({
    json: { version: '1.0', added_tokens: added, post_processor: null, ...parts },
    tokens,
    controlIds: idsOf(TOKEN_TYPE.control),
    bosId,
    eosId,
    endIds: [...new Set([eosId, eotId])].sort((a, b) => a - b),
    unknownId,
    addBos:
      (metadata.optionalFlag('tokenizer.ggml.add_bos_token') ?? startsByDefault(kind, metadata)) && bosId !== null,
    chatTemplate: metadata.optionalText('tokenizer.chat_template') ?? null,
  });
}

type Parts = Pick<TokenizerJson, 'normalizer' | 'pre_tokenizer' | 'decoder' | 'model'>;

/** A pre-tokenizer of llama.cpp, in the parts of a `tokenizer.json`. */
type PreTokenizer = {
  readonly parts: readonly object[];
  /** Whether a piece that is an entry of the vocabulary is taken whole, without merges; default false. */
  readonly ignoreMerges?: boolean;
  /** Whether prompts start with the start token where the file does not say; default false. */
  readonly addBos?: boolean;
};

/** `use_regex` splits at GPT-2's own pattern. */
const bytes = (use_regex: boolean) => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex,
});

/** Splits into words, numbers, signs and white space; matches cover any text, so nothing is lost by keeping only them. */
const words = (number: string) => ({
  type: 'Split',
  pattern: {
    Regex: `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${number}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  },
  behavior: 'Removed',
  invert: true,
});

const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map([
  ['gpt-2', { parts: [bytes(true)] }],
  ['smollm', { parts: [{ type: 'Digits', individual_digits: true }, bytes(true)] }],
  ['qwen2', { parts: [words('\\p{N}'), bytes(false)] }],
  ['llama-bpe', { parts: [words('\\p{N}{1,3}'), bytes(false)], ignoreMerges: true, addBos: true }],
]);

function startsByDefault(kind: 'gpt2' | 'llama', metadata: Metadata): boolean {
  return kind === 'llama' || PRE_TOKENIZERS.get(metadata.text('tokenizer.ggml.pre'))?.addBos === true;
}

function byteLevelParts(metadata: Metadata, tokens: readonly string[]): Parts {
  const name = metadata.text('tokenizer.ggml.pre');
  const rule = PRE_TOKENIZERS.get(name);
  if (rule === undefined) {
    throw new ModelError('UNSUPPORTED_TOKENIZER', `pre-tokenizer ${name.slice(0, 64)} is not known here`, {
      at: { key: 'tokenizer.ggml.pre' },
    });
  }
  // Parts of merges are the very texts of the vocabulary: a hundred thousand copies would stay in memory.
  const known = new Map(entriesOf(tokens));
  const entry = (text: string) => tokens[known.get(text) ?? -1];
  const merges = metadata.texts('tokenizer.ggml.merges').map((text, index): readonly [string, string] => {
    const space = text.indexOf(' ', 1);
    const left = entry(text.slice(0, space));
    const right = entry(text.slice(space + 1));
    if (space < 1 || left === undefined || right === undefined || !known.has(left + right)) {
      throw new ModelError('MALFORMED_TOKENIZER', `merge ${index} does not join two entries into a third`, {
        at: { merge: index },
      });
    }
    return [left, right];
  });
  return {
    normalizer: null,
    pre_tokenizer: { type: 'Sequence', pretokenizers: rule.parts },
    decoder: bytes(false),
    model: bpe(tokens, merges, {
      byte_fallback: false,
      unk_token: null,
      ignore_merges: rule.ignoreMerges ?? false,
    }),
  };
}

function sentencePieceParts(
  metadata: Metadata,
  tokens: readonly string[],
  types: readonly number[],
  unknownId: number | null,
): Parts {
  const scores = readPerToken(metadata, 'tokenizer.ggml.scores', tokens.length);
  const prefix = metadata.optionalFlag('tokenizer.ggml.add_space_prefix') ?? true;
  const spaces = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
  const unknown = unknownId === null ? null : (tokens[unknownId] as string);
  const strip = prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : [];
  return {
    normalizer: { type: 'Sequence', normalizers: prefix ? [{ type: 'Prepend', prepend: '▁' }, spaces] : [spaces] },
    pre_tokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...strip,
      ],
    },
    model: bpe(tokens, mergesFromScores(tokens, types, scores), { byte_fallback: true, unk_token: unknown }),
  };
}

/**
 * SentencePiece joins the neighbours whose union has the best score; as ranked merges: every way to split an entry into
 * two entries, ordered by the score of the union. Control and byte entries never come out of text.
 */
function mergesFromScores(
  tokens: readonly string[],
  types: readonly number[],
  scores: readonly number[],
): [string, string][] {
  const ids = new Map<string, number>();
  tokens.forEach((token, id) => {
    if (types[id] === TOKEN_TYPE.normal || types[id] === TOKEN_TYPE.userDefined) ids.set(token, id);
  });
  const found: { left: string; right: string; score: number; order: number }[] = [];
  for (const [token, id] of ids) {
    for (let cut = 1; cut < token.length; cut++) {
      const left = token.slice(0, cut);
      const right = token.slice(cut);
      if (ids.has(left) && ids.has(right))
        found.push({ left, right, score: scores[id] as number, order: found.length });
    }
  }
  found.sort((a, b) => b.score - a.score || b.left.length - a.left.length || a.order - b.order);
  return found.map(({ left, right }) => [left, right]);
}

function bpe(tokens: readonly string[], merges: readonly (readonly [string, string])[], rest: object): object {
  const vocab = Object.fromEntries(entriesOf(tokens));
  return { type: 'BPE', dropout: null, fuse_unk: false, ignore_merges: false, vocab, merges, ...rest };
}

/** Entries one by one, so that no list of them is made. */
function* entriesOf(tokens: readonly string[]): Generator<readonly [string, number]> {
  for (let id = 0; id < tokens.length; id++) yield [tokens[id] as string, id];
}

function readTokens(metadata: Metadata): readonly string[] {
  const key = 'tokenizer.ggml.tokens';
  const tokens = metadata.texts(key);
  const seen = new Set<string>();
  tokens.forEach((token, id) => {
    const fault =
      token.length === 0
        ? 'is empty'
        : token.length > MAX_TOKEN_LENGTH
          ? 'is too long'
          : seen.has(token)
            ? 'occurs twice'
            : '';
    if (fault !== '')
      throw new ModelError('MALFORMED_TOKENIZER', `entry ${id} of the vocabulary ${fault}`, { at: { key, token: id } });
    seen.add(token);
  });
  if (tokens.length === 0 || tokens.length > MAX_VOCABULARY) {
    throw new ModelError('MALFORMED_TOKENIZER', `a vocabulary of ${tokens.length} entries`, { at: { key } });
  }
  return tokens;
}

function readPerToken(metadata: Metadata, key: string, length: number): readonly number[] {
  const values = metadata.numbers(key);
  if (values.length !== length || values.some((value) => !Number.isFinite(value))) {
    throw new ModelError('MALFORMED_TOKENIZER', `${key} does not hold one number for each of ${length} entries`, {
      at: { key },
    });
  }
  return values;
}
