/**
 * What a transaction may cost: a quote of the chain, cut down to the fee that the policy grants.
 *
 * @module
 * @see EIP-1559
 */

import type { Hex } from '../../attest/core/bytes.ts';
import type { Transaction } from '../../attest/sign/transaction.ts';
import type { ChainNode } from './node.ts';

/** Gas and prices of a transaction, in wei. */
export type Prices = Pick<Transaction, 'gasLimit' | 'maxFeePerGas' | 'maxPriorityFeePerGas'>;

/** Gas of a payment to an account without code. */
const PAYMENT_GAS = 21_000n;

/**
 * Asks what a call costs now. Twice the base fee holds for six blocks that are full.
 *
 * @param most - wei that gas limit times price may come to
 * @throws {@link BondError} `CHAIN_UNREACHABLE`, `CHAIN_REFUSED`
 */
export async function quote(
  node: ChainNode,
  from: Hex,
  call: Pick<Transaction, 'to' | 'value' | 'data'>,
  most: bigint,
): Promise<Prices | 'FEE_TOO_HIGH' | 'INSUFFICIENT_FUNDS' | 'REJECTED'> {
  const estimate = await node.estimate(from, call);
  if ('refused' in estimate) return estimate.refused;
  const gasLimit = estimate.gas === PAYMENT_GAS ? PAYMENT_GAS : (estimate.gas * 12n) / 10n;
  if (gasLimit < PAYMENT_GAS) return 'REJECTED';
  const { baseFee } = await node.head();
  const tip = await node.tip();
  const wanted = 2n * baseFee + tip;
  const bound = most / gasLimit;
  const maxFeePerGas = lesser(wanted, bound);
  if (maxFeePerGas < baseFee + tip || maxFeePerGas === 0n) return 'FEE_TOO_HIGH';
  if ((await node.balance(from)) < call.value + gasLimit * maxFeePerGas) return 'INSUFFICIENT_FUNDS';
  return { gasLimit, maxFeePerGas, maxPriorityFeePerGas: tip };
}

/**
 * Prices at which nodes take a transaction in the place of another: an eighth more of both, or what the chain asks for now.
 *
 * @returns undefined where that is more than `most` wei
 */
export function raise(old: Prices, baseFee: bigint, tip: bigint, most: bigint): Prices | undefined {
  const { gasLimit } = old;
  const leastTip = eighthMore(old.maxPriorityFeePerGas);
  const leastFee = eighthMore(old.maxFeePerGas);
  const maxPriorityFeePerGas = tip > leastTip ? tip : leastTip;
  const wanted = 2n * baseFee + maxPriorityFeePerGas;
  const fee = wanted > leastFee ? wanted : leastFee;
  const bound = most / gasLimit;
  if (bound < leastFee || bound < leastTip) return undefined;
  const maxFeePerGas = lesser(fee, bound);
  return {
    gasLimit,
    maxFeePerGas,
    maxPriorityFeePerGas: lesser(maxPriorityFeePerGas, maxFeePerGas),
  };
}

/** 12.5 % more, rounded up, and never the same. */
function eighthMore(value: bigint): bigint {
  return (value * 9n + 7n) / 8n + (value === 0n ? 1n : 0n);
}

function lesser(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
