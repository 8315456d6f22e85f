import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Fastify from 'fastify';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { main } from '../../../agents/cli/main.ts';
import type { ReceiptReport } from '../../../agents/cli/receipt-report.ts';
import { runVerifyReceipt } from '../../../agents/cli/verify-receipt.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import { type EmbeddingFacts, signEmbeddingReceipt } from '../../../attest/sign/embedding-receipt.ts';
import { NO_CONTRACT } from '../../../attest/sign/receipt.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { createEmbedding } from '../../../inference/embed.ts';
import type { CheckingEngine } from '../../../inference/engine.ts';
import { openEngine } from '../../../inference/model.ts';
import {
  type EmbeddingDocument,
  parseEmbeddingDocument,
  toEmbeddingDocument,
} from '../../../inference/receipts/embedding-document.ts';
import { openReceiptStore } from '../../../inference/receipts/store.ts';
import { addEmbeddings } from '../../../inference/routes/embeddings.ts';
import { addReceipts } from '../../../inference/routes/receipts.ts';
import { openScheduler } from '../../../inference/scheduler.ts';
import { TEST_KEY } from '../../support/receipt-facts.ts';
import { tinyGguf } from '../../support/tiny-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'tracebond-embeddings-'));
const model = join(folder, 'tiny.gguf');
const otherModel = join(folder, 'other.gguf');
const environment = { env: {}, home: folder, tracebondHome: join(folder, 'home'), cache: join(folder, 'cache') };
const file = join(folder, 'embeddings.json');
const SIGNER = addressOf(TEST_KEY);
const INPUT = ['the cat', 'a dog and the cat', 'the'];

type Item = { readonly object: string; readonly index: number; readonly embedding: readonly number[] };
type Body = { readonly data: readonly Item[]; readonly tracebond: EmbeddingDocument; readonly usage: object };

let engine: CheckingEngine;
/** What the server answered, and gave again by its id. */
let float: Body;
let base64: object;
let alone: EmbeddingDocument;

beforeAll(async () => {
  writeFileSync(model, tinyGguf({}));
  writeFileSync(otherModel, tinyGguf({ seed: 7 }));
  engine = await openEngine({ path: model, id: 'tiny', cacheDir: environment.cache });
  const { identity } = engine;
  const receipts = await openReceiptStore({ folder: join(folder, 'receipts'), parse: parseEmbeddingDocument });
  const scheduler = openScheduler();
  const app = Fastify();
  const embed = createEmbedding({
    models: { find: () => ({ id: 'tiny' }), acquire: async () => ({ engine, identity, release() {} }) },
    schedulerOf: () => scheduler,
    privateKey: TEST_KEY,
    domain: null,
    receipts,
  });
  addEmbeddings(app, { embed, callerOf: () => null });
  addReceipts(app, { receipts, callerOf: () => null });
  const ask = async (encoding_format: string) => {
    const payload = { model: 'tiny', input: INPUT, encoding_format };
    return (await app.inject({ method: 'POST', url: '/v1/embeddings', payload })).json();
  };
  float = await ask('float');
  base64 = await ask('base64');
  alone = (await app.inject({ url: `/v1/receipts/${float.tracebond.id}` })).json();
  await app.close();
  scheduler.close();
  await receipts.close();
});
afterEach(() => vi.restoreAllMocks());
afterAll(async () => {
  await engine.close();
  rmSync(folder, { recursive: true, force: true });
});

type Options = Parameters<typeof runVerifyReceipt>[1];
const run = (content: object | string, options: Partial<Options> = {}): Promise<ReceiptReport> => {
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  // The engine that proves itself in the least time; the first test is of all.
  const defaults: Options = { model, profile: 'exact', engine: 'wasm', threads: '1' };
  return runVerifyReceipt(file, { ...defaults, ...options }, environment, () => {});
};
const vectors = () => float.data.map(({ embedding }) => embedding);
/** The answer with one element of one vector turned around. */
const turned = (at: number, k: number): readonly Item[] =>
  float.data.map((item, i) =>
    i === at ? { ...item, embedding: item.embedding.map((value, j) => (j === k ? -value : value)) } : item,
  );
