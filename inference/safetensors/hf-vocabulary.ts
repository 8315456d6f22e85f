/**
 * The entries of a `tokenizer.json`: vocabulary, merges and added tokens, checked against each other.
 *
 * @module
 */

import { isJsonObject, type Json, type JsonObject } from '../../attest/encoding/canonical-json.ts';
import { ModelError } from '../errors.ts';
import type { TokenizerJson } from '../tokenizer-json.ts';

/** An added token as it is written for the library. */
export type AddedEntry = TokenizerJson['added_tokens'][number];

/** All entries, by id and by text. */
export type ReadVocabulary = {
  /** Text of every id below the vocabulary's size. */
  readonly tokens: readonly string[];
  readonly ids: ReadonlyMap<string, number>;
  /** The model's own entries, without those that are only added. */
  readonly vocab: JsonObject;
  readonly merges: readonly (readonly [string, string])[];
  /** Ascending by id. */
  readonly added: readonly AddedEntry[];
};

const MAX_TOKEN_LENGTH = 4096;

/** Rows of the embedding beyond the tokenizer's entries, which are there for round sizes; published models have 418. */
const MAX_PADDING = 1 << 13;

/**
 * Reads the entries.
 *
 * @param vocabulary - rows of the embedding
 * @throws {@link ModelError} `MALFORMED_TOKENIZER`, `UNSUPPORTED_TOKENIZER`
 */
export function readVocabulary(tokenizer: JsonObject, model: JsonObject, vocabulary: number): ReadVocabulary {
  const vocab = model['vocab'] as JsonObject;
  const tokens = new Array<string | undefined>(vocabulary).fill(undefined);
  const ids = new Map<string, number>();
  const put = (text: string, id: Json | undefined): number => {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= vocabulary) {
      throw malformed('vocab', `entry ${text.slice(0, 64)} has no id below ${vocabulary}`);
    }
    if (text.length === 0 || text.length > MAX_TOKEN_LENGTH)
      throw malformed('vocab', `entry ${id} is empty or too long`);
    if ((tokens[id] ?? text) !== text || (ids.get(text) ?? id) !== id) {
      throw malformed('vocab', `id ${id} has two texts, or its text two ids`);
    }
    tokens[id] = text;
    ids.set(text, id);
    return id;
  };
  for (const [text, id] of Object.entries(vocab)) put(text, id);
  const merges = readMerges(model['merges'] as readonly Json[], ids);
  const added = readAdded(tokenizer, put);
  const missing = vocabulary - ids.size;
  if (missing > MAX_PADDING) {
    throw new ModelError('UNSUPPORTED_TOKENIZER', `${missing} of ${vocabulary} rows have no token`, {
      at: { key: 'vocab' },
    });
  }
  const padding: AddedEntry[] = [];
  for (let id = 0; id < vocabulary; id++) {
    if (tokens[id] === undefined) padding.push(entry(id, paddingText(id, ids), true));
  }
  for (const { id, content } of padding) put(content, id);
  return {
    tokens: tokens as readonly string[],
    ids,
    vocab,
    merges,
    added: [...added, ...padding].sort((a, b) => a.id - b.id),
  };
}

/** A text for a row without a token, named as llama.cpp names it, but in letters that no template is written in. */
function paddingText(id: number, ids: ReadonlyMap<string, number>): string {
  let text = `\ufdd0[PAD${id}]`;
  while (ids.has(text)) text = `\ufdd0${text}`;
  return text;
}

function readMerges(merges: readonly Json[], ids: ReadonlyMap<string, number>): readonly (readonly [string, string])[] {
  return merges.map((merge, index) => {
    // Older files join the two by a space.
    const [left, right, ...rest] = typeof merge === 'string' ? merge.split(' ') : Array.isArray(merge) ? merge : [];
    if (
      typeof left !== 'string' ||
      typeof right !== 'string' ||
      rest.length > 0 ||
      !ids.has(left) ||
      !ids.has(right) ||
      !ids.has(left + right)
    ) {
      throw malformed('merges', `merge ${index} does not join two entries into a third`);
    }
    return [left, right];
  });
}

function readAdded(tokenizer: JsonObject, put: (text: string, id: Json | undefined) => number): AddedEntry[] {
  const key = 'added_tokens';
  const list = tokenizer[key] ?? [];
  if (!Array.isArray(list)) throw malformed(key, 'expected a list');
  const seen = new Set<number>();
  const normalized = new Set<boolean>();
  const entries = list.map((item: Json, index): AddedEntry => {
    const token = isJsonObject(item) ? item : {};
    const { content, special = false } = token;
    if (typeof content !== 'string' || typeof special !== 'boolean') throw malformed(key, `item ${index} is no token`);
    const id = put(content, token['id']);
    if (seen.has(id)) throw malformed(key, `id ${id} occurs twice`);
    seen.add(id);
    for (const side of ['single_word', 'lstrip', 'rstrip']) {
      if ((token[side] ?? false) !== false) throw unsupported(key, `${side} of token ${id}`);
    }
    normalized.add((token['normalized'] ?? !special) !== false);
    return entry(id, content, special);
  });
  // Tokens are cut out before and after the normalizer; where there is none the two passes differ by precedence alone.
  if (normalized.has(true) && ((tokenizer['normalizer'] ?? null) !== null || normalized.size > 1)) {
    throw unsupported(key, 'a token that is looked for in normalised text');
  }
  return entries;
}

function entry(id: number, content: string, special: boolean): AddedEntry {
  return { id, content, special, single_word: false, lstrip: false, rstrip: false, normalized: false };
}

function malformed(key: string, message: string): ModelError {
  return new ModelError('MALFORMED_TOKENIZER', `tokenizer.json: ${key}: ${message}`, { at: { key } });
}

function unsupported(key: string, message: string): ModelError {
  return new ModelError('UNSUPPORTED_TOKENIZER', `tokenizer.json: ${key}: ${message} is not supported`, {
    at: { key },
  });
}
