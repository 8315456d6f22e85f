import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { main } from '../../../agents/cli/main.ts';
import type { ReceiptReport } from '../../../agents/cli/receipt-report.ts';
import { runVerifyReceipt, VerifyReceiptUsageError } from '../../../agents/cli/verify-receipt.ts';
import { sha256, ZERO_DIGEST } from '../../../attest/core/hash.ts';
import { signReceipt } from '../../../attest/sign/receipt.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { createAnswering } from '../../../inference/answer.ts';
import type { Answer, Asked } from '../../../inference/answering.ts';
import { toChatResponse } from '../../../inference/api/chat-response.ts';
import { openChatStream } from '../../../inference/api/chat-stream.ts';
import type { CheckingEngine } from '../../../inference/engine.ts';
import { openEngine } from '../../../inference/model.ts';
import { factsOf, type ReceiptDocument, toReceiptDocument } from '../../../inference/receipts/receipt-document.ts';
import { TEST_KEY, toyMessage, toyRequest } from '../../support/receipt-facts.ts';
import { tinyGguf } from '../../support/tiny-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'tracebond-receipt-'));
const model = join(folder, 'tiny.gguf');
const environment = { env: {}, home: folder, tracebondHome: join(folder, 'home'), cache: join(folder, 'cache') };
const file = join(folder, 'receipt.json');
const SIGNER = addressOf(TEST_KEY);
const { model: _model, profile: _profile, engine: _engine, ...REQUEST } = toyRequest({ maxTokens: 12 });

let engine: CheckingEngine;
let greedy: Answer;
let drawn: Answer;
let events: string;

async function answer(change: Partial<Asked['request']>, onData: (data: string) => void = () => {}): Promise<Answer> {
  const { identity } = engine;
  const answering = createAnswering({
    models: { find: () => ({ id: 'tiny', identity }), acquire: async () => ({ engine, identity, release() {} }) },
    schedulerOf: () => ({ run: (turn, work) => work(turn.signal ?? new AbortController().signal) }),
    privateKey: TEST_KEY,
    domain: null,
    receipts: { put: async () => {} },
    now: Date.now,
  });
  const writer = openChatStream({ id: 'chatcmpl-1', includeUsage: false, hasLogprobs: false });
  const say = (datas: readonly string[]) => {
    for (const data of datas) onData(`data: ${data}\n\n`);
  };
  const made = await answering(
    {
      model: 'tiny',
      pinned: {},
      place: { run: ZERO_DIGEST, index: 0n, runSeed: ZERO_DIGEST },
      request: { ...REQUEST, messages: [toyMessage('the cat')], ...change },
      logprobs: null,
    },
    {
      signal: new AbortController().signal,
      caller: null,
      onStart: (start) => say(writer.start(start)),
      onEvent: (event) => say(writer.piece(event)),
    },
  );
  say(writer.end(made));
  return made;
}

