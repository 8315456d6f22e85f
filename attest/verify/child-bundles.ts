/**
 * Verifies child runs by their own bundles, each as a run of its own.
 *
 * @module
 */

import { type Hex, toHex } from '../core/bytes.ts';
import type { Json } from '../encoding/canonical-json.ts';
import type { RunOpenBody } from '../trace/bodies.ts';
import { readJsonPayload, readTextPayload } from '../trace/payload.ts';
import type { ChildReport, ChildRuns } from './child-runs.ts';
import type { SoundRecord } from './structure.ts';
import { trustSigner } from './trust.ts';
import { type VerifyPorts, verifyBundle } from './verifier.ts';

/** Opens the bundle of a run; undefined when it is not at hand. */
export type FindBundle = (run: Hex) => Promise<AsyncIterable<Uint8Array> | undefined>;

/** Children of children that are followed at most; deeper ones are not checked. */
const MAX_DEPTH = 8;

/** How child runs are verified: their bundles found, and verified as their parent's is. */
export function verifyChildren(ports: VerifyPorts, find: FindBundle, depth = 1): ChildRuns {
  return async (run, operator) => {
    const source = depth > MAX_DEPTH ? undefined : await find(run);
    if (source === undefined) return undefined;
    let open: RunOpenBody | undefined;
    let output: Json | undefined;
    let error: ChildReport['error'];
    let state: Hex | undefined;
    const take = ({ head, record, payloads }: SoundRecord) => {
      if (record.kind === 'run.open') open = record.body;
      if (record.kind !== 'run.close') return;
      state = toHex(head.post);
      const shown = payloads.get('body.output');
      if (shown !== undefined) output = readJsonPayload(shown, 'body.output');
      const message = payloads.get('body.error.message');
      if (record.body.error !== null && message !== undefined) {
        error = { code: record.body.error.code, message: readTextPayload(message, 'body.error.message') };
      }
    };
    const children = verifyChildren(ports, find, depth + 1);
    // Whoever runs the parent answers for the child; a chain knows the parent alone.
    const own = { ...ports, children, trust: trustSigner(operator) };
    const report = await verifyBundle(own, source, { onStep: (_step, record) => take(record) });
    return { report, open, state, output, error };
  };
}
