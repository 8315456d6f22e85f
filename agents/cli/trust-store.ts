/**
 * The user's trust file: read, and added to by what was read on a chain.
 *
 * @module
 */

import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Hex } from '../../attest/core/bytes.ts';
import { parseTrustFile, type TrustFile } from '../../attest/verify/trust.ts';

/** What was read of an operator on a chain. */
export type TrustEntry = {
  readonly signer: Hex;
  readonly contract: Hex;
  readonly chainId: bigint;
  /** Bond in the token's smallest unit. */
  readonly bond: bigint;
  readonly runs: readonly Hex[];
};

/** Adds an operator, or what is new about it, to the trust file; written to a second file first and then renamed. */
export async function addTrust(path: string, entry: TrustEntry): Promise<void> {
  const known = await readTrust(path);
  const isSame = (operator: TrustFile['operators'][number]) =>
    operator.signer === entry.signer &&
    operator.contract === entry.contract &&
    operator.chainId === entry.chainId.toString();
  const before = known.operators.find(isSame);
  const merged = {
    bond: entry.bond.toString(),
    chainId: entry.chainId.toString(),
    contract: entry.contract,
    runs: [...new Set([...(before?.runs ?? []), ...entry.runs])],
    signer: entry.signer,
  };
  const file = { operators: [...known.operators.filter((operator) => !isSame(operator)), merged], version: 1 };
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}.tmp`;
  await writeFile(draft, `${JSON.stringify(file, null, 2)}\n`, { mode: 0o600 });
  await rename(draft, path);
}

async function readTrust(path: string): Promise<TrustFile> {
  try {
    return parseTrustFile(await readFile(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { operators: [], version: 1 };
    throw error;
  }
}
