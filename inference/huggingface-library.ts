/**
 * A {@link TokenLibrary} over the tokenizer and template packages that transformers.js is built on; nothing else is loaded.
 *
 * @module
 */

import { Template } from '@huggingface/jinja';
import { Tokenizer } from '@huggingface/tokenizers';
import type { TokenLibrary } from './token-library.ts';
import type { TokenizerDescription } from './tokenizer-json.ts';

/** As `OpenTokenLibrary`. */
export function openHuggingFaceLibrary(description: TokenizerDescription): TokenLibrary {
  const { json, tokens, bosId, eosId, chatTemplate } = description;
  const library = new Tokenizer(json, {});
  const encodeOptions = { add_special_tokens: false };
  const decodeOptions = { clean_up_tokenization_spaces: false };
  // What transformers gives to every template; a token without letters is not given.
  const bosToken = bosId === null ? undefined : tokens[bosId];
  const eosToken = tokens[eosId];
  const given = {
    add_generation_prompt: true,
    tools: null,
    documents: null,
    ...(bosToken ? { bos_token: bosToken } : {}),
    ...(eosToken ? { eos_token: eosToken } : {}),
  };
  let template: Template | undefined;
  return {
    encode: (text) => library.encode(text, encodeOptions).ids,
    decode: (ids) => library.decode(ids as number[], decodeOptions),
    render:
      chatTemplate === null
        ? null
        : (messages) => {
            template ??= new Template(chatTemplate);
            return template.render({ messages: [...messages], ...given });
          },
  };
}
