/**
 * The tokenizer of a model folder: what `tokenizer.json` and `tokenizer_config.json` say, as the description that
 * `tokenizer.ts` opens. Two kinds of BPE are read: byte-level (Llama 3, Qwen, GPT-2, SmolLM) and SentencePiece-like
 * with byte fallback (Llama 2). Every part is recognised and written anew in the form that the library here computes as
 * the original one does (package `tokenizers`, in Rust); a part that is not recognised is refused.
 *
 * Sources: `tokenizers/src` of huggingface/tokenizers, `tokenization_utils_fast.py` of transformers.
 *
 * @module
 */

import { isJsonObject, type Json, type JsonObject } from '../../attest/encoding/canonical-json.ts';
import { ModelError } from '../errors.ts';
import type { TokenizerDescription } from '../tokenizer-json.ts';
import { pinTokenizer } from '../tokenizer-pinning.ts';
import { fieldsOf } from './hf-config.ts';
import { byteLevelParts, sentencePieceParts } from './hf-pipeline.ts';
import { type AddedEntry, type ReadVocabulary, readVocabulary } from './hf-vocabulary.ts';

/** The files of a folder that name its tokens. */
export type TokenizerFiles = {
  /** `tokenizer.json`. */
  readonly tokenizer: JsonObject;
  /** `tokenizer_config.json`. */
  readonly tokenizerConfig: JsonObject;
  /** `config.json`, which names ends where there is no `generation_config.json`. */
  readonly config: JsonObject;
  /** `generation_config.json`, if there is one. */
  readonly generationConfig: JsonObject | null;
  /** `chat_template.jinja`, if there is one; goes before the template of `tokenizer_config.json`. */
  readonly chatTemplate: string | null;
};

/** Longest chat template, in UTF-16 units. */
export const MAX_TEMPLATE_LENGTH = 1 << 20;

/**
 * Reads the tokenizer.
 *
 * @param files - untrusted
 * @param vocabulary - rows of the embedding; ids without a token are given one that no text becomes
 * @throws {@link ModelError} `UNSUPPORTED_TOKENIZER`, `MALFORMED_TOKENIZER`, `MISSING_METADATA`, `MALFORMED_METADATA`
 *   with `at.key`
 */
export function readHfTokenizer(files: TokenizerFiles, vocabulary: number): TokenizerDescription {
  const { tokenizer, tokenizerConfig } = files;
  const model = objectAt(tokenizer, 'model');
  // Old files leave the type out; the library then tells the kinds by their fields.
  if ((model['type'] ?? 'BPE') !== 'BPE' || !isJsonObject(model['vocab'] ?? null) || !Array.isArray(model['merges'])) {
    throw new ModelError('UNSUPPORTED_TOKENIZER', `model type ${nameOf(model['type'])} is not BPE`, {
      at: { key: 'model.type' },
    });
  }
  const read = readVocabulary(tokenizer, model, vocabulary);
  const parts =
    model['byte_fallback'] === true
      ? sentencePieceParts(tokenizer, model, read)
      : byteLevelParts(tokenizer, model, read);
  checkDecoderOf(tokenizerConfig, read);

  const special = (key: string) => specialToken(tokenizerConfig, key, read);
  const bosId = special('bos_token');
  for (const key of ['bos_token', 'eos_token']) {
    const id = special(key);
    if (id !== null && !read.added.some((token) => token.id === id && token.special)) {
      throw new ModelError('MALFORMED_TOKENIZER', `${key} is no special token of tokenizer.json`, { at: { key } });
    }
  }
  const ends = endsOf(files, vocabulary);
  const eosId = special('eos_token') ?? ends[0];
  if (eosId === undefined) {
    throw new ModelError('MISSING_METADATA', 'tokenizer_config.json has no eos_token', { at: { key: 'eos_token' } });
  }
  const endIds = [...new Set([eosId, ...ends])].sort((a, b) => a - b);
  const unknown = typeof model['unk_token'] === 'string' ? read.ids.get(model['unk_token']) : undefined;
  // As in a GGUF: the unknown token is no control token, unless it has another part to play.
  const isControl = ({ id, special }: AddedEntry) => special && (id !== unknown || id === bosId || endIds.includes(id));
  return pinTokenizer({
    json: { version: '1.0', added_tokens: read.added, post_processor: null, ...parts },
    tokens: read.tokens,
    controlIds: read.added.filter(isControl).map(({ id }) => id),
    bosId,
    eosId,
    endIds,
    unknownId: special('unk_token') ?? unknown ?? null,
    addBos: bosId !== null && startsWithBos(tokenizer['post_processor'] ?? null, tokenizerConfig, bosId, read),
    chatTemplate: files.chatTemplate ?? templateOf(tokenizerConfig),
  });
}

/** A token of `tokenizer_config.json`: its text, or an object with the text as `content`. */
function specialToken(config: JsonObject, key: string, read: ReadVocabulary): number | null {
  const value = config[key] ?? null;
  const text = isJsonObject(value) ? value['content'] : value;
  if (text === null) return null;
  const id = typeof text === 'string' ? read.ids.get(text) : undefined;
  if (id === undefined) {
    throw new ModelError('MALFORMED_TOKENIZER', `${key} of tokenizer_config.json is no entry of the vocabulary`, {
      at: { key },
    });
  }
  return id;
}

