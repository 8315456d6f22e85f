import { describe, expect, it } from 'vitest';
import {
  argmax,
  argmaxOfMask,
  decodeChoice,
  decodeFree,
  drive,
  type LogitSource,
  type MaskedOptions,
  type MaskedPlace,
  maskIds,
  withinForm,
} from '../../inference/decode.ts';

/** Vocabulary 0..7; after a sequence the model prefers what `prefer` says, most wanted first. */
function toy(prefer: (ids: readonly number[]) => readonly number[]): LogitSource & { readonly fed: number[][] } {
  const fed: number[][] = [];
  const ids: number[] = [];
  return {
    fed,
    async feed(more) {
      fed.push([...more]);
      ids.push(...more);
      const logits = new Float32Array(8).fill(-5);
      prefer(ids).forEach((id, rank) => {
        logits[id] = -rank;
      });
      return logits;
    },
  };
}

const END = [7];

describe('argmax', () => {
  it('takes the lowest id among equals, whatever the order of the allowed ones', () => {
    const logits = Float32Array.of(1, 3, 3, 2, 3);
    expect(argmax(logits)).toBe(1);
    expect(argmax(logits, new Set([4, 3, 2]))).toBe(2);
    expect(argmax(logits, new Set([3]))).toBe(3);
    expect(argmax(Float32Array.of(-0, 0))).toBe(0);
  });

  it('passes over NaN and never answers out of nothing', () => {
    expect(argmax(Float32Array.of(Number.NaN, -3, Number.NaN))).toBe(1);
    const fault = expect.objectContaining({ code: 'NUMERIC_FAULT' });
    expect(() => argmax(Float32Array.of(Number.NaN, Number.NaN))).toThrowError(fault);
    expect(() => argmax(Float32Array.of(Number.NEGATIVE_INFINITY))).toThrowError(fault);
    expect(() => argmax(new Float32Array(0))).toThrowError(fault);
    expect(() => argmax(Float32Array.of(1), new Set([5]))).toThrowError(fault);
  });
});

describe('free decoding', () => {
  it('feeds the prompt once, then each id, and keeps the end id', async () => {
    const source = toy((ids) => [ids.length === 5 ? 7 : ids.length]);
    expect(await decodeFree(source, [0, 1, 2], { maxTokens: 9, endIds: END })).toEqual({
      ids: [3, 4, 7],
      finishReason: 'stop',
    });
    expect(source.fed).toEqual([[0, 1, 2], [3], [4]]);
  });

  it('ends at the length, without feeding the last id', async () => {
    const source = toy(() => [4]);
    expect(await decodeFree(source, [0], { maxTokens: 3, endIds: END })).toEqual({
      ids: [4, 4, 4],
      finishReason: 'length',
    });
    expect(source.fed).toHaveLength(3);
  });

  it('ends where it is told to stop', async () => {
    const options = { maxTokens: 9, endIds: END, isStopped: (ids: readonly number[]) => ids.length === 2 };
    expect(
      await decodeFree(
        toy(() => [4]),
        [0],
        options,
      ),
    ).toEqual({ ids: [4, 4], finishReason: 'stop' });
  });

  it('is cancelled before and between steps', async () => {
    const cancelled = { code: 'CANCELLED' };
    await expect(
      decodeFree(
        toy(() => [4]),
        [0],
        { maxTokens: 3, endIds: END },
        AbortSignal.abort(),
      ),
    ).rejects.toMatchObject(cancelled);
    const controller = new AbortController();
    const source = toy((ids) => {
      if (ids.length === 3) controller.abort();
      return [4];
    });
    await expect(decodeFree(source, [0], { maxTokens: 99, endIds: END }, controller.signal)).rejects.toMatchObject(
      cancelled,
    );
    expect(source.fed).toHaveLength(3);
  });
});

