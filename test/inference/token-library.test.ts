/**
 * One library by itself and the same library inside transformers.js give equal ids, texts and prompts: the profiles that use
 * one and the other name different packages, and differ in nothing else.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type JsonObject, parseJson } from '../../attest/encoding/canonical-json.ts';
import { encodePrompt } from '../../inference/chat-template.ts';
import type { ChatMessage } from '../../inference/engine.ts';
import { openTransformersLibrary } from '../../inference/float/transformers-library.ts';
import { parseGguf } from '../../inference/gguf/reader.ts';
import { bytesSource, openFileSource } from '../../inference/gguf/source.ts';
import { openHuggingFaceLibrary } from '../../inference/huggingface-library.ts';
import { readHfTokenizer } from '../../inference/safetensors/hf-tokenizer.ts';
import { openTokenizer } from '../../inference/tokenizer.ts';
import { readTokenizer, type TokenizerDescription } from '../../inference/tokenizer-json.ts';
import { type Field, writeGguf } from '../support/gguf-writer.ts';
import { seededRandom } from '../support/random.ts';
import { describeSmolLM2 } from '../support/smollm2.ts';
import { readStories } from '../support/stories.ts';
import { tinyModel } from '../support/tiny-model.ts';
import { describeVectors, vectorsDir } from '../support/vectors.ts';

const CONVERSATIONS: readonly (readonly ChatMessage[])[] = [
  [{ role: 'user', content: 'Hi' }],
  [{ role: 'user', content: '' }],
  [
    { role: 'system', content: 'Answer yes or no. <|im_end|>' },
    { role: 'user', content: '  Is 128.50 above the limit?\n' },
    { role: 'assistant', content: 'no' },
    { role: 'tool', content: '{"limit": 200}', name: 'policy' },
    { role: 'user', content: 'Grüße 世界 👩‍👩‍👧 {{ messages[0].content }}' },
  ],
];

/** Templates that ask for all that a library gives them, and some that raise. */
const TEMPLATES = [
  '',
  '{{ bos_token }}{{ messages[0].content }}{{ eos_token }}',
  '{% for m in messages %}{{ m.role | upper }}: {{ m.content | trim }}\n{% endfor %}{% if add_generation_prompt %}A:{% endif %}',
  '{{ tools is none }}|{{ documents is none }}|{{ tools is defined }}|{{ unk_token is defined }}|{{ pad_token is defined }}',
  '{{ messages | tojson }}{{ messages | length }}',
  "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}{{ '%s' }}",
  "{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0].content }}",
  '{% for %}',
  '{{ missing.field }}',
  '{{ strftime_now("%Y") | length }}',
];

/** Texts over many scripts, with white space, emoji, control characters and single surrogates. */
function randomTexts(count: number): string[] {
  const random = seededRandom(77);
  return Array.from({ length: count }, () =>
    Array.from({ length: 1 + random.below(30) }, () => {
      if (random.chance(6))
        return random.pick(['\r\n', '\u00a0', '\u2028', '🙂', '👩‍👩‍👧', '\ud800', '<s>', '<0x41>', '▁']);
      const limit = random.pick([0x80, 0x80, 0x250, 0x3000, 0xd800, 0x20000]);
      return (random.chance(12) ? ' ' : '') + String.fromCodePoint(random.below(limit));
    }).join(''),
  );
}

function corpus(): string[] {
  const folder = vectorsDir();
  const naughty = folder === undefined ? [] : JSON.parse(readFileSync(join(folder, 'blns/blns.json'), 'utf8'));
  const files = ['ledger.csv', 'policy.txt', 'agent.ts'].map((file) =>
    readFileSync(new URL(`../../agents/examples/expense-auditor/${file}`, import.meta.url), 'utf8'),
  );
  return [...files, ...naughty, ...randomTexts(400)].filter((text) => text.length > 0);
}

/** What a call gives or raises. */
function outcome<T>(call: () => T): { readonly value: T } | { readonly fault: string } {
  try {
    return { value: call() };
  } catch (fault) {
    return { fault: String(fault) };
  }
}

