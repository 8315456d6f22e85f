/**
 * Normalizer, pre-tokenizer, model and decoder of a `tokenizer.json`, recognised and written anew.
 *
 * Patterns are taken from a list of known ones: the file's own would run as regular expressions over users' text
 * (however long that takes), and the dialects of the two libraries differ in places that only known patterns are checked
 * for.
 *
 * @module
 */

import { canonicalJson, isJsonObject, type Json, type JsonObject } from '../../attest/encoding/canonical-json.ts';
import { ModelError } from '../errors.ts';
import type { TokenizerJson } from '../tokenizer-json.ts';
import type { ReadVocabulary } from './hf-vocabulary.ts';

type Parts = Pick<TokenizerJson, 'normalizer' | 'pre_tokenizer' | 'decoder' | 'model'>;

const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const WORDS = '|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|';
const REST = '| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
// The library folds ASCII alone; in the original the long s is an s as well.
const FOLDED = "(?:'[sS\\u017f]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";

/** Known patterns, and how they are written for the library here. */
const PATTERNS: ReadonlyMap<string, string> = new Map([
  [GPT2, GPT2],
  ['\\p{N}', '\\p{N}'],
  ['\\p{N}{1,3}', '\\p{N}{1,3}'],
  ...['\\p{N}', '\\p{N}{1,3}'].map((digits): [string, string] => [
    CONTRACTIONS + WORDS + digits + REST,
    FOLDED + WORDS + digits + REST,
  ]),
]);

/**
 * Parts of a byte-level tokenizer.
 *
 * @throws {@link ModelError} `UNSUPPORTED_TOKENIZER`, `MALFORMED_TOKENIZER`
 */
export function byteLevelParts(tokenizer: JsonObject, model: JsonObject, read: ReadVocabulary): Parts {
  const normalizer = tokenizer['normalizer'] ?? null;
  if (normalizer !== null && (!isJsonObject(normalizer) || normalizer['type'] !== 'NFC')) {
    throw unsupported('normalizer', normalizer);
  }
  const added = new Set(read.added.map(({ content }) => content));
  const letters = new Set(byteLetters());
  const present = new Set<string>();
  for (const text of read.ids.keys()) {
    if (added.has(text)) continue;
    const points = [...text];
    if (!points.every((point) => letters.has(point))) {
      throw new ModelError('MALFORMED_TOKENIZER', `entry ${text.slice(0, 64)} is not written in byte letters`, {
        at: { key: 'vocab' },
      });
    }
    if (points.length === 1) present.add(text);
  }
  // A byte without an entry becomes the unknown token, or is left out where there is none.
  const whole = present.size === letters.size;
  if (!whole && model['fuse_unk'] === true) throw unsupported('model.fuse_unk', true);
  const unk_token = whole ? null : (model['unk_token'] ?? null);
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  const decoder = tokenizer['decoder'] ?? null;
  if (!isJsonObject(decoder) || decoder['type'] !== 'ByteLevel') throw unsupported('decoder', decoder);
  return {
    normalizer: normalizer === null ? null : { type: 'NFC' },
    pre_tokenizer: { type: 'Sequence', pretokenizers: byteLevelSteps(tokenizer['pre_tokenizer'] ?? null) },
    decoder: bytes,
    model: bpe(model, read, { byte_fallback: false, unk_token }),
  };
}

/**
 * Parts of a SentencePiece-like tokenizer.
 *
 * @throws {@link ModelError} `UNSUPPORTED_TOKENIZER`
 */
