/**
 * A connection to an EVM chain by JSON-RPC, and what its failures mean: a custom error of the contract by name, a node
 * that does not answer, a sender that cannot pay.
 *
 * @module
 */

import {
  FetchRequest,
  Interface,
  type InterfaceAbi,
  JsonRpcProvider,
  Network,
  type TransactionRequest,
  Wallet,
} from 'ethers';
import { type Hex, toHex } from '../core/bytes.ts';
import type { Move } from './chain.ts';
import artifact from './contracts/bond.artifact.json' with { type: 'json' };
import { BondError } from './errors.ts';

const REQUEST_TIMEOUT_MS = 20_000;
const MINED_TIMEOUT_MS = 180_000;

/** ABI of the contract. */
export const bondInterface = new Interface(artifact.contracts.Bond.abi as InterfaceAbi);
/** ABI of the development token; every ERC-20 of OpenZeppelin 5 has its errors. */
export const tokenInterface = new Interface(artifact.contracts.TestToken.abi as InterfaceAbi);

/**
 * Connects to a chain and asks it who it is.
 *
 * @param rpcUrl - `http://` or `https://`
 * @param expectedChainId - refuse any other
 * @throws {@link BondError} `MALFORMED_ARGUMENT`, `CHAIN_UNREACHABLE`, `CHAIN_REFUSED`, `WRONG_CHAIN`
 */
export async function connect(
  rpcUrl: string,
  expectedChainId?: bigint,
): Promise<{ readonly provider: JsonRpcProvider; readonly chainId: bigint }> {
  if (!/^https?:\/\//.test(rpcUrl) || !URL.canParse(rpcUrl)) {
    throw new BondError('MALFORMED_ARGUMENT', 'RPC address must be an http or https URL');
  }
  const chainId = await askChainId(rpcUrl);
  if (expectedChainId !== undefined && chainId !== expectedChainId) {
    throw new BondError('WRONG_CHAIN', `chain id is ${chainId}, expected ${expectedChainId}`, {
      at: { expected: expectedChainId.toString(), got: chainId.toString() },
    });
  }
  // The network is given: a provider that looks for it by itself retries for ever and writes to the console.
  const network = Network.from(chainId);
  const provider = new JsonRpcProvider(request(rpcUrl), network, {
    staticNetwork: network,
    batchMaxCount: 1,
    cacheTimeout: -1,
  });
  return { provider, chainId };
}

/**
 * Sends a transaction and waits until it is in a block.
 *
 * @param describe - turns a failure into an error
 * @throws {@link BondError} `CONTRACT_REVERT`, `INSUFFICIENT_FUNDS`, `TRANSACTION_TIMEOUT`, `CHAIN_UNREACHABLE`, `CHAIN_REFUSED`
 */
