import { expect, it } from 'vitest';
import { openRecomputer, RecomputeError } from '../../inference/recompute.ts';
import { toyRequest } from '../support/receipt-facts.ts';
import { openToyEngine, TOY_IDENTITY, toyAnswer } from '../support/toy-engine.ts';

it('asks the engine what the server asked', async () => {
  const engine = openToyEngine();
  const recomputer = openRecomputer(engine);
  expect(recomputer.identity).toBe(engine.identity);
  const request = toyRequest({
    messages: [
      { role: 'system', content: 'be brief', name: null },
      { role: 'user', content: 'hello', name: 'bob' },
    ],
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
  expect(await recomputer.complete(request)).toEqual(toyAnswer(expected));
  await recomputer.complete(toyRequest({ responseFormat: { type: 'choice', choices: ['a', 'b'] } }));
  expect(engine.seen).toEqual([
    expected,
    { messages: [{ role: 'user', content: 'hello' }], maxTokens: 64, choices: ['a', 'b'] },
  ]);
});

it('asks the engine along a claimed output', async () => {
  const engine = openToyEngine();
  const recomputer = openRecomputer(engine);
  const whole = await recomputer.complete(toyRequest());
  expect(await recomputer.check(toyRequest(), whole.outputIds)).toEqual(whole);
  const { promptIds, outputIds } = whole;
  expect(await recomputer.check(toyRequest(), outputIds.slice(0, 3))).toEqual({
    promptIds,
    outputIds: outputIds.slice(0, 4),
    text: null,
    finishReason: null,
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
    .complete(other)
    .catch((error) => error);
  await expect(openRecomputer(engine).check(other, [1])).rejects.toMatchObject({ code });
  expect(fault).toBeInstanceOf(RecomputeError);
  expect(fault).toMatchObject({ code, at: { field: `request.${field}` } });
  expect(fault.message).toContain(TOY_IDENTITY[field as 'model']);
  expect(engine.seen).toEqual([]);
});
