import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { aheadSource, type Drafter } from '../../inference/ahead.ts';
import { decodeFree } from '../../inference/decode.ts';
import { promptLookup } from '../../inference/prompt-lookup.ts';
import type { Sequence } from '../../inference/sequences.ts';
import { seededRandom } from '../support/random.ts';

/** Time of a batch where one row more costs a tenth. */
const CHEAP = (rows: number) => 1 + 0.1 * (rows - 1);
/** So cheap that any proposal pays. */
const FREE = (rows: number) => (rows === 1 ? 1 : 0.5);
/** Time of a batch of the kernels in WebAssembly, measured on one thread. */
const DEAR = (rows: number) => (rows === 1 ? 1 : 1.7 + 0.7 * rows);

/** Gives a text to a drafter id by id, all that it proposes judged; returns rows and time that decoding it would take. */
function run(drafter: Drafter, prompt: readonly number[], text: readonly number[], costOf: (rows: number) => number) {
  const all = [...prompt];
  let [time, proposed, accepted] = [0, 0, 0];
  for (let at = 0; at < text.length; ) {
    const ids = drafter.propose(all, 63);
    let right = 0;
    while (right < ids.length && ids[right] === text[at + right]) right++;
    time += costOf(ids.length + 1);
    proposed += ids.length;
    accepted += right;
    // the one that follows the last right one comes from the logits
    all.push(...text.slice(at, at + right + 1));
    at += right + 1;
  }
  return { proposed, accepted, gain: text.length / time };
}

const random = seededRandom(5);
const noise = (count: number, vocabulary: number) => Array.from({ length: count }, () => random.below(vocabulary));

