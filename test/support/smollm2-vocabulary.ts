/**
 * The vocabulary of the shipped model, as masks see it.
 *
 * @module
 */

import { homedir } from 'node:os';
import { RuntimeError } from '../../attest/core/error.ts';
import { parseGguf } from '../../inference/gguf/reader.ts';
import { openFileSource } from '../../inference/gguf/source.ts';
import { resolveModelPath, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { openMasks } from '../../inference/structured/masks.ts';
import { makeTrie } from '../../inference/structured/trie.ts';
import { tokenBytes } from '../../inference/token-bytes.ts';
import { openTokenizer, type TextTokenizer } from '../../inference/tokenizer.ts';
import { readTokenizer } from '../../inference/tokenizer-json.ts';
import type { Vocabulary } from './schema-trials.ts';

/** The tokenizer of a model file. */
export function tokenizerOf(path: string): TextTokenizer {
  const source = openFileSource(path);
  try {
    return openTokenizer(readTokenizer(parseGguf(source)));
  } finally {
    source.close();
  }
}

/** Masks over a tokenizer's vocabulary. */
export function vocabularyOf(tokenizer: TextTokenizer): Vocabulary {
  const bytes = tokenBytes(tokenizer);
  return {
    masks: openMasks(makeTrie(bytes), tokenizer.description.endIds),
    tokens: (id) => bytes[id] ?? null,
  };
}

/** The shipped model's; undefined where the set-up did not fetch it. */
export function openSmolLM2Vocabulary(): Vocabulary | undefined {
  let path: string;
  try {
    path = resolveModelPath(SHIPPED_MODEL.id, process.env, homedir()).path;
  } catch (fault) {
    if (RuntimeError.is(fault)) return undefined;
    throw fault;
  }
  return vocabularyOf(tokenizerOf(path));
}
