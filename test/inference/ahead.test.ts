import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { aheadSource, type Drafter } from '../../inference/ahead.ts';
import { chooserOf } from '../../inference/choose.ts';
import { type Decoded, decodeChoice, decodeFree, type LogitSource } from '../../inference/decode.ts';
import type { ExactDecoder } from '../../inference/exact/exact-decoder.ts';
import type { ExactModel } from '../../inference/exact/exact-model.ts';
import { exactSequences } from '../../inference/exact/exact-sequences.ts';
import { openReference } from '../../inference/exact/reference/reference-decoder.ts';
import { promptLookup } from '../../inference/prompt-lookup.ts';
import type { Sequence } from '../../inference/sequences.ts';
import { randomExactModel } from '../support/random-exact-model.ts';

const VOCABULARY = 13;
const CONTEXT = 48;
const SHAPE = {
  layers: 1,
  embedding: 16,
  feedForward: 24,
  heads: 2,
  kvHeads: 1,
  headSize: 8,
  vocabulary: VOCABULARY,
  context: CONTEXT,
};
const MODELS = [1, 2, 3].map((seed) => randomExactModel({ ...SHAPE, seed }));
const model = MODELS[0] as (typeof MODELS)[number];

const noneKept = { prefixCache: false };
const open = (capacity = CONTEXT, maxRows = 64): Sequence =>
  exactSequences(openReference(model, { maxRows }), noneKept).open(capacity);

/** A decoder whose logits are gone after each visit. */
function fleeting(one: ExactModel, maxRows: number): ExactDecoder {
  const decoder = openReference(one, { maxRows });
  const forward = decoder.forwardEach.bind(decoder);
  decoder.forwardEach = (rows, logitsOf, visit) =>
    forward(rows, logitsOf, (logits, index) => {
      const shown = logits.slice();
      const goesOn = visit(shown, index);
      shown.fill(Number.NaN);
      return goesOn;
    });
  return decoder;
}

/** Keeps copies of all logits that were given out. */
function recorded(source: LogitSource): LogitSource & { readonly logits: Float32Array[] } {
  const logits: Float32Array[] = [];
  return {
    logits,
    async feed(ids, signal) {
      const answer = await source.feed(ids, signal);
      logits.push(answer.slice());
      return answer;
    },
  };
}

function sameBits(actual: readonly Float32Array[], expected: readonly Float32Array[]): void {
  expect(actual.length).toBe(expected.length);
  const bytes = (rows: readonly Float32Array[]) => Buffer.concat(rows.map((row) => Buffer.from(row.buffer)));
  expect(bytes(actual).equals(bytes(expected))).toBe(true);
}

/** What is decoded, in all the ways that there are. */
type Task = {
  readonly seed: number;
  readonly prompt: readonly number[];
  readonly maxTokens: number;
  readonly endIds: readonly number[];
  readonly stop: number | undefined;
  readonly temperature: number;
  readonly choices: readonly (readonly number[])[] | undefined;
};

const id = fc.integer({ min: 0, max: VOCABULARY - 1 });
const task: fc.Arbitrary<Task> = fc.record({
  seed: fc.integer({ min: 0, max: MODELS.length - 1 }),
  prompt: fc.array(id, { minLength: 1, maxLength: 20 }),
  maxTokens: fc.integer({ min: 1, max: 24 }),
  endIds: fc.array(id, { maxLength: 2 }),
  stop: fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined }),
  temperature: fc.constantFrom(0, 0, 5000, 20_000),
  choices: fc.option(
    fc.uniqueArray(fc.array(id, { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 5, selector: String }),
    { nil: undefined, freq: 2 },
  ),
});

function decode(
  source: LogitSource,
  { prompt, maxTokens, endIds, stop, temperature, choices }: Task,
): Promise<Decoded> {
  if (choices !== undefined) return decodeChoice(source, prompt, choices, endIds);
  return decodeFree(source, prompt, {
    maxTokens,
    endIds,
    choose: chooserOf({ temperature, topP: 9000, topK: 0, seed: `0x${'5a'.repeat(32)}` }),
    ...(stop === undefined
      ? {}
      : { isStopped: (ids: readonly number[]) => ids.length >= stop && ids.at(-1) === ids.at(-2) }),
  });
}

const capacityOf = ({ prompt, maxTokens, choices }: Task) =>
  prompt.length + (choices === undefined ? maxTokens : Math.max(...choices.map((ids) => ids.length)));

