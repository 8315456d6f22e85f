/**
 * Counts words with a tool that is a WebAssembly program: `word-count.wat`, 520 bytes, where a Rust or C program would do as well.
 *
 * @module
 */

import { defineAgent, defineWasmTool, jsonSchema } from 'tracebond';
import { WORD_COUNT } from './program.ts';

/** Words between blanks. */
const countWords = defineWasmTool({
  name: 'count_words',
  description: 'Counts the words of a text.',
  inputSchema: jsonSchema<{ readonly text: string }>({
    type: 'object',
    properties: { text: { type: 'string' } },
    required: ['text'],
  }),
  outputSchema: jsonSchema<{ readonly words: number }>({ type: 'object', properties: { words: { type: 'integer' } } }),
  module: { base64: WORD_COUNT },
  limits: { fuel: 100_000_000, memoryMb: 1 },
});

export default defineAgent({
  name: 'word-count',
  model: 'smollm2-135m-instruct',
  tools: [countWords],
  limits: { fuel: 100_000_000, memoryMb: 16 },
  async run(ctx, input: { readonly texts: readonly string[] }) {
    const counted = await Promise.all(input.texts.map((text) => ctx.tool(countWords, { text })));
    return { counts: counted.map(({ words }) => words), total: counted.reduce((sum, { words }) => sum + words, 0) };
  },
});
