/**
 * Text to ids and back, with text from users kept apart from control tokens: {@link TextTokenizer.encodeText} cannot
 * produce a control token, whatever the text spells.
 *
 * @module
 */

import { PreTrainedTokenizer } from '@xenova/transformers';
import { InferenceError, ModelError } from './errors.ts';
import type { TokenizerDescription, TokenizerJson } from './tokenizer-json.ts';

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
 * Makes the tokenizer.
 *
 * @throws {@link ModelError} `MALFORMED_TOKENIZER` if the library refuses the description
 */
export function openTokenizer(description: TokenizerDescription): TextTokenizer {
  const template = create(description, description.json);
  // Without added tokens no spelling is cut out of the text before the merges, and no merge makes a control token.
  const plain = create(description, { ...description.json, added_tokens: [] });
  const control = new Set(description.controlIds);
  const encode = (tokenizer: PreTrainedTokenizer, text: string): number[] =>
    text.length === 0 ? [] : tokenizer.encode(text, { add_special_tokens: false });
  return {
    description,
    encodeTemplate: (text) => encode(template, text),
    encodeText(text) {
      const ids = encode(plain, text);
      if (ids.some((id) => control.has(id) || !Number.isInteger(id))) {
        throw new InferenceError('CONTROL_TOKEN_IN_TEXT', 'text became a control token or no token at all');
      }
      return ids;
    },
    decode: (ids) =>
      ids.length === 0
        ? ''
        : template.decode([...ids], { skip_special_tokens: true, clean_up_tokenization_spaces: false }),
    render:
      description.chatTemplate === null
        ? null
        : (messages) =>
            template.apply_chat_template([...messages] as never, { tokenize: false, add_generation_prompt: true }),
  };
}

function create(description: TokenizerDescription, json: TokenizerJson): PreTrainedTokenizer {
  const { tokens, bosId, eosId, chatTemplate } = description;
  try {
    return new PreTrainedTokenizer(json, {
      tokenizer_class: 'PreTrainedTokenizer',
      chat_template: chatTemplate,
      bos_token: bosId === null ? null : tokens[bosId],
      eos_token: tokens[eosId],
      clean_up_tokenization_spaces: false,
    });
  } catch (cause) {
    throw new ModelError('MALFORMED_TOKENIZER', 'the tokenizer library refused the vocabulary', { cause });
  }
}
