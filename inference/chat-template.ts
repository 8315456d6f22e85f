/**
 * Messages to prompt ids. The model's own template is rendered over placeholders in place of what people wrote; the
 * result is cut at them, and template parts and written parts are tokenised apart. Text from a message therefore never
 * meets the code that recognises control tokens, and the template never sees it either.
 *
 * @module
 */

import type { ChatMessage } from './engine.ts';
import { InferenceError, ModelError } from './errors.ts';
import type { TextTokenizer } from './tokenizer.ts';

/** A piece of a rendered prompt, and who wrote it. */
export type PromptPart = { readonly from: 'template' | 'message'; readonly text: string };

/** First of the private-use characters that write a placeholder: sixteen digits, then its start and its end. */
const DIGIT = 0xe000;
const START = String.fromCharCode(DIGIT + 16);
const END = String.fromCharCode(DIGIT + 17);
const PLACEHOLDER = /\ue010([\ue000-\ue00f]+)\ue011/;
const TRACE_OF_ONE = /[\ue000-\ue011]/;

/**
 * Renders a conversation.
 *
 * A placeholder is written in private-use characters alone, so that any piece of one that a template leaves behind is
 * seen. A template may leave a field out or repeat it; empty fields are given as they are, because templates ask for
 * that. Filters (trim, tojson, upper) do not reach the text of messages.
 *
 * @throws {@link ModelError} `MISSING_METADATA` if the file has no template
 * @throws {@link InferenceError} `TEMPLATE_REFUSED` if the template raises an error, for instance on the order of roles,
 * or cuts messages up
 */
export function renderPrompt(tokenizer: TextTokenizer, messages: readonly ChatMessage[]): readonly PromptPart[] {
  const { render } = tokenizer;
  if (render === null) {
    throw new ModelError('MISSING_METADATA', 'the file has no tokenizer.chat_template', {
      at: { key: 'tokenizer.chat_template' },
    });
  }
  const texts: string[] = [];
  const hide = (text: string) => (text.length === 0 ? '' : placeholder(texts.push(text) - 1));
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
  // Splitting by a pattern with one group gives template parts and indices in turn.
  return rendered.split(PLACEHOLDER).flatMap((piece, i): readonly PromptPart[] => {
    if (i % 2 === 0 && !TRACE_OF_ONE.test(piece)) return piece === '' ? [] : [{ from: 'template', text: piece }];
    const text = i % 2 === 0 ? undefined : texts[indexOf(piece)];
    if (text === undefined) {
      throw new InferenceError('TEMPLATE_REFUSED', 'the chat template changes the text of messages');
    }
    return [{ from: 'message', text }];
  });
}

function placeholder(index: number): string {
  const digits = [...index.toString(16)].map((digit) => String.fromCharCode(DIGIT + Number.parseInt(digit, 16)));
  return `${START}${digits.join('')}${END}`;
}

function indexOf(digits: string): number {
  return [...digits].reduce((value, digit) => 16 * value + digit.charCodeAt(0) - DIGIT, 0);
}

/** Ids of a conversation, with the model's start token where it wants one. */
export function encodePrompt(tokenizer: TextTokenizer, messages: readonly ChatMessage[]): readonly number[] {
  const ids = renderPrompt(tokenizer, messages).flatMap(({ from, text }) =>
    from === 'template' ? tokenizer.encodeTemplate(text) : tokenizer.encodeText(text),
  );
  const { addBos, bosId } = tokenizer.description;
  return addBos && bosId !== null && ids[0] !== bosId ? [bosId, ...ids] : ids;
}
