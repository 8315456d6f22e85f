import { describe, expect, it } from 'vitest';
import { toHex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import { signReceipt } from '../../../attest/sign/receipt.ts';
import { computeInferenceSeed } from '../../../attest/trace/run-seed.ts';
import { InferenceError, type InferenceErrorCode } from '../../../inference/errors.ts';
import { type ReceiptDocument, toReceiptDocument } from '../../../inference/receipts/receipt-document.ts';
import { recomputeReceipt } from '../../../inference/receipts/recheck.ts';
import { isRefusal } from '../../../inference/refusals.ts';
import { factsOf, TEST_KEY, toyMessage, toyRequest } from '../../support/receipt-facts.ts';
import { openToyEngine, TOY_IDENTITY, toyAnswer } from '../../support/toy-engine.ts';

const other = `0x${'a'.repeat(64)}` as const;

function documentOf(request = toyRequest()): ReceiptDocument {
  const { model: _m, profile: _p, engine: _e, ...rest } = request;
  const completion = toyAnswer({
    messages: rest.messages.map(({ role, content }) => ({ role, content })),
    maxTokens: rest.maxTokens,
    ...(rest.responseFormat.type === 'json_object' ? { format: rest.responseFormat } : {}),
  });
  const place = { index: 7n, run: sha256(utf8('run')), runSeed: sha256(utf8('seed')) };
  const facts = { ...factsOf('', '', place), request, completion };
  return toReceiptDocument(facts, signReceipt(facts, TEST_KEY));
}
const GOOD = documentOf();

describe('a receipt', () => {
  it('of what the engine computes matches, with its seed and along its output', async () => {
    const engine = openToyEngine();
    const sampling = { temperature: 7000, topP: 9000, topK: 40 };
    const drawn = documentOf(toyRequest({ sampling, seed: '9' }));
    const claims: (readonly number[])[] = [];
    const check: typeof engine.check = (request, claim, signal) => {
      claims.push(claim);
      return engine.check(request, claim, signal);
    };
    expect(await recomputeReceipt({ identity: engine.identity, check }, drawn)).toEqual({ verdict: 'MATCH' });
    const seed = toHex(computeInferenceSeed(sha256(utf8('seed')), 7n, 9n));
    expect(engine.seen[0]?.sampling).toEqual({ ...sampling, seed });
    expect(claims).toEqual([drawn.outputIds]);
  });

  it('of masks matches by their root', async () => {
    const formed = documentOf(toyRequest({ responseFormat: { type: 'json_object' } }));
    expect(formed.masks).not.toBeNull();
    expect(await recomputeReceipt(openToyEngine(), formed)).toEqual({ verdict: 'MATCH' });
    expect(await recomputeReceipt(openToyEngine(), { ...formed, masks: null })).toMatchObject({ field: 'masks' });
  });

  const changed: readonly (readonly [string, Partial<ReceiptDocument>, string])[] = [
    ['another token of the prompt', { promptIds: [1, ...GOOD.promptIds.slice(1)] }, 'promptIds.0'],
    [
      'a token of the prompt less',
      { promptIds: GOOD.promptIds.slice(0, -1) },
      `promptIds.${GOOD.promptIds.length - 1}`,
    ],
    ['another token', { outputIds: [...GOOD.outputIds.slice(0, 3), 1, ...GOOD.outputIds.slice(4)] }, 'outputIds.3'],
    ['a token more', { outputIds: [...GOOD.outputIds, 1] }, `outputIds.${GOOD.outputIds.length}`],
    ['a token less', { outputIds: GOOD.outputIds.slice(0, -1) }, `outputIds.${GOOD.outputIds.length - 1}`],
    ['no tokens', { outputIds: [] }, 'outputIds.0'],
    ['masks where all was allowed', { masks: other }, 'masks'],
    ['another end', { receipt: { ...GOOD.receipt, finish: 'length' } }, 'receipt.finish'],
    ['another text', { text: 'echo: hullo' }, 'text'],
  ];
  it.each(changed)('with %s diverges', async (_, change, field) => {
    const found = await recomputeReceipt(openToyEngine(), { ...GOOD, ...change });
    expect(found).toMatchObject({ verdict: 'DIVERGED', field });
  });

  it('with another request diverges in its prompt', async () => {
    const request = toyRequest({ messages: [toyMessage('hullo')] });
    const found = await recomputeReceipt(openToyEngine(), { ...GOOD, request });
    expect(found).toMatchObject({ verdict: 'DIVERGED', field: expect.stringMatching(/^promptIds\.\d+$/) });
  });

  it('of a request that is never answered diverges; of one that this computer cannot answer it is not known', async () => {
    const asks = (code: string) => documentOf(toyRequest({ messages: [toyMessage(`fail ${code}`)] }));
    for (const code of ['PROMPT_TOO_LONG', 'SCHEMA_REFUSED', 'BUDGET_TOO_SMALL', 'CHOICE_UNWRITABLE']) {
      const found = await recomputeReceipt(openToyEngine(), asks(code));
      expect(found).toMatchObject({ verdict: 'DIVERGED', field: 'outputIds', recomputed: code });
    }
    for (const code of ['OUT_OF_MEMORY', 'NUMERIC_FAULT', 'ENGINE_CLOSED', 'GRAPH_FAILED']) {
      const found = await recomputeReceipt(openToyEngine(), asks(code));
      expect(found).toEqual({ verdict: 'CANNOT_RECOMPUTE', code: 'HOST_FAULT' });
    }
    await expect(recomputeReceipt(openToyEngine(), asks('CANCELLED'))).rejects.toMatchObject({ code: 'CANCELLED' });
    const bug = documentOf(toyRequest({ messages: [toyMessage('bug')] }));
    await expect(recomputeReceipt(openToyEngine(), bug)).rejects.toThrow(TypeError);
  });

  it('whose answer breaks off without a difference is not known', async () => {
    const { promptIds, outputIds } = GOOD;
    const check = async () => ({ promptIds, outputIds, text: null, finishReason: null, masks: null });
    const found = await recomputeReceipt({ identity: TOY_IDENTITY, check }, GOOD);
    expect(found).toEqual({ verdict: 'CANNOT_RECOMPUTE', code: 'HOST_FAULT' });
  });

  it.each([
    ['model', 'MODEL_NOT_AT_HAND'],
    ['profile', 'OTHER_NUMERICS'],
    ['engine', 'ENGINE_MISMATCH'],
  ] as const)('of another %s asks nothing', async (field, code) => {
    const engine = openToyEngine({ ...TOY_IDENTITY, [field]: other });
    expect(await recomputeReceipt(engine, GOOD)).toEqual({ verdict: 'CANNOT_RECOMPUTE', code });
    expect(engine.seen).toEqual([]);
  });
});

it('tells refusals from faults of a computer', () => {
  const faults: readonly InferenceErrorCode[] = [
    'CANCELLED',
    'OUT_OF_MEMORY',
    'NUMERIC_FAULT',
    'GRAPH_FAILED',
    'ENGINE_CLOSED',
  ];
  for (const code of faults) expect(isRefusal(new InferenceError(code, ''))).toBe(false);
  expect(isRefusal(new InferenceError('CONTEXT_EXCEEDED', ''))).toBe(true);
  expect(isRefusal(new TypeError())).toBe(false);
});