/** Says the truth, lies, or says what nobody can feed, as the choices tell. */
function mixedDrafter(
  truth: readonly number[],
  plan: readonly { readonly kind: string; readonly count: number }[],
): Drafter {
  let at = 0;
  return {
    propose(ids, most) {
      const { kind, count } = plan[at++ % plan.length] ?? { kind: 'none', count: 0 };
      const right = truth.slice(ids.length, ids.length + count);
      if (kind === 'none') return [];
      if (kind === 'right') return right.slice(0, most);
      if (kind === 'long') return [...right, ...Array.from({ length: 80 }, (_, i) => i % VOCABULARY)];
      if (kind === 'late') return [...right.slice(0, -1), ((right.at(-1) ?? 0) + 1) % VOCABULARY];
      if (kind === 'wrong') return right.map((one) => (one + 1) % VOCABULARY);
      const strange = [-1, VOCABULARY, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 40][count % 6] as number;
      return [...right.slice(0, 2), strange, ...right.slice(2)];
    },
  };
}

const plan = fc.array(
  fc.record({
    kind: fc.constantFrom('none', 'right', 'long', 'late', 'wrong', 'strange'),
    count: fc.integer({ min: 1, max: 30 }),
  }),
  { minLength: 1, maxLength: 6 },
);

describe('no drafter changes a bit', () => {
  it('whatever it proposes, however it is decoded, in batches of any size, with and without kept sequences', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(task, { minLength: 1, maxLength: 4 }),
        plan,
        fc.integer({ min: 1, max: 40 }),
        fc.constantFrom(1, 3, 64),
        fc.boolean(),
        fc.constantFrom('mixed', 'lookup', 'claim'),
        async (tasks, proposals, most, maxRows, prefixCache, kind) => {
          const models = MODELS.map((one) => exactSequences(fleeting(one, maxRows), { prefixCache }));
          for (const one of tasks) {
            const plain = recorded(exactSequences(openReference(MODELS[one.seed] ?? model), noneKept).open(CONTEXT));
            const expected = await decode(plain, one);
            const truth = [...one.prompt, ...expected.ids];
            const capacity = capacityOf(one);
            const sequence = models[one.seed]?.open(capacity, one.prompt);
            if (sequence === undefined) throw new TypeError('no model');
            const drafter = {
              mixed: mixedDrafter(truth, proposals),
              lookup: promptLookup((rows) => 1 + 0.01 * rows),
              claim: claimDrafter(
                one.prompt.length,
                expected.ids.map((each, i) => (i === most ? -each : each)),
              ),
            }[kind];
            const source = aheadSource(sequence, { drafter, capacity, most });
            const given = recorded(source);
            expect(await decode(given, one)).toEqual(expected);
            sameBits(given.logits, plain.logits);
            expect(source.counts.calls).toBeLessThanOrEqual(plain.logits.length);
            expect(source.counts.accepted).toBeLessThanOrEqual(source.counts.proposed);
            sequence.close();
          }
        },
      ),
      { numRuns: 250 },
    );
  });
});

