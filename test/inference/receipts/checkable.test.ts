import { describe, expect, it } from 'vitest';
import { utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { signReceipt } from '../../../attest/sign/receipt.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { readCarrier } from '../../../inference/receipts/carrier.ts';
import { readCheckable } from '../../../inference/receipts/checkable.ts';
import { toReceiptDocument } from '../../../inference/receipts/receipt-document.ts';
import { EMBEDDING_FACTS, embeddingBodyOf, embeddingDocumentOf } from '../../support/embedding-facts.ts';
import { factsOf, TEST_KEY } from '../../support/receipt-facts.ts';
import { openToyEngine } from '../../support/toy-engine.ts';

const FACTS = factsOf('hi', 'Oslo.');
const OF_WORDS = toReceiptDocument(FACTS, signReceipt(FACTS, TEST_KEY)) as unknown as Json;
const OF_VECTORS = embeddingDocumentOf() as unknown as Json;
const STRANGER = sha256(TEST_KEY);
const read = (value: Json) => readCheckable(readCarrier(utf8(JSON.stringify(value))));
const chat = (document: Json): Json => ({
  object: 'chat.completion',
  choices: [{ message: { content: 'Oslo.' }, finish_reason: 'stop' }],
  tracebond: document,
});

describe('a receipt', () => {
  it('is read by its format, and says how much it is about', () => {
    expect(read(OF_WORDS)).toMatchObject({ kind: 'output', promptTokens: 2, outputTokens: 5 });
    expect(read(OF_VECTORS)).toMatchObject({ kind: 'vectors', promptTokens: 6, outputTokens: 0 });
    for (const document of [OF_WORDS, OF_VECTORS]) {
      expect(read(document).verify(addressOf(TEST_KEY))).toBe(addressOf(TEST_KEY));
      expect(read(document).compareAround()).toBeUndefined();
    }
  });

  it('of another signer is not of this one', () => {
    const foreign = read(embeddingDocumentOf({}, STRANGER) as unknown as Json);
    expect(foreign.verify()).toBe(addressOf(STRANGER));
    expect(() => foreign.verify(addressOf(TEST_KEY))).toThrow(expect.objectContaining({ code: 'SIGNER_MISMATCH' }));
  });

  it('of a format that is not known is refused as such', () => {
    for (const format of ['tracebond/embedding-receipt@2', 'tracebond/receipt@9', '']) {
      expect(() => read({ ...embeddingDocumentOf(), format } as unknown as Json)).toThrow(
        expect.objectContaining({ code: 'UNSUPPORTED_FORMAT' }),
      );
    }
    const answer = { ...embeddingBodyOf(), tracebond: { format: 'x' } };
    expect(() => read(answer)).toThrow(expect.objectContaining({ code: 'UNSUPPORTED_FORMAT' }));
  });

  it('named as of the other kind is malformed', () => {
    const malformed = expect.objectContaining({ code: 'MALFORMED_DOCUMENT' });
    const format = { words: 'tracebond/receipt@1', vectors: 'tracebond/embedding-receipt@1' };
    expect(() => read({ ...embeddingDocumentOf(), format: format.words } as unknown as Json)).toThrow(malformed);
    expect(() => read({ ...(OF_WORDS as object), format: format.vectors } as Json)).toThrow(malformed);
    for (const document of [7, [], true, {}, { format: 1 }]) {
      expect(() => read({ ...embeddingBodyOf(), tracebond: document })).toThrow(malformed);
    }
  });

  it('of words is not that of embeddings, nor the other way round', () => {
    const differs = (claimed: string) => ({ outcome: { verdict: 'DIVERGED', field: 'object', claimed }, locate: null });
    expect(read(chat(OF_WORDS)).compareAround()).toBeUndefined();
    expect(read(chat(OF_VECTORS)).compareAround()).toMatchObject(differs('chat completion'));
    expect(read({ ...embeddingBodyOf(), tracebond: OF_WORDS }).compareAround()).toMatchObject(differs('embeddings'));
  });

  it('of false embeddings names the vector where the answer has them, and else that there is one', async () => {
    const { ids, vectors } = EMBEDDING_FACTS;
    const engine = { ...openToyEngine(), embed: async () => ({ ids, vectors }) };
    const signed = { vectors: vectors.map((vector, i) => (i === 1 ? [0.5, -0.5] : vector)) };
    const around = read(embeddingBodyOf(signed));
    // What was answered is what was signed.
    expect(around.compareAround()).toBeUndefined();
    expect(await around.recompute(engine)).toMatchObject({ verdict: 'DIVERGED', field: 'data.1.embedding.0' });
    const alone = read(embeddingDocumentOf(signed) as unknown as Json);
    expect(await alone.recompute(engine)).toMatchObject({ verdict: 'DIVERGED', field: 'receipt.vectors' });
    expect(await read(embeddingBodyOf()).recompute(engine)).toEqual({ verdict: 'MATCH' });
  });

  it('of other embeddings does not do for these', () => {
    const vectors = [[0, 1], [1, 0], [1]];
    const others = embeddingDocumentOf({ vectors }) as unknown as Json;
    expect(read({ ...embeddingBodyOf(), tracebond: others }).compareAround()).toMatchObject({
      outcome: { field: 'data' },
    });
  });
});
