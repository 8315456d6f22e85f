import Fastify from 'fastify';
import { afterEach, describe, expect, it } from 'vitest';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { toErrorReply } from '../../../inference/api-errors.ts';
import { createEmbedding } from '../../../inference/embed.ts';
import {
  type EmbeddingDocument,
  parseEmbeddingDocument,
  verifyEmbeddingDocument,
  verifyVectors,
} from '../../../inference/receipts/embedding-document.ts';
import { addEmbeddings } from '../../../inference/routes/embeddings.ts';
import { openScheduler } from '../../../inference/scheduler.ts';
import { TEST_KEY } from '../../support/receipt-facts.ts';
import { openToyEngine, TOY_IDENTITY } from '../../support/toy-engine.ts';

const kept: EmbeddingDocument[] = [];
const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
  kept.length = 0;
});

function serve() {
  const scheduler = openScheduler();
  const engine = openToyEngine();
  const embed = createEmbedding({
    models: {
      find: (id) => (id === TOY_IDENTITY.id ? { id } : undefined),
      acquire: async () => ({ engine, identity: TOY_IDENTITY, release() {} }),
    },
    schedulerOf: () => scheduler,
    privateKey: TEST_KEY,
    domain: null,
    receipts: { put: async (document) => void kept.push(document) },
  });
  const app = Fastify();
  app.setErrorHandler((error, _, reply) => {
    const { status, body } = toErrorReply(error);
    return reply.code(status).send(body);
  });
  addEmbeddings(app, { embed, callerOf: () => null });
  open.push(app, scheduler);
  return (payload: object) => app.inject({ method: 'POST', url: '/v1/embeddings', payload });
}

const ask = { model: TOY_IDENTITY.id, input: ['one', 'two'] };

describe('POST /v1/embeddings', () => {
  it('gives vectors in order, and a receipt that is kept', async () => {
    const { statusCode, body } = await serve()(ask);
    expect(statusCode).toBe(200);
    const { data, usage, object, model, tracebond } = JSON.parse(body);
    expect({ object, model, usage }).toEqual({
      object: 'list',
      model: TOY_IDENTITY.id,
      usage: { prompt_tokens: 6, total_tokens: 6 },
    });
    expect(data).toEqual([
      { object: 'embedding', index: 0, embedding: [1, 0] },
      { object: 'embedding', index: 1, embedding: [1, 0] },
    ]);
    const document = parseEmbeddingDocument(tracebond);
    expect(verifyEmbeddingDocument(document)).toBe(addressOf(TEST_KEY));
    verifyVectors(document, [
      [1, 0],
      [1, 0],
    ]);
    expect(kept).toEqual([document]);
  });

  it('writes base64 of little-endian binary32', async () => {
    const { body } = await serve()({ ...ask, input: 'one', encoding_format: 'base64' });
    const bytes = Buffer.from(JSON.parse(body).data[0].embedding, 'base64');
    expect([bytes.length, bytes.readFloatLE(0), bytes.readFloatLE(4)]).toEqual([8, 1, 0]);
  });

  it.each([
    [{ input: ['a'] }, 400, 'model', 'missing_required_parameter'],
    [{ model: TOY_IDENTITY.id }, 400, 'input', 'missing_required_parameter'],
    [{ ...ask, input: '' }, 400, 'input', 'invalid_value'],
    [{ ...ask, input: [] }, 400, 'input', 'invalid_value'],
    [{ ...ask, input: Array(2049).fill('a') }, 400, 'input', 'unsupported_value'],
    [{ ...ask, input: ['a', ''] }, 400, 'input[1]', 'invalid_value'],
    [{ ...ask, input: [1, 2] }, 400, 'input[0]', 'unsupported_value'],
    [{ ...ask, dimensions: 2 }, 400, 'dimensions', 'unsupported_parameter'],
    [{ ...ask, encoding_format: 'int8' }, 400, 'encoding_format', 'invalid_value'],
    [{ ...ask, more: 1 }, 400, 'more', 'unknown_parameter'],
    [{ ...ask, model: 'other' }, 404, 'model', 'model_not_found'],
  ])('refuses %j with %d, its parameter and why', async (payload, status, param, code) => {
    const answer = await serve()(payload);
    expect(answer.statusCode).toBe(status);
    expect(JSON.parse(answer.body).error).toMatchObject({ param, code });
    expect(kept).toEqual([]);
  });
});
