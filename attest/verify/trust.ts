/**
 * Which operators a verifier takes at their word to have a bond: given by the caller, read from a chain, or from the
 * trust file of the user. Never from the bundle, and never from a file beside it.
 *
 * Spec: `attest/spec/trace.md#trust`.
 *
 * @module
 */

import type { Hex } from '../core/bytes.ts';
import { parseJson } from '../encoding/canonical-json.ts';
import type { RunOpenBody } from '../trace/bodies.ts';
import { fieldError, TraceError } from '../trace/errors.ts';
import { address, array, decimal64, decimal256, hex32, object, oneOf, type ShapeOf } from '../trace/shape.ts';

const trustFile = object({
  operators: array(
    object({
      bond: decimal256,
      chainId: decimal64,
      contract: address,
      runs: array(hex32, 100_000),
      signer: address,
    }),
    10_000,
  ),
  version: oneOf(1),
});

/** Content of `$TRACEBOND_HOME/trust.json`: operators with what was read of them on a chain. */
export type TrustFile = ShapeOf<typeof trustFile>;

/** What is known of the operator of one run. */
export type Standing = {
  readonly trusted: boolean;
  /** Whether the run was opened on the chain; null when nobody asked a chain. */
  readonly opened: boolean | null;
  /** Bond in the token's smallest unit; null when nobody asked a chain. */
  readonly bonded: string | null;
  /** What the chain holds of the run, where a chain was asked: any other history is not the one that was bonded. */
  readonly onChain?: {
    /** Body digest of record 0. */
    readonly body: Hex;
    /** Unix seconds until which the run had to be closed. */
    readonly deadline: bigint;
    /** Value at risk that the bond stands for. */
    readonly exposure: bigint;
    /** Checkpoint with which the run was closed. */
    readonly closed?: { readonly size: bigint; readonly root: Hex };
  };
};

/** Where trust comes from. Resolves what is known of the operator that `run.open` names. */
export type Trust = { standingOf(open: RunOpenBody, run: Hex): Promise<Standing> };

const UNKNOWN: Standing = { trusted: false, opened: null, bonded: null };

/** Trust in nobody: every bundle is at best CANNOT_RECOMPUTE with SIGNER_UNKNOWN. */
export const noTrust: Trust = { standingOf: async () => UNKNOWN };

/**
 * Trust in one signer.
 *
 * @throws {@link TraceError} `SIGNER_MISMATCH` from `standingOf` when the run has another operator
 */
export function trustSigner(signer: Hex): Trust {
  // Digits of a mixed-case address only carry a checksum.
  const trusted = signer.toLowerCase();
  return {
    async standingOf(open) {
      if (open.operator !== trusted) {
        throw fieldError('SIGNER_MISMATCH', 'body.operator', `expected ${trusted}, got ${open.operator}`);
      }
      return { trusted: true, opened: null, bonded: null };
    },
  };
}

/** Trust in the operators of a trust file, each on its own chain and contract only. */
export function trustOperators(file: TrustFile): Trust {
  return {
    async standingOf(open, run) {
      const entry = file.operators.find(
        (operator) =>
          operator.signer === open.operator && operator.contract === open.contract && operator.chainId === open.chain,
      );
      if (entry === undefined) return UNKNOWN;
      return { trusted: true, opened: entry.runs.includes(run) ? true : null, bonded: entry.bond };
    },
  };
}

/** Reads a trust file. @throws {@link TraceError} `MALFORMED_BODY` naming the field */
export function parseTrustFile(bytes: Uint8Array): TrustFile {
  let file: TrustFile;
  try {
    file = trustFile(parseJson(bytes), 'trust');
  } catch (cause) {
    if (cause instanceof TraceError) throw cause;
    throw fieldError('MALFORMED_BODY', 'trust', `not JSON: ${(cause as Error).message}`, cause);
  }
  // Two entries for one operator could differ in bond and runs, and order would decide what is believed.
  const seen = new Set<string>();
  for (const [i, { chainId, contract, signer }] of file.operators.entries()) {
    const key = `${chainId} ${contract} ${signer}`;
    if (seen.has(key)) throw fieldError('MALFORMED_BODY', `trust.operators.${i}`, 'repeats an operator');
    seen.add(key);
  }
  return file;
}
