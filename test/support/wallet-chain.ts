/**
 * A chain in memory that does what a test says: blocks when they are asked for, nodes that do not answer, transactions that get
 * lost, blocks that are replaced.
 *
 * @module
 */

import { BondError } from '../../attest/bond/errors.ts';
import { type Hex, toHex, utf8 } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import { parseTransaction, type SignedTransaction } from '../../attest/sign/transaction.ts';
import type { ChainNode } from '../../runtime/wallet/node.ts';

type Block = { readonly hash: Hex; readonly transactions: readonly SignedTransaction[] };

/** Base fee of its blocks unless told, in wei. */
export const BASE_FEE = 1_000_000_000n;

export class MemoryChain {
  readonly chainId = 31337n;
  /** A block as soon as a transaction comes. */
  autoMine = true;
  baseFee = BASE_FEE;
  tip = 1n;
  /** What the node answers: all, nothing, or nothing to one method. */
  down: boolean | keyof ChainNode = false;
  /** Loses transactions after it said that it has them. */
  forgets = false;
  /** Refuses whatever is sent, with that reason. */
  refuses: 'INSUFFICIENT_FUNDS' | 'REJECTED' | undefined;
  /** Accounts whose calls are refused in estimates, and those that refuse in blocks only. */
  readonly rejecting = new Set<Hex>();
  readonly reverting = new Set<Hex>();
  readonly balances = new Map<Hex, bigint>();
  /** Raw transactions in the order in which the node heard of them. */
  readonly heard: Hex[] = [];
  readonly pending: SignedTransaction[] = [];
  readonly #blocks: Block[] = [{ hash: toHex(sha256(utf8('genesis'))), transactions: [] }];
  #made = 0;

  get head(): bigint {
    return BigInt(this.#blocks.length - 1);
  }

  /** Everything in blocks, in order. */
  mined(): readonly SignedTransaction[] {
    return this.#blocks.flatMap(({ transactions }) => transactions);
  }

  /** Makes a block of what fits. */
  mine(): void {
    const transactions: SignedTransaction[] = [];
    for (let found = true; found; ) {
      found = false;
      for (const candidate of this.pending) {
        const used =
          this.#count(candidate.from) + BigInt(transactions.filter(({ from }) => from === candidate.from).length);
        if (candidate.nonce !== used || candidate.maxFeePerGas < this.baseFee) continue;
        this.pending.splice(this.pending.indexOf(candidate), 1);
        transactions.push(candidate);
        found = true;
        break;
      }
    }
    this.#made += 1;
    this.#blocks.push({ hash: toHex(sha256(utf8(`block ${this.#made}`))), transactions });
    const used = (address: Hex) => this.#count(address);
    const left = this.pending.filter(({ from, nonce }) => nonce >= used(from));
    this.pending.splice(0, this.pending.length, ...left);
  }

  /** Takes the newest blocks away; what they held waits again, or is lost. */
  reorg(depth: number, keep: boolean): void {
    for (const { transactions } of this.#blocks.splice(this.#blocks.length - depth)) {
      if (keep) this.pending.push(...transactions);
    }
  }

  /** Takes a transaction as a node does. */
  take(raw: Hex): 'taken' | 'stale' | 'underpriced' {
    const transaction = parseTransaction(raw);
    const isKnown = [...this.pending, ...this.mined()].some(({ hash }) => hash === transaction.hash);
    if (isKnown) return 'taken';
    if (transaction.nonce < this.#count(transaction.from)) return 'stale';
    const other = this.pending.find(({ from, nonce }) => from === transaction.from && nonce === transaction.nonce);
    if (other !== undefined) {
      if (transaction.maxFeePerGas * 8n < other.maxFeePerGas * 9n) return 'underpriced';
      this.pending.splice(this.pending.indexOf(other), 1);
    }
    if (!this.forgets) this.pending.push(transaction);
    if (this.autoMine) this.mine();
    return 'taken';
  }

  #count(address: Hex, end = this.#blocks.length): bigint {
    const blocks = this.#blocks.slice(0, end);
    return BigInt(blocks.flatMap(({ transactions }) => transactions).filter(({ from }) => from === address).length);
  }

  /** A node of this chain. */
  node(): ChainNode {
    const answer = async <T>(method: keyof ChainNode, value: () => T): Promise<T> => {
      await Promise.resolve();
      if (this.down === true || this.down === method) throw new BondError('CHAIN_UNREACHABLE', 'down');
      return value();
    };
    return {
      head: () => answer('head', () => ({ number: this.head, baseFee: this.baseFee })),
      tip: () => answer('tip', () => this.tip),
      estimate: (_from, { to, data }) =>
        answer('estimate', () =>
          this.rejecting.has(to) ? { refused: 'REJECTED' } : { gas: data === '0x' ? 21_000n : 50_000n },
        ),
      balance: (address) => answer('balance', () => this.balances.get(address) ?? 10n ** 24n),
      count: (address, at) =>
        answer('count', () => {
          if (typeof at === 'bigint') return this.#count(address, Number(at) + 1);
          let count = this.#count(address);
          while (at === 'pending' && this.pending.some(({ from, nonce }) => from === address && nonce === count))
            count += 1n;
          return count;
        }),
      broadcast: (raw) =>
        answer('broadcast', () => {
          this.heard.push(raw);
          return this.refuses === undefined ? { answer: this.take(raw) } : { answer: 'refused', reason: this.refuses };
        }),
      receipt: (hash) =>
        answer('receipt', () => {
          const block = this.#blocks.findIndex(({ transactions }) => transactions.some((one) => one.hash === hash));
          const transaction = this.mined().find((one) => one.hash === hash);
          if (block < 0 || transaction === undefined) return undefined;
          return {
            hash,
            block: BigInt(block),
            blockHash: this.#blocks[block]?.hash ?? hash,
            status: this.reverting.has(transaction.to) ? 0n : 1n,
            gasUsed: transaction.gasLimit,
            effectiveGasPrice: this.baseFee + this.tip,
          };
        }),
      block: (number, sender) =>
        answer('block', () => {
          const block = this.#blocks[Number(number)];
          if (block === undefined) return undefined;
          return { hash: block.hash, sent: block.transactions.filter(({ from }) => from === sender) };
        }),
      close: () => {},
    };
  }
}