/** Compares both over one tokenizer: the bare libraries, and the tokenizers on top of them. */
function compare(description: TokenizerDescription): void {
  const alone = openHuggingFaceLibrary(description);
  const inside = openTransformersLibrary(description);
  const ours = openTokenizer(description);
  const theirs = openTokenizer(description, openTransformersLibrary);
  expect(ours.description).toEqual(theirs.description);
  const texts = corpus();
  for (const text of texts) {
    const ids = alone.encode(text);
    const at = JSON.stringify(text);
    expect(ids, at).toEqual(inside.encode(text));
    if (ids.length > 0) expect(alone.decode(ids), at).toBe(inside.decode(ids));
    expect(ours.encodeTemplate(text), at).toEqual(theirs.encodeTemplate(text));
    const written = outcome(() => ours.encodeText(text));
    expect(written, at).toEqual(outcome(() => theirs.encodeText(text)));
    if ('value' in written) expect(ours.decode(written.value), at).toBe(theirs.decode(written.value));
  }
  const random = seededRandom(78);
  for (let i = 0; i < 300; i++) {
    const ids = Array.from({ length: 1 + random.below(12) }, () => random.below(description.tokens.length));
    expect(alone.decode(ids), String(ids)).toBe(inside.decode(ids));
    expect(ours.decode(ids), String(ids)).toBe(theirs.decode(ids));
  }
  expect(texts.length).toBeGreaterThan(400);
}

function compareTemplates(description: TokenizerDescription, templates: readonly (string | null)[]): number {
  let rendered = 0;
  for (const chatTemplate of templates) {
    const alone = openHuggingFaceLibrary({ ...description, chatTemplate });
    const inside = openTransformersLibrary({ ...description, chatTemplate });
    expect(alone.render === null).toBe(inside.render === null);
    const ours = openTokenizer({ ...description, chatTemplate });
    const theirs = openTokenizer({ ...description, chatTemplate }, openTransformersLibrary);
    for (const messages of CONVERSATIONS) {
      const text = outcome(() => alone.render?.(messages));
      expect(text, `${chatTemplate}`).toEqual(outcome(() => inside.render?.(messages)));
      expect(outcome(() => encodePrompt(ours, messages))).toEqual(outcome(() => encodePrompt(theirs, messages)));
      if ('value' in text) rendered++;
    }
  }
  return rendered;
}

const fromFields = (fields: ReadonlyMap<string, Field>) =>
  readTokenizer(parseGguf(bytesSource(writeGguf(fields, new Map()))));

describeSmolLM2('both libraries over SmolLM2', (path) => {
  const source = openFileSource(path);
  const description = readTokenizer(parseGguf(source));
  source.close();

  it('make equal ids and texts', () => compare(description));

  it("render the model's own template alike", () => {
    expect(description.chatTemplate).toContain('im_start');
    expect(compareTemplates(description, [description.chatTemplate])).toBe(CONVERSATIONS.length);
  });
});

describe('both libraries over small models', () => {
  const bytes = fromFields(tinyModel().fields);

  it('make equal ids and texts from bytes', () => compare(bytes));

  const vectors = parseJson(
    readFileSync(new URL('../vectors/hf-tokenizers/cases.json', import.meta.url)),
  ) as unknown as { readonly kinds: Readonly<Record<string, { readonly tokenizer: JsonObject }>> };
  it.each([
    ['llama3', '<|eot_id|>'],
    ['qwen2', '<|im_end|>'],
    ['smollm', '<|endoftext|>'],
    ['llama2', '</s>'],
    ['llama2-metaspace', '</s>'],
  ])('make equal ids and texts with a tokenizer like that of %s', (name, end) => {
    const tokenizer = vectors.kinds[name]?.tokenizer as JsonObject;
    const { vocab } = tokenizer['model'] as unknown as { readonly vocab: Readonly<Record<string, number>> };
    const added = tokenizer['added_tokens'] as unknown as readonly { readonly id: number }[];
    const size = 1 + Math.max(...Object.values(vocab), ...added.map(({ id }) => id));
    const settings = { config: {}, generationConfig: null, chatTemplate: null };
    compare(readHfTokenizer({ tokenizer, tokenizerConfig: { eos_token: end }, ...settings }, size));
  });

  it('render templates alike, and raise alike', () => {
    // Three of the templates raise on at least one conversation.
    const rendered = compareTemplates(bytes, [...TEMPLATES, null]);
    expect(rendered).toBeGreaterThan(20);
    expect(rendered).toBeLessThan((TEMPLATES.length + 1) * CONVERSATIONS.length);
    compareTemplates({ ...bytes, bosId: null }, TEMPLATES);
  });

  it('refuse the same descriptions', () => {
    for (const part of ['model', 'decoder', 'pre_tokenizer', 'normalizer'] as const) {
      const faulty = { ...bytes, json: { ...bytes.json, [part]: { type: 'NoSuchPart' } } };
      const alone = outcome(() => openHuggingFaceLibrary(faulty));
      expect(alone).toEqual(outcome(() => openTransformersLibrary(faulty)));
      expect(alone).toHaveProperty('fault');
    }
  });
});

describeVectors('model-stories260k', (folder) => {
  it('both libraries make equal ids and texts from SentencePiece', () => {
    const { fields } = readStories(
      readFileSync(join(folder, 'stories260K.bin')),
      readFileSync(join(folder, 'tok512.bin')),
    );
    compare(fromFields(fields));
  });
});
