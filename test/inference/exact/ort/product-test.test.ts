import { describe, expect, it } from 'vitest';
import { ModelError } from '../../../../inference/errors.ts';
import { lintExactGraph } from '../../../../inference/exact/ort/graph-linter.ts';
import { loadNodeProducts } from '../../../../inference/exact/ort/node-products.ts';
import { testProducts } from '../../../../inference/exact/ort/product-test.ts';
import type { OpenProduct, ProductSession } from '../../../../inference/exact/ort/products.ts';
import { looseProduct } from '../../../support/product-graphs.ts';

const openReal = loadNodeProducts();

/** What a fake sees of a sum: `a(k)` 0..127, `w(k)` int8, and where in the call it is. */
type Term = {
  readonly a: (k: number) => number;
  readonly w: (k: number) => number;
  readonly columns: number;
  readonly rows: number;
  readonly outputs: number;
  readonly m: number;
  readonly n: number;
};

/** Products by a function for each sum; undefined leaves the place as it is. */
function fake(sumOf: (term: Term) => number | undefined): OpenProduct {
  return (graph) => {
    const { columns, outputs, weights } = looseProduct(graph);
    return {
      run(activations, rows, sums) {
        for (let m = 0; m < rows; m++) {
          for (let n = 0; n < outputs; n++) {
            const a = (k: number) => activations[m * columns + k] ?? 0;
            const w = (k: number) => weights[k * outputs + n] ?? 0;
            const sum = sumOf({ a, w, columns, rows, outputs, m, n });
            if (sum !== undefined) sums[m * outputs + n] = sum;
          }
        }
      },
      close() {},
    };
  };
}

const right = ({ a, w, columns }: Term): number => {
  let sum = 0;
  for (let k = 0; k < columns; k++) sum += (a(k) - 64) * w(k);
  return sum;
};

const int16 = (value: number) => Math.max(-32768, Math.min(32767, value));

/** Sum of the zero point's part, which implementations add once for each output. */
const correction = ({ w, columns }: Term): number => {
  let sum = 0;
  for (let k = 0; k < columns; k++) sum += 64 * w(k);
  return sum;
};

/** Adds products in lanes of 16 bits that saturate: `width` products of `by(k)`. */
const saturating = (columns: number, width: number, by: (k: number) => number): number => {
  let sum = 0;
  for (let k = 0; k < columns; k += width) {
    let lane = 0;
    for (let i = 0; i < width; i++) lane = int16(lane + by(k + i));
    sum += lane;
  }
  return sum;
};

function faultOf(open: OpenProduct): ModelError {
  try {
    testProducts(open);
  } catch (error) {
    if (error instanceof ModelError && error.code === 'SELF_TEST_FAILED') return error;
    throw error;
  }
  throw new Error('the wrong products passed');
}

/** The real sessions, changed by `wrap`. */
function wrapped(wrap: (session: ProductSession, outputs: number) => Partial<ProductSession>): OpenProduct {
  return (graph, size) => {
    const session = openReal(graph, size);
    return { ...session, ...wrap(session, looseProduct(graph).outputs) };
  };
}

describe('passes', () => {
  it('ONNX Runtime, over graphs that the linter accepts', () => {
    testProducts((graph, size) => {
      lintExactGraph(graph);
      return openReal(graph, size);
    });
  });

  it('plain arithmetic', () => {
    testProducts(fake(right));
  });

  it('lanes of 16 bits that saturate, with signed weights and activations of 7 bits: pairs stay in range', () => {
    testProducts(fake((t) => saturating(t.columns, 2, (k) => t.a(k) * t.w(k)) - correction(t)));
  });

  it('sums that wrap around 2^32 in between', () => {
    testProducts(fake((t) => (right(t) + 0x7fffffff + 0x7fffffff + 2) | 0));
  });

  it('and closes every session', () => {
    let open = 0;
    testProducts((graph, size) => {
      open += 1;
      const session = openReal(graph, size);
      return {
        ...session,
        close() {
          open -= 1;
          session.close();
        },
      };
    });
    expect(open).toBe(0);
  });
});

