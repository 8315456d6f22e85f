/**
 * A {@link TokenLibrary} over transformers.js. Loading it loads ONNX Runtime too (tens of megabytes), so only what needs that
 * runtime anyway imports this file, and imports it when asked for.
 *
 * @module
 */

import { PreTrainedTokenizer } from '@xenova/transformers';
import type { TokenLibrary } from '../token-library.ts';
import type { TokenizerDescription } from '../tokenizer-json.ts';

/** As `OpenTokenLibrary`. */
export function openTransformersLibrary(description: TokenizerDescription): TokenLibrary {
  const { json, tokens, bosId, eosId, chatTemplate } = description;
  const library = new PreTrainedTokenizer(json, {
    tokenizer_class: 'PreTrainedTokenizer',
    bos_token: bosId === null ? null : tokens[bosId],
    eos_token: tokens[eosId],
    clean_up_tokenization_spaces: false,
  });
  return {
    encode: (text) => library.encode(text, { add_special_tokens: false }),
    decode: (ids) => library.decode(ids as number[], { clean_up_tokenization_spaces: false }),
    render:
      chatTemplate === null
        ? null
        : (messages) =>
            library.apply_chat_template([...messages] as never, {
              tokenize: false,
              add_generation_prompt: true,
              // Given here, an empty template is one; the library takes an empty one of its own for none.
              chat_template: chatTemplate,
            }),
  };
}
