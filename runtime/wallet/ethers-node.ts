/**
 * A node behind JSON-RPC. Its answers are untrusted: what is no quantity or digest is refused, and its own words go nowhere.
 *
 * @module
 */

import type { JsonRpcProvider } from 'ethers';
import { BondError } from '../../attest/bond/errors.ts';
import { connect } from '../../attest/bond/ethers-provider.ts';
import type { Hex } from '../../attest/core/bytes.ts';
import type { Transaction } from '../../attest/sign/transaction.ts';
import type { Broadcast, ChainNode, Estimate } from './node.ts';

/** What a node without a market of priority fees is offered, in wei. */
const DEFAULT_TIP = 1_000_000_000n;

type EstimatedCall = Pick<Transaction, 'to' | 'value' | 'data'>;
type Fields = { readonly [name: string]: unknown };

/**
 * Connects to a node.
 *
 * @param rpcUrl - may hold a secret; it is in no error
 * @throws {@link BondError} `MALFORMED_ARGUMENT`, `CHAIN_UNREACHABLE`, `CHAIN_REFUSED`, `WRONG_CHAIN`
 */
export async function openEthersNode(rpcUrl: string, chainId: bigint): Promise<ChainNode> {
  const { provider } = await connect(rpcUrl, chainId);
  const ask = (method: string, params: readonly unknown[]) => askNode(provider, method, params);
  return {
    async head() {
      const block = fieldsOf(await ask('eth_getBlockByNumber', ['latest', false]));
      return { number: quantity(block['number']), baseFee: quantity(block['baseFeePerGas']) };
    },
    async tip() {
      try {
        return quantity(await ask('eth_maxPriorityFeePerGas', []));
      } catch (error) {
        if (error instanceof BondError && error.code === 'CHAIN_REFUSED') return DEFAULT_TIP;
        throw error;
      }
    },
    estimate: (from, call) => estimate(provider, from, call),
    balance: async (address) => quantity(await ask('eth_getBalance', [address, 'latest'])),
    count: async (address, at) => quantity(await ask('eth_getTransactionCount', [address, blockTag(at)])),
    broadcast: (raw) => broadcast(provider, raw),
    async receipt(hash) {
      const answer = await ask('eth_getTransactionReceipt', [hash]);
      if (answer === null) return undefined;
      const fields = fieldsOf(answer);
      // A node without the block yet says so with null.
      if (fields['blockNumber'] === null || fields['blockHash'] === null) return undefined;
      return {
        hash: digest(fields['transactionHash']),
        block: quantity(fields['blockNumber']),
        blockHash: digest(fields['blockHash']),
        status: quantity(fields['status']),
        gasUsed: quantity(fields['gasUsed']),
        effectiveGasPrice: quantity(fields['effectiveGasPrice']),
      };
    },
    async block(number, sender) {
      const answer = await ask('eth_getBlockByNumber', [blockTag(number), true]);
      if (answer === null) return undefined;
      const { hash, transactions } = fieldsOf(answer);
      if (!Array.isArray(transactions)) throw refused();
      const sent = transactions
        .map(fieldsOf)
        .filter(({ from }) => typeof from === 'string' && from.toLowerCase() === sender)
        .map((fields) => ({ nonce: quantity(fields['nonce']), hash: digest(fields['hash']) }));
      return { hash: digest(hash), sent };
    },
    close: () => provider.destroy(),
  };
}

type RpcFault = { readonly code: unknown; readonly words: string };

/** One request; the node's own error as it came, for ethers gives each method's errors another meaning. */
async function request(
  provider: JsonRpcProvider,
  method: string,
  params: readonly unknown[],
): Promise<{ readonly result: unknown } | { readonly fault: RpcFault }> {
  let answers: readonly unknown[];
  try {
    answers = await provider._send({ id: 1, jsonrpc: '2.0', method, params: [...params] });
  } catch {
    // The cause quotes the node's address, which may hold a secret.
    throw new BondError('CHAIN_UNREACHABLE', 'the node does not answer');
  }
  const answer = fieldsOf(answers[0]);
  if (answer['error'] === undefined || answer['error'] === null) return { result: answer['result'] ?? null };
  const { code, message } = fieldsOf(answer['error']);
  return { fault: { code, words: String(message).slice(0, 1024) } };
}

async function askNode(provider: JsonRpcProvider, method: string, params: readonly unknown[]): Promise<unknown> {
  const answer = await request(provider, method, params);
  if ('fault' in answer) throw refused();
  return answer.result;
}

async function estimate(provider: JsonRpcProvider, from: Hex, call: EstimatedCall): Promise<Estimate> {
  const { to, value, data } = call;
  const answer = await request(provider, 'eth_estimateGas', [{ from, to, value: `0x${value.toString(16)}`, data }]);
  if (!('fault' in answer)) return { gas: quantity(answer.result) };
  const { words } = answer.fault;
  if (isOverload(answer.fault)) throw refused();
  return { refused: /insufficient (?:funds|balance)/i.test(words) ? 'INSUFFICIENT_FUNDS' : 'REJECTED' };
}

async function broadcast(provider: JsonRpcProvider, raw: Hex): Promise<Broadcast> {
  const answer = await request(provider, 'eth_sendRawTransaction', [raw]);
  if (!('fault' in answer)) return { answer: 'taken' };
  const { words } = answer.fault;
  // Clients have no common codes: their words are what there is (geth, reth, erigon, nethermind, besu, anvil).
  if (/already (?:known|imported|exists)|known transaction/i.test(words)) return { answer: 'taken' };
  if (/nonce.{0,40}too low|old nonce/i.test(words)) return { answer: 'stale' };
  if (/underpriced|base ?fee|fee.{0,20}too low|price.{0,20}too low/i.test(words)) return { answer: 'underpriced' };
  if (/insufficient (?:funds|balance)/i.test(words)) return { answer: 'refused', reason: 'INSUFFICIENT_FUNDS' };
  if (isOverload(answer.fault)) throw refused();
  return { answer: 'refused', reason: 'REJECTED' };
}

/** Whether a node says nothing about the transaction, but that it cannot answer now. */
function isOverload({ code, words }: RpcFault): boolean {
  return (
    code === -32005 || code === -32603 || code === 429 || /rate limit|too many requests|timeout|timed out/i.test(words)
  );
}

function refused(): BondError {
  return new BondError('CHAIN_REFUSED', 'the node answered with something else');
}

function fieldsOf(value: unknown): Fields {
  if (typeof value !== 'object' || value === null) throw refused();
  return value as Fields;
}

function quantity(value: unknown): bigint {
  if (typeof value !== 'string' || !/^0x[0-9a-fA-F]{1,64}$/.test(value)) throw refused();
  return BigInt(value);
}

function digest(value: unknown): Hex {
  if (typeof value !== 'string' || !/^0x[0-9a-f]{64}$/.test(value)) throw refused();
  return value as Hex;
}

function blockTag(at: bigint | 'latest' | 'pending'): string {
  return typeof at === 'bigint' ? `0x${at.toString(16)}` : at;
}
