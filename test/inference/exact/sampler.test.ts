import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ZERO_DIGEST } from '../../../attest/core/hash.ts';
import {
  checkSampling,
  chooseToken,
  computeDraw,
  type Draw,
  GREEDY,
  MAX_TEMPERATURE,
  MAX_TOP_K,
  parseSampling,
  type Sampling,
} from '../../../inference/exact/sampler.ts';
import { exponentialTable } from '../../../inference/exact/tables.ts';
import { type Random, seededRandom } from '../../support/random.ts';

const exp = exponentialTable();
const DRAW: Draw = { seed: ZERO_DIGEST, position: 7 };
const MOST = 3.4028234663852886e38;

describe('against the specification, line by line', () => {
  it('chooses the same token in thousands of cases', () => {
    const random = seededRandom(11);
    const chosen = new Set<number>();
    for (let n = 0; n < 6000; n++) {
      const logits = randomLogits(random);
      const sampling = randomSampling(random, logits.length);
      const draw = { seed: random.bytes(32), position: random.below(2 ** 31) };
      const allowed = random.chance(40) ? randomMask(random, logits.length) : undefined;
      const token = chooseToken(logits, sampling, draw, exp, allowed);
      const place = () =>
        `case ${n}: ${JSON.stringify({ sampling, logits: [...logits], allowed: [...(allowed ?? [])] })}`;
      expect(token, place()).toBe(slowly(logits, sampling, draw, allowed));
      chosen.add(token);
    }
    expect(chosen.size).toBeGreaterThan(100);
  });

  it('chooses the same token of a whole vocabulary', () => {
    const random = seededRandom(12);
    for (let n = 0; n < 12; n++) {
      const logits = Float32Array.from({ length: 49_152 }, () => normal(random) * 3);
      const sampling = randomSampling(random, 60);
      const draw = { seed: random.bytes(32), position: n };
      const allowed = n % 3 === 0 ? randomMask(random, logits.length) : undefined;
      expect(chooseToken(logits, sampling, draw, exp, allowed)).toBe(slowly(logits, sampling, draw, allowed));
    }
  });
});

describe('greedy', () => {
  it('takes the greatest logit, ties to the lowest id', () => {
    expect(greedy([1, 3, 2])).toBe(1);
    expect(greedy([1, 3, 3, 2, 3])).toBe(1);
    expect(greedy([2, 2, 2])).toBe(0);
    expect(greedy([-MOST, -MOST, -1e38])).toBe(2);
    expect(greedy([5])).toBe(0);
  });

  it('holds both zeros for equal', () => {
    expect(greedy([-0, 0])).toBe(0);
    expect(greedy([0, -0])).toBe(0);
    expect(greedy([-1, -0, 0])).toBe(1);
  });

  it('keeps to the allowed ids, in whatever order the set holds them', () => {
    const logits = Float32Array.of(9, 1, 4, 4, 8);
    expect(chooseToken(logits, GREEDY, DRAW, exp, new Set([3, 1, 2]))).toBe(2);
    expect(chooseToken(logits, GREEDY, DRAW, exp, new Set([1]))).toBe(1);
  });
});

