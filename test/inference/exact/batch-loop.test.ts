import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { BatchTimes } from '../../../inference/batch-times.ts';
import { drive, freely, type LogitSource } from '../../../inference/decode.ts';
import { InferenceError } from '../../../inference/errors.ts';
import { BatchLoop, type Feed } from '../../../inference/exact/batch-loop.ts';
import { MOST_BESIDE } from '../../../inference/exact/batch-rows.ts';
import type { ExactDecoder } from '../../../inference/exact/exact-decoder.ts';
import { exactSequences } from '../../../inference/exact/exact-sequences.ts';
import { loadableModel } from '../../../inference/exact/model-bytes.ts';
import { loadNodeProducts } from '../../../inference/exact/ort/node-products.ts';
import { openReference } from '../../../inference/exact/reference/reference-decoder.ts';
import { loadKernels, startNodeThread } from '../../../inference/exact/wasm/threads.ts';
import { openWasmDecoder } from '../../../inference/exact/wasm/wasm-decoder.ts';
import { LogitsDigest } from '../../../inference/logits-digest.ts';
import { lookupSource } from '../../../inference/prompt-lookup.ts';
import type { Sequences } from '../../../inference/sequences.ts';
import { bundledOrtThread } from '../../support/bundled.ts';
import { randomExactModel } from '../../support/random-exact-model.ts';

const model = randomExactModel({ seed: 5 });
const { vocabulary, context } = model.shape;

/** A text of ids: its prompt, how many ids follow, and after which of its turns it is cancelled. */
type Ask = { readonly prompt: readonly number[]; readonly most: number; readonly cancelAfter: number | undefined };

const module = await loadKernels();
const startOrtThread = bundledOrtThread();
const ENGINES: readonly (readonly [string, (maxRows: number) => Promise<ExactDecoder>])[] = [
  ['reference', async (maxRows) => openReference(model, { maxRows })],
  [
    'wasm on 2 threads',
    (maxRows) =>
      openWasmDecoder(loadableModel(model), {
        module,
        startThread: startNodeThread,
        threads: 2,
        maxRows,
        logitRows: 3,
      }),
  ],
  [
    'ort on 2 threads',
    (maxRows) =>
      openWasmDecoder(loadableModel(model), {
        module,
        startThread: startOrtThread,
        threads: 2,
        maxRows,
        logitRows: 5,
        products: { from: 2, open: loadNodeProducts() },
      }),
  ],
];

/** Ids of the answer, and a digest of the logits that each of them was chosen from. */
async function answer(sequences: Sequences, ask: Ask, costOf?: (rows: number) => number) {
  const stop = new AbortController();
  const { prompt, most, cancelAfter } = ask;
  if (cancelAfter === 0) stop.abort();
  const capacity = prompt.length + most;
  const sequence = sequences.open(capacity, prompt);
  if (sequence.rows !== undefined && costOf !== undefined) Object.assign(sequence.rows, { costOf });
  const inner = lookupSource(sequence, capacity, costOf !== undefined);
  const digest = new LogitsDigest();
  let turns = 0;
  const source: LogitSource = {
    async feed(ids, signal) {
      const logits = await inner.feed(ids, signal);
      digest.append(logits);
      turns += 1;
      if (turns === cancelAfter) stop.abort();
      return logits;
    },
  };
  try {
    const { ids } = await drive(source, freely(prompt, { maxTokens: most, endIds: [] }), stop.signal);
    return { ids, logits: digest.finish() };
  } catch (error) {
    if (error instanceof InferenceError && error.code === 'CANCELLED') return 'cancelled';
    throw error;
  } finally {
    sequence.close();
  }
}

const id = fc.integer({ min: 0, max: vocabulary - 1 });
// Few different ids and beginnings in common: copies are proposed, beginnings are kept.
const prompts = fc.oneof(
  fc.array(id, { minLength: 1, maxLength: 40 }),
  fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 40 }),
);
const ask: fc.Arbitrary<Ask> = fc.record({
  prompt: prompts,
  most: fc.integer({ min: 1, max: 12 }),
  cancelAfter: fc.option(fc.integer({ min: 0, max: 8 }), { nil: undefined, freq: 4 }),
});

