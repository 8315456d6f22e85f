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
    const forward = decoder.forward.bind(decoder);
    const spy = vi.spyOn(decoder, 'forward').mockImplementation((...args) => {
      if (spy.mock.calls.length === 3) controller.abort();
      return forward(...args);
    });
    const sequence = exactSequences(decoder).open(16);
    await expect(sequence.feed(ids, controller.signal)).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(spy).toHaveBeenCalledTimes(3);
  });

  it('give the room of a closed sequence back', async () => {
    const decoder = openReference(model);
    const sequences = exactSequences(decoder);
    const sequence = sequences.open(4);
    await sequence.feed([1]);
    sequence.close();
    expect(() => decoder.lengthOf(1)).toThrow(expect.objectContaining({ code: 'REQUEST_MALFORMED' }));
    expect(sequences.contextLength).toBe(model.shape.context);
  });
});
