import { describe, expect, it } from 'vitest';
import { utf8 } from '../../../attest/core/bytes.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { type Carried, readCarrier } from '../../../inference/receipts/carrier.ts';
import { readCheckable } from '../../../inference/receipts/checkable.ts';
import { compareEmbeddingAnswer, readEmbeddingAnswer } from '../../../inference/receipts/embedding-answer.ts';
import { EMBEDDING_FACTS, embeddingBodyOf, embeddingDocumentOf } from '../../support/embedding-facts.ts';
import { TOY_IDENTITY } from '../../support/toy-engine.ts';

type Fields = { readonly [field: string]: Json };

const BODY = embeddingBodyOf();
const DATA = BODY['data'] as readonly Fields[];
const BASE64 = (embeddingBodyOf({}, 'base64')['data'] as readonly Fields[]).map((item) => String(item['embedding']));
const carried = (value: Json): Carried => readCarrier(utf8(JSON.stringify(value)));
const judge = (value: Json) => readCheckable(carried(value)).compareAround();
/** The answer with something else in place of one vector's item. */
const withItem = (at: number, change: Fields): Fields => ({
  ...BODY,
  data: DATA.map((item, i) => (i === at ? { ...item, ...change } : item)),
});
const base64Of = (...values: readonly number[]) => Buffer.from(new Float32Array(values).buffer).toString('base64');

describe('finds the receipt of embeddings', () => {
  it('alone', () => {
    const { document, answer } = carried(embeddingDocumentOf() as unknown as Json);
    expect(answer).toBeNull();
    expect(document).toEqual(JSON.parse(JSON.stringify(embeddingDocumentOf())));
  });

  it.each(['float', 'base64'] as const)('in an answer with vectors as %s', (encoding) => {
    const body = embeddingBodyOf({}, encoding);
    expect(carried(body).answer).toEqual({
      surface: 'embeddings',
      isStream: false,
      vectors: EMBEDDING_FACTS.vectors,
      indexes: [0, 1, 2],
      model: TOY_IDENTITY.id,
      promptTokens: 6,
      totalTokens: 6,
    });
    expect(judge(body)).toBeUndefined();
  });

  it('in an answer without usage and model, as some clients keep it', () => {
    const { usage: _usage, model: _model, ...rest } = BODY;
    expect(judge(rest)).toBeUndefined();
  });

  it('and no receipt in another list', () => {
    expect(() => carried({ object: 'list', data: [] })).toThrow(expect.objectContaining({ code: 'NO_RECEIPT' }));
  });
});

