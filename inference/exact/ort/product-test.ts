/**
 * What an implementation of the products must compute right on this CPU before it may serve.
 *
 * @module
 */

import { ModelError } from '../../errors.ts';
import { type ProductCase, productCases } from './product-cases.ts';
import { productGraph } from './product-graph.ts';
import type { OpenProduct, ProductSession } from './products.ts';

/** In the sums before a call: no answer is this by chance. */
const UNWRITTEN = 0x55555555;

/** Places behind the sums that must stay as they are. */
const GUARD = 64;

/**
 * Opens every matrix of `product-cases.ts`, computes every case, then one case of each again while all are open; returns only if
 * every sum is right. Takes about 0.1 s with ONNX Runtime.
 *
 * @throws {@link ModelError} `SELF_TEST_FAILED` with the first wrong sum (`rows`, `columns`, `outputs`, `row`, `output`,
 *   `expected`, `got`), or if a session cannot be opened or fails
 */
export function testProducts(open: OpenProduct): void {
  const cases = productCases();
  const sums = new Int32Array(Math.max(...cases.map(({ expected }) => expected.length)) + GUARD);
  const sessions = new Map<Int8Array, { readonly session: ProductSession; readonly last: ProductCase }>();
  let first: unknown;
  try {
    for (const one of cases) {
      const session = sessions.get(one.weights)?.session ?? attempt(one, () => open(graphOf(one), one));
      sessions.set(one.weights, { session, last: one });
      testCase(session, one, sums);
    }
    for (const { session, last } of sessions.values()) testCase(session, last, sums);
  } catch (fault) {
    first = fault;
  }
  for (const { session, last } of sessions.values()) {
    try {
      attempt(last, () => session.close());
    } catch (fault) {
      first ??= fault;
    }
  }
  if (first !== undefined) throw first;
}

function graphOf({ columns, outputs, weights }: ProductCase): Uint8Array {
  return productGraph(columns, outputs, weights);
}

function testCase(session: ProductSession, one: ProductCase, buffer: Int32Array): void {
  const { rows, columns, outputs, expected } = one;
  const used = buffer.subarray(0, expected.length + GUARD).fill(UNWRITTEN);
  attempt(one, () => session.run(one.activations, rows, used.subarray(0, expected.length)));
  for (let i = 0; i < used.length; i++) {
    const right = i < expected.length ? expected[i] : UNWRITTEN;
    if (used[i] === right) continue;
    const place = { row: Math.floor(i / outputs), output: i % outputs };
    throw new ModelError(
      'SELF_TEST_FAILED',
      `the product of ${rows} x ${columns} activations and ${outputs} outputs: expected ${right} in row ${place.row}, output ${place.output}, got ${used[i]}`,
      { at: { rows, columns, outputs, ...place, expected: right as number, got: used[i] as number } },
    );
  }
}

function attempt<T>({ rows, columns, outputs }: ProductCase, body: () => T): T {
  try {
    return body();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const what = `the product of ${rows} x ${columns} activations and ${outputs} outputs failed: ${reason}`;
    throw new ModelError('SELF_TEST_FAILED', what, { at: { rows, columns, outputs }, cause });
  }
}