describe('a source that computes ahead', () => {
  const prompt = [1, 2, 3, 4, 5];
  const truthOf = async (maxTokens: number) => (await decodeFree(open(), prompt, { maxTokens, endIds: [] })).ids;
  const always = (list: readonly number[]): Drafter => ({
    propose: (ids, most) => list.slice(ids.length - prompt.length).slice(0, most),
  });

  it('computes a right proposal once, in one batch', async () => {
    const truth = await truthOf(20);
    const source = aheadSource(open(25), { drafter: always(truth), capacity: 25 });
    expect((await decodeFree(source, prompt, { maxTokens: 20, endIds: [] })).ids).toEqual(truth);
    expect(source.counts).toEqual({ rows: 24, proposed: 19, accepted: 19, calls: 1, reused: 0 });
  });

  it('computes no more than one row in vain for each wrong proposal of one id', async () => {
    const truth = await truthOf(20);
    const wrong = truth.map((one) => (one + 1) % VOCABULARY);
    const source = aheadSource(open(25), { drafter: always(wrong), capacity: 25, most: 1 });
    expect((await decodeFree(source, prompt, { maxTokens: 20, endIds: [] })).ids).toEqual(truth);
    expect(source.counts).toEqual({ rows: 24 + 19, proposed: 19, accepted: 0, calls: 20, reused: 0 });
  });

  it('never comes to the last position ahead of time, nor beyond the capacity', async () => {
    const long = Array.from({ length: 80 }, (_, i) => i % VOCABULARY);
    for (const capacity of [5, 6, 7, 8, 20]) {
      const sequence = open(capacity);
      const most: number[] = [];
      const drafter: Drafter = {
        propose(ids, count) {
          most.push(ids.length + count);
          return long;
        },
      };
      const source = aheadSource(sequence, { drafter, capacity });
      await decodeFree(source, prompt, { maxTokens: Math.max(1, capacity - 5), endIds: [] });
      expect(sequence.length).toBeLessThan(Math.max(6, capacity));
      expect(most.every((end) => end === capacity - 1)).toBe(true);
    }
  });

  it('computes nothing ahead without a capacity, without a drafter, and where there are no rows', async () => {
    const truth = await truthOf(6);
    const { rows: _, ...without } = { ...plainly(open(25)) };
    for (const [sequence, options] of [
      [open(25), { drafter: always(truth) }],
      [open(25), { capacity: 25 }],
      [open(25), { drafter: always(truth), capacity: 25, most: 0 }],
      [without as Sequence, { drafter: always(truth), capacity: 25 }],
    ] as const) {
      const source = aheadSource(sequence, options);
      expect((await decodeFree(source, prompt, { maxTokens: 6, endIds: [] })).ids).toEqual(truth);
      expect(source.counts).toEqual({ rows: 10, proposed: 0, accepted: 0, calls: 6, reused: 0 });
    }
  });

  it('feeds of the prompt what the sequence does not hold yet', async () => {
    const sequence = open(25);
    await sequence.feed(prompt.slice(0, 3));
    const source = aheadSource(sequence, { capacity: 25 });
    expect((await decodeFree(source, prompt, { maxTokens: 6, endIds: [] })).ids).toEqual(await truthOf(6));
    expect(source.counts).toMatchObject({ rows: 7, calls: 6, reused: 3 });
  });

  it('goes back where the sequence holds as much as is asked, or more', async () => {
    const expected = await open().feed(prompt.slice(0, 3));
    for (const held of [3, 5]) {
      const sequence = open(25);
      await sequence.feed(prompt.slice(0, held));
      expect(await aheadSource(sequence).feed(prompt.slice(0, 3))).toEqual(expected);
      expect(sequence.length).toBe(3);
    }
    const full = open(25);
    await full.feed(prompt);
    const { rows: _, ...without } = plainly(full);
    await expect(aheadSource(without as Sequence).feed(prompt)).rejects.toThrow(TypeError);
  });

  it('tells the drafter what came of each id that was compared', async () => {
    const truth = await truthOf(8);
    const told: boolean[] = [];
    const drafter: Drafter = {
      propose: (ids, most) => {
        const right = truth.slice(ids.length - prompt.length).slice(0, Math.min(most, 3));
        return right.map((one, i) => (i === 2 ? (one + 1) % VOCABULARY : one));
      },
      observe: (wasRight) => told.push(wasRight),
    };
    const source = aheadSource(open(13), { drafter, capacity: 13 });
    await decodeFree(source, prompt, { maxTokens: 8, endIds: [] });
    // nothing that was right is computed again
    expect(source.counts).toMatchObject({ calls: 3, proposed: 7, accepted: 5, rows: 12 + 2 });
    expect(told).toEqual([true, true, false, true, true, false, true]);
  });

  it('gives logits that later calls do not change', async () => {
    const truth = await truthOf(10);
    const source = aheadSource(open(20), { drafter: always(truth), capacity: 20 });
    const first = await source.feed(prompt);
    const kept = first.slice();
    for (const one of truth.slice(0, 6)) await source.feed([one]);
    expect(first).toEqual(kept);
  });

  it('refuses to be fed nothing, and stops when it is cancelled', async () => {
    const source = aheadSource(open(20), { drafter: always([1, 2, 3]), capacity: 20 });
    await expect(source.feed([])).rejects.toThrow(TypeError);
    await expect(source.feed(prompt, AbortSignal.abort())).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});

/** Proposes what comes after the prompt as it is given here, however wrong. */
function claimDrafter(promptLength: number, claimed: readonly number[]): Drafter {
  return { propose: (ids, most) => claimed.slice(Math.max(0, ids.length - promptLength)).slice(0, most) };
}

/** The sequence as a plain object. */
function plainly(sequence: Sequence): Sequence {
  return {
    get length() {
      return sequence.length;
    },
    feed: (ids, signal) => sequence.feed(ids, signal),
    ...(sequence.rows === undefined ? {} : { rows: sequence.rows }),
    close: () => sequence.close(),
  };
}
