/**
 * Text to ids and back, with text from users kept apart from control tokens: {@link TextTokenizer.encodeText} cannot
 * produce a control token, whatever the text spells.
 *
 * @module
 */

import { InferenceError, ModelError } from './errors.ts';
import { openHuggingFaceLibrary } from './huggingface-library.ts';
import { toNormalFormC } from './normal-form.ts';
import type { OpenTokenLibrary, TokenLibrary } from './token-library.ts';
import type { AddedToken, TokenizerDescription } from './tokenizer-json.ts';
import { METASPACE, pinTokenizer, withoutFirstSpace, withoutNormalForm } from './tokenizer-pinning.ts';

/** A tokenizer made from a model file. */
export type TextTokenizer = {
  readonly description: TokenizerDescription;
  /** Ids of a part written by the chat template: the spelling of a control token becomes that token. */
  encodeTemplate(text: string): readonly number[];
  /**
   * Ids of text from anywhere else. Bytes that the vocabulary has no entry for are left out, as in the reference
   * implementations (SmolLM2 lacks some control characters); only {@link TextTokenizer.decode} tells.
   *
   * @throws {@link InferenceError} `CONTROL_TOKEN_IN_TEXT` if a control id came out all the same (a faulty vocabulary)
   */
  encodeText(text: string): readonly number[];
  /** Text of ids, without control tokens; bytes that are not UTF-8 become U+FFFD. */
  decode(ids: readonly number[]): string;
  /** The template over messages; null where the file has none. */
  readonly render: ((messages: readonly object[]) => string) | null;
};

/**
 * Makes the tokenizer. The library holds the vocabulary once, without added tokens: no spelling is cut out of a text
 * before the merges, and no merge makes a control token. Template parts are cut at added tokens here.
 *
 * @param description - from any reader; {@link TextTokenizer.description} is its pinned form
 * @param open - the library
 * @throws {@link ModelError} `UNSUPPORTED_TOKENIZER` as {@link pinTokenizer}, `MALFORMED_TOKENIZER` if the library refuses
 * the description
 */
export function openTokenizer(
  description: TokenizerDescription,
  open: OpenTokenLibrary = openHuggingFaceLibrary,
): TextTokenizer {
  const pinned = pinTokenizer(description);
  const { added_tokens: added, decoder, model } = pinned.json;
  const { normalForm, rest: normalizer } = withoutNormalForm(pinned.json.normalizer);
  const { firstSpace, rest: pre_tokenizer } = withoutFirstSpace(pinned.json.pre_tokenizer);
  const json = { ...pinned.json, normalizer, pre_tokenizer, added_tokens: [] };
  const library = openLibrary(open, { ...pinned, json });
  const idsOfAdded = new Map(added.map(({ content, id }) => [content, id]));
  const control = new Set(pinned.controlIds);
  const special = new Set(added.filter((token) => token.special).map(({ id }) => id));
  // A byte-level decoder would take the letters of these for bytes; others may be in no vocabulary.
  const byteLevel = 'type' in decoder && decoder.type === 'ByteLevel';
  const vocabulary = 'vocab' in model && typeof model.vocab === 'object' && model.vocab !== null ? model.vocab : {};
  const verbatim = new Map(
    added.flatMap(({ id, content }) => (byteLevel || !Object.hasOwn(vocabulary, content) ? [[id, content]] : [])),
  );
  const atAdded = splitterAt(added);

  const encode = (piece: string, index = 0): number[] => {
    if (piece.length === 0) return [];
    const text = normalForm ? toNormalFormC(piece) : piece;
    const space = firstSpace && index === 0 && !text.startsWith(' ') && !text.startsWith(METASPACE) ? ' ' : '';
    return library.encode(space + text);
  };
  const decodeRun = (ids: number[]) => (ids.length === 0 ? '' : library.decode(ids));
  return {
    description: pinned,
    encodeTemplate: (text) =>
      (atAdded === null ? [text] : text.split(atAdded)).flatMap(
        (piece, index) => idsOfAdded.get(piece) ?? encode(piece, index),
      ),
    encodeText(text) {
      const ids = encode(text);
      if (ids.some((id) => control.has(id) || !Number.isInteger(id))) {
        throw new InferenceError('CONTROL_TOKEN_IN_TEXT', 'text became a control token or no token at all');
      }
      return ids;
    },
    decode(ids) {
      let text = '';
      let run: number[] = [];
      for (const id of ids) {
        if (special.has(id)) continue;
        const content = verbatim.get(id);
        if (content === undefined) {
          run.push(id);
          continue;
        }
        text += decodeRun(run) + content;
        run = [];
      }
      return text + decodeRun(run);
    },
    render: library.render,
  };
}

/** Cuts a text at the spellings of added tokens, the longest where several begin; null where there are none. */
function splitterAt(added: readonly AddedToken[]): RegExp | null {
  const spellings = added.map(({ content }) => content).filter((content) => content.length > 0);
  if (spellings.length === 0) return null;
  spellings.sort((a, b) => b.length - a.length);
  return new RegExp(`(${spellings.map((one) => one.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')).join('|')})`, 'u');
}

function openLibrary(open: OpenTokenLibrary, description: TokenizerDescription): TokenLibrary {
  try {
    return open(description);
  } catch (cause) {
    throw new ModelError('MALFORMED_TOKENIZER', 'the tokenizer library refused the vocabulary', { cause });
  }
}
