import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { InferenceError } from '../../../inference/errors.ts';
import type { ExactDecoder } from '../../../inference/exact/exact-decoder.ts';
import { exactSequences } from '../../../inference/exact/exact-sequences.ts';
import { loadableModel } from '../../../inference/exact/model-bytes.ts';
import { cacheBytes, PrefixCache } from '../../../inference/exact/prefix-cache.ts';
import { openReference } from '../../../inference/exact/reference/reference-decoder.ts';
import { loadKernels, startNodeThread } from '../../../inference/exact/wasm/threads.ts';
import { openWasmDecoder } from '../../../inference/exact/wasm/wasm-decoder.ts';

import { randomExactModel } from '../../support/random-exact-model.ts';

const CONTEXT = 64;
const model = randomExactModel({
  layers: 2,
  embedding: 16,
  feedForward: 24,
  heads: 2,
  kvHeads: 1,
  headSize: 8,
  vocabulary: 5,
  context: CONTEXT,
});
const bytesOf = (positions: number) => cacheBytes(model.shape, positions);

/** The reference, with the sequences that are open, and room for so many positions only. */
function watched(room = Number.POSITIVE_INFINITY, options: { readonly maxRows?: number } = {}) {
  const decoder = openReference(model, options);
  const open = new Map<number, number>();
  const [openOwn, closeOwn] = [decoder.openSequence.bind(decoder), decoder.closeSequence.bind(decoder)];
  decoder.openSequence = (capacity) => {
    const used = [...open.values()].reduce((sum, one) => sum + one, 0);
    if (used + capacity > room) throw new InferenceError('OUT_OF_MEMORY', 'no room');
    const handle = openOwn(capacity);
    open.set(handle, capacity);
    return handle;
  };
  decoder.closeSequence = (handle) => {
    closeOwn(handle);
    open.delete(handle);
  };
  return { decoder, open };
}

function feed(decoder: ExactDecoder, held: ReturnType<PrefixCache['open']>, ids: readonly number[]): Float32Array {
  const rows = ids.map((token) => ({ sequence: held.handle, token }));
  const logits = decoder.forward(rows, [rows.length - 1]).slice();
  held.ids.push(...ids);
  return logits;
}

/** Opens, feeds what is missing, closes; returns how many ids were found. */
function visit(cache: PrefixCache, decoder: ExactDecoder, ids: readonly number[], capacity = ids.length): number {
  const held = cache.open(capacity, ids);
  const found = held.ids.length;
  feed(decoder, held, ids.slice(found));
  cache.close(held, true);
  return found;
}