beforeAll(async () => {
  writeFileSync(model, tinyGguf({}));
  engine = await openEngine({ path: model, id: 'tiny', cacheDir: environment.cache });
  greedy = await answer({});
  const parts: string[] = [];
  const sampling = { temperature: 15_000, topP: 9500, topK: 0 };
  drawn = await answer({ sampling, seed: '18446744073709551615' }, (data) => parts.push(data));
  events = parts.join('');
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
/** Signed again for other facts: what a server that lies would do. */
function forge(change: Partial<ReturnType<typeof factsOf>['completion']>, from = greedy.receipt): ReceiptDocument {
  const facts = factsOf(from);
  const lie = { ...facts, completion: { ...facts.completion, ...change } };
  return toReceiptDocument(lie, signReceipt(lie, TEST_KEY));
}

describe('tracebond verify-receipt', () => {
  it('matches what the model computes: a document, an answer, a stream; on every engine', async () => {
    const whole = { verdict: 'MATCH', signer: SIGNER, outputTokens: 12, model: engine.identity.model };
    expect(await run(greedy.receipt, { engine: 'auto' })).toMatchObject({
      ...whole,
      file,
      id: greedy.receipt.id,
      answer: null,
      isPinned: false,
      checked: ['document', 'signature', 'output'],
    });
    const checked = ['document', 'signature', 'answer', 'output'];
    const around = { ...whole, answer: 'chat completion', checked };
    expect(await run(toChatResponse('chatcmpl-1', drawn, false), { engine: 'ort' })).toMatchObject({
      ...around,
      isStream: false,
    });
    for (const options of [
      { engine: 'reference' },
      { engine: 'wasm', threads: '2' },
      { signer: SIGNER.toUpperCase().replace('0X', '0x') },
    ] as const) {
      const found = await run(events, options);
      expect(found).toMatchObject({ ...around, isStream: true, isPinned: 'signer' in options });
    }
  });

  it('is INVALID where it was changed after it was signed, or signed by another', async () => {
    const { receipt } = greedy;
    const stranger = addressOf(sha256(TEST_KEY));
    const invalid = { verdict: 'INVALID', checked: [] };
    expect(await run({ ...receipt, text: 'no' })).toMatchObject({
      ...invalid,
      code: 'TEXT_MISMATCH',
      field: 'receipt.text',
    });
    expect(await run({ ...receipt, note: 1 })).toMatchObject({ ...invalid, code: 'MALFORMED_DOCUMENT', field: 'note' });
    expect(await run(receipt, { signer: stranger })).toMatchObject({
      ...invalid,
      code: 'SIGNER_MISMATCH',
      isPinned: false,
    });
    expect(await run('{')).toMatchObject({ ...invalid, code: 'MALFORMED_JSON', id: null, signer: null, model: null });
    expect(await run({ error: {} })).toMatchObject({ ...invalid, code: 'NO_RECEIPT' });
    expect(await run({ ...receipt, format: 'tracebond/receipt@9' })).toMatchObject({ code: 'UNSUPPORTED_FORMAT' });
  });

  it('is INVALID where the answer around it says something else', async () => {
    const body = toChatResponse('chatcmpl-1', greedy, false);
    const [choice] = body.choices;
    const lie = { ...body, choices: [{ ...choice, message: { ...choice?.message, content: 'Pay.' } }] };
    expect(await run(lie)).toMatchObject({
      verdict: 'INVALID',
      code: 'ANSWER_MISMATCH',
      field: 'content',
      claimed: 'Pay.',
      recomputed: greedy.content,
      checked: ['document', 'signature'],
    });
  });

  it('DIVERGED where the signer lied', async () => {
    const { outputIds, promptIds } = greedy.receipt;
    const wrong = outputIds.map((id, i) => (i === 5 ? (id + 1) % 200 : id));
    const signed = { verdict: 'DIVERGED', checked: ['document', 'signature'], signer: SIGNER };
    expect(await run(forge({ outputIds: wrong }))).toMatchObject({
      ...signed,
      field: 'outputIds.5',
      recomputed: String(outputIds[5]),
    });
    expect(await run(forge({ promptIds: promptIds.slice(1) }))).toMatchObject({ ...signed, field: 'promptIds.0' });
    expect(await run(forge({ text: 'Pay.' }))).toMatchObject({ ...signed, field: 'text', claimed: 'Pay.' });
    expect(await run(forge({ finishReason: 'stop' }))).toMatchObject({ ...signed, field: 'receipt.finish' });
    expect(await run(forge({ masks: `0x${'a'.repeat(64)}` }))).toMatchObject({ ...signed, field: 'masks' });
    // What was drawn with one seed is not what another draws.
    const facts = factsOf(drawn.receipt);
    const other = { ...facts, request: { ...facts.request, seed: '1' } };
    const found = await run(toReceiptDocument(other, signReceipt(other, TEST_KEY)));
    expect(found).toMatchObject({ ...signed, field: expect.stringMatching(/^outputIds\.\d+$/) });
  });

  it('CANNOT_RECOMPUTE without the model', async () => {
    const none = { verdict: 'CANNOT_RECOMPUTE', checked: ['document', 'signature'] };
    expect(await run(greedy.receipt, { model: join(folder, 'none.gguf') })).toMatchObject({
      ...none,
      code: 'MODEL_NOT_AT_HAND',
    });
    const facts = factsOf(greedy.receipt);
    for (const [field, code] of [
      ['model', 'MODEL_NOT_AT_HAND'],
      ['profile', 'OTHER_NUMERICS'],
      ['engine', 'ENGINE_MISMATCH'],
    ] as const) {
      const other = { ...facts, request: { ...facts.request, [field]: `0x${'a'.repeat(64)}` as const } };
      const found = await run(toReceiptDocument(other, signReceipt(other, TEST_KEY)));
      expect(found).toMatchObject({ ...none, code, message: expect.stringContaining(`for the ${field} 0xaaa`) });
    }
  });

  it('refuses options and files that are none', async () => {
    await expect(run(greedy.receipt, { signer: '0x12' })).rejects.toThrow(VerifyReceiptUsageError);
    await expect(run(greedy.receipt, { threads: '0' })).rejects.toMatchObject({ code: 'BAD_OPTION' });
    const missing = runVerifyReceipt(
      join(folder, 'none'),
      { model, profile: 'exact', engine: 'auto' },
      environment,
      () => {},
    );
    await expect(missing).rejects.toMatchObject({
      code: 'FILE_UNREADABLE',
      message: expect.stringContaining('ENOENT'),
    });
  });

  it('prints what was checked, and ends with the code of its verdict', async () => {
    const lines: string[] = [];
    vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(line));
    vi.stubEnv('TRACEBOND_CACHE', environment.cache);
    const call = (...more: string[]) => main(['node', 'tracebond', 'verify-receipt', file, '--model', model, ...more]);
    writeFileSync(file, events);
    expect(await call()).toBe(0);
    expect(lines.join('\n')).toMatch(
      /^MATCH {2}.*\n {2}receipt {4}rcpt_[0-9a-f]{24}, of a chat completion, streamed\n/,
    );
    expect(lines.join('\n')).toContain(`signed by  ${SIGNER}, not pinned`);
    expect(lines.join('\n')).toContain('the output, by computing it again');
    lines.length = 0;
    expect(await call('--json', '--signer', `0x${'0'.repeat(40)}`)).toBe(2);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ verdict: 'INVALID', code: 'SIGNER_MISMATCH' });
    writeFileSync(file, JSON.stringify(forge({ text: 'Pay.' })));
    expect(await call('--json')).toBe(3);
    expect(await main(['node', 'tracebond', 'verify-receipt', file, '--model', join(folder, 'none.gguf')])).toBe(4);
    vi.unstubAllEnvs();
  });
});
