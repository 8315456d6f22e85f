import { afterEach, describe, expect, it, vi } from 'vitest';
import { ModelError } from '../../../inference/errors.ts';
import type { ExactDecoder } from '../../../inference/exact/exact-decoder.ts';
import { type ExactModel, VALUE_MAX } from '../../../inference/exact/exact-model.ts';
import { openReference } from '../../../inference/exact/reference/reference-decoder.ts';
import {
  type OpenForSelfTest,
  SELF_TEST_DIGEST,
  selfTest,
  selfTestDigest,
} from '../../../inference/exact/self-test.ts';
import { selfTestModels } from '../../../inference/exact/self-test-models.ts';
import { loadKernels, startNodeThread } from '../../../inference/exact/wasm/threads.ts';
import { openWasmDecoder } from '../../../inference/exact/wasm/wasm-decoder.ts';

const PINNED = '0xc7a5b8343ae723ddc5ba9bd56ca5749e26c5c9edeb9b4fc782ecc4dd2e795e49';
const ARITHMETIC = '../../../inference/exact/arithmetic.ts';
const REFERENCE = '../../../inference/exact/reference';

const module = await loadKernels();

function openWasm(options: { readonly threads?: number; readonly maxRows?: number } = {}): OpenForSelfTest {
  return (model) => openWasmDecoder(model, { module, startThread: startNodeThread, ...options });
}

describe('the self-test', () => {
  it('has the digest that the reference gives', async () => {
    expect(SELF_TEST_DIGEST).toBe(PINNED);
    expect(await selfTestDigest(async (model) => openReference(model))).toBe(PINNED);
  });

  it.each([1, 2, 4])('is passed by the kernels on %i threads', async (threads) => {
    await selfTest(openWasm({ threads }));
  });

  it.each([1, 5, 512])('does not depend on the rows of a call: %i', async (maxRows) => {
    await selfTest(openWasm({ maxRows }));
  });

  it('closes what it opened, also where it fails', async () => {
    const closed: boolean[] = [];
    const counted =
      (change: Partial<ExactDecoder>): OpenForSelfTest =>
      async (model) => {
        const decoder = openReference(model);
        const at = closed.push(false) - 1;
        return wrap(decoder, {
          ...change,
          close: async () => {
            closed[at] = true;
            await decoder.close();
          },
        });
      };
    await selfTest(counted({}));
    expect(closed).toEqual([true, true, true, true]);
    const broken = counted({
      forward: () => {
        throw new RangeError('trap');
      },
    });
    await expect(selfTest(broken)).rejects.toMatchObject({
      name: 'ModelError',
      code: 'SELF_TEST_FAILED',
      at: { model: 'edges' },
      cause: expect.any(RangeError),
    });
    expect(closed).toEqual([true, true, true, true, true]);
  });

  it('lets through why an engine cannot be opened', async () => {
    const fault = new Error('no room');
    await expect(selfTest(() => Promise.reject(fault))).rejects.toBe(fault);
  });
});