export function sentencePieceParts(tokenizer: JsonObject, model: JsonObject, read: ReadVocabulary): Parts {
  for (let byte = 0; byte < 256; byte++) {
    const text = `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
    if (!read.ids.has(text)) {
      throw new ModelError('UNSUPPORTED_TOKENIZER', `byte fallback without an entry ${text}`, { at: { key: 'vocab' } });
    }
  }
  const spaces = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
  const unspaced = { type: 'Replace', pattern: { String: '▁' }, content: ' ' };
  const prefix = { type: 'Prepend', prepend: '▁' };
  const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 };
  const fallback = [{ type: 'ByteFallback' }, { type: 'Fuse' }];

  const metaspace = ['never', 'first', 'always'].flatMap((prepend_scheme) => {
    const form = { type: 'Metaspace', replacement: '▁', prepend_scheme, split: false };
    return [form, { ...form, add_prefix_space: prepend_scheme !== 'never' }];
  });
  const parts = {
    normalizer: oneOf<JsonObject | null>('normalizer', tokenizer['normalizer'] ?? null, [
      null,
      spaces,
      { type: 'Sequence', normalizers: [spaces] },
      { type: 'Sequence', normalizers: [prefix, spaces] },
    ]),
    pre_tokenizer: oneOf<JsonObject | null>('pre_tokenizer', tokenizer['pre_tokenizer'] ?? null, [null, ...metaspace]),
    decoder: oneOf<JsonObject>('decoder', tokenizer['decoder'] ?? null, [
      { type: 'Sequence', decoders: [unspaced, ...fallback] },
      { type: 'Sequence', decoders: [unspaced, ...fallback, strip] },
    ]),
  };
  if ((parts.normalizer === null) === (parts.pre_tokenizer === null)) {
    throw unsupported('pre_tokenizer', tokenizer['pre_tokenizer'] ?? null);
  }
  return { ...parts, model: bpe(model, read, { byte_fallback: true, unk_token: null }) };
}

/** Splits, then the byte letters. */
function byteLevelSteps(preTokenizer: Json): readonly object[] {
  const steps =
    isJsonObject(preTokenizer) && preTokenizer['type'] === 'Sequence' ? preTokenizer['pretokenizers'] : [preTokenizer];
  if (!Array.isArray(steps) || steps.length === 0) throw unsupported('pre_tokenizer', preTokenizer);
  return steps.flatMap((step: Json, index): readonly object[] => {
    if (!isJsonObject(step)) throw unsupported('pre_tokenizer', step);
    const last = index === steps.length - 1;
    if (last !== (step['type'] === 'ByteLevel')) throw unsupported('pre_tokenizer', step);
    switch (step['type']) {
      case 'ByteLevel': {
        const use_regex = (step['use_regex'] ?? true) === true;
        if (step['add_prefix_space'] !== false) throw unsupported('pre_tokenizer', step);
        return [{ type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex }];
      }
      case 'Digits':
        return [{ type: 'Digits', individual_digits: step['individual_digits'] === true }];
      case 'Split': {
        const given = step['pattern'] ?? null;
        const text = isJsonObject(given) ? given['Regex'] : undefined;
        const pattern = typeof text === 'string' ? PATTERNS.get(text) : undefined;
        if (pattern === undefined || step['behavior'] !== 'Isolated' || step['invert'] !== false) {
          throw unsupported('pre_tokenizer', step);
        }
        return [{ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false }];
      }
      default:
        throw unsupported('pre_tokenizer', step);
    }
  });
}

function bpe(model: JsonObject, { vocab, merges }: ReadVocabulary, rest: object): object {
  const absent: readonly [string, (value: Json) => boolean][] = [
    ['dropout', (value) => value === null || value === 0],
    ['continuing_subword_prefix', (value) => value === null || value === ''],
    ['end_of_word_suffix', (value) => value === null || value === ''],
  ];
  for (const [key, isAbsent] of absent) {
    const value = model[key] ?? null;
    if (!isAbsent(value)) throw unsupported(`model.${key}`, value);
  }
  const ignore_merges = (model['ignore_merges'] ?? false) === true;
  return { type: 'BPE', dropout: null, fuse_unk: false, ignore_merges, vocab, merges, ...rest };
}

/** The known form that a part is equal to, whatever the order of its fields. */
function oneOf<T extends Json>(key: string, given: Json, known: readonly T[]): T {
  const text = canonicalJson(given);
  const found = known.find((form) => canonicalJson(form) === text);
  if (found === undefined) throw unsupported(key, given);
  return found;
}

/** The letters in which byte-level vocabularies write the bytes 0 to 255. */
function byteLetters(): readonly string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCharCode(printable ? byte : next++);
  });
}

function unsupported(key: string, value: Json): ModelError {
  const got = JSON.stringify(value).slice(0, 120);
  return new ModelError('UNSUPPORTED_TOKENIZER', `tokenizer.json: ${key} ${got} is not supported`, { at: { key } });
}