describe('prompt lookup', () => {
  it('proposes what followed, as often as the text was there at the length of two ids', () => {
    const drafter = promptLookup(FREE);
    expect(drafter.propose([1, 2, 3, 4, 5, 1, 2], 3)).toEqual([3, 4, 5]);
    expect(drafter.propose([1, 2, 3, 4, 5, 1, 2, 3], 1)).toEqual([4]);
  });

  it('takes the longest match, and among equals the latest', () => {
    expect(promptLookup(FREE).propose([7, 1, 2, 3, 9, 1, 2, 4, 7, 1, 2], 1)).toEqual([3]);
    expect(promptLookup(FREE).propose([7, 1, 2, 3, 9, 1, 2, 4, 8, 1, 2], 1)).toEqual([4]);
  });

  it('proposes nothing for what was not there, nor after one equal id', () => {
    expect(promptLookup(FREE).propose([1, 2, 3, 4], 5)).toEqual([]);
    expect(promptLookup(FREE).propose([1, 2, 3, 4, 1], 5)).toEqual([]);
    expect(promptLookup(FREE).propose([1], 5)).toEqual([]);
    expect(promptLookup(FREE).propose([], 5)).toEqual([]);
  });

  it('goes round where the text does', () => {
    expect(promptLookup(FREE).propose([5, 1, 2, 1, 2, 1, 2], 5)).toEqual([1, 2, 1, 2, 1]);
    expect(promptLookup(FREE).propose([3, 3, 3], 4)).toEqual([3, 3, 3, 3]);
  });

  it('follows a copy although a longer match began elsewhere', () => {
    const drafter = promptLookup(FREE);
    const quoted = [1, 2, 3, 4, 5, 6];
    expect(drafter.propose([...quoted, 9, 1, 2], 2)).toEqual([3, 4]);
    expect(drafter.propose([...quoted, 9, 1, 2, 3, 4], 2)).toEqual([5, 6]);
    // the copy broke off: the text is searched anew
    expect(drafter.propose([...quoted, 9, 1, 2, 3, 4, 2, 3], 2)).toEqual([4, 2]);
  });

  it('makes no proposal whose chance does not pay', () => {
    const text = [1, 2, 3, 4, 5, 1, 2];
    expect(promptLookup(CHEAP).propose(text, 9)).toEqual([]);
    expect(promptLookup((rows) => rows).propose([...text, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3], 9)).toEqual([]);
  });

  it('copies long quotations in few batches', () => {
    const quoted = noise(120, 1000);
    const cheap = run(promptLookup(CHEAP), [...quoted, 1001], quoted, CHEAP);
    expect(cheap.gain).toBeGreaterThan(3);
    expect(cheap.accepted).toBeGreaterThan(95);
    const often = Array.from({ length: 6 }, () => quoted).flat();
    expect(run(promptLookup(DEAR), [...quoted, 1001], often, DEAR).gain).toBeGreaterThan(1.15);
  });

  it('costs nothing where nothing repeats', () => {
    for (const costOf of [CHEAP, DEAR]) {
      const { proposed, gain } = run(promptLookup(costOf), noise(200, 40_000), noise(400, 40_000), costOf);
      expect(proposed).toBe(0);
      expect(gain).toBe(1);
    }
  });

  it('costs next to nothing where pairs and triples repeat by chance', () => {
    for (const costOf of [CHEAP, DEAR]) {
      for (const vocabulary of [2, 3, 5, 10, 30]) {
        const { gain } = run(promptLookup(costOf), noise(300, vocabulary), noise(500, vocabulary), costOf);
        expect(gain).toBeGreaterThan(0.97);
      }
    }
  });

  it('loses at most 4 rows and 5 % of the ids, however the text goes', () => {
    const pieces = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 1, max: 40 })), {
      maxLength: 30,
    });
    const costs = fc.tuple(fc.double({ min: 0, max: 4, noNaN: true }), fc.double({ min: 0, max: 1.2, noNaN: true }));
    fc.assert(
      fc.property(pieces, costs, fc.integer({ min: 2, max: 12 }), (list, [start, more], vocabulary) => {
        const costOf = (rows: number) => (rows === 1 ? 1 : 1 + start + more * (rows - 1));
        const stock = Array.from({ length: 4 }, () => noise(40, vocabulary));
        // beginnings of four phrases, each broken off somewhere
        const text = list.flatMap(([which, length]) => stock[which]?.slice(0, length) ?? []);
        if (text.length === 0) return;
        const { gain } = run(promptLookup(costOf), stock.flat(), text, costOf);
        expect(text.length / gain - text.length).toBeLessThanOrEqual(4 + 0.05 * text.length + 1e-6);
      }),
      { numRuns: 300 },
    );
  });

  it('loses no more where a quotation breaks off just when it is believed', () => {
    for (let length = 2; length < 120; length++) {
      const quoted = noise(130, 1000);
      for (const costOf of [CHEAP, DEAR]) {
        const text = [...quoted.slice(0, length), ...noise(10, 1000)];
        const { gain } = run(promptLookup(costOf), quoted, text, costOf);
        expect(text.length / gain - text.length).toBeLessThanOrEqual(4 + 0.05 * text.length + 1e-6);
      }
    }
  });

  it('proposes what there is room for, and counts a proposal by what it cost when it was made', () => {
    let room = 4;
    const costOf = (rows: number) => (rows <= room ? 1 + 0.1 * (rows - 1) : Number.POSITIVE_INFINITY);
    const drafter = promptLookup(costOf);
    const quoted = noise(120, 1000);
    const ids = [...quoted, ...quoted.slice(0, 20)];
    const at = (end: number) => drafter.propose([...ids, ...quoted.slice(20, end)], 63);
    for (let end = 20; end < 60; end += 5) {
      room = 4;
      expect(at(end)).toEqual(quoted.slice(end, end + 3));
      // Company comes while they are computed: no reason to give up.
      room = 1;
      expect(at(end + 4)).toEqual([]);
    }
  });

  it('backs off from matches that mislead, and comes back where they lead', () => {
    // the same ten ids again and again, each time with another continuation
    const phrase = noise(10, 1000);
    const misleading = Array.from({ length: 40 }, (_, i) => [
      ...phrase,
      2000 + 3 * i,
      2001 + 3 * i,
      2002 + 3 * i,
    ]).flat();
    const drafter = promptLookup(CHEAP);
    const proposedLate: number[] = [];
    const all: number[] = [];
    misleading.forEach((id, i) => {
      all.push(id);
      if (i % 13 === 9 && i > 200) proposedLate.push(drafter.propose(all, 63).length);
      else drafter.propose(all, 63);
    });
    expect(Math.max(...proposedLate)).toBeLessThanOrEqual(2);
    const quoted = noise(200, 1000);
    for (const id of quoted) {
      all.push(id);
      drafter.propose(all, 63);
    }
    expect(run(drafter, all, [...phrase, ...quoted], CHEAP).gain).toBeGreaterThan(2);
  });

  it('proposes at most what is asked for, and only ids of the text', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 80 }),
        fc.array(fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 63 }))),
        (text, steps) => {
          const drafter = promptLookup(FREE);
          let end = 1;
          for (const [step, most] of steps) {
            const ids = text.slice(0, end);
            const proposed = drafter.propose(ids, most);
            expect(proposed.length).toBeLessThanOrEqual(most);
            expect(proposed.every((id) => ids.includes(id))).toBe(true);
            end = Math.min(text.length, end + step);
          }
        },
      ),
    );
  });

  it('takes time in proportion to the text, not to its square', () => {
    const text = noise(30_000, 3);
    const drafter = promptLookup(DEAR);
    const startedAt = performance.now();
    for (let end = 15_000; end < text.length; end += 500) drafter.propose(text.slice(0, end), 63);
    expect(performance.now() - startedAt).toBeLessThan(2000);
  });

  it('saves batches of a sequence whose text repeats itself', async () => {
    const period = [3, 1, 4, 1, 5, 9, 2, 6];
    const calls: number[] = [];
    const held: number[] = [];
    const logitsAt = (position: number) => {
      const logits = new Float32Array(10);
      logits[period[position % period.length] ?? 0] = 1;
      return logits;
    };
    const sequence: Sequence = {
      get length() {
        return held.length;
      },
      async feed(ids) {
        calls.push(ids.length);
        held.push(...ids);
        return logitsAt(held.length);
      },
      rows: {
        vocabulary: 10,
        costOf: CHEAP,
        async feedRows(ids, wanted, visit) {
          calls.push(ids.length);
          ids.forEach((id, i) => {
            held.push(id);
            if (i >= ids.length - wanted) visit(logitsAt(held.length), i);
          });
        },
        truncate(length) {
          held.length = length;
        },
      },
      close() {},
    };
    const source = aheadSource(sequence, { drafter: promptLookup(CHEAP), capacity: 300 });
    const { ids } = await decodeFree(source, [3, 1, 4], { maxTokens: 200, endIds: [] });
    expect(ids).toEqual(Array.from({ length: 200 }, (_, i) => period[(i + 3) % 8]));
    expect(calls.length).toBeLessThan(40);
  });
});