describe('drawing', () => {
  it('is SHA-256 of domain, seed and position, big-endian', () => {
    expect(computeDraw({ seed: ZERO_DIGEST, position: 0 })).toBe(0x3c9b3f728cf93912n);
    const counting = Uint8Array.from({ length: 32 }, (_, i) => i);
    expect(computeDraw({ seed: counting, position: 49_152 })).toBe(0x9d007216f274f04an);
    const ones = new Uint8Array(32).fill(255);
    expect(computeDraw({ seed: ones, position: Number.MAX_SAFE_INTEGER })).toBe(0xb4eb33c4ba4bd598n);
  });

  it('depends on seed and position, and on nothing else that changes', () => {
    const logits = new Float32Array(1000);
    const at = (seed: number, position: number) =>
      chooseToken(logits, sampled({}), { seed: new Uint8Array(32).fill(seed), position }, exp);
    expect(at(1, 1)).toBe(at(1, 1));
    const tokens = [at(1, 1), at(1, 2), at(2, 1), at(2, 2), at(3, 1)];
    expect(new Set(tokens).size).toBe(5);
  });

  it('takes equal logits by the 64 bits alone', () => {
    for (let position = 0; position < 200; position++) {
      const draw = { seed: ZERO_DIGEST, position };
      const want = Number((computeDraw(draw) * 1000n) >> 64n);
      expect(chooseToken(new Float32Array(1000), sampled({}), draw, exp)).toBe(want);
    }
  });

  it('takes the token whose running sum exceeds the limit, not the one that reaches it', () => {
    // one token of 65,535 and 5,000 of 1, where nearly every limit is a running sum
    const logits = new Float32Array(5001).fill(-22_000 / 2048, 1);
    let small = 0;
    for (let position = 0; position < 2000; position++) {
      const draw = { seed: ZERO_DIGEST, position };
      const limit = Number((computeDraw(draw) * 70_535n) >> 64n);
      const want = limit < 65_535 ? 0 : limit - 65_534;
      expect(chooseToken(logits, sampled({}), draw, exp)).toBe(want);
      if (want > 0) small++;
    }
    expect(small).toBeGreaterThan(50);
  });

  it('has pinned outcomes', () => {
    const logits = Float32Array.from({ length: 50 }, (_, i) => ((i * 37) % 50) / 8);
    const tokens = (sampling: Partial<Sampling>) =>
      Array.from({ length: 12 }, (_, position) =>
        chooseToken(logits, sampled(sampling), { seed: ZERO_DIGEST, position }, exp),
      );
    expect(tokens({})).toEqual(PINNED.plain);
    expect(tokens({ temperature: 20_000 })).toEqual(PINNED.hot);
    expect(tokens({ topK: 3 })).toEqual(PINNED.topK);
    expect(tokens({ topP: 5000 })).toEqual(PINNED.topP);
  });

  it('comes as often as the weights say', () => {
    const logits = Float32Array.from([0, -0.5, -1, -1.5, -2, -3, -4, -20]);
    const counts = new Array<number>(8).fill(0);
    const draws = 20_000;
    for (let position = 0; position < draws; position++) {
      const token = chooseToken(logits, sampled({}), { seed: ZERO_DIGEST, position }, exp);
      counts[token] = (counts[token] ?? 0) + 1;
    }
    const weights = [...logits].map((logit) => Math.exp(logit));
    const sum = weights.reduce((a, b) => a + b);
    const chi = weights
      .slice(0, 7)
      .map((weight, id) => ((counts[id] ?? 0) - (draws * weight) / sum) ** 2 / ((draws * weight) / sum));
    // 6 degrees of freedom: beyond 22.5 once in a thousand seeds, and this seed is fixed
    expect(chi.reduce((a, b) => a + b)).toBeLessThan(22.5);
    expect(counts[7]).toBe(0);
  });

  it('sharpens with a low temperature and flattens with a high one', () => {
    const logits = Float32Array.from([1, 0.9, 0.8, 0.7]);
    const hits = (temperature: number) =>
      Array.from({ length: 2000 }, (_, position) =>
        chooseToken(logits, sampled({ temperature }), { seed: ZERO_DIGEST, position }, exp),
      ).filter((token) => token === 0).length;
    expect(hits(1)).toBe(2000);
    expect(hits(100)).toBeGreaterThan(1990);
    expect(hits(10_000)).toBeGreaterThan(hits(20_000));
    expect(hits(20_000)).toBeGreaterThan(500);
  });
});