describe('one of the choices', () => {
  const choices = [[1, 2], [1, 3, 4], [1, 3], [5]];

  it.each<[string, readonly number[], readonly number[]]>([
    ['the model wants something else: best allowed', [6, 0, 5], [5]],
    ['a common beginning, then the preferred branch', [1, 2], [1, 2]],
    ['the shorter of two, by the end id', [1, 3, 7, 4], [1, 3]],
    ['the longer of two, past the end id', [1, 3, 4, 7], [1, 3, 4]],
    ['no preference: lowest id each time', [], [1, 2]],
  ])('%s', async (_, order, wanted) => {
    expect(
      await decodeChoice(
        toy(() => order),
        [0],
        choices,
        END,
      ),
    ).toEqual({ ids: wanted, finishReason: 'choice' });
  });

  it('asks only where there is something to choose, and feeds what it skipped', async () => {
    const source = toy(() => [3]);
    const forced = [
      [1, 2, 3, 4],
      [1, 2, 5, 6],
    ];
    expect((await decodeChoice(source, [0], forced, END)).ids).toEqual([1, 2, 3, 4]);
    expect(source.fed).toEqual([[0, 1, 2]]);
    const alone = toy(() => []);
    expect((await decodeChoice(alone, [0], [[1, 2]], END)).ids).toEqual([1, 2]);
    expect(alone.fed).toEqual([]);
  });

  it('can be cancelled', async () => {
    await expect(
      decodeChoice(
        toy(() => []),
        [0],
        choices,
        END,
        AbortSignal.abort(),
      ),
    ).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});

describe('decoding to a form', () => {
  /** A form with these answers and no other; end ids come where one is whole. */
  function formOf(answers: readonly (readonly number[])[], taken: readonly number[] = []): MaskedPlace {
    const open = answers.filter((answer) => taken.every((id, i) => answer[i] === id));
    const isWhole = open.some(({ length }) => length === taken.length);
    return {
      isWhole,
      isEnd: isWhole && open.length === 1,
      cost: Math.min(...open.map(({ length }) => length)) - taken.length,
      mask(remaining) {
        const ids = new Set(isWhole ? END : []);
        for (const { [taken.length]: id, length } of open) {
          if (id !== undefined && length - taken.length <= remaining) ids.add(id);
        }
        const bits = Uint32Array.of([...ids].reduce((all, id) => all | (1 << id), 0));
        return { bits, only: ids.size === 1 ? [...ids][0] : undefined };
      },
      take: (id) => formOf(answers, [...taken, id]),
    };
  }

  async function decode(
    answers: readonly (readonly number[])[],
    order: readonly number[],
    more: Partial<MaskedOptions> = {},
  ) {
    const source = toy(() => order);
    const positions: number[] = [];
    const masks: number[][] = [];
    const decoded = await drive(
      source,
      withinForm([0, 0], {
        maxTokens: 9,
        endIds: END,
        start: formOf(answers),
        choose(logits, position, mask) {
          positions.push(position);
          return argmaxOfMask(logits, mask);
        },
        onMask: (mask) => masks.push([...maskIds(mask)]),
        ...more,
      }),
    );
    return { ...decoded, positions, masks, fed: source.fed };
  }

  const ANSWERS = [
    [1, 2, 3],
    [1, 4, 3],
  ];

  it('asks only where there is something to choose, and tells of every mask', async () => {
    expect(await decode(ANSWERS, [6, 4, 2])).toEqual({
      ids: [1, 4, 3],
      finishReason: 'stop',
      positions: [3],
      masks: [[1], [2, 4], [3]],
      fed: [[0, 0, 1]],
    });
  });

  it('asks everywhere where it is told to, to the same end', async () => {
    expect(await decode(ANSWERS, [6, 4, 2], { asksAlways: true })).toEqual({
      ids: [1, 4, 3],
      finishReason: 'stop',
      positions: [2, 3, 4],
      masks: [[1], [2, 4], [3]],
      fed: [[0, 0], [1], [4]],
    });
  });

  it('leaves no choice that the tokens left do not reach', async () => {
    const answers = [
      [1, 2, 3, 5],
      [1, 4, 3],
    ];
    expect((await decode(answers, [2], { maxTokens: 4 })).ids).toEqual([1, 2, 3, 5]);
    expect(await decode(answers, [2], { maxTokens: 3 })).toMatchObject({ ids: [1, 4, 3], finishReason: 'stop' });
  });

  it('ends with an end id, where its tokens are spent, or where it is told to', async () => {
    const answers = [[1], [1, 2], [1, 2, 3]];
    expect(await decode(answers, [7])).toMatchObject({ ids: [1, 7], finishReason: 'stop' });
    expect(await decode(answers, [2], { maxTokens: 2 })).toMatchObject({ ids: [1, 2], finishReason: 'length' });
    const isStopped = (ids: readonly number[]) => ids.length === 2;
    expect(await decode(answers, [2], { isStopped })).toMatchObject({ ids: [1, 2], finishReason: 'stop' });
  });

  it('answers with what is whole already without a token', async () => {
    expect(await decode([[]], [2])).toMatchObject({ ids: [], finishReason: 'stop', fed: [] });
  });
});
