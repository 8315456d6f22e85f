import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { decodeFree } from '../../../inference/decode.ts';
import { buildLlamaGraph, rotaryTable } from '../../../inference/float/llama-graph.ts';
import type { Sequence } from '../../../inference/sequences.ts';
import { openTokenizer } from '../../../inference/tokenizer.ts';
import { readTokenizer } from '../../../inference/tokenizer-json.ts';
import { writeGguf } from '../../support/gguf-writer.ts';
import { graphSource, openGraph } from '../../support/open-graph.ts';
import { asHalves, readStories, type Stories } from '../../support/stories.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { tinyModel } from '../../support/tiny-model.ts';
import { describeVectors } from '../../support/vectors.ts';

const write = ({ fields, tensors }: Stories) => writeGguf(fields, tensors);

describeVectors('model-stories260k', (folder) => {
  const stories = readStories(readFileSync(join(folder, 'stories260K.bin')), readFileSync(join(folder, 'tok512.bin')));
  const golden = readFileSync(join(folder, 'golden-greedy-256.txt'), 'utf8');

  it.each<[string, Stories]>([
    ['neighbours (llama)', stories],
    ['halves (qwen2)', asHalves(stories)],
  ])('the published greedy text comes out byte for byte: rotary pairs as %s', async (_, model) => {
    const graph = await openGraph(write(model), temporaryFolder());
    const tokenizer = openTokenizer(readTokenizer(graph.gguf));
    const { ids, finishReason } = await decodeFree(graph.start(), [1], { maxTokens: 256, endIds: [1, 2] });
    expect(tokenizer.decode(ids)).toBe(golden);
    expect([ids.length, finishReason]).toEqual([256, 'length']);
    expect(tokenizer.encodeText(golden)).toEqual(ids);
    await graph.close();
  });

  it('one pass, parts, and one id at a time give nearly the same logits, and each way the same bits twice', async () => {
    const graph = await openGraph(write(stories), temporaryFolder());
    const ids = [1, ...openTokenizer(readTokenizer(graph.gguf)).encodeText(golden)]; // 257: one more than goes at once
    const once = await graph.start().feed(ids);
    expect(await graph.start().feed(ids)).toEqual(once);
    const ways = [1, 7, 100].map((step) => feedBy(graph.start(), ids, step));
    for (const logits of await Promise.all(ways)) expect(distance(logits, once)).toBeLessThan(1e-4);
    // The distance must be able to fail: a prompt without its first word is elsewhere.
    expect(distance(await graph.start().feed(ids.slice(5)), once)).toBeGreaterThan(1e-2);
    await graph.close();
  });

  it('an untied output matrix equal to the embedding changes nothing', async () => {
    const embedding = stories.tensors.get('token_embd.weight');
    if (embedding === undefined) throw new TypeError('no embedding');
    const untied = { fields: stories.fields, tensors: new Map([...stories.tensors, ['output.weight', embedding]]) };
    const folder = temporaryFolder();
    const [a, b] = [await openGraph(write(stories), folder), await openGraph(write(untied), folder)];
    expect([a.config.tiedOutput, b.config.tiedOutput]).toEqual([true, false]);
    expect(await b.start().feed([1, 403, 407])).toEqual(await a.start().feed([1, 403, 407]));
  });
});

describe('a model with every tensor type', () => {
  const { fields, tensors } = tinyModel();
  const bytes = writeGguf(fields, tensors);

  it('later ids do not reach earlier logits, and a longer cache changes none', async () => {
    const graph = await openGraph(bytes, temporaryFolder());
    const one = graph.start();
    const first = await one.feed([5, 6, 7]);
    await one.feed(Array.from({ length: 60 }, (_, i) => i + 3));
    expect(await graph.start().feed([5, 6, 7])).toEqual(first);
    expect(first.every(Number.isFinite)).toBe(true);
    expect(first.length).toBe(262);
    await graph.close();
  });

  it('has one graph for one configuration', () => {
    const { config, graph } = graphSource(bytes);
    expect(buildLlamaGraph(config)).toEqual(graph);
    expect(buildLlamaGraph({ ...config, normEpsilon: 1e-6 }).model).not.toEqual(graph.model);
    expect(Buffer.from(graph.model).includes('com.microsoft')).toBe(false);
  });

  it('has rotary tables of unit length that start at the angle zero', () => {
    const { config } = graphSource(bytes);
    const [cos, sin] = [rotaryTable(config, 'cos'), rotaryTable(config, 'sin')];
    expect([...cos.subarray(0, 4), ...sin.subarray(0, 4)]).toEqual([1, 1, 1, 1, 0, 0, 0, 0]);
    expect(cos[4]).toBe(Math.fround(Math.cos(1)));
    expect(cos[5]).toBe(Math.fround(Math.cos(10_000 ** -0.25)));
    cos.forEach((value, i) => {
      expect(value ** 2 + (sin[i] ?? 0) ** 2).toBeCloseTo(1, 6);
    });
  });
});

async function feedBy(sequence: Sequence, ids: readonly number[], step: number): Promise<Float32Array> {
  let logits = new Float32Array(0);
  for (let at = 0; at < ids.length; at += step)
    logits = Float32Array.from(await sequence.feed(ids.slice(at, at + step)));
  return logits;
}

function distance(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] ?? Number.NaN))), 0);
}
