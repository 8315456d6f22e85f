import { describe, expect, it } from 'vitest';
import { readLlamaConfig } from '../../../inference/float/llama-config.ts';
import { readDecoderConfig } from '../../../inference/gguf/gguf-config.ts';
import { parseGguf } from '../../../inference/gguf/reader.ts';
import { bytesSource } from '../../../inference/gguf/source.ts';
import { type TinyOptions, tinyGguf } from '../../support/tiny-model.ts';

function read(options: TinyOptions) {
  const source = bytesSource(tinyGguf(options));
  const gguf = parseGguf(source);
  return { float: () => readLlamaConfig(gguf, source), any: readDecoderConfig(gguf, source) };
}

it.each<[string, TinyOptions]>([
  ['llama', {}],
  ['llama, tied', { tied: true }],
  ['llama with biases', { biases: true }],
  ['qwen2', { family: 'qwen2' }],
])('%s is read as any engine reads it', (_, options) => {
  const { float, any } = read(options);
  expect(float()).toEqual(any);
});

describe('refuses what the binary32 graph does not compute', () => {
  it.each<[string, TinyOptions]>([
    ['frequencies divided by one number', { scaling: 'linear' }],
    ['frequencies divided by a tensor', { scaling: 'divisors' }],
    ['norms of heads', { family: 'qwen3', headSize: 8 }],
    ['heads wider than the embedding', { headSize: 16 }],
  ])('%s', (_, options) => {
    const { float } = read(options);
    expect(float).toThrowError(expect.objectContaining({ name: 'ModelError', code: 'UNSUPPORTED_FEATURE' }));
  });
});
