/**
 * Structure of a long bundle: bytes a second, and the heap while it is read, which must not grow with the bundle.
 *
 * @module
 */

import type { Json } from '../../attest/encoding/canonical-json.ts';
import { trustSigner } from '../../attest/verify/trust.ts';
import { verifyBundle } from '../../attest/verify/verifier.ts';
import type { Measure } from '../support/bench.ts';
import { OPERATOR, TOY_LIMITS, toyGuests, toyRun } from '../support/toy-run.ts';

const MIB = 1024 * 1024;
/** Bytes of one value that the synthetic agent stores again and again. */
const VALUE_BYTES = 20_000;

export async function run(): Promise<readonly Measure[]> {
  const measures: Measure[] = [];
  const peaks: number[] = [];
  for (const mib of [2, 20]) {
    const bundle = await makeBundle(mib);
    let peak = 0;
    const startedAt = performance.now();
    const report = await verifyBundle(
      { trust: trustSigner(OPERATOR), now: () => performance.now() },
      pieces(bundle, () => {
        peak = Math.max(peak, process.memoryUsage().heapUsed);
      }),
    );
    const seconds = (performance.now() - startedAt) / 1000;
    if (report.code !== 'STRUCTURE_ONLY') throw new Error(`unexpected ${report.verdict} ${report.code}`);
    peaks.push(peak);
    measures.push(
      { name: `${mib} MiB, ${report.steps.length} records`, value: bundle.length / MIB / seconds, unit: 'MiB/s' },
      { name: `${mib} MiB, records`, value: report.steps.length / seconds, unit: 'records/s' },
      { name: `${mib} MiB, most heap while reading`, value: peak / MIB, unit: 'MiB' },
    );
  }
  measures.push({ name: 'heap of 20 MiB over 2 MiB', value: ((peaks[1] ?? 0) - (peaks[0] ?? 0)) / MIB, unit: 'MiB' });
  return measures;
}

function* pieces(bundle: Uint8Array, onPiece: () => void): Generator<Uint8Array> {
  for (let at = 0; at < bundle.length; at += 64 * 1024) {
    onPiece();
    yield bundle.subarray(at, at + 64 * 1024);
  }
}

async function makeBundle(mib: number): Promise<Uint8Array> {
  // Base64 in the bundle takes a third more than the value.
  const count = Math.ceil((mib * MIB) / (VALUE_BYTES * 1.34));
  const most = '1000000000';
  const { bytes } = await toyRun({
    limits: { ...TOY_LIMITS, bytes: most, fuel: most, steps: most },
    agentFuel: most,
    guests: {
      ...toyGuests,
      agent: async (ctx): Promise<Json> => {
        for (let i = 0; i < count; i++) {
          await ctx.call('kv.put', { key: `key ${i % 100}`, value: String(i).padStart(VALUE_BYTES, 'x') });
        }
        return count;
      },
    },
  });
  return bytes;
}