describe('holds what goes wrong on a bad engine', () => {
  const [edges] = selfTestModels();
  if (edges === undefined) throw new TypeError('no model');
  const { model, tokens } = edges;
  const { embedding, vocabulary, context, layers } = model.shape;
  const decoder = openReference(model);
  const sequence = decoder.openSequence(context);
  const hidden: Float32Array[] = [];
  const logits = decoder.forward(
    tokens.map((token) => ({ sequence, token })),
    tokens.map((_, i) => i),
    (_, rows) => hidden.push(rows.slice()),
  );
  const cache = decoder.readCache(sequence, layers - 1);

  it('sums at 2^24 +- 1 and its neighbours, rounded to even', () => {
    const ofOnes = Array.from(logits.subarray(0, 7));
    const scales = [-20, -20, -20, -149, -20, -20, -20];
    // by the group scales 1, 1, 1, 2, 255, 1, 1
    expect(ofOnes.map((value, i) => value / 2 ** (scales[i] ?? 0))).toEqual([
      2 ** 24,
      2 ** 24 - 1,
      // 2^24 + 1, a tie
      2 ** 24,
      2 * (2 ** 24 - 2),
      Math.fround(255 * (2 ** 24 + 2)),
      // 2^24 + 3, a tie
      2 ** 24 + 4,
      2 ** 24 - 3,
    ]);
    const ofNegative = Array.from(logits.subarray(vocabulary, vocabulary + 7));
    expect(ofNegative).toEqual(ofOnes.map((value) => -value));
    // nothing was added to them on the way
    expect(new Set(hidden.at(-1)?.subarray(0, embedding))).toEqual(new Set([1]));
  });

  it('subnormals in hidden states and logits, and both zeros', () => {
    const isSubnormal = (value: number) => value !== 0 && Math.abs(value) < 2 ** -126;
    for (const rows of [...hidden, logits]) expect(rows.filter(isSubnormal).length).toBeGreaterThan(20);
    const zeros = selfTestModels().flatMap(({ model: each, tokens: some }) => {
      const other = openReference(each);
      const handle = other.openSequence(each.shape.context);
      const rows = some.map((token) => ({ sequence: handle, token }));
      const found = other.forward(
        rows,
        rows.map((_, i) => i),
      );
      return Array.from(found).filter((value) => value === 0);
    });
    expect(zeros.some((value) => Object.is(value, 0))).toBe(true);
    expect(zeros.some((value) => Object.is(value, -0))).toBe(true);
  });

  it('300 positions of the largest value and weight, beyond int32', () => {
    const first = cache.values.filter((_, i) => i % model.shape.headSize === 0).subarray(4, 304);
    expect(new Set(first)).toEqual(new Set([VALUE_MAX]));
    expect(new Set(cache.valueScales.subarray(4, 304)).size).toBe(1);
    expect(300 * VALUE_MAX * 16_383).toBeGreaterThan(2 ** 31);
    // the head without a query: all of them weigh the most
    expect(new Set(model.matrices[1]?.weights.subarray(64 * 64, 128 * 64))).toEqual(new Set([0]));
  });
});

