/**
 * Trust read from a chain: whether the run was opened there by this operator, and the bond behind it.
 *
 * @module
 */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openEmbeddedChain } from '../../attest/bond/embedded.ts';
import { openBondReader } from '../../attest/bond/ethers-chain.ts';
import type { Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { parseJson } from '../../attest/encoding/canonical-json.ts';
import { address, object } from '../../attest/trace/shape.ts';
import type { Trust } from '../../attest/verify/trust.ts';
import { chainFolder, type Environment } from './environment.ts';

export type ChainTrustErrorCode = 'NO_EMBEDDED_CHAIN';

/** There is no local chain to read from. */
export class ChainTrustError extends RuntimeError<ChainTrustErrorCode> {
  override readonly name = 'ChainTrustError';
}

/** Trust with the connection behind it. */
export type ChainTrust = { readonly trust: Trust; close(): Promise<void> };

/** File beside the embedded chain's state that names the contract the demo deployed last. */
export function deploymentPath(environment: Environment): string {
  return join(chainFolder(environment), 'deployment.json');
}

/**
 * Opens trust from a chain.
 *
 * @param rpc - URL, or `embedded` for the local chain, started again from its state
 * @param contract - of the embedded chain the one that the demo deployed, if undefined
 * @throws BondError when the chain is not reachable or there is no such contract
 * @throws {@link ChainTrustError} `NO_EMBEDDED_CHAIN`
 */
export async function openChainTrust(
  environment: Environment,
  rpc: string,
  contract: Hex | undefined,
): Promise<ChainTrust> {
  if (rpc !== 'embedded') return readTrust(rpc, contract as Hex, async () => {});
  const deployed = contract ?? (await readDeployment(environment));
  const chain = await openEmbeddedChain({ dir: chainFolder(environment) });
  try {
    return await readTrust(chain.rpcUrl, deployed, () => chain.close());
  } catch (error) {
    await chain.close();
    throw error;
  }
}

async function readTrust(rpcUrl: string, contract: Hex, closeChain: () => Promise<void>): Promise<ChainTrust> {
  const reader = await openBondReader({ rpcUrl, contract });
  return {
    trust: {
      async standingOf(open, run) {
        if (open.contract !== contract || BigInt(open.chain) !== reader.chainId) {
          return { trusted: false, opened: false, bonded: null };
        }
        const entry = await reader.readRun(run);
        const opened = entry !== undefined && entry.operator === open.operator;
        const { bonded, stake } = await reader.readOperator(open.operator);
        const standing = { trusted: opened && bonded, opened, bonded: stake.toString() };
        if (entry === undefined || !opened) return standing;
        const { body, checkpoint, deadline, exposure, status } = entry;
        const isClosed =
          checkpoint !== undefined && (status === 'closed' || status === 'settled' || status === 'slashed');
        const onChain = { body, deadline, exposure };
        return { ...standing, onChain: isClosed ? { ...onChain, closed: checkpoint } : onChain };
      },
    },
    async close() {
      reader.close();
      await closeChain();
    },
  };
}

async function readDeployment(environment: Environment): Promise<Hex> {
  const path = deploymentPath(environment);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new ChainTrustError(
      'NO_EMBEDDED_CHAIN',
      `no local chain at ${path}: run the demo first, or give --contract`,
      {
        at: { path },
        cause,
      },
    );
  }
  return object({ contract: address })(parseJson(bytes), 'deployment').contract;
}
