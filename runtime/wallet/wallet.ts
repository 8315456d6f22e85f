/**
 * The wallet of an agent: sends a transaction once, whatever crashes, and waits until the chain keeps it.
 *
 * S1. A transaction is on disk (`log.ts`) before any node hears of it; after a crash the same bytes are sent again.
 * S2. For one start a transaction with another nonce is signed only when the nonces of all before it were used by transactions that are
 *     none of ours, each of them seen in a block that has its confirmations: of all that was signed one at most is ever mined.
 * S3. Every transaction of a start does what its request says, and costs at most the fee that the policy grants.
 * S4. A failure is told only when nothing that was signed can be mined any more, or when the one node that was shown the one transaction
 *     did not take it.
 * S5. What does not hold together (a damaged log, another key, a used nonce that no block shows) stops the send; nothing is guessed.
 *
 * Spec: `runtime/spec/wallet.md#sending`.
 *
 * @module
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { BondError } from '../../attest/bond/errors.ts';
import type { Hex } from '../../attest/core/bytes.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import type { SignedTransaction, Transaction } from '../../attest/sign/transaction.ts';
import type { WalletArgs } from '../../attest/trace/wallet.ts';
import { WalletError } from './errors.ts';
import { deriveWalletKey } from './key.ts';
import type { LoggedSend, WalletLog } from './log.ts';
import type { ChainNode, Receipt } from './node.ts';
import { Nonces } from './nonces.ts';
import { type Prices, quote, raise } from './prices.ts';
import { signTransaction } from './sign.ts';

/** Why nothing was sent, as records and guests see it. */
export type SendFailure = 'FEE_TOO_HIGH' | 'INSUFFICIENT_FUNDS' | 'REJECTED' | 'UNREACHABLE';

/** A transaction that the chain keeps; numbers in decimal, amounts in wei. */
export type SentTransaction = {
  readonly block: string;
  readonly blockHash: Hex;
  readonly effectiveGasPrice: string;
  readonly gasUsed: string;
  readonly hash: Hex;
  readonly nonce: string;
  /** The signed transaction, which proves who sent what. */
  readonly raw: Hex;
  /** "1", or "0" where the contract refused. */
  readonly status: '0' | '1';
};

export type SendResult =
  | { readonly ok: true; readonly value: SentTransaction }
  | { readonly ok: false; readonly error: SendFailure };

/** What the policy grants to one send. */
export type SendGrant = {
  /** The wallet that sends. */
  readonly address: Hex;
  /** Most wei of fees. */
  readonly fee: string;
};

/** The start that is sent for. */
export type SendPlace = {
  /** Its idempotency key. */
  readonly key: Hex;
  readonly log: WalletLog;
  readonly signal: AbortSignal;
};

/** The wallets of one operator. */
export type Wallets = {
  /** Address of an agent's wallet. */
  addressOf(agent: string): Hex;
  /**
   * Sends for a start, or goes on with what was sent for it.
   *
   * @throws {@link WalletError} (S5)
   * @throws the reason of `place.signal` once it is aborted; what was signed may be mined then
   */
  send(agent: string, args: WalletArgs, grant: SendGrant, place: SendPlace): Promise<SendResult>;
  /** Lets go of all nodes. */
  close(): Promise<void>;
};

/** What wallets take from outside. */
export type WalletPorts = {
  /** 32 bytes that the keys are derived from. */
  readonly secret: Uint8Array;
  /** Connects to a chain of this host, by its id in decimal. @throws {@link BondError} */
  readonly connect: (chain: string) => Promise<ChainNode> | undefined;
  /** Milliseconds since 1970. */
  readonly now: () => number;
};

export declare namespace openWallets {
  type Options = {
    /** Blocks that a transaction must be in or under, by chain id; 1 on the chain 31337 and 2 on others by default. */
    readonly confirmations?: Readonly<Record<string, number>>;
    /** Longest pause between two looks at the chain, in milliseconds. */
    readonly pollMs?: number;
    /** Milliseconds after which a transaction that is in no block is replaced by a dearer one. */
    readonly replaceAfterMs?: number;
    /** Milliseconds after which a send that has signed nothing gives up on a chain that does not answer. */
    readonly unreachableMs?: number;
  };
}