describe('fails', () => {
  afterEach(() => {
    vi.doUnmock(ARITHMETIC);
    vi.doUnmock(`${REFERENCE}/product.ts`);
    vi.doUnmock(`${REFERENCE}/row-operations.ts`);
    vi.resetModules();
  });

  const changes: readonly { readonly name: string; readonly change: (model: ExactModel) => void }[] = [
    { name: 'one bit of a weight', change: (m) => flip(m.matrices[1]?.weights, 0) },
    { name: 'the sign of a weight of the output', change: (m) => flip(m.matrices.at(-1)?.weights, 70, 0x80) },
    { name: 'one bit of a scale', change: (m) => flip(bytesOf(m.matrices.at(-1)?.scales), 0) },
    { name: 'one group scale', change: (m) => flip(m.matrices.at(-1)?.groupScales ?? undefined, 0) },
    { name: 'one bit of a gain', change: (m) => flip(bytesOf(m.vectors.at(-1)), 2) },
    { name: 'an exponential', change: (m) => flip(m.tables.exponential, 2) },
    { name: 'the sigmoid at a tie', change: (m) => flip(bytesOf(m.tables.sigmoid), 4 * (32_768 + 10_000) + 2, 0x40) },
    { name: 'a cosine', change: (m) => flip(bytesOf(m.tables.cos), 3 * 32 * 4 + 2) },
    { name: 'a sine', change: (m) => flip(bytesOf(m.tables.sin), 3 * 32 * 4 + 2) },
  ];
  it.each(changes)('with $name changed', async ({ change }) => {
    let models = 0;
    const open: OpenForSelfTest = (model) => {
      // the first of them
      if (models++ > 0) return openWasm()(model);
      return openWasm()({
        ...model,
        load: (into, offset) => {
          change(model);
          model.load(into, offset);
        },
      });
    };
    const fault: unknown = await selfTest(open).catch((thrown: unknown) => thrown);
    expect(fault).toBeInstanceOf(ModelError);
    const got = (fault as ModelError).at?.['got'];
    expect(fault).toMatchObject({ code: 'SELF_TEST_FAILED', at: { expected: PINNED } });
    expect(got).toMatch(/^0x[0-9a-f]{64}$/);
    expect(got).not.toBe(PINNED);
    expect((fault as ModelError).message).toContain(PINNED);
    expect((fault as ModelError).message).toContain(got);
  });

  type Arithmetic = typeof import('../../../inference/exact/arithmetic.ts');
  const roundings: readonly { readonly name: string; readonly wrong: (right: Arithmetic) => Partial<Arithmetic> }[] = [
    { name: 'ties that go up', wrong: () => ({ roundEven: (v) => Math.floor(v + 0.5) }) },
    {
      name: 'ties of table indices that go up',
      wrong: () => ({ roundClipped: (v, low, high) => Math.min(high, Math.max(low, Math.floor(v + 0.5))) }),
    },
    { name: 'sums whose ties go away from zero', wrong: () => ({ float: (n) => Math.fround(n + Math.sign(n) / 4) }) },
    { name: 'sums that are cut', wrong: () => ({ float: (n) => (Math.abs(n) > 2 ** 24 ? n - (n % 2) : n) }) },
    { name: 'subnormals flushed', wrong: (right) => ({ multiply: (a, b) => flushed(right.multiply(a, b)) }) },
    { name: 'no -0', wrong: (right) => ({ multiply: (a, b) => right.multiply(a, b) + 0 }) },
    { name: 'a reciprocal for a quotient', wrong: () => ({ divide: (a, b) => Math.fround(a * Math.fround(1 / b)) }) },
  ];
  it.each(roundings)('with $name', async ({ wrong }) => {
    vi.resetModules();
    vi.doMock(ARITHMETIC, async (original) => {
      const right = await original<Arithmetic>();
      return { ...right, ...wrong(right) };
    });
    expect(await digestOfChanged()).not.toBe(PINNED);
  });

  type RowOperations = typeof import('../../../inference/exact/reference/row-operations.ts');
  it('with rotations that are rounded once', async () => {
    vi.resetModules();
    vi.doMock(`${REFERENCE}/row-operations.ts`, async (original) => ({
      ...(await original<RowOperations>()),
      rotate: ((x, { cos, sin }, headSize, position) => {
        const half = headSize / 2;
        return x.map((value, at) => {
          const i = at % half;
          const isFirst = at % headSize < half;
          const [c, s] = [cos[position * half + i] ?? 0, sin[position * half + i] ?? 0];
          const other = x[isFirst ? at + half : at - half] ?? 0;
          // binary64 between them, as a fused operation has more bits too
          return isFirst ? value * c - other * s : other * s + value * c;
        });
      }) satisfies RowOperations['rotate'],
    }));
    expect(await digestOfChanged()).not.toBe(PINNED);
  });

  type Product = typeof import('../../../inference/exact/reference/product.ts');
  it('with sums in 32 bits', async () => {
    vi.resetModules();
    vi.doMock(`${REFERENCE}/product.ts`, () => ({
      product: ((matrix, { integers, scale }, bias) =>
        Float32Array.from({ length: matrix.rows }, (_, row) => {
          let sum = 0;
          for (let k = 0; k < matrix.columns; k++) {
            const group = matrix.groupScales?.[row * Math.ceil(matrix.columns / 32) + (k >> 5)] ?? 1;
            sum = (sum + group * (matrix.weights[row * matrix.stride + k] ?? 0) * (integers[k] ?? 0)) | 0;
          }
          const value = Math.fround(Math.fround(Math.fround(sum) * (matrix.scales[row] ?? 0)) * scale);
          return value + (bias?.[row] ?? 0);
        })) satisfies Product['product'],
    }));
    expect(await digestOfChanged()).not.toBe(PINNED);
  });

  async function digestOfChanged(): Promise<string> {
    const changed = await import(`${REFERENCE}/reference-decoder.ts`);
    return selfTestDigest(async (model) => changed.openReference(model));
  }
});

/** The decoder with some methods replaced. */
function wrap(decoder: ExactDecoder, change: Partial<ExactDecoder>): ExactDecoder {
  return {
    name: decoder.name,
    shape: decoder.shape,
    maxRows: decoder.maxRows,
    openSequence: (capacity) => decoder.openSequence(capacity),
    closeSequence: (sequence) => decoder.closeSequence(sequence),
    lengthOf: (sequence) => decoder.lengthOf(sequence),
    truncate: (sequence, length) => decoder.truncate(sequence, length),
    copy: (from, to, length) => decoder.copy(from, to, length),
    forward: (...args) => decoder.forward(...args),
    forwardEach: (...args) => decoder.forwardEach(...args),
    readCache: (sequence, layer) => decoder.readCache(sequence, layer),
    close: () => decoder.close(),
    ...change,
  };
}

function flip(values: Int8Array | Uint8Array | Uint16Array | undefined, at: number, bit = 1): void {
  if (values === undefined || values[at] === undefined) throw new TypeError(`nothing at ${at}`);
  values[at] = (values[at] ?? 0) ^ bit;
}

function bytesOf(values: Float32Array | undefined): Uint8Array {
  if (values === undefined) throw new TypeError('nothing to change');
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function flushed(value: number): number {
  return Math.abs(value) < 2 ** -126 ? 0 * value : value;
}