export async function sendTransaction(wallet: Wallet, transaction: TransactionRequest): Promise<Sent> {
  const provider = wallet.provider as JsonRpcProvider;
  try {
    // Time moves on between estimate and block, and with it what a move costs.
    const estimate = await wallet.estimateGas(transaction);
    const sent = await wallet.sendTransaction({ ...transaction, gasLimit: (estimate * 12n) / 10n + 10_000n });
    const deadline = Date.now() + MINED_TIMEOUT_MS;
    for (let pauseMs = 10; ; pauseMs = Math.min(2 * pauseMs, 2_000)) {
      const receipt = await provider.getTransactionReceipt(sent.hash);
      if (receipt !== null) {
        if (receipt.status !== 1) {
          // The same call on the block before it gives the reason.
          await provider.call({ ...transaction, from: wallet.address, blockTag: receipt.blockNumber });
          throw new BondError('CONTRACT_REVERT', `transaction ${sent.hash} was reverted`, { at: { name: 'unknown' } });
        }
        const events = receipt.logs.map((log) => ({
          ...log,
          topics: [...log.topics],
          data: log.data,
          address: log.address,
        }));
        return {
          move: { transaction: sent.hash as Hex, block: BigInt(receipt.blockNumber), gasUsed: receipt.gasUsed },
          events,
          created: receipt.contractAddress?.toLowerCase() as Hex | undefined,
        };
      }
      if (Date.now() > deadline) {
        throw new BondError(
          'TRANSACTION_TIMEOUT',
          `transaction ${sent.hash} is in no block after ${MINED_TIMEOUT_MS} ms`,
          {
            at: { transaction: sent.hash },
          },
        );
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  } catch (error) {
    throw toBondError(error);
  }
}

export type Sent = {
  readonly move: Move;
  readonly events: readonly { readonly address: string; readonly topics: string[]; readonly data: string }[];
  /** Address of a contract that the transaction created. */
  readonly created: Hex | undefined;
};

/** A failure of ethers, of the node or of the contract as an error of this project; anything else is thrown again. */
export function toBondError(error: unknown): BondError {
  if (error instanceof BondError) return error;
  if (!(error instanceof Error)) throw error;
  const fault = error as Error & { code?: unknown; data?: unknown; info?: unknown; shortMessage?: unknown };
  const data = revertData(fault);
  if (data !== undefined) return decodeRevert(data, error);
  const code = typeof fault.code === 'string' ? fault.code : '';
  const message = typeof fault.shortMessage === 'string' ? fault.shortMessage : fault.message;
  if (code === 'INSUFFICIENT_FUNDS') return new BondError(code, 'sender cannot pay the gas', { cause: error });
  if (code === 'CALL_EXCEPTION') {
    return new BondError('CONTRACT_REVERT', `contract refused without a reason: ${message}`, {
      at: { name: 'unknown' },
      cause: error,
    });
  }
  if (code === 'INVALID_ARGUMENT') return new BondError('MALFORMED_ARGUMENT', message, { cause: error });
  if (/^(?:ECONN|ENOTFOUND|EAI_|EHOST|ENET|EPIPE|ETIMEDOUT|TIMEOUT|SERVER_ERROR|NETWORK_ERROR|UND_ERR)/.test(code)) {
    return new BondError('CHAIN_UNREACHABLE', `chain does not answer: ${message}`, { cause: error });
  }
  if (code !== '') return new BondError('CHAIN_REFUSED', `chain refused: ${message}`, { cause: error });
  throw error;
}

/** A 32-byte private key as a wallet. @throws {@link BondError} `MALFORMED_ARGUMENT` */
export function toWallet(privateKey: Uint8Array, provider: JsonRpcProvider): Wallet {
  try {
    return new Wallet(toHex(privateKey), provider);
  } catch {
    // The cause would hold the key.
    throw new BondError('MALFORMED_ARGUMENT', 'private key is not one of secp256k1');
  }
}

function request(rpcUrl: string): FetchRequest {
  const fetchRequest = new FetchRequest(rpcUrl);
  fetchRequest.timeout = REQUEST_TIMEOUT_MS;
  return fetchRequest;
}

async function askChainId(rpcUrl: string): Promise<bigint> {
  let answer: unknown;
  try {
    const response = await fetch(rpcUrl, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_chainId', params: [] }),
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    answer = JSON.parse((await response.text()).slice(0, 4096));
  } catch (cause) {
    throw new BondError('CHAIN_UNREACHABLE', `no chain answers at ${new URL(rpcUrl).host}`, { cause });
  }
  const result = (answer as { result?: unknown } | null)?.result;
  if (typeof result !== 'string' || !/^0x[0-9a-fA-F]{1,16}$/.test(result)) {
    throw new BondError('CHAIN_REFUSED', `${new URL(rpcUrl).host} does not say its chain id`);
  }
  return BigInt(result);
}

/** Bytes that a revert came with, wherever the node and ethers put them. */
function revertData(error: { data?: unknown; info?: unknown }): string | undefined {
  const inner = (error.info as { error?: { data?: unknown } } | undefined)?.error?.data;
  for (const candidate of [error.data, inner, (inner as { data?: unknown } | null | undefined)?.data]) {
    if (typeof candidate === 'string' && /^0x[0-9a-fA-F]{8,}$/.test(candidate)) return candidate;
  }
  return undefined;
}

function decodeRevert(data: string, cause: Error): BondError {
  const decoded = bondInterface.parseError(data) ?? tokenInterface.parseError(data);
  if (decoded === null) {
    return new BondError('CONTRACT_REVERT', `contract refused with ${data.slice(0, 10)}`, {
      at: { name: 'unknown', data: data.slice(0, 1024) },
      cause,
    });
  }
  const at: Record<string, string> = { name: decoded.name };
  decoded.fragment.inputs.forEach((input, i) => {
    at[`args.${input.name || i}`] = String(decoded.args[i]);
  });
  const values = Object.entries(at)
    .slice(1)
    .map(([name, value]) => `${name.slice('args.'.length)} ${value}`);
  const details = values.length === 0 ? '' : ` (${values.join(', ')})`;
  return new BondError('CONTRACT_REVERT', `contract refused: ${decoded.name}${details}`, { at, cause });
}
