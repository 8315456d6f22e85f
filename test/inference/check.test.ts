import { afterAll, describe, expect, it } from 'vitest';
import { toHex } from '../../attest/core/bytes.ts';
import { type CheckingModel, type CompletionClaim, checkCompletion } from '../../inference/check.ts';
import { openReference } from '../../inference/exact/reference/reference-decoder.ts';
import { checkModelOver, openCheckModel, plainAnswer, plainSequences } from '../support/check-model.ts';
import { seededRandom } from '../support/random.ts';
import { randomExactModel, randomTokens } from '../support/random-exact-model.ts';

const exact = randomExactModel({ seed: 5 });
const VOCABULARY = exact.shape.vocabulary;
const CONTEXT = exact.shape.context;
const prompt = randomTokens(seededRandom(3), VOCABULARY, 9);
const SEED = toHex(new Uint8Array(32).fill(7));
const HOT = { temperature: 15_000, topP: 10_000, topK: 0, seed: SEED };
const LENGTH = 40;

const slow = plainSequences(exact);
const honest = await plainAnswer(slow, prompt, { maxTokens: LENGTH, sampling: HOT });
const greedy = await plainAnswer(slow, prompt, { maxTokens: LENGTH });
const models: CheckingModel[] = [];
async function open(endIds: readonly number[] = []): Promise<CheckingModel> {
  const model = await openCheckModel(exact, endIds);
  models.push(model);
  return model;
}
const plain = await open();
afterAll(() => Promise.all(models.map((model) => model.sequences.close())));

const claimOf = (more: Partial<CompletionClaim> = {}): CompletionClaim => ({
  promptIds: prompt,
  outputIds: honest.ids,
  maxTokens: LENGTH,
  sampling: HOT,
  ...more,
});
const check = (more: Partial<CompletionClaim> = {}, model = plain) => checkCompletion(model, claimOf(more));
/** The output with some ids in place of its own. */
const withIds = (...changes: readonly (readonly [at: number, id: number])[]) =>
  honest.ids.map((id, at) => changes.find(([place]) => place === at)?.[1] ?? id);
const other = (id: number) => (id + 1) % VOCABULARY;
const wrong = (index: number, claimed: number | null, correct: number | null) => ({
  firstWrong: { index, position: prompt.length + index, claimed, correct },
  text: null,
  finishReason: null,
  logitsDigest: null,
});

describe('a true output', () => {
  it('is found true, drawn or greedy, with text, finish and digest of plain decoding', async () => {
    expect(await check()).toEqual({
      positions: LENGTH,
      firstWrong: null,
      text: plain.tokenizer.decode(honest.ids),
      finishReason: 'length',
      logitsDigest: honest.digest,
    });
    const { sampling: _, ...rest } = claimOf({ outputIds: greedy.ids });
    expect(await checkCompletion(plain, rest)).toMatchObject({ firstWrong: null, logitsDigest: greedy.digest });
    expect(greedy.ids).not.toEqual(honest.ids);
  });

  it('is found true on the reference engine too, in any batches', async () => {
    for (const maxRows of [1, 3, 512]) {
      const model = checkModelOver(openReference(exact, { maxRows }));
      expect(await check({}, model)).toMatchObject({ firstWrong: null, logitsDigest: honest.digest });
    }
  });

  it('of one token is found true', async () => {
    expect(await check({ outputIds: honest.ids.slice(0, 1), maxTokens: 1 })).toMatchObject({
      positions: 1,
      firstWrong: null,
    });
  });

  it('ends by an end token or a stop text', async () => {
    const end = honest.ids[20] as number;
    const at = honest.ids.indexOf(end);
    const stopping = await open([end]);
    const outputIds = honest.ids.slice(0, at + 1);
    expect(await check({ outputIds }, stopping)).toMatchObject({
      positions: at + 1,
      firstWrong: null,
      finishReason: 'stop',
      text: plain.tokenizer.decode(honest.ids.slice(0, at)),
    });
    const stop = [plain.tokenizer.decode(honest.ids.slice(10, 13))];
    const text = plain.tokenizer.decode(honest.ids);
    const before = text.indexOf(stop[0] as string);
    expect(await check({ outputIds: honest.ids.slice(0, before + 3), stop })).toMatchObject({
      firstWrong: null,
      finishReason: 'stop',
      text: text.slice(0, before),
    });
  });

  it('computes each position once, in batches', async () => {
    const decoder = openReference(exact, { maxRows: 20 });
    const rows: number[] = [];
    const forward = decoder.forward.bind(decoder);
    decoder.forward = (batch, logitsOf, onLayer) => {
      rows.push(batch.length);
      return forward(batch, logitsOf, onLayer);
    };
    await check({}, checkModelOver(decoder));
    // The row of the last token decides nothing.
    expect(rows.reduce((sum, count) => sum + count)).toBe(prompt.length + LENGTH - 1);
    expect(rows.length).toBeLessThan(8);
  });

  it('fills the context to its last position', async () => {
    const maxTokens = CONTEXT - prompt.length;
    const { ids, digest } = await plainAnswer(slow, prompt, { maxTokens, sampling: HOT });
    expect(await check({ outputIds: ids, maxTokens })).toMatchObject({ firstWrong: null, logitsDigest: digest });
  });
});