describe('finds what the receipt of embeddings does not say', () => {
  it.each<readonly [string, Json, string]>([
    ['a vector left out', { ...BODY, data: DATA.slice(0, 2) }, 'data'],
    ['a vector more', { ...BODY, data: [...DATA, DATA[0] ?? {}] }, 'data'],
    ['no vectors', { ...BODY, data: [] }, 'data'],
    ['vectors in another order', { ...BODY, data: [DATA[1] ?? {}, DATA[0] ?? {}, DATA[2] ?? {}] }, 'data.0.index'],
    ['the number of another vector', withItem(2, { index: 1 }), 'data.2.index'],
    ['the digest of another model', { ...BODY, model: `0x${'a'.repeat(64)}` }, 'model'],
    ['the digest of another model in capitals', { ...BODY, model: `0X${'A'.repeat(64)}` }, 'model'],
    ['more tokens', { ...BODY, usage: { prompt_tokens: 7, total_tokens: 6 } }, 'usage.prompt_tokens'],
    ['more tokens in all', { ...BODY, usage: { prompt_tokens: 6, total_tokens: 7 } }, 'usage.total_tokens'],
  ])('%s', (_, body, field) => {
    expect(judge(body)).toMatchObject({ outcome: { verdict: 'DIVERGED', field }, locate: null });
  });

  it.each<readonly [string, Json]>([
    ['an element that was changed', withItem(1, { embedding: [0, 0.5] })],
    ['the sign of a zero', withItem(1, { embedding: base64Of(-0, -0.5) })],
    ['an element less', withItem(1, { embedding: [0] })],
    ['an element more', withItem(1, { embedding: [0, -0.5, 0] })],
    ['no elements', withItem(1, { embedding: [] })],
    ['an element that was changed in base64', withItem(1, { embedding: base64Of(0, 0.5) })],
    ['vectors exchanged under their numbers', withItem(0, { embedding: DATA[1]?.['embedding'] ?? null })],
  ])('%s', (_, body) => {
    const found = judge(body);
    const { vectors } = embeddingDocumentOf().receipt;
    expect(found).toMatchObject({ outcome: { verdict: 'DIVERGED', field: 'data', recomputed: vectors } });
    expect(found?.locate).toBeTypeOf('function');
  });

  it('takes the digest of the model for its name, in any case of letters', () => {
    const { model } = EMBEDDING_FACTS.request;
    for (const name of [model, model.toUpperCase(), 'any name'])
      expect(judge({ ...BODY, model: name })).toBeUndefined();
    const other = { ...EMBEDDING_FACTS.request, model: `0x${'a'.repeat(64)}` as const };
    const document = embeddingDocumentOf({ request: other });
    expect(compareEmbeddingAnswer(readEmbeddingAnswer({ ...BODY, model }), document)).toMatchObject({ field: 'model' });
  });
});

describe('refuses as an answer', () => {
  it.each<readonly [string, Json, string]>([
    ['no data', { ...BODY, data: null }, 'data'],
    ['an item that is none', { ...BODY, data: [DATA[0] ?? {}, 7] }, 'data.1'],
    ['an item of another kind', withItem(1, { object: 'model' }), 'data.1.object'],
    ['an item without its number', withItem(1, { index: -1 }), 'data.1.index'],
    ['an item without a vector', withItem(1, { embedding: null }), 'data.1.embedding'],
    ['a number beyond binary32', withItem(1, { embedding: [0, 1e39] }), 'data.1.embedding.1'],
    ['a number between two of binary32', withItem(2, { embedding: [0.6, 0.8] }), 'data.2.embedding.0'],
    ['an element that is no number', withItem(1, { embedding: ['0', '1'] }), 'data.1.embedding.0'],
    ['base64 that is none', withItem(1, { embedding: '!' }), 'data.1.embedding'],
    ['base64 in two ways', withItem(1, { embedding: ` ${BASE64[1]}` }), 'data.1.embedding'],
    ['base64 of half an element', withItem(1, { embedding: 'AAAA' }), 'data.1.embedding'],
    ['base64 of no number', withItem(1, { embedding: base64Of(0, Number.NaN) }), 'data.1.embedding.1'],
    [
      'a number of tokens that is none',
      { ...BODY, usage: { prompt_tokens: -1, total_tokens: 6 } },
      'usage.prompt_tokens',
    ],
  ])('%s', (_, body, field) => {
    expect(() => carried(body)).toThrow(
      expect.objectContaining({ code: 'MALFORMED_ANSWER', at: expect.objectContaining({ field }) }),
    );
  });

  it('millions of items that are none, without a fault for each', () => {
    const many = utf8(`{"object":"list","tracebond":{},"data":[${'0,'.repeat(2_000_000)}0]}`);
    expect(() => readCarrier(many)).toThrow(expect.objectContaining({ code: 'MALFORMED_ANSWER' }));
    const one = `{"object":"embedding","index":0,"embedding":[${'"",'.repeat(2_000_000)}""]}`;
    expect(() => readCarrier(utf8(`{"object":"list","tracebond":{},"data":[${one}]}`))).toThrow(
      expect.objectContaining({ code: 'MALFORMED_ANSWER', at: { field: 'data.0.embedding.0' } }),
    );
  });
});