describe('top-k and top-p', () => {
  /** All tokens that 400 draws give. */
  const seen = (logits: readonly number[], sampling: Partial<Sampling>, allowed?: ReadonlySet<number>) => {
    const tokens = Array.from({ length: 400 }, (_, position) =>
      chooseToken(Float32Array.from(logits), sampled(sampling), { seed: ZERO_DIGEST, position }, exp, allowed),
    );
    return [...new Set(tokens)].sort((a, b) => a - b);
  };

  it('keep k tokens, and all that tie with the last of them', () => {
    expect(seen([1, 2, 3, 2.5], { topK: 1 })).toEqual([2]);
    expect(seen([1, 2, 3, 2.5], { topK: 2 })).toEqual([2, 3]);
    expect(seen([3, 2, 3, 2, 3], { topK: 1 })).toEqual([0, 2, 4]);
    expect(seen([3, 2, 3, 2, 3], { topK: 4 })).toEqual([0, 1, 2, 3, 4]);
    expect(seen([1, 2, 3, 2.5], { topK: 4 })).toEqual([0, 1, 2, 3]);
    expect(seen([1, 2, 3, 2.5], { topK: MAX_TOP_K })).toEqual([0, 1, 2, 3]);
    expect(seen([1, 2, 3, 2.5], { topK: 0 })).toEqual([0, 1, 2, 3]);
  });

  it('keep the fewest weights that reach p, and all that tie with the last', () => {
    expect(seen([0, 0, -1, -2], { topP: 1 })).toEqual([0, 1]);
    // weights 65535, 24109, 8869: shares 0.6652, 0.2447, 0.0900
    expect(seen([0, -1, -2], { topP: 6652 })).toEqual([0]);
    expect(seen([0, -1, -2], { topP: 6653 })).toEqual([0, 1]);
    expect(seen([0, -1, -2], { topP: 9099 })).toEqual([0, 1]);
    expect(seen([0, -1, -2], { topP: 9100 })).toEqual([0, 1, 2]);
    expect(seen([0, -1, -2], { topP: 10_000 })).toEqual([0, 1, 2]);
  });

  it('reach p exactly: half of two equal halves is both, since they tie', () => {
    expect(seen([0, 0], { topP: 5000 })).toEqual([0, 1]);
    expect(seen([0, -30], { topP: 10_000 })).toEqual([0]);
  });

  it('stop at a weight whose share is p exactly', () => {
    // exp[2250] is a third of 65,535
    const third = -2250 / 2048;
    expect(seen([0, third, third, third], { topP: 5000 })).toEqual([0]);
    expect(seen([0, third, third, third], { topP: 5001 })).toEqual([0, 1, 2, 3]);
  });

  it('see the difference to the greatest logit rounded before it is scaled', () => {
    // without that rounding the second of these is a step further (822 and 823), the third is not: then no tie
    const up = [0.34428736567497253, 0.06315942853689194, 0.0631595253944397];
    expect(seen(up, { temperature: 7000, topK: 2 })).toEqual([0, 1, 2]);
    const down = [0.0049993363209068775, -0.13530828058719635, -0.13550828397274017];
    expect(seen(down, { temperature: 7000, topK: 2 })).toEqual([0, 1, 2]);
  });

  it('take p of what k left', () => {
    // of the three, the first alone holds 0.6652; of the two that k leaves, 0.7311
    expect(seen([0, -1, -2], { topP: 7000 })).toEqual([0, 1]);
    expect(seen([0, -1, -2], { topP: 7000, topK: 2 })).toEqual([0]);
  });

  it('count allowed tokens only', () => {
    const allowed = new Set([1, 2, 3]);
    expect(seen([9, 1, 2, 3], { topK: 2 }, allowed)).toEqual([2, 3]);
    expect(seen([9, 0, -1, -2], { topP: 6652 }, allowed)).toEqual([1]);
    expect(seen([9, 0, -1, -2], {}, new Set([2]))).toEqual([2]);
  });

  it('never draw what weighs nothing', () => {
    expect(seen([0, -11.79, -12, -50, -MOST], { topK: 5 }).every((token) => token <= 1)).toBe(true);
    expect(seen([-MOST, MOST], { temperature: 1 })).toEqual([1]);
    expect(seen([-MOST, MOST], { temperature: 20_000 })).toEqual([1]);
  });
});