const FIRST_POLL_MS = 20;
const DEVELOPMENT_CHAIN = '31337';
/** Blocks before the newest one at signing in which a nonce is looked for too: nodes behind one address may lag. */
const LAG_BLOCKS = 16n;

/** Opens the wallets of an operator. Nodes are connected to when they are asked. */
export function openWallets(ports: WalletPorts, options: openWallets.Options = {}): Wallets {
  const nodes = new Map<string, Promise<ChainNode>>();
  const books = new Map<string, Nonces>();
  const node = async (chain: string): Promise<ChainNode> => {
    const known = nodes.get(chain) ?? ports.connect(chain);
    if (known === undefined) throw new WalletError('CHAIN_NOT_CONFIGURED', `no node of chain ${chain} is configured`);
    nodes.set(chain, known);
    try {
      return await known;
    } catch (error) {
      nodes.delete(chain);
      throw error;
    }
  };
  const keyOf = (agent: string) => deriveWalletKey(ports.secret, agent);
  return {
    addressOf: (agent) => addressOf(keyOf(agent)),
    async send(agent, args, grant, place) {
      const book = `${args.chain} ${grant.address}`;
      const nonces = books.get(book) ?? new Nonces();
      books.set(book, nonces);
      const send = new Send(
        { args, grant, place, nonces, key: keyOf(agent), now: ports.now },
        () => node(args.chain),
        options,
      );
      return send.run();
    },
    async close() {
      const open = [...nodes.values()];
      nodes.clear();
      for (const one of await Promise.allSettled(open)) if (one.status === 'fulfilled') one.value.close();
    },
  };
}

/** One send. */
type Job = {
  readonly args: WalletArgs;
  readonly grant: SendGrant;
  readonly place: SendPlace;
  readonly nonces: Nonces;
  readonly key: Uint8Array;
  readonly now: () => number;
};

class Send {
  readonly #job: Job;
  readonly #node: () => Promise<ChainNode>;
  readonly #confirmations: bigint;
  readonly #pollMs: number;
  readonly #replaceAfterMs: number;
  readonly #unreachableMs: number;
  /** What was signed for this start, in order. */
  readonly #signed: LoggedSend[] = [];
  /** First block that was not yet looked through for who used the current nonce. */
  #cursor: bigint | undefined;
  /** When the current transaction was last signed or shown. */
  #since = 0;