describe('a false output', () => {
  it('is found at a wrong token, wherever it stands', async () => {
    for (let at = 0; at < LENGTH; at++) {
      const correct = honest.ids[at] as number;
      const claimed = other(correct);
      const found = await check({ outputIds: withIds([at, claimed]) });
      expect(found).toEqual({ positions: at + 1, ...wrong(at, claimed, correct) });
    }
  });

  it('is found at the first of several wrong tokens', async () => {
    const [a, b] = [honest.ids[7] as number, honest.ids[8] as number];
    expect(await check({ outputIds: withIds([7, b], [8, a], [30, 0]) })).toMatchObject(wrong(7, b, a));
  });

  it('stops early at a wrong token', async () => {
    const long = randomExactModel({ seed: 5, context: 600 });
    const decoder = openReference(long, { maxRows: 16 });
    let rows = 0;
    const forward = decoder.forward.bind(decoder);
    decoder.forward = (batch, logitsOf, onLayer) => {
      rows += batch.length;
      return forward(batch, logitsOf, onLayer);
    };
    const outputIds = Array.from({ length: 500 }, (_, at) => honest.ids[at] ?? 1);
    const found = await check({ outputIds, maxTokens: 500 }, checkModelOver(decoder));
    expect(found.firstWrong?.index).toBeLessThan(LENGTH + 5);
    expect(rows).toBeLessThan(prompt.length + LENGTH + 5 + 64);
  });

  it('is found where it ends too early', async () => {
    for (const length of [0, 1, 17, LENGTH - 1]) {
      const found = await check({ outputIds: honest.ids.slice(0, length) });
      expect(found).toEqual({ positions: length + 1, ...wrong(length, null, honest.ids[length] as number) });
    }
  });

  it('is found where it goes on after its greatest length, an end token or a stop text', async () => {
    const longer = (await plainAnswer(slow, prompt, { maxTokens: LENGTH + 3, sampling: HOT })).ids;
    const more = longer[LENGTH] as number;
    expect(await check({ outputIds: longer })).toEqual({ positions: LENGTH, ...wrong(LENGTH, more, null) });
    const end = honest.ids[20] as number;
    const at = honest.ids.indexOf(end);
    expect(await check({}, await open([end]))).toEqual({
      positions: at + 1,
      ...wrong(at + 1, honest.ids[at + 1] as number, null),
    });
    const stop = [plain.tokenizer.decode(honest.ids.slice(10, 13))];
    const last = plain.tokenizer.decode(honest.ids).indexOf(stop[0] as string) + 2;
    expect(await check({ stop })).toMatchObject(wrong(last + 1, honest.ids[last + 1] as number, null));
  });

  it('is found where an end token is left out or put in', async () => {
    const end = honest.ids[20] as number;
    const at = honest.ids.indexOf(end);
    const stopping = await open([end]);
    expect(await check({ outputIds: honest.ids.slice(0, at) }, stopping)).toMatchObject(wrong(at, null, end));
    const early = [...honest.ids.slice(0, 3), end];
    if (at > 3)
      expect(await check({ outputIds: early }, stopping)).toMatchObject(wrong(3, end, honest.ids[3] as number));
  });

  it.each([-1, VOCABULARY, 2 ** 32, 0.5, Number.NaN, Number.POSITIVE_INFINITY, -0.5])(
    'is found at an id that is no token: %d',
    async (id) => {
      for (const at of [0, 11, LENGTH - 1]) {
        const found = await check({ outputIds: withIds([at, id]) });
        expect(found).toEqual({ positions: at + 1, ...wrong(at, id, honest.ids[at] as number) });
      }
    },
  );

  it('of a million ids costs no more than a true one', async () => {
    const outputIds = Array.from({ length: 1_000_000 }, (_, i) => honest.ids[i] ?? 1);
    expect(await check({ outputIds })).toMatchObject(wrong(LENGTH, 1, null));
    const garbage = Array.from({ length: 1_000_000 }, () => 2 ** 40);
    expect(await check({ outputIds: garbage })).toMatchObject(wrong(0, 2 ** 40, honest.ids[0] as number));
  });

  it.each([
    ['a seed', { seed: toHex(new Uint8Array(32).fill(8)) }],
    ['a temperature', { temperature: 14_000 }],
    ['greedy', { temperature: 0 }],
    ['a top-p', { topP: 4_000 }],
    ['a top-k', { topK: 3 }],
  ])('is found at the first token that %s changes', async (_, change) => {
    const sampling = { ...HOT, ...change };
    const expected = (await plainAnswer(slow, prompt, { maxTokens: LENGTH, sampling })).ids;
    const at = expected.findIndex((id, i) => id !== honest.ids[i]);
    expect(at).toBeGreaterThanOrEqual(0);
    expect(await check({ sampling })).toMatchObject(wrong(at, honest.ids[at] as number, expected[at] as number));
  });

  it('is found at the first token that the prompt changes', async () => {
    for (let place = 0; place < prompt.length; place++) {
      const promptIds = prompt.map((id, i) => (i === place ? other(id) : id));
      const expected = (await plainAnswer(slow, promptIds, { maxTokens: LENGTH, sampling: HOT })).ids;
      const at = expected.findIndex((id, i) => id !== honest.ids[i]);
      const found = await check({ promptIds });
      if (at < 0) expect(found.firstWrong).toBeNull();
      else expect(found).toMatchObject(wrong(at, honest.ids[at] as number, expected[at] as number));
      expect(found.logitsDigest).not.toBe(honest.digest);
    }
  });
});