describe('what is refused', () => {
  const refused = (field: string) =>
    expect.objectContaining({ name: 'InferenceError', code: 'SAMPLING_REFUSED', at: { field } });

  it.each([
    ['temperature', -1],
    ['temperature', MAX_TEMPERATURE + 1],
    ['temperature', 0.5],
    ['temperature', Number.NaN],
    ['temperature', Number.POSITIVE_INFINITY],
    ['topP', 0],
    ['topP', 10_001],
    ['topP', 1.5],
    ['topP', -1],
    ['topK', -1],
    ['topK', 2.5],
    ['topK', MAX_TOP_K + 1],
    ['topK', Number.NaN],
  ] as const)('%s of %d', (field, value) => {
    const sampling = sampled({ [field]: value });
    expect(() => checkSampling(sampling)).toThrow(refused(field));
    expect(() => chooseToken(Float32Array.of(1), sampling, DRAW, exp)).toThrow(refused(field));
  });

  it.each([
    ['temperature', 0.00005],
    ['temperature', 0.70001],
    ['temperature', -0.0001],
    ['temperature', 2.0001],
    ['temperature', 1e300],
    ['temperature', Number.NaN],
    ['temperature', '0.7'],
    ['temperature', null],
    ['topP', 0],
    ['topP', 0.00001],
    ['topP', 1.0001],
    ['topP', -1],
    ['topP', true],
    ['topK', 1.5],
    ['topK', -1],
    ['topK', 1_000_001],
    ['topK', '5'],
    ['topK', null],
    ['topK', 5n],
  ])('a request with %s %s', (field, value) => {
    expect(() => parseSampling({ [field]: value })).toThrow(refused(field));
  });

  it('but not what is within range', () => {
    expect(parseSampling({})).toEqual(GREEDY);
    expect(parseSampling({ temperature: 0.7, topP: 0.95, topK: 40 })).toEqual({
      temperature: 7000,
      topP: 9500,
      topK: 40,
    });
    expect(parseSampling({ temperature: 2, topP: 0.0001 })).toEqual({ temperature: 20_000, topP: 1, topK: 0 });
    expect(parseSampling({ temperature: -0, topK: -0 })).toEqual({ temperature: 0, topP: 10_000, topK: 0 });
    for (let count = 0; count <= 20_000; count++) {
      // as a JSON text would say it
      const { temperature } = parseSampling({ temperature: Number(`${count}e-4`) });
      if (temperature !== count) expect(temperature).toBe(count);
    }
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('a logit of %d, anywhere', (value) => {
    const fault = expect.objectContaining({ name: 'InferenceError', code: 'NUMERIC_FAULT', at: { token: 2 } });
    const logits = Float32Array.of(1, 2, value, 3);
    expect(() => chooseToken(logits, GREEDY, DRAW, exp)).toThrow(fault);
    expect(() => chooseToken(logits, sampled({}), DRAW, exp)).toThrow(fault);
    expect(() => chooseToken(logits, sampled({}), DRAW, exp, new Set([0, 1]))).toThrow(fault);
  });

  it('a choice from nothing, an id beyond the vocabulary, and what has another width', () => {
    const logits = Float32Array.of(1, 2, 3);
    const choose = (changed: { draw?: Draw; table?: Uint16Array; allowed?: ReadonlySet<number> }) => () =>
      chooseToken(logits, sampled({}), changed.draw ?? DRAW, changed.table ?? exp, changed.allowed);
    expect(() => chooseToken(new Float32Array(0), GREEDY, DRAW, exp)).toThrow(RangeError);
    expect(choose({ allowed: new Set() })).toThrow(RangeError);
    for (const id of [3, -1, 0.5, Number.NaN]) expect(choose({ allowed: new Set([0, id]) })).toThrow(RangeError);
    expect(choose({ table: exp.subarray(1) })).toThrow(RangeError);
    expect(choose({ draw: { seed: new Uint8Array(31), position: 0 } })).toThrow(RangeError);
    for (const position of [-1, 1.5, Number.NaN]) {
      expect(choose({ draw: { seed: ZERO_DIGEST, position } })).toThrow(RangeError);
    }
  });
});

/** From an implementation in Python with mpmath and hashlib, written apart from this one. */
const PINNED = {
  plain: [8, 27, 2, 36, 31, 29, 31, 35, 13, 31, 35, 31],
  hot: [10, 27, 1, 39, 32, 31, 31, 35, 16, 33, 36, 31],
  topK: [4, 27, 4, 31, 27, 27, 27, 31, 4, 27, 31, 27],
  topP: [8, 27, 4, 31, 27, 27, 27, 31, 8, 31, 31, 27],
};

function sampled(change: Partial<Sampling>): Sampling {
  return { temperature: 10_000, topP: 10_000, topK: 0, ...change };
}

function greedy(logits: readonly number[]): number {
  return chooseToken(Float32Array.from(logits), GREEDY, DRAW, exp);
}

/** The section Sampling as it reads: sorted thresholds, big integers, its own rounding and hash. */
function slowly(logits: Float32Array, sampling: Sampling, draw: Draw, allowed?: ReadonlySet<number>): number {
  const all = [...logits].map((logit, id) => ({ id, logit }));
  const open = all.filter(({ id }) => allowed === undefined || allowed.has(id));
  const max = open.reduce((most, { logit }) => Math.max(most, logit), Number.NEGATIVE_INFINITY);
  if (sampling.temperature === 0) return open.find(({ logit }) => logit === max)?.id ?? -1;
  const scale = Math.fround(20_480_000 / sampling.temperature);
  const weighed = open.map(({ id, logit }) => {
    const steps = Math.fround(Math.fround(max - logit) * scale);
    return { id, weight: BigInt(exp[Math.min(32_767, halfEven(steps))] ?? -1) };
  });
  const byWeight = [...new Set(weighed.map(({ weight }) => weight))].sort((a, b) => (a > b ? -1 : 1));
  const from = (list: typeof weighed, least: bigint) => list.filter(({ weight }) => weight >= least);
  const sum = (list: typeof weighed) => list.reduce((total, { weight }) => total + weight, 0n);
  let kept = weighed;
  if (sampling.topK > 0) {
    const least = byWeight.find((weight) => from(weighed, weight).length >= sampling.topK);
    if (least !== undefined) kept = from(weighed, least);
  }
  const wanted = BigInt(sampling.topP) * sum(kept);
  const left = kept;
  const least = byWeight.find((weight) => sum(from(left, weight)) * 10_000n >= wanted) ?? 0n;
  kept = from(left, least);
  const position = Buffer.alloc(8);
  position.writeBigUInt64BE(BigInt(draw.position));
  const hash = createHash('sha256').update('tracebond/u/1').update(draw.seed).update(position).digest();
  const limit = (hash.readBigUInt64BE(0) * sum(kept)) / 2n ** 64n;
  let running = 0n;
  for (const { id, weight } of kept) {
    running += weight;
    if (running > limit) return id;
  }
  return -1;
}

/** Nearest integer of a number that is not negative, ties to even. */
function halfEven(value: number): number {
  if (value >= 2 ** 31) return value;
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

function randomLogits(random: Random): Float32Array {
  const length = 1 + random.below(random.pick([2, 5, 40, 300]));
  const kind = random.below(7);
  return Float32Array.from({ length }, () => {
    switch (kind) {
      case 0:
        return 2.5;
      case 1:
        return random.below(6) / 4;
      case 2:
        // steps that end in one half at temperature 1
        return random.below(40) / 4096;
      case 3:
        return random.pick([MOST, -MOST, 0, -0, 1e30, 1, -1]);
      case 4:
        return normal(random) * 40;
      case 5:
        return random.below(3) - 11.78 - random.below(100) / 5000;
      default:
        return normal(random) * 2;
    }
  });
}

function randomSampling(random: Random, size: number): Sampling {
  return {
    temperature: random.pick([0, 1, 2, 4999, 7000, 10_000, 10_000, 10_000, 12_345, 20_000]),
    topP: random.pick([1, 2, 5000, 9000, 9999, 10_000, 10_000, 10_000, 1 + random.below(10_000)]),
    topK: random.pick([0, 0, 0, 1, 2, 5, size - 1, size, size + 1, random.below(size + 1), MAX_TOP_K]),
  };
}

/** At least one id, in no order. */
function randomMask(random: Random, size: number): ReadonlySet<number> {
  const ids = new Set([random.below(size)]);
  const count = random.below(size);
  for (let n = 0; n < count; n++) ids.add(random.below(size));
  return ids;
}

function normal(random: Random): number {
  let sum = -6;
  for (let n = 0; n < 12; n++) sum += random.below(2 ** 20) / 2 ** 20;
  return sum;
}