describe('finds', () => {
  it.each<[string, (term: Term) => number | undefined]>([
    [
      'pairs of unsigned weights in lanes that saturate',
      (t) => {
        let sum = saturating(t.columns, 2, (k) => t.a(k) * (t.w(k) + 128)) - correction(t);
        for (let k = 0; k < t.columns; k++) sum -= 128 * t.a(k);
        return sum;
      },
    ],
    ['fours in lanes that saturate', (t) => saturating(t.columns, 4, (k) => t.a(k) * t.w(k)) - correction(t)],
    [
      'fours without the zero point in lanes that saturate',
      (t) => saturating(t.columns, 4, (k) => (t.a(k) - 64) * t.w(k) * 2) / 2,
    ],
    [
      'activations taken for eight signed bits with a zero point of 128',
      (t) => saturating(t.columns, 2, (k) => t.a(k) * 2 * t.w(k)) / 2 - correction(t),
    ],
    [
      'products of 16 bits that wrap',
      (t) => {
        let s = 0;
        for (let k = 0; k < t.columns; k++) s += (((t.a(k) * (t.w(k) + 128)) << 17) >> 17) - 128 * t.a(k);
        return s - correction(t);
      },
    ],
    ['no zero point', (t) => right(t) + correction(t)],
    ['the zero point 63', (t) => right(t) + correction(t) / 64],
    ['the zero point twice', (t) => right(t) - correction(t)],
    ['weights of -128 taken for -127', (t) => right({ ...t, w: (k) => Math.max(-127, t.w(k)) })],
    ['weights taken for unsigned', (t) => right({ ...t, w: (k) => t.w(k) & 255 })],
    ['activations taken for at most 126', (t) => right({ ...t, a: (k) => Math.min(126, t.a(k)) })],
    [
      'sums in binary32',
      (t) => {
        let s = 0;
        for (let k = 0; k < t.columns; k++) s = Math.fround(s + (t.a(k) - 64) * t.w(k));
        return s;
      },
    ],
    ['one rounding to binary32', (t) => Math.fround(right(t))],
    [
      'one sum too large by one',
      (t) => right(t) + (t.columns === 2080 && t.outputs === 17 && t.rows === 9 && t.m === 4 && t.n === 3 ? 1 : 0),
    ],
    [
      'negative sums rounded up',
      (t) => {
        const s = right(t);
        return s < 0 ? s + (s & 1) : s;
      },
    ],
    ['sums of 24 bits', (t) => (right(t) << 7) >> 7],
    ['a last column left out', (t) => right({ ...t, columns: t.columns - 1 })],
    ['columns beyond a multiple of 64 left out', (t) => right({ ...t, columns: t.columns & ~63 })],
    ['columns beyond 1,024 left out', (t) => right({ ...t, columns: Math.min(1024, t.columns) })],
    ['the first column twice', (t) => right(t) + (t.a(0) - 64) * t.w(0)],
    ['two columns exchanged in the activations', (t) => right({ ...t, a: (k) => t.a(k === 6 ? 7 : k === 7 ? 6 : k) })],
    ['the last output not written', (t) => (t.n === t.outputs - 1 && t.outputs === 65 ? undefined : right(t))],
    ['outputs beyond 256 not written', (t) => (t.n >= 256 ? undefined : right(t))],
    ['an output of zero in a tail of one', (t) => (t.outputs % 16 === 1 && t.n === t.outputs - 1 ? 0 : right(t))],
    [
      'outputs beyond a multiple of 16 taken from their neighbours',
      (t) => right({ ...t, w: (k) => t.w(t.n >= (t.outputs & ~15) && t.outputs > 16 ? k - (k % t.columns) : k) }),
    ],
    [
      'the last of an odd number of rows not written',
      (t) => (t.rows % 2 === 1 && t.m === t.rows - 1 ? undefined : right(t)),
    ],
    ['the last of seven rows zero', (t) => (t.rows === 7 && t.m === 6 ? 0 : right(t))],
    [
      'the last of 33 rows of long sums wrong',
      (t) => right(t) + (t.rows === 33 && t.m === 32 && t.columns > 500 ? 1 : 0),
    ],
    ['the third row of three wrong', (t) => right(t) ^ (t.rows === 3 && t.m === 2 ? 1 : 0)],
    ['row 63 of 64 wrong', (t) => right(t) + (t.m === 63 ? 256 : 0)],
    ['sums that hold 2^31 as well', (t) => right(t) ^ (t.n === 13 ? 0x80000000 : 0)],
    ['nothing written', () => undefined],
    ['zero', () => 0],
  ])('%s', (_, sumOf) => {
    const fault = faultOf(fake(sumOf));
    expect(fault.message).toMatch(
      /^the product of \d+ x \d+ activations and \d+ outputs: expected -?\d+ in row \d+, output \d+, got -?\d+$/,
    );
    expect(fault.at['got']).not.toBe(fault.at['expected']);
  });

  it.each<[string, OpenProduct]>([
    [
      'rows and outputs exchanged',
      wrapped((session, outputs) => ({
        run(activations, rows, sums) {
          session.run(activations, rows, sums);
          const turned = sums.map((_, i) => sums[(i % rows) * outputs + Math.floor(i / rows)] ?? 0);
          sums.set(turned);
        },
      })),
    ],
    [
      'rows in reverse',
      wrapped((session, outputs) => ({
        run(activations, rows, sums) {
          session.run(activations, rows, sums);
          sums.set(sums.map((_, i) => sums[(rows - 1 - Math.floor(i / outputs)) * outputs + (i % outputs)] ?? 0));
        },
      })),
    ],
    [
      'sums added to what was there',
      wrapped((session) => ({
        run(activations, rows, sums) {
          const before = sums.slice();
          session.run(activations, rows, sums);
          for (let i = 0; i < sums.length; i++) sums[i] = (sums[i] ?? 0) + (before[i] ?? 0);
        },
      })),
    ],
    [
      'a write behind the sums',
      wrapped((session) => ({
        run(activations, rows, sums) {
          session.run(activations, rows, sums);
          new Int32Array(sums.buffer)[sums.byteOffset / 4 + sums.length] = 0;
        },
      })),
    ],
    [
      'the answer of the call before',
      (() => {
        let before = new Int32Array(0);
        return wrapped((session) => ({
          run(activations, rows, sums) {
            const old = before;
            session.run(activations, rows, sums);
            before = sums.slice();
            sums.set(old.subarray(0, sums.length));
          },
        }));
      })(),
    ],
    [
      'only the 32 matrices opened last',
      (() => {
        let opened = 0;
        return (...call: Parameters<OpenProduct>) => {
          const own = ++opened;
          const session = openReal(...call);
          return {
            ...session,
            run(activations: Uint8Array, rows: number, sums: Int32Array) {
              if (opened - own < 32) session.run(activations, rows, sums);
              else sums.fill(0);
            },
          };
        };
      })(),
    ],
  ])('%s', (_, open) => {
    expect(faultOf(open).at['got']).not.toBeUndefined();
  });

  it('the first wrong sum, with its place', () => {
    const wrong = fake((t) => right(t) + (t.rows === 3 && t.columns === 64 && t.m === 1 && t.n >= 2 ? 5 : 0));
    const { at } = faultOf(wrong);
    expect(at).toMatchObject({ rows: 3, columns: 64, outputs: 4, row: 1, output: 2 });
    expect(Number(at['got']) - Number(at['expected'])).toBe(5);
  });

  it('a session that cannot be opened, that fails, or that cannot be closed', () => {
    const broken = () => {
      throw new Error('broken');
    };
    for (const open of [broken, wrapped(() => ({ run: broken })), wrapped(() => ({ close: broken }))]) {
      const fault = faultOf(open);
      expect(fault.message).toMatch(/^the product of \d+ x 32 activations and 1 outputs failed: broken$/);
      expect(fault.cause).toEqual(new Error('broken'));
    }
  });

  it('and closes what was opened', () => {
    let open = 0;
    faultOf((graph, size) => {
      open += 1;
      const session = fake((t) => (t.columns === 96 ? 0 : right(t)))(graph, size);
      return {
        ...session,
        close() {
          open -= 1;
        },
      };
    });
    expect(open).toBe(0);
  });
});