describe('what no model answers', () => {
  it.each([
    ['no prompt', { promptIds: [] }, 'PROMPT_EMPTY'],
    ['a prompt that fills the context', { promptIds: Array(CONTEXT).fill(1) }, 'PROMPT_TOO_LONG'],
    ['an answer beyond the context', { maxTokens: CONTEXT }, 'CONTEXT_EXCEEDED'],
    ['no tokens', { maxTokens: 0 }, 'REQUEST_MALFORMED'],
    ['half a token', { maxTokens: 0.5 }, 'REQUEST_MALFORMED'],
    ['an empty stop text', { stop: [''] }, 'STOP_EMPTY'],
    ['a broken temperature', { sampling: { ...HOT, temperature: 0.7 } }, 'SAMPLING_REFUSED'],
    ['a prompt of ids that are no tokens', { promptIds: [1, VOCABULARY] }, 'REQUEST_MALFORMED'],
    ['a prompt of fractions', { promptIds: [1.5] }, 'REQUEST_MALFORMED'],
  ] as const)('is refused: %s', async (_, more, code) => {
    await expect(check(more)).rejects.toMatchObject({ name: 'InferenceError', code });
  });

  it('names the id of a prompt that is no token', async () => {
    await expect(check({ promptIds: [1, 2, -1] })).rejects.toMatchObject({ at: { field: 'promptIds', index: 2 } });
  });

  it('a cancelled check ends and leaves the model usable', async () => {
    await expect(checkCompletion(plain, claimOf(), AbortSignal.abort())).rejects.toMatchObject({ code: 'CANCELLED' });
    const stop = new AbortController();
    const running = checkCompletion(plain, claimOf(), stop.signal);
    stop.abort();
    await expect(running).rejects.toMatchObject({ code: 'CANCELLED' });
    expect((await check()).firstWrong).toBeNull();
  });
});
