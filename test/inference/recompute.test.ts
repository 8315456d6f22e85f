import { expect, it } from 'vitest';
import { toHex, utf8 } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import { openRecomputer, RecomputeError } from '../../inference/recompute.ts';
import { toyMessage, toyRequest } from '../support/receipt-facts.ts';
import { openToyEngine, TOY_IDENTITY, toyAnswer } from '../support/toy-engine.ts';

const SEED = sha256(utf8('seed'));

it('asks the engine what the server asked', async () => {
  const engine = openToyEngine();
  const recomputer = openRecomputer(engine);
  expect(recomputer.identity).toBe(engine.identity);
  const request = toyRequest({
    messages: [toyMessage('be brief', { role: 'system' }), toyMessage('hello', { name: 'bob' })],
    stop: ['l'],
  });
  const expected = {
    messages: [
      { role: 'system', content: 'be brief' },
      { role: 'user', content: 'hello', name: 'bob' },
    ],
    maxTokens: 64,
    stop: ['l'],
  } as const;
  expect(await recomputer.complete(request, SEED)).toEqual(toyAnswer(expected));
  await recomputer.complete(toyRequest({ responseFormat: { type: 'choice', choices: ['a', 'b'] } }), SEED);
  expect(engine.seen).toEqual([
    expected,
    { messages: [{ role: 'user', content: 'hello' }], maxTokens: 64, choices: ['a', 'b'] },
  ]);
});

it('draws with the seed of the inference, and with no other', async () => {
  const engine = openToyEngine();
  const sampling = { temperature: 7000, topP: 9000, topK: 40 };
  await openRecomputer(engine).check(toyRequest({ sampling }), SEED, []);
  expect(engine.seen[0]?.sampling).toEqual({ ...sampling, seed: toHex(SEED) });
});

it('asks the engine along a claimed output', async () => {
  const engine = openToyEngine();
  const recomputer = openRecomputer(engine);
  const whole = await recomputer.complete(toyRequest(), SEED);
  expect(await recomputer.check(toyRequest(), SEED, whole.outputIds)).toEqual(whole);
  const { promptIds, outputIds } = whole;
  expect(await recomputer.check(toyRequest(), SEED, outputIds.slice(0, 3))).toEqual({
    promptIds,
    outputIds: outputIds.slice(0, 4),
    text: null,
    finishReason: null,
    masks: null,
  });
});

it.each([
  ['model', 'MODEL_MISMATCH'],
  ['profile', 'PROFILE_MISMATCH'],
  ['engine', 'ENGINE_MISMATCH'],
])('refuses another %s before any work', async (field, code) => {
  const engine = openToyEngine();
  const other = toyRequest({ [field]: `0x${'a'.repeat(64)}` });
  const fault = await openRecomputer(engine)
    .complete(other, SEED)
    .catch((error) => error);
  await expect(openRecomputer(engine).check(other, SEED, [1])).rejects.toMatchObject({ code });
  expect(fault).toBeInstanceOf(RecomputeError);
  expect(fault).toMatchObject({ code, at: { field: `request.${field}` } });
  expect(fault.message).toContain(TOY_IDENTITY[field as 'model']);
  expect(engine.seen).toEqual([]);
});