/** `added_tokens_decoder` repeats the added tokens of `tokenizer.json`; the library would add what is missing there. */
function checkDecoderOf(config: JsonObject, read: ReadVocabulary): void {
  const key = 'added_tokens_decoder';
  const entries = config[key] ?? {};
  if (!isJsonObject(entries)) throw new ModelError('MALFORMED_METADATA', `${key}: expected an object`, { at: { key } });
  const contents = new Map(read.added.map(({ id, content }) => [String(id), content]));
  for (const [id, entry] of Object.entries(entries)) {
    if (!isJsonObject(entry) || contents.get(id) !== entry['content']) {
      throw new ModelError(
        'MALFORMED_TOKENIZER',
        `${key} names a token ${id.slice(0, 16)} which tokenizer.json lacks`,
        {
          at: { key },
        },
      );
    }
  }
}

/** Ids that end an answer, by `generation_config.json`, else by `config.json`. */
function endsOf({ generationConfig, config }: TokenizerFiles, vocabulary: number): readonly number[] {
  const key = 'eos_token_id';
  const value = (generationConfig ?? config)[key] ?? null;
  const list = value === null ? [] : Array.isArray(value) ? value : [value];
  return list.map((id) => {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= vocabulary) {
      throw new ModelError('MALFORMED_METADATA', `${key}: expected ids below ${vocabulary}`, { at: { key } });
    }
    return id;
  });
}

/** Tokenizers which put the start token in front whatever their post-processor says, unless `add_bos_token` is false. */
const LLAMA_CLASSES = ['LlamaTokenizer', 'LlamaTokenizerFast'];

/** Whether a prompt starts with the start token: the post-processor's template says so, or `add_bos_token`. */
function startsWithBos(processor: Json, config: JsonObject, bosId: number, read: ReadVocabulary): boolean {
  const fields = fieldsOf(config);
  if (fields.optionalFlag('add_eos_token') === true) {
    throw unsupported('add_eos_token', 'a prompt that ends with the end token');
  }
  const wish = fields.optionalFlag('add_bos_token');
  if (LLAMA_CLASSES.includes(fields.optionalText('tokenizer_class') ?? '')) return wish ?? true;
  const template = templateProcessing(processor);
  if (template === undefined) return wish ?? false;
  const pieces = template.map((piece) => {
    const part = isJsonObject(piece) ? piece : {};
    const sequence = part['Sequence'] ?? null;
    if (isJsonObject(sequence) && sequence['id'] === 'A') return 'text';
    const token = part['SpecialToken'] ?? null;
    return isJsonObject(token) && typeof token['id'] === 'string' && read.ids.get(token['id']) === bosId ? 'bos' : '';
  });
  const shape = pieces.join();
  if (shape !== 'text' && shape !== 'bos,text') throw unsupported('post_processor', 'other pieces than a start token');
  return shape === 'bos,text';
}

/** The pieces around a single text; undefined if no part of the post-processor adds any. */
function templateProcessing(processor: Json): readonly Json[] | undefined {
  if (processor === null) return undefined;
  const type = isJsonObject(processor) ? processor['type'] : undefined;
  if (isJsonObject(processor) && type === 'TemplateProcessing' && Array.isArray(processor['single'])) {
    return processor['single'];
  }
  // Moves offsets only.
  if (type === 'ByteLevel') return undefined;
  if (isJsonObject(processor) && type === 'Sequence' && Array.isArray(processor['processors'])) {
    const found = processor['processors'].flatMap((part: Json) => {
      if (isJsonObject(part) && part['type'] === 'Sequence') throw unsupported('post_processor', 'nested sequences');
      const template = templateProcessing(part);
      return template === undefined ? [] : [template];
    });
    if (found.length <= 1) return found[0];
  }
  throw unsupported('post_processor', nameOf(type));
}

/** The chat template: a text, or a list of named ones among which `default` counts. */
function templateOf(config: JsonObject): string | null {
  const key = 'chat_template';
  const value = config[key] ?? null;
  const named = Array.isArray(value)
    ? value.flatMap((item: Json) =>
        isJsonObject(item) && item['name'] === 'default' ? [item['template'] ?? null] : [],
      )
    : [value];
  const template = named[0] ?? null;
  if (template === null) return null;
  if (named.length > 1 || typeof template !== 'string' || template.length > MAX_TEMPLATE_LENGTH) {
    throw new ModelError('MALFORMED_TEMPLATE', `${key} is no text of at most ${MAX_TEMPLATE_LENGTH} letters`, {
      at: { key },
    });
  }
  return template;
}

function objectAt(parent: JsonObject, key: string): JsonObject {
  const value = parent[key];
  if (value === undefined || !isJsonObject(value)) {
    throw new ModelError('MALFORMED_TOKENIZER', `tokenizer.json: ${key} is no object`, { at: { key } });
  }
  return value;
}

function nameOf(type: Json | undefined): string {
  return typeof type === 'string' ? type.slice(0, 64) : typeof type;
}

function unsupported(key: string, message: string): ModelError {
  return new ModelError('UNSUPPORTED_TOKENIZER', `${key}: ${message} is not supported`, { at: { key } });
}
