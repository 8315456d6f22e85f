/**
 * `tracebond` in a request: the place of the inference in its run, and the identity that the client insists on. It is the only addition to
 * OpenAI's requests that OpenAI's clients need not know.
 *
 * Spec: `inference/spec/receipt.md#over-http`.
 *
 * @module
 */

import { z } from 'zod';
import { fromHex } from '../../attest/core/bytes.ts';
import { defined } from '../../attest/core/defined.ts';
import { ZERO_DIGEST } from '../../attest/core/hash.ts';
import type { Asked } from '../answering.ts';
import { refuseValue } from '../protocol-faults.ts';
import { decimal, hex, UINT64, UINT256 } from './fields.ts';

/** The extension of a request; `run`, `index` and `runSeed` come together. */
export const placeSchema = z
  .strictObject({
    run: hex(32).optional().describe('Id of the run, 32 bytes; none outside a run.'),
    index: decimal(UINT64).optional().describe('Index of the record in the run, uint64 in decimal.'),
    runSeed: hex(32).optional().describe('Seed of the run, 32 bytes.'),
    chainId: decimal(UINT256).optional().describe("Chain of the run, uint256 in decimal; the server's by default."),
    contract: hex(20).optional().describe("Contract of the run; the server's by default."),
    model: hex(32).optional().describe('Digest of the weights that must answer.'),
    profile: hex(32).optional().describe('Digest of the numerics profile that must answer.'),
    engine: hex(32).optional().describe('Digest of the engine that must answer.'),
  })
  .describe('Where the inference stands in a run, and which model, numerics and engine must answer.');

/**
 * Reads the extension; without it the request stands outside all runs.
 *
 * @throws {@link ApiError} `INVALID_VALUE` if a part of the place is missing
 */
export function readPlace(extension: z.output<typeof placeSchema> = {}): Pick<Asked, 'pinned' | 'place'> {
  const { run, index, runSeed, chainId, contract, ...pinned } = extension;
  const given = [run, index, runSeed].filter((value) => value !== undefined).length;
  if (given !== 0 && given !== 3) throw refuseValue('tracebond', 'run, index and runSeed come together');
  return {
    pinned: defined(pinned),
    place: {
      run: run === undefined ? ZERO_DIGEST : fromHex(run),
      index: index ?? 0n,
      runSeed: runSeed === undefined ? ZERO_DIGEST : fromHex(runSeed),
      ...defined({ chainId, contract }),
    },
  };
}