describe('kept sequences', () => {
  it('give a prompt its longest beginning, always without the last id', () => {
    const { decoder } = watched();
    const cache = new PrefixCache(decoder);
    visit(cache, decoder, [1, 2, 3, 4]);
    visit(cache, decoder, [1, 2, 4, 4, 4]);
    for (const [prompt, found] of [
      [[1, 2, 3, 4, 0], 4],
      [[1, 2, 3, 4], 3],
      [[1, 2, 3], 2],
      [[1, 2, 4, 4, 0], 4],
      [[1, 2, 0, 3, 4], 2],
      [[2, 2, 3, 4], 0],
      [[1], 0],
      [[], 0],
    ] as const) {
      const held = cache.open(9, prompt);
      expect(held.ids).toEqual(prompt.slice(0, found));
      expect(decoder.lengthOf(held.handle)).toBe(found);
      decoder.closeSequence(held.handle);
    }
  });

  it('give no more positions than the new sequence has', () => {
    const { decoder } = watched();
    const cache = new PrefixCache(decoder);
    visit(cache, decoder, [1, 2, 3, 4, 0, 1]);
    const held = cache.open(3, [1, 2, 3, 4, 0, 1]);
    expect(held.ids).toEqual([1, 2, 3]);
    expect(held.capacity).toBe(3);
  });

  it('are handed out themselves only where all of them is wanted and their room suffices', () => {
    const { decoder, open } = watched();
    const cache = new PrefixCache(decoder);
    const first = cache.open(8, [1, 2, 3]);
    feed(decoder, first, [1, 2, 3, 4, 1, 2]);
    cache.close(first, true);
    const part = cache.open(8, [1, 2, 3, 4, 0]);
    expect(part.handle).not.toBe(first.handle);
    const large = cache.open(9, [1, 2, 3, 4, 1, 2, 3]);
    expect(large.handle).not.toBe(first.handle);
    const whole = cache.open(8, [1, 2, 3, 4, 1, 2, 3]);
    expect(whole).toEqual({ handle: first.handle, capacity: 8, ids: [1, 2, 3, 4, 1, 2] });
    expect(cache.size).toEqual({ sequences: 0, bytes: 0 });
    // nobody else gets it: a copy
    const copy = cache.open(8, [1, 2, 3, 4, 1, 2, 3]);
    expect(copy.ids).toEqual([1, 2, 3, 4, 1, 2]);
    expect(copy.handle).not.toBe(first.handle);
    expect(open.size).toBe(4);
  });

  it('are not needed where a sequence in use begins alike: many requests at once share what the first of them computed', () => {
    const { decoder } = watched();
    const cache = new PrefixCache(decoder);
    const first = cache.open(16, [1, 2, 3, 4, 1]);
    feed(decoder, first, [1, 2, 3, 4, 1]);
    const second = cache.open(4, [1, 2, 3, 0]);
    expect(second.ids).toEqual([1, 2, 3]);
    const logits = feed(decoder, second, [0]);
    // Neither changes the other.
    const more = feed(decoder, first, [2]);
    const { decoder: fresh } = watched();
    const none = new PrefixCache(fresh, { sequences: 0 });
    expect(logits).toEqual(feed(fresh, none.open(9, []), [1, 2, 3, 0]));
    expect(more).toEqual(feed(fresh, none.open(9, []), [1, 2, 3, 4, 1, 2]));
    cache.close(second, true);
    // What is kept is taken before a copy of the same length is made.
    expect(cache.open(4, [1, 2, 3, 0, 1])).toEqual({ handle: second.handle, capacity: 4, ids: [1, 2, 3, 0] });
    // One that is closed and not kept is not there any more, and one whose ids are not its cache's is not used.
    cache.close(first, false);
    expect(cache.open(9, [1, 2, 3, 4, 1, 2]).ids).toEqual([1, 2, 3]);
    const wrong = cache.open(9, [4, 4, 4]);
    wrong.ids.push(4, 4);
    expect(cache.open(9, [4, 4, 4]).ids).toEqual([]);
  });

  it('and sequences in use are not looked at where nothing is kept', () => {
    for (const limits of [{ sequences: 0 }, { bytes: 0 }]) {
      const { decoder } = watched();
      const cache = new PrefixCache(decoder, limits);
      feed(decoder, cache.open(9, [1, 2, 3]), [1, 2, 3]);
      expect(cache.open(9, [1, 2, 3]).ids).toEqual([]);
    }
  });

  it('do not change when their copies go on', () => {
    const { decoder } = watched();
    const cache = new PrefixCache(decoder);
    visit(cache, decoder, [1, 2, 3, 4], 20);
    const copy = cache.open(20, [1, 2, 3, 0]);
    feed(decoder, copy, [0, 0, 0]);
    const other = cache.open(20, [1, 2, 3, 4, 4]);
    const fresh = decoder.openSequence(20);
    const expected = decoder.forward(
      [1, 2, 3, 4, 4].map((token) => ({ sequence: fresh, token })),
      [4],
    );
    expect(feed(decoder, other, [4])).toEqual(expected);
  });

  it('are not kept twice: a beginning of another is dropped, whichever came first', () => {
    const { decoder, open } = watched();
    const cache = new PrefixCache(decoder);
    const [short, long, same] = [cache.open(9, []), cache.open(9, []), cache.open(9, [])];
    feed(decoder, short, [1, 2]);
    feed(decoder, long, [1, 2, 3]);
    feed(decoder, same, [1, 2, 3]);
    for (const held of [long, short, same]) cache.close(held, true);
    expect([cache.size.sequences, open.size]).toEqual([1, 1]);
    const longer = cache.open(12, []);
    feed(decoder, longer, [1, 2, 3, 4]);
    cache.close(longer, true);
    expect([cache.size.sequences, open.size]).toEqual([1, 1]);
    expect(cache.open(12, [1, 2, 3, 4, 4]).ids).toEqual([1, 2, 3, 4]);
  });

  it.each([
    ['nothing was fed', [], true, 0],
    ['a call failed', [1, 2, 3], false, 0],
    ['its ids are not those of the decoder', [1, 2, 3], true, 1],
  ] as const)('are not kept where %s', (_, ids, isIntact, more) => {
    const { decoder, open } = watched();
    const cache = new PrefixCache(decoder);
    const held = cache.open(9, []);
    if (ids.length > 0) feed(decoder, held, ids);
    for (let i = 0; i < more; i++) decoder.forward([{ sequence: held.handle, token: 0 }], []);
    cache.close(held, isIntact);
    expect([cache.size.sequences, open.size]).toEqual([0, 0]);
  });

  it.each([{ sequences: 0 }, { bytes: 0 }, { sequences: 0, bytes: 0 }])('are none with %o', (limits) => {
    const { decoder, open } = watched();
    const cache = new PrefixCache(decoder, limits);
    expect([visit(cache, decoder, [1, 2, 3]), visit(cache, decoder, [1, 2, 3])]).toEqual([0, 0]);
    expect(open.size).toBe(0);
  });

  it('are bounded in number: the oldest goes, and one that was used is not the oldest', () => {
    const { decoder, open } = watched();
    const cache = new PrefixCache(decoder, { sequences: 2 });
    const [a, b, c] = [
      [1, 1, 1, 1],
      [2, 2, 2, 2],
      [3, 3, 3, 3],
    ] as const;
    visit(cache, decoder, a);
    visit(cache, decoder, b);
    expect(visit(cache, decoder, a)).toBe(3);
    visit(cache, decoder, c);
    expect(open.size).toBe(2);
    expect(cache.open(4, b).ids).toEqual([]);
    expect(cache.open(4, a).ids).toHaveLength(3);
    expect(cache.open(4, c).ids).toHaveLength(3);
  });

  it('lose first those that a newer one mostly holds too', () => {
    const { decoder } = watched();
    const cache = new PrefixCache(decoder, { sequences: 3 });
    visit(cache, decoder, [2, 2, 2, 2]);
    visit(cache, decoder, [1, 1, 1, 1, 0]);
    for (const last of [2, 3, 4]) visit(cache, decoder, [1, 1, 1, 1, last]);
    expect(cache.size.sequences).toBe(3);
    expect(cache.open(5, [2, 2, 2, 2, 1]).ids).toHaveLength(4);
  });

  it('are bounded in bytes, by the room that they take', () => {
    const { decoder } = watched();
    const cache = new PrefixCache(decoder, { bytes: bytesOf(32) });
    for (let first = 0; first < 4; first++) {
      visit(cache, decoder, [first, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], 16);
      expect(cache.size).toEqual({ sequences: Math.min(first + 1, 2), bytes: bytesOf(16 * Math.min(first + 1, 2)) });
    }
    visit(
      cache,
      decoder,
      Array.from({ length: 33 }, (_, i) => i % 5),
    );
    expect(cache.size.sequences).toBe(2);
  });

  it('keep of a large room what is in use', () => {
    const { decoder, open } = watched();
    const cache = new PrefixCache(decoder, { bytes: bytesOf(16) });
    visit(cache, decoder, [1, 2, 3, 4, 1, 2, 3, 4], CONTEXT);
    expect(cache.size).toEqual({ sequences: 1, bytes: bytesOf(8) });
    expect([...open.values()]).toEqual([8]);
    expect(visit(cache, decoder, [1, 2, 3, 4, 1, 2, 3, 4, 0], CONTEXT)).toBe(8);
  });

  it('make room for a new sequence, the one that it begins like last', () => {
    const { decoder, open } = watched(40);
    const cache = new PrefixCache(decoder);
    for (const first of [1, 2, 3]) visit(cache, decoder, Array(9).fill(first), 10);
    const held = cache.open(30, [1, 1, 1, 1, 1, 0]);
    expect(held.ids).toEqual([1, 1, 1, 1, 1]);
    expect([...open.values()].sort()).toEqual([10, 30]);
    const all = cache.open(10, [1, 1, 1, 0]);
    expect(all.ids).toEqual([1, 1, 1]);
    expect(decoder.lengthOf(all.handle)).toBe(3);
    expect(cache.size.sequences).toBe(0);
    expect(() => cache.open(1, [])).toThrow(expect.objectContaining({ code: 'OUT_OF_MEMORY' }));
  });

  it('are all given up where nothing else helps, and the prompt is computed whole', () => {
    const { decoder, open } = watched(40);
    const cache = new PrefixCache(decoder);
    for (const first of [1, 2, 3]) visit(cache, decoder, [first, 1, 1, 1, 1, 1, 1, 1], 10);
    const held = cache.open(40, [1, 1, 1, 1, 1]);
    expect(held).toMatchObject({ capacity: 40, ids: [] });
    expect([...open.values()]).toEqual([40]);
    expect(cache.size).toEqual({ sequences: 0, bytes: 0 });
  });

  it('are not given up for other faults', () => {
    const { decoder, open } = watched();
    const cache = new PrefixCache(decoder);
    visit(cache, decoder, [1, 2, 3]);
    expect(() => cache.open(CONTEXT + 1, [1, 2, 3])).toThrow(expect.objectContaining({ code: 'CONTEXT_EXCEEDED' }));
    expect(() => cache.open(0, [1, 2, 3])).toThrow(expect.objectContaining({ code: 'REQUEST_MALFORMED' }));
    expect([cache.size.sequences, open.size]).toEqual([1, 1]);
  });
});