describe.each(ENGINES)('requests in one batch: %s', (_, open) => {
  const MAX_ROWS = [1, 7, 64] as const;
  let decoders: ExactDecoder[];
  beforeAll(async () => {
    decoders = [];
    for (const maxRows of MAX_ROWS) decoders.push(await open(maxRows));
  });
  afterAll(async () => {
    for (const decoder of decoders) await decoder.close();
  });

  it('give what each gives alone, whoever is cancelled, with rows computed ahead and beginnings kept', async () => {
    const asks = fc.array(fc.tuple(ask, fc.integer({ min: 0, max: 6 })), { minLength: 2, maxLength: 12 });
    const options = fc.record({
      decoder: fc.nat({ max: MAX_ROWS.length - 1 }),
      isAhead: fc.boolean(),
      prefixCache: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(asks, options, async (all, { decoder, isAhead, prefixCache }) => {
        const together = exactSequences(decoders[decoder] as ExactDecoder, { prefixCache });
        const costOf = isAhead ? (rows: number) => 1 + rows / 1000 : undefined;
        const answers = await Promise.all(
          all.map(async ([one, delay]) => {
            for (let i = 0; i < delay; i++) await new Promise((resolve) => setImmediate(resolve));
            return answer(together, one, costOf);
          }),
        );
        const reference = exactSequences(openReference(model), { prefixCache: false });
        for (const [i, [one]] of all.entries()) {
          const alone = await answer(reference, { ...one, cancelAfter: undefined });
          if (answers[i] === 'cancelled') expect(one.cancelAfter).toBeDefined();
          else expect(answers[i]).toEqual(alone);
        }
      }),
      { numRuns: 60 },
    );
  }, 60_000);
});

describe('the batches of one decoder', () => {
  it('hold a row of each text, and the next are made when those were answered', async () => {
    const { sequences, forward } = watched(64);
    const asks = [1, 2, 3, 4, 5].map((first) => ({ prompt: [first, 9, 9], most: 4, cancelAfter: undefined }));
    await Promise.all(asks.map((one) => answer(sequences, one)));
    expect(forward.mock.calls.map(([rows, wanted]) => [rows.length, wanted.length])).toEqual([
      [15, 5],
      [5, 5],
      [5, 5],
      [5, 5],
    ]);
  });

  it('have the rows with logits side by side, prompts before them', async () => {
    const { sequences, forward } = watched(64);
    const [one, two] = [sequences.open(20), sequences.open(20)];
    await Promise.all([one.feed([1, 2, 3]), two.feed([4, 5])]);
    const [rows, wanted] = forward.mock.calls[0] ?? [];
    expect(rows?.map(({ token }) => token)).toEqual([1, 2, 4, 3, 5]);
    expect(wanted).toEqual([3, 4]);
  });

  it('do not let a text wait for a long prompt', async () => {
    const { sequences, forward } = watched(128, 4096);
    const text = sequences.open(50);
    await text.feed([1]);
    const long = sequences.open(600).feed(Array(500).fill(7));
    for (let i = 0; i < 5; i++) await text.feed([2]);
    expect(text.length).toBe(6);
    const sizes = forward.mock.calls.map(([rows]) => rows.length);
    expect(sizes).toEqual([1, ...Array(5).fill(2 + MOST_BESIDE)]);
    await long;
    expect(forward.mock.calls.at(-1)?.[0].length).toBeLessThanOrEqual(128);
  });

  it('let short prompts pass a long one', async () => {
    const { sequences } = watched(16, 4096);
    const ended: string[] = [];
    const feed = async (name: string, length: number) => {
      await sequences.open(length).feed(Array(length).fill(3));
      ended.push(name);
    };
    await Promise.all([feed('long', 200), feed('short', 4), feed('middle', 20)]);
    expect(ended).toEqual(['short', 'middle', 'long']);
  });

  it('do not hold a cancelled feed any more, wherever it is', async () => {
    const { sequences, forward, real } = watched(4);
    const stop = new AbortController();
    const [one, two] = [sequences.open(50), sequences.open(50)];
    const [long, other] = [one.feed(Array(40).fill(1), stop.signal), two.feed(Array(12).fill(2))];
    forward.mockImplementationOnce((...args) => {
      stop.abort();
      return real(...args);
    });
    await expect(long).rejects.toMatchObject({ code: 'CANCELLED' });
    await other;
    expect(one.length).toBeLessThan(5);
    expect(two.length).toBe(12);
    one.close();
  });

  it('give a fault of one visitor to its own feed alone', async () => {
    const { sequences } = watched(64);
    const fault = new RangeError('a visitor');
    const [bad, good, ending] = [sequences.open(9), sequences.open(9), sequences.open(9)];
    const seen: number[] = [];
    const ends: number[] = [];
    const all = await Promise.allSettled([
      bad.rows?.feedRows([1, 2, 3], 3, () => {
        throw fault;
      }),
      good.rows?.feedRows([1, 2, 3], 3, (_, index) => seen.push(index) > 0),
      ending.rows?.feedRows([1, 2, 3], 3, (_, index) => ends.push(index) < 2),
    ]);
    expect(all).toMatchObject([
      { status: 'rejected', reason: fault },
      { status: 'fulfilled' },
      { status: 'fulfilled' },
    ]);
    expect(seen).toEqual([0, 1, 2]);
    expect(ends).toEqual([0, 1]);
    expect([bad.length, good.length, ending.length]).toEqual([3, 3, 3]);
  });

  it('compute no logits that nobody wants any more', async () => {
    const { sequences, forward, real } = watched(64);
    const shown = vi.fn();
    forward.mockImplementation((rows, wanted, visit) =>
      real(rows, wanted, (...args) => {
        shown();
        return visit(...args);
      }),
    );
    const [one, two] = [sequences.open(9), sequences.open(9)];
    await Promise.all([
      one.rows?.feedRows([1, 2, 3, 4], 4, () => false),
      two.rows?.feedRows([1, 2, 3, 4], 4, () => false),
    ]);
    expect(shown).toHaveBeenCalledTimes(5);
  });

  it('are computed again one by one where the decoder refuses one of them (B4)', async () => {
    const { sequences, decoder, forward, real } = watched(64);
    const [one, two, three] = [sequences.open(9), sequences.open(9), sequences.open(9)];
    await two.feed([4]);
    // Behind the back of its sequence: what the decoder refuses is that one alone.
    forward.mockImplementation((rows, ...rest) => {
      if (rows.some(({ token }) => token === 13)) throw new InferenceError('REQUEST_MALFORMED', 'an unlucky token');
      return real(rows, ...rest);
    });
    const all = await Promise.allSettled([one.feed([1, 2]), two.feed([13]), three.feed([5])]);
    expect(all).toMatchObject([
      { status: 'fulfilled' },
      { status: 'rejected', reason: { code: 'REQUEST_MALFORMED' } },
      { status: 'fulfilled' },
    ]);
    const alone = exactSequences(openReference(model)).open(9);
    expect((all[0] as PromiseFulfilledResult<Float32Array>).value).toEqual(await alone.feed([1, 2]));
    expect([one.length, two.length, three.length]).toEqual([2, 1, 1]);
    await decoder.close();
  });

  it('fail together where the decoder fails after it changed something, and nothing of them is kept', async () => {
    const { sequences, forward, real } = watched(64);
    const [one, two] = [sequences.open(9), sequences.open(9)];
    forward.mockImplementationOnce((...args) => {
      real(...args);
      throw new TypeError('a kernel');
    });
    const all = await Promise.allSettled([one.feed([1, 2]), two.feed([1, 3])]);
    for (const end of all) expect(end).toMatchObject({ reason: { message: 'a kernel' } });
    expect(forward).toHaveBeenCalledTimes(1);
    one.close();
    two.close();
    expect(sequences.open(9, [1, 2, 3]).length).toBe(0);
  });

  it('end with the engine', async () => {
    const { sequences } = watched(4);
    const feeds = [1, 2, 3].map((first) => sequences.open(50).feed(Array(40).fill(first)));
    await sequences.close();
    for (const end of await Promise.allSettled(feeds)) expect(end).toMatchObject({ reason: { code: 'ENGINE_CLOSED' } });
    expect(() => sequences.open(5)).toThrow(expect.objectContaining({ code: 'ENGINE_CLOSED' }));
  });

  it('make a row more dearer for a text that has company', async () => {
    const { sequences } = watched(64);
    const all = Array.from({ length: 8 }, () => sequences.open(60));
    const [one] = all;
    for (let i = 0; i < 3; i++) await one?.feed([1]);
    for (let i = 0; i < 3; i++) await one?.rows?.feedRows(Array(16).fill(1), 16, () => true);
    const alone = one?.rows?.costOf(4) ?? 0;
    for (let i = 0; i < 3; i++) await Promise.all(all.map((sequence) => sequence.feed([1])));
    expect(one?.rows?.costOf(1)).toBe(1);
    expect(alone).toBeGreaterThanOrEqual(1);
    expect(one?.rows?.costOf(4)).toBeGreaterThan(1);
    expect(one?.rows?.costOf(4)).toBeLessThan(100);
  });

  it('have room for what is computed ahead, shared by all texts', async () => {
    const { sequences } = watched(64);
    const all = Array.from({ length: 8 }, () => sequences.open(60));
    const [one] = all;
    for (let i = 0; i < 3; i++) await one?.feed([1]);
    expect(one?.rows?.costOf(64)).toBeLessThan(Number.POSITIVE_INFINITY);
    await Promise.all(all.map((sequence) => sequence.feed([1])));
    const share = MOST_BESIDE / 8;
    expect(one?.rows?.costOf(1 + share)).toBeLessThan(Number.POSITIVE_INFINITY);
    expect(one?.rows?.costOf(2 + share)).toBe(Number.POSITIVE_INFINITY);
    // Alone again.
    await one?.feed([1]);
    expect(one?.rows?.costOf(64)).toBeLessThan(Number.POSITIVE_INFINITY);
  });
});

describe('a batch', () => {
  /** A loop over the reference; `feed` is of a new sequence and wants the logits of all its ids. */
  function looped(maxRows: number) {
    const decoder = openReference(model, { maxRows });
    const times = new BatchTimes();
    const record = vi.spyOn(times, 'record');
    const loop = new BatchLoop(decoder, times);
    const feed = (ids: readonly number[], more: Partial<Feed> = {}) => {
      const handle = decoder.openSequence(ids.length);
      const done = loop.feed({
        held: { handle, capacity: ids.length, ids: [] },
        ids,
        wanted: ids.length,
        visit: () => true,
        signal: undefined,
        assertOpen: () => {},
        onFault: () => {},
        ...more,
      });
      return { handle, done };
    };
    return { loop, feed, record };
  }

  it('is measured where all of it was computed, rows and logits, and else not', async () => {
    const { feed, record } = looped(16);
    await Promise.all([feed([1, 2, 3]).done, feed([4, 5], { wanted: 1 }).done]);
    expect(record.mock.calls.map(([rows, wanted]) => [rows, wanted])).toEqual([[5, 4]]);
    await feed([1, 2, 3], { visit: (_, index) => index < 1 }).done;
    expect(record).toHaveBeenCalledTimes(1);
  });

  it('tells each sequence how many others were in it, and a new one how many wait', async () => {
    const { loop, feed } = looped(16);
    const feeds = [[1], [1, 2], [1, 2, 3, 4]].map((ids) => feed(ids));
    await Promise.all(feeds.map(({ done }) => done));
    const beside = feeds.map(({ handle }) => loop.beside(handle));
    expect(beside.map(({ rows }) => rows)).toEqual([6, 5, 3]);
    expect(beside.map(({ sequences }) => sequences)).toEqual([2, 2, 2]);
    const waiting = [[1], [2]].map((ids) => feed(ids).done);
    expect(loop.beside(-1)).toEqual({ rows: 2, sequences: 2 });
    await Promise.all(waiting);
    expect(loop.beside(-1)).toEqual({ rows: 0, sequences: 0 });
  });

  it('has room for so many that wait beside a new one, and for itself', async () => {
    const { loop, feed } = looped(3);
    const waiting = [[1], [2], [3], [4], [5]].map((ids) => feed(ids).done);
    expect(loop.beside(-1)).toEqual({ rows: 2, sequences: 2 });
    await Promise.all(waiting);
  });

  it('has all rows of a prompt that is alone, which nobody waits beside', async () => {
    const { sequences, forward } = watched(256, 256);
    await sequences.open(256).feed(Array(3 * MOST_BESIDE).fill(1));
    expect(forward).toHaveBeenCalledTimes(1);
  });
});

function watched(maxRows: number, positions = context) {
  const decoder = openReference(positions === context ? model : randomExactModel({ context: positions }), { maxRows });
  const real = decoder.forwardEach.bind(decoder);
  const forward = vi.spyOn(decoder, 'forwardEach').mockImplementation(real);
  return { decoder, forward, real, sequences: exactSequences(decoder, { prefixCache: { sequences: 2 } }) };
}
