/**
 * What a wallet asks a node of an EVM chain.
 *
 * @module
 */

import type { Hex } from '../../attest/core/bytes.ts';
import type { Transaction } from '../../attest/sign/transaction.ts';

/** A transaction in a block, as the node says. Amounts in wei. */
export type Receipt = {
  readonly hash: Hex;
  readonly block: bigint;
  readonly blockHash: Hex;
  /** 1, or 0 where the contract refused. */
  readonly status: bigint;
  readonly gasUsed: bigint;
  readonly effectiveGasPrice: bigint;
};

/**
 * What a node says to a raw transaction. `taken`: it has it, now or since before. `stale`: its nonce is used. `underpriced`: it
 * has another one of that nonce, or asks for more. `refused`: it does not take it.
 */
export type Broadcast =
  | { readonly answer: 'taken' | 'stale' | 'underpriced' }
  | { readonly answer: 'refused'; readonly reason: 'INSUFFICIENT_FUNDS' | 'REJECTED' };

/** What a call would take: gas, or why it would not pass. */
export type Estimate = { readonly gas: bigint } | { readonly refused: 'INSUFFICIENT_FUNDS' | 'REJECTED' };

/**
 * A node. Every method throws a {@link BondError} when there is no answer of the node's, `CHAIN_UNREACHABLE` or `CHAIN_REFUSED`.
 */
export type ChainNode = {
  /** The newest block; the base fee is that of one unit of gas in it. */
  head(): Promise<{ readonly number: bigint; readonly baseFee: bigint }>;
  /** What makers of blocks ask for one unit of gas besides. */
  tip(): Promise<bigint>;
  estimate(from: Hex, call: Pick<Transaction, 'to' | 'value' | 'data'>): Promise<Estimate>;
  balance(address: Hex): Promise<bigint>;
  /** Transactions of an account up to a block, or with those that wait for one. */
  count(address: Hex, at: bigint | 'latest' | 'pending'): Promise<bigint>;
  broadcast(raw: Hex): Promise<Broadcast>;
  receipt(hash: Hex): Promise<Receipt | undefined>;
  /** Hash of a block, and what an account sent in it; undefined where there is none. */
  block(
    number: bigint,
    sender: Hex,
  ): Promise<
    { readonly hash: Hex; readonly sent: readonly { readonly nonce: bigint; readonly hash: Hex }[] } | undefined
  >;
  close(): void;
};