  constructor(job: Job, node: () => Promise<ChainNode>, options: openWallets.Options) {
    this.#job = job;
    this.#node = node;
    this.#confirmations = BigInt(
      options.confirmations?.[job.args.chain] ?? (job.args.chain === DEVELOPMENT_CHAIN ? 1 : 2),
    );
    this.#pollMs = options.pollMs ?? 2_000;
    this.#replaceAfterMs = options.replaceAfterMs ?? 60_000;
    this.#unreachableMs = options.unreachableMs ?? 60_000;
  }

  async run(): Promise<SendResult> {
    const { place, now } = this.#job;
    try {
      for (const send of place.log.sent(place.key)) {
        this.#requireOwn(send.transaction);
        this.#take(send);
      }
      this.#since = now();
      if (this.#signed.length === 0) {
        const failure = await this.#begin();
        if (failure !== undefined) return { ok: false, error: failure };
      }
      return await this.#settle();
    } finally {
      for (const { transaction } of this.#signed) this.#job.nonces.release(transaction.nonce);
    }
  }

  /** A log of another wallet, request or grant is damaged (S3). */
  #requireOwn({ from, chainId, to, value, data, gasLimit, maxFeePerGas }: SignedTransaction): void {
    const { args, grant } = this.#job;
    const isOwn =
      from === grant.address &&
      chainId === BigInt(args.chain) &&
      to === args.to &&
      value === BigInt(args.value) &&
      data === args.data &&
      gasLimit * maxFeePerGas <= BigInt(grant.fee);
    if (!isOwn)
      throw new WalletError('WALLET_LOG_DAMAGED', "the wallet's log holds another transaction for this start");
  }

  #take(send: LoggedSend): void {
    this.#signed.push(send);
    this.#job.nonces.hold(send.transaction.nonce);
  }

  /** Signs with a fresh nonce and shows it to the node; nothing that was signed before can be mined any more. */
  async #begin(): Promise<SendFailure | undefined> {
    const prices = await this.#quote();
    if (typeof prices === 'string') return prices;
    const { nonces, grant } = this.#job;
    // One after the other, until the node has it: a nonce is never given while one before it is in no node.
    return nonces.exclusively(async () => {
      const [head, count] = await this.#insist(async (node) => [
        (await node.head()).number,
        await node.count(grant.address, 'pending'),
      ]);
      const { nonce, raw } = await this.#sign({ ...prices, nonce: nonces.next(count) }, head);
      const failure = await this.#show(raw);
      if (failure !== undefined) {
        // Given back before the next one asks.
        this.#signed.pop();
        nonces.release(nonce);
      }
      return failure;
    });
  }

  /** Shows a transaction to the node for the first time. */
  async #show(raw: Hex): Promise<SendFailure | undefined> {
    let isFirst = true;
    return this.#insist(async (node) => {
      const wasFirst = isFirst;
      isFirst = false;
      const said = await node.broadcast(raw);
      // Whether a node that did not answer before has it, its refusal does not tell (S4).
      return said.answer === 'refused' && wasFirst ? said.reason : undefined;
    });
  }

  /** Signs, and has it on disk (S1). */
  async #sign(fields: Prices & { readonly nonce: bigint }, block: bigint): Promise<SignedTransaction> {
    const { args, grant, key, place, now } = this.#job;
    if (addressOf(key) !== grant.address) {
      throw new WalletError(
        'WALLET_KEY_MISMATCH',
        `the operator's secret gives ${addressOf(key)}, not ${grant.address}`,
      );
    }
    place.signal.throwIfAborted();
    const { to, data } = args;
    const unsigned: Transaction = { ...fields, chainId: BigInt(args.chain), to, value: BigInt(args.value), data };
    const transaction = signTransaction(unsigned, key);
    this.#requireOwn(transaction);
    const send = { block, transaction };
    // Held while it is written: should that fail, nobody knows what the disk has.
    this.#take(send);
    await place.log.append(place.key, send);
    this.#cursor = undefined;
    this.#since = now();
    return transaction;
  }

  async #quote(): Promise<Prices | SendFailure> {
    const { args, grant, now } = this.#job;
    const until = now() + this.#unreachableMs;
    const call = { to: args.to, value: BigInt(args.value), data: args.data };
    const gaveUp = () => now() >= until;
    const prices = await this.#insist((node) => quote(node, grant.address, call, BigInt(grant.fee)), gaveUp);
    return prices ?? 'UNREACHABLE';
  }

  /** Waits until the chain keeps one of what was signed. */
  async #settle(): Promise<SendResult> {
    const { signal } = this.#job.place;
    for (let pauseMs = FIRST_POLL_MS; ; pauseMs = Math.min(2 * pauseMs, this.#pollMs)) {
      signal.throwIfAborted();
      const found = await this.#insist((node) => this.#look(node));
      if (found === 'again') {
        const failure = await this.#begin();
        if (failure !== undefined) return { ok: false, error: failure };
      } else if (found !== undefined) {
        return { ok: true, value: found };
      }
      await sleep(pauseMs, undefined, { signal });
    }
  }

  /** One look at the chain. `again`: the nonce went to somebody else's transaction, and that stays so. */
  async #look(node: ChainNode): Promise<SentTransaction | 'again' | undefined> {
    const { grant, now } = this.#job;
    const { address } = grant;
    const head = await node.head();
    for (const { transaction } of this.#signed) {
      const receipt = await node.receipt(transaction.hash);
      if (receipt === undefined) continue;
      if (receipt.hash !== transaction.hash || receipt.block + this.#confirmations > head.number + 1n) return undefined;
      const block = await node.block(receipt.block, address);
      // A block that was replaced meanwhile counts for nothing.
      return block?.hash === receipt.blockHash ? toSent(transaction, receipt) : undefined;
    }
    const current = this.#current();
    const used = await node.count(address, 'latest');
    if (used > current.nonce) return (await this.#isTaken(node, head.number)) ? 'again' : undefined;
    await node.broadcast(current.raw);
    if (used === current.nonce && now() - this.#since >= this.#replaceAfterMs) await this.#replace(node, current, head);
    return undefined;
  }

  #current(): SignedTransaction {
    const last = this.#signed.at(-1);
    if (last === undefined) throw new TypeError('nothing was signed');
    return last.transaction;
  }

  /** Whether a block with its confirmations shows a transaction of somebody else's with the current nonce (S2). */
  async #isTaken(node: ChainNode, head: bigint): Promise<boolean> {
    const { address } = this.#job.grant;
    const { nonce } = this.#current();
    const own = this.#signed.filter(({ transaction }) => transaction.nonce === nonce);
    const [first] = own;
    if (first === undefined) return false;
    const last = head + 1n - this.#confirmations;
    let at = this.#cursor ?? (first.block > LAG_BLOCKS ? first.block - LAG_BLOCKS : 0n);
    for (; at <= last; at += 1n) {
      this.#job.place.signal.throwIfAborted();
      const block = await node.block(at, address);
      if (block === undefined) return false;
      const taker = block.sent.find((sent) => sent.nonce === nonce);
      // Ours: the node has its receipt in a moment.
      if (taker !== undefined) return !own.some(({ transaction }) => transaction.hash === taker.hash);
      this.#cursor = at + 1n;
    }
    if ((await node.count(address, last)) > nonce) {
      throw new WalletError('CHAIN_INCONSISTENT', `nonce ${nonce} of ${address} is used, and no block shows by what`);
    }
    return false;
  }

  /** Replaces a transaction that is in no block by a dearer one of the same nonce, as far as the fee may go. */
  async #replace(
    node: ChainNode,
    current: SignedTransaction,
    head: { number: bigint; baseFee: bigint },
  ): Promise<void> {
    const raised = raise(current, head.baseFee, await node.tip(), BigInt(this.#job.grant.fee));
    this.#since = this.#job.now();
    if (raised === undefined) return;
    const { raw } = await this.#sign({ ...raised, nonce: current.nonce }, head.number);
    await node.broadcast(raw);
  }

  /** Asks the node until it answers, or `gaveUp`. */
  async #insist<T>(ask: (node: ChainNode) => Promise<T>): Promise<T>;
  async #insist<T>(ask: (node: ChainNode) => Promise<T>, gaveUp: () => boolean): Promise<T | undefined>;
  async #insist<T>(ask: (node: ChainNode) => Promise<T>, gaveUp = () => false): Promise<T | undefined> {
    const { signal } = this.#job.place;
    for (let pauseMs = FIRST_POLL_MS; ; pauseMs = Math.min(2 * pauseMs, this.#pollMs)) {
      signal.throwIfAborted();
      try {
        return await ask(await this.#node());
      } catch (error) {
        if (!(error instanceof BondError)) throw error;
        if (error.code !== 'CHAIN_UNREACHABLE' && error.code !== 'CHAIN_REFUSED') throw error;
      }
      if (gaveUp()) return undefined;
      await sleep(pauseMs, undefined, { signal });
    }
  }
}

function toSent(transaction: SignedTransaction, receipt: Receipt): SentTransaction {
  return {
    block: receipt.block.toString(),
    blockHash: receipt.blockHash,
    effectiveGasPrice: receipt.effectiveGasPrice.toString(),
    gasUsed: receipt.gasUsed.toString(),
    hash: transaction.hash,
    nonce: transaction.nonce.toString(),
    raw: transaction.raw,
    status: receipt.status === 1n ? '1' : '0',
  };
}