describe('sequences with a prefix cache', () => {
  const id = fc.integer({ min: 0, max: 1 });
  const request = fc.record({
    prompt: fc.array(id, { minLength: 1, maxLength: 24 }),
    more: fc.array(id, { maxLength: 12 }),
    spare: fc.integer({ min: 0, max: 20 }),
    cut: fc.option(fc.integer({ min: 0, max: 36 }), { nil: undefined }),
    again: fc.array(id, { maxLength: 8 }),
    fault: fc.constantFrom('none', 'none', 'none', 'cancel', 'forward', 'visit'),
    faultAt: fc.integer({ min: 0, max: 8 }),
    stays: fc.boolean(),
  });

  it('give the bits of fresh ones, whatever was cut, cancelled or failed before, within their bounds', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(request, { minLength: 2, maxLength: 12 }),
        fc.integer({ min: 0, max: 4 }),
        fc.integer({ min: 96, max: 260 }),
        fc.constantFrom(1, 4, 64),
        async (requests, sequences, room, maxRows) => {
          const { decoder, open } = watched(room, { maxRows });
          const cached = exactSequences(decoder, { prefixCache: { sequences, bytes: bytesOf(96) } });
          const forward = decoder.forwardEach.bind(decoder);
          let failAt = -1;
          decoder.forwardEach = (...args) => {
            if (failAt-- === 0) throw new InferenceError('ENGINE_CLOSED', 'a fault');
            forward(...args);
          };
          let left: ReturnType<typeof cached.open> | undefined;
          for (const { prompt, more, spare, cut, again, fault, faultAt, stays } of requests) {
            const capacity = Math.min(CONTEXT - 16, prompt.length + more.length + again.length + spare);
            const sequence = cached.open(capacity, prompt);
            expect(sequence.length).toBeLessThan(prompt.length);
            const ids = prompt.slice(0, sequence.length);
            const fresh = exactSequences(openReference(model), { prefixCache: false });
            const check = async (part: readonly number[]) => {
              if (part.length === 0) return;
              const controller = new AbortController();
              if (fault === 'cancel' && faultAt === 0) controller.abort();
              failAt = fault === 'forward' ? faultAt : -1;
              let seen = 0;
              const rows: Float32Array[] = [];
              await sequence.rows?.feedRows(
                part,
                part.length,
                (logits) => {
                  if (fault === 'visit' && seen === faultAt) throw new RangeError('a visitor');
                  if (fault === 'cancel' && seen === faultAt - 1) controller.abort();
                  seen += 1;
                  rows.push(logits.slice());
                  return true;
                },
                controller.signal,
              );
              ids.push(...part);
              const expected: Float32Array[] = [];
              const whole = fresh.open(CONTEXT);
              const show = (logits: Float32Array) => expected.push(logits.slice()) > 0;
              await whole.rows?.feedRows(ids, part.length, show);
              whole.close();
              expect(rows).toEqual(expected);
            };
            try {
              await check(prompt.slice(sequence.length));
              await check(more);
              if (cut !== undefined && cut <= ids.length) {
                sequence.rows?.truncate(cut);
                ids.length = cut;
                await check(again);
              }
            } catch (error) {
              if (!(error instanceof InferenceError || (error instanceof RangeError && fault === 'visit'))) throw error;
            }
            failAt = -1;
            left?.close();
            left = undefined;
            if (stays) left = sequence;
            else sequence.close();
            expect(open.size).toBeLessThanOrEqual(sequences + (stays ? 1 : 0));
          }
          left?.close();
          expect(open.size).toBeLessThanOrEqual(sequences);
          expect([...open.values()].reduce((sum, one) => sum + bytesOf(one), 0)).toBeLessThanOrEqual(bytesOf(96));
        },
      ),
      { numRuns: 80 },
    );
  });

  it('compute of the next turn of a conversation only what is new, with the same bits in the kernels', async () => {
    const kernels = { module: await loadKernels(), startThread: startNodeThread, maxRows: 8 };
    const big = randomExactModel({
      layers: 3,
      kvHeads: 2,
      heads: 4,
      headSize: 20,
      embedding: 40,
      vocabulary: 50,
      context: 96,
    });
    const decoder = await openWasmDecoder(loadableModel(big), kernels);
    const forward = vi.spyOn(decoder, 'forwardEach');
    const [on, off] = [exactSequences(decoder), exactSequences(openReference(big), { prefixCache: false })];
    const text = Array.from({ length: 80 }, (_, i) => (i * 7 + (i >> 3)) % 50);
    let known = 0;
    for (const length of [11, 12, 25, 40, 73, 80]) {
      const prompt = text.slice(0, length);
      const sequence = on.open(Math.min(96, length + 9), prompt);
      expect(sequence.length).toBe(Math.min(known, length - 1));
      forward.mockClear();
      const logits = (await sequence.feed(prompt.slice(sequence.length))).slice();
      expect(forward.mock.calls.flatMap(([rows]) => rows)).toHaveLength(length - Math.min(known, length - 1));
      expect(logits).toEqual(await off.open(96).feed(prompt));
      sequence.close();
      known = length;
    }
    await decoder.close();
  });
});
