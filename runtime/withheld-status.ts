/**
 * Where a run stands that is over and whose payloads were deleted, read from its records: for when its status file is lost.
 *
 * @module
 */

import type { Hex } from '../attest/core/bytes.ts';
import type { Json } from '../attest/encoding/canonical-json.ts';
import type { RunCloseBody, RunOpenBody } from '../attest/trace/bodies.ts';
import { feedRecords } from './record-feed.ts';
import type { RunStatus } from './run-status.ts';

/**
 * Reads the status of a run that is over; undefined if it is not.
 *
 * @param withheldAt - told as the time of the deletion
 */
export async function readWithheldStatus(
  source: AsyncIterable<Uint8Array>,
  withheldAt: number,
): Promise<RunStatus | undefined> {
  let status: RunStatus | undefined;
  for await (const { index, head, body, payloads } of feedRecords(source, 0n)) {
    const at = Number(head['at']);
    if (head['kind'] === 'run.open') {
      const { parent, seedFrom } = body as unknown as RunOpenBody;
      status = {
        run: head['run'] as Hex,
        agent: nameOf(payloads['body.agent.code'] ?? null),
        status: 'running',
        reason: null,
        waiting: [],
        createdAt: at,
        updatedAt: at,
        wakeAt: null,
        parent,
        records: 0,
        output: null,
        error: null,
        seedFrom,
        withheldAt,
      };
    }
    if (head['kind'] !== 'run.close' || status === undefined) continue;
    const close = body as unknown as RunCloseBody;
    const error = close.error === null ? null : { code: close.error.code, message: '' };
    return { ...status, status: close.status, error, updatedAt: at, records: Number(index) + 1 };
  }
  return undefined;
}

/** The name in the manifest of guest code, where that was kept. */
function nameOf(code: Json): string {
  const { manifest } = (code ?? {}) as { readonly manifest?: { readonly name?: Json } | null };
  return typeof manifest?.name === 'string' ? manifest.name : '';
}