/** Signed again for other facts: what a server that lies would do. */
function forge(change: Partial<EmbeddingFacts>, key: Uint8Array = TEST_KEY): EmbeddingDocument {
  const { request, ids } = float.tracebond;
  const facts = { chainId: 0n, contract: NO_CONTRACT, request, ids, vectors: vectors(), ...change };
  return toEmbeddingDocument(facts, signEmbeddingReceipt(facts, key));
}

describe('tracebond verify-receipt, of embeddings', () => {
  it('matches what the model computes: an answer in floats and in base64, and the document that the server kept', async () => {
    const tokens = float.tracebond.ids.flat().length;
    const whole = { verdict: 'MATCH', signer: SIGNER, model: engine.identity.model, isStream: false };
    const counts = { promptTokens: tokens, outputTokens: 0, id: float.tracebond.id };
    for (const body of [float, base64]) {
      expect(await run(body, { engine: 'auto' })).toMatchObject({
        ...whole,
        ...counts,
        answer: 'embeddings',
        checked: ['document', 'signature', 'answer', 'vectors'],
      });
    }
    for (const options of [{ engine: 'reference' }, { engine: 'wasm', threads: '2' }, { signer: SIGNER }] as const) {
      expect(await run(alone, options)).toMatchObject({
        ...whole,
        ...counts,
        answer: null,
        isPinned: 'signer' in options,
        checked: ['document', 'signature', 'vectors'],
      });
    }
  });

  it('is INVALID where it was changed after it was signed, signed by another, or cut off', async () => {
    const { tracebond } = float;
    const invalid = { verdict: 'INVALID', checked: [] };
    const { request, ids } = tracebond;
    const text = { ...tracebond, request: { ...request, input: ['the cow', ...INPUT.slice(1)] } };
    expect(await run(text)).toMatchObject({ ...invalid, code: 'REQUEST_MISMATCH', field: 'receipt.request' });
    const other = { ...tracebond, ids: [[7], ...ids.slice(1)] };
    expect(await run({ ...float, tracebond: other })).toMatchObject({ ...invalid, code: 'PROMPT_IDS_MISMATCH' });
    const stranger = forge({}, sha256(TEST_KEY));
    expect(await run({ ...float, tracebond: stranger }, { signer: SIGNER })).toMatchObject({
      ...invalid,
      code: 'SIGNER_MISMATCH',
      isPinned: false,
    });
    // Vectors that are held against nothing would be anybody's: a digest that is changed is signed by nobody known.
    const digest = { ...tracebond, receipt: { ...tracebond.receipt, vectors: `0x${'a'.repeat(64)}` } };
    expect(await run(digest, { signer: SIGNER })).toMatchObject({ ...invalid, code: 'SIGNER_MISMATCH' });
    expect(await run(JSON.stringify(float).slice(0, -40))).toMatchObject({ ...invalid, code: 'MALFORMED_JSON' });
    expect(await run({ ...float, tracebond: undefined })).toMatchObject({ ...invalid, code: 'NO_RECEIPT' });
    const format = 'tracebond/embedding-receipt@9';
    expect(await run({ ...alone, format })).toMatchObject({ ...invalid, code: 'UNSUPPORTED_FORMAT', id: null });
    expect(await run({ ...alone, note: 1 })).toMatchObject({ ...invalid, code: 'MALFORMED_DOCUMENT', field: 'note' });
    const half = float.data.map((item) => ({ ...item, embedding: 'AAAA' }));
    expect(await run({ ...float, data: half })).toMatchObject({ ...invalid, code: 'MALFORMED_ANSWER' });
  });

  it('is INVALID where the answer around it says something else, and the model says where', async () => {
    const invalid = { verdict: 'INVALID', code: 'ANSWER_MISMATCH', checked: ['document', 'signature'] };
    const value = float.data[1]?.embedding[3] ?? Number.NaN;
    expect(await run({ ...float, data: turned(1, 3) })).toMatchObject({
      ...invalid,
      field: 'data.1.embedding.3',
      claimed: String(-value),
      recomputed: String(value),
    });
    for (const at of [join(folder, 'none.gguf'), otherModel]) {
      const found = await run({ ...float, data: turned(1, 3) }, { model: at });
      expect(found).toMatchObject({ ...invalid, field: 'data', recomputed: float.tracebond.receipt.vectors });
    }
    const usage = { prompt_tokens: 1, total_tokens: 1 };
    expect(await run({ ...float, usage })).toMatchObject({ ...invalid, field: 'usage.prompt_tokens' });
    expect(await run({ ...float, data: float.data.slice(1) })).toMatchObject({ ...invalid, field: 'data' });
    expect(await run({ ...float, data: float.data.toReversed() })).toMatchObject({ ...invalid, field: 'data.0.index' });
    const input = [...INPUT.slice(0, 2), 'an'];
    const { ids, vectors: others } = await engine.embed(input);
    const another = forge({ request: { ...float.tracebond.request, input }, ids, vectors: others });
    expect((await run(another)).verdict).toBe('MATCH');
    expect(await run({ ...float, usage: undefined, tracebond: another })).toMatchObject({
      ...invalid,
      field: 'data.2.embedding.0',
    });
  });

  it('DIVERGED where the signer lied', async () => {
    const signed = { verdict: 'DIVERGED', signer: SIGNER };
    const { request, ids } = float.tracebond;
    const data = turned(2, 5);
    const lie = forge({ vectors: data.map(({ embedding }) => embedding) });
    expect(await run(lie)).toMatchObject({ ...signed, field: 'receipt.vectors', claimed: lie.receipt.vectors });
    expect(await run({ ...float, data, tracebond: lie })).toMatchObject({
      ...signed,
      field: 'data.2.embedding.5',
      checked: ['document', 'signature', 'answer'],
    });
    const split = forge({ ids: [ids[0]?.slice(1) ?? [], ...ids.slice(1)] });
    expect(await run(split)).toMatchObject({ ...signed, field: 'ids.0.0', checked: ['document', 'signature'] });
    const text = forge({ request: { ...request, input: ['the cow', ...INPUT.slice(1)] } });
    expect(await run(text)).toMatchObject({ ...signed, field: expect.stringMatching(/^ids\.0\.\d+$/) });
    const long = forge({ request: { ...request, input: ['x'.repeat(100_000), ...INPUT.slice(1)] } });
    expect(await run(long)).toMatchObject({ ...signed, field: 'receipt.vectors', recomputed: 'PROMPT_TOO_LONG' });
  });

  it('CANNOT_RECOMPUTE without the model', async () => {
    const none = { verdict: 'CANNOT_RECOMPUTE', checked: ['document', 'signature'] };
    for (const at of [join(folder, 'none.gguf'), otherModel]) {
      expect(await run(alone, { model: at })).toMatchObject({ ...none, code: 'MODEL_NOT_AT_HAND' });
    }
    for (const [field, code] of [
      ['model', 'MODEL_NOT_AT_HAND'],
      ['profile', 'OTHER_NUMERICS'],
      ['engine', 'ENGINE_MISMATCH'],
    ] as const) {
      const other = forge({ request: { ...float.tracebond.request, [field]: `0x${'a'.repeat(64)}` } });
      const message = expect.stringContaining(`for the ${field} 0xaaa`);
      expect(await run(other)).toMatchObject({ ...none, code, message });
    }
  });

  it('prints what was checked, and ends with the code of its verdict', async () => {
    const lines: string[] = [];
    vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(line));
    vi.stubEnv('TRACEBOND_CACHE', environment.cache);
    const call = (content: object, ...more: string[]) => {
      lines.length = 0;
      writeFileSync(file, JSON.stringify(content));
      return main(['node', 'tracebond', 'verify-receipt', file, '--model', model, ...more]);
    };
    expect(await call(base64)).toBe(0);
    expect(lines.join('\n')).toMatch(/^MATCH {2}.*\n {2}receipt {4}rcpt_[0-9a-f]{24}, of embeddings\n/);
    expect(lines.join('\n')).toContain('the vectors, by computing them again');
    const tokens = float.tracebond.ids.flat().length;
    expect(lines.join('\n')).toMatch(new RegExp(`computed   texts of ${tokens} tokens, in [0-9]+ ms`));
    expect(await call(alone)).toBe(0);
    expect(lines.join('\n')).toMatch(/receipt {4}rcpt_[0-9a-f]{24}\n/);
    expect(await call({ ...float, data: turned(0, 0) }, '--json')).toBe(2);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ verdict: 'INVALID', field: 'data.0.embedding.0' });
    expect(await call(forge({ vectors: [[1]] }))).toBe(3);
    expect(await call(forge({ request: { ...float.tracebond.request, model: `0x${'a'.repeat(64)}` } }))).toBe(4);
    vi.unstubAllEnvs();
  });
});
