/**
 * Messages to prompt ids. The model's own template is rendered over placeholders in place of what people wrote; the
 * result is cut at them, and template parts and written parts are tokenised apart. Text from a message therefore never
 * meets the code that recognises control tokens, and the template never sees it either.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import type { ChatMessage } from './engine.ts';
import { InferenceError, ModelError } from './errors.ts';
import type { TextTokenizer } from './tokenizer.ts';

/** A piece of a rendered prompt, and who wrote it. */
export type PromptPart = { readonly from: 'template' | 'message'; readonly text: string };

/**
 * Renders a conversation.
 *
 * Placeholders are texts without spaces that hold a hash of the template, so that no template can hold one. A template
 * may leave a field out or repeat it; empty fields are given as they are, because templates ask for that.
 *
 * @throws {@link ModelError} `MISSING_METADATA` if the file has no template
 * @throws {@link InferenceError} `TEMPLATE_REFUSED` if the template raises an error, for instance on the order of roles
 */
export function renderPrompt(tokenizer: TextTokenizer, messages: readonly ChatMessage[]): readonly PromptPart[] {
  const { render } = tokenizer;
  if (render === null) {
    throw new ModelError('MISSING_METADATA', 'the file has no tokenizer.chat_template', {
      at: { key: 'tokenizer.chat_template' },
    });
  }
  const mark = createHash('sha256')
    .update(`tracebond/placeholder/1${tokenizer.description.chatTemplate}`)
    .digest('hex');
  const texts: string[] = [];
  const hide = (text: string) => (text.length === 0 ? '' : `[${mark}:${texts.push(text) - 1}]`);
  const hidden = messages.map(({ role, content, name }) =>
    name === undefined ? { role, content: hide(content) } : { role, content: hide(content), name: hide(name) },
  );
  let rendered: string;
  try {
    rendered = render(hidden);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.slice(0, 200) : 'unknown reason';
    throw new InferenceError('TEMPLATE_REFUSED', `the chat template refused the messages: ${reason}`, { cause });
  }
  const parts: PromptPart[] = [];
  rendered.split(new RegExp(`\\[${mark}:(\\d+)\\]`)).forEach((piece, i) => {
    if (i % 2 === 1) parts.push({ from: 'message', text: texts[Number(piece)] ?? '' });
    else if (piece.length > 0) parts.push({ from: 'template', text: piece });
  });
  // Half a placeholder in the result means that the template cut text up: nothing says then where that text is.
  if (parts.some((part) => part.from === 'template' && part.text.includes(mark))) {
    throw new InferenceError('TEMPLATE_REFUSED', 'the chat template changes the text of messages');
  }
  return parts;
}

/** Ids of a conversation, with the model's start token where it wants one. */
export function encodePrompt(tokenizer: TextTokenizer, messages: readonly ChatMessage[]): readonly number[] {
  const ids = renderPrompt(tokenizer, messages).flatMap(({ from, text }) =>
    from === 'template' ? tokenizer.encodeTemplate(text) : tokenizer.encodeText(text),
  );
  const { addBos, bosId } = tokenizer.description;
  return addBos && bosId !== null && ids[0] !== bosId ? [bosId, ...ids] : ids;
}
