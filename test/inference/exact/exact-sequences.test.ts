import { describe, expect, it, vi } from 'vitest';
import { exactSequences } from '../../../inference/exact/exact-sequences.ts';
import { openReference } from '../../../inference/exact/reference/reference-decoder.ts';
import { randomExactModel } from '../../support/random-exact-model.ts';

const model = randomExactModel({});
const ids = [1, 2, 3, 4, 5, 6, 7];

describe('sequences over an exact decoder', () => {
  it('feed a prompt in parts and give the logits after its last token', async () => {
    const whole = exactSequences(openReference(model)).open(16);
    const parts = exactSequences(openReference(model, { maxRows: 2 })).open(16);
    expect(await parts.feed(ids)).toEqual(await whole.feed(ids));
    expect(await parts.feed([8])).toEqual(await whole.feed([8]));
    await expect(parts.feed([])).rejects.toThrow(TypeError);
  });

  it('stop between two parts of a prompt when the request is cancelled', async () => {
    const decoder = openReference(model, { maxRows: 1 });
    const controller = new AbortController();
    const forward = decoder.forwardEach.bind(decoder);
    const spy = vi.spyOn(decoder, 'forwardEach').mockImplementation((...args) => {
      if (spy.mock.calls.length === 3) controller.abort();
      return forward(...args);
    });
    const sequence = exactSequences(decoder).open(16);
    await expect(sequence.feed(ids, controller.signal)).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(spy).toHaveBeenCalledTimes(3);
  });

  it('give the room of a closed sequence back', async () => {
    const decoder = openReference(model);
    const sequences = exactSequences(decoder, { prefixCache: false });
    const close = vi.spyOn(decoder, 'closeSequence');
    const sequence = sequences.open(4);
    await sequence.feed([1]);
    sequence.close();
    const [[handle]] = close.mock.calls as [[number]];
    expect(() => decoder.lengthOf(handle)).toThrow(expect.objectContaining({ code: 'REQUEST_MALFORMED' }));
    expect(sequences.contextLength).toBe(model.shape.context);
  });

  it('show the logits of the wanted rows in order, in parts of any size', async () => {
    const one = exactSequences(openReference(model)).open(16);
    const expected: Float32Array[] = [];
    for (const id of ids) expected.push((await one.feed([id])).slice());
    for (const maxRows of [1, 2, 3, 64]) {
      for (const wanted of [0, 1, 3, 7]) {
        const { sequence, rows } = opened({ maxRows });
        const seen: (readonly [number, Float32Array])[] = [];
        await rows.feedRows(ids, wanted, (logits, index) => seen.push([index, logits.slice()]) > 0);
        expect(seen).toEqual(expected.map((logits, i) => [i, logits]).slice(7 - wanted));
        expect(sequence.length).toBe(7);
      }
    }
  });

  it('end where the visitor says so: no part after that one is computed', async () => {
    const { sequence, rows, forward } = opened({ maxRows: 2 });
    const seen: number[] = [];
    await rows.feedRows(ids, 7, (_, index) => seen.push(index) < 3);
    expect(seen).toEqual([0, 1, 2]);
    expect(forward).toHaveBeenCalledTimes(2);
    expect(sequence.length).toBe(4);
    rows.truncate(3);
    const whole = exactSequences(openReference(model)).open(16);
    expect(await sequence.feed([9, 8])).toEqual(await whole.feed([1, 2, 3, 9, 8]));
  });

  it('go on after a cut with the bits of a sequence that never had what was cut', async () => {
    const { sequence, rows } = opened({ maxRows: 3 });
    await sequence.feed([...ids, 20, 21, 22]);
    rows.truncate(5);
    expect(sequence.length).toBe(5);
    const whole = exactSequences(openReference(model)).open(16);
    expect(await sequence.feed([30])).toEqual(await whole.feed([1, 2, 3, 4, 5, 30]));
    expect(() => rows.truncate(7)).toThrow(expect.objectContaining({ code: 'REQUEST_MALFORMED' }));
    expect(() => rows.truncate(-1)).toThrow(expect.objectContaining({ code: 'REQUEST_MALFORMED' }));
    expect(sequence.length).toBe(6);
  });

  it('let the event loop have its turn before each part', async () => {
    const { rows, forward } = opened({ maxRows: 1 });
    const turns: number[] = [];
    let isFed = false;
    const watch = () => {
      turns.push(forward.mock.calls.length);
      if (!isFed) setImmediate(watch);
    };
    setImmediate(watch);
    await rows.feedRows(ids, 0, () => true);
    isFed = true;
    expect(new Set(turns).size).toBeGreaterThanOrEqual(7);
  });

  it('take what a visitor throws for what it is, after the rows are in', async () => {
    const { sequence, rows } = opened({ maxRows: 4 });
    const fault = new RangeError('a visitor');
    const failing = rows.feedRows(ids, 7, (_, index) => {
      if (index === 1) throw fault;
      return true;
    });
    await expect(failing).rejects.toBe(fault);
    expect(sequence.length).toBe(4);
    rows.truncate(1);
    const whole = exactSequences(openReference(model)).open(16);
    expect(await sequence.feed([2])).toEqual(await whole.feed([1, 2]));
  });

  it('are not kept after the decoder failed', async () => {
    const { sequence, sequences, forward } = opened({});
    await sequence.feed(ids);
    forward.mockImplementationOnce(() => {
      throw new TypeError('a kernel');
    });
    await expect(sequence.feed([8])).rejects.toThrow('a kernel');
    expect(sequence.length).toBe(7);
    sequence.close();
    expect(sequences.open(16, [...ids, 8]).length).toBe(0);
  });

  it('refuse what is no feed, and everything after they were closed', async () => {
    const { sequence, rows, decoder, sequences } = opened({});
    for (const wanted of [-1, 8, 0.5, Number.NaN]) {
      await expect(rows.feedRows(ids, wanted, () => true)).rejects.toThrow(RangeError);
    }
    await expect(rows.feedRows([], 0, () => true)).rejects.toThrow(TypeError);
    expect(sequence.length).toBe(0);
    await sequence.feed(ids);
    const pending = sequence.feed([1]);
    sequence.close();
    await expect(pending).rejects.toThrow(TypeError);
    await expect(sequence.feed([1])).rejects.toThrow(TypeError);
    expect(() => rows.truncate(0)).toThrow(TypeError);
    expect(() => sequence.close()).toThrow(TypeError);
    // what is kept of it is whole
    expect(sequences.open(16, [...ids, 9]).length).toBe(7);
    await decoder.close();
  });

  it('know what their batches cost: one row is the unit', async () => {
    const { sequence, rows } = opened({ maxRows: 32 });
    expect(rows.vocabulary).toBe(model.shape.vocabulary);
    await sequence.feed([1]);
    await rows.feedRows(Array(8).fill(1), 8, () => true);
    expect(rows.costOf(1)).toBe(1);
    expect(rows.costOf(8)).toBeGreaterThanOrEqual(1);
    expect(rows.costOf(8)).toBeLessThan(50);
  });
});

function opened(options: { readonly maxRows?: number }) {
  const decoder = openReference(model, options);
  const forward = vi.spyOn(decoder, 'forwardEach');
  const sequences = exactSequences(decoder);
  const sequence = sequences.open(16);
  if (sequence.rows === undefined) throw new TypeError('no rows');
  return { decoder, forward, sequences, sequence, rows: sequence.rows };
}
