import Fastify from 'fastify';
import { describe, expect, it } from 'vitest';
import { signReceipt } from '../../../attest/sign/receipt.ts';
import { toErrorReply } from '../../../inference/api-errors.ts';
import { parseReceiptDocument, toReceiptDocument } from '../../../inference/receipts/receipt-document.ts';
import { openReceiptStore } from '../../../inference/receipts/store.ts';
import { addReceipts } from '../../../inference/routes/receipts.ts';
import { factsOf, TEST_KEY } from '../../support/receipt-facts.ts';
import { temporaryFolder } from '../../support/temporary.ts';

const FACTS = factsOf('hi', 'hello');
const GOOD = toReceiptDocument(FACTS, signReceipt(FACTS, TEST_KEY));

async function open(owner: string | null) {
  const receipts = await openReceiptStore({ folder: temporaryFolder(), parse: parseReceiptDocument });
  await receipts.put(GOOD, owner === null ? null : { id: owner });
  const app = Fastify();
  app.setErrorHandler((error, _request, reply) => {
    const { status, body } = toErrorReply(error);
    return reply.code(status).send(body);
  });
  const key = (header: unknown) => (typeof header === 'string' ? { id: header } : null);
  addReceipts(app, { receipts, callerOf: (request) => key(request.headers['x-key']) });
  return async (id: string, headers: Record<string, string> = {}) => {
    const reply = await app.inject({ url: `/v1/receipts/${id}`, headers });
    return [reply.statusCode, reply.json()] as const;
  };
}

describe('GET /v1/receipts/{id}', () => {
  it('gives the document that the answer had', async () => {
    const get = await open(null);
    expect(await get(GOOD.id)).toEqual([200, JSON.parse(JSON.stringify(GOOD))]);
  });

  it("gives a key its own receipts, and tells another's from none by nothing", async () => {
    const get = await open('a');
    expect((await get(GOOD.id, { 'x-key': 'a' }))[0]).toBe(200);
    const [status, body] = await get(GOOD.id, { 'x-key': 'b' });
    const unknown = `rcpt_${'0'.repeat(24)}`;
    const [sameStatus, same] = await get(unknown, { 'x-key': 'b' });
    expect([status, sameStatus]).toEqual([404, 404]);
    expect(JSON.stringify(body).replace(GOOD.id, unknown)).toBe(JSON.stringify(same));
  });

  it.each(['x', '..%2f..%2fetc%2fpasswd', '%00', 'rcpt_', `rcpt_${'0'.repeat(24)}.json`])('knows no %s', async (id) => {
    const [status, body] = await (await open(null))(id);
    expect(status).toBe(404);
    expect(body).toMatchObject({ error: { code: 'receipt_not_found', param: 'id', type: 'invalid_request_error' } });
  });
});
