/**
 * What a run has signed, on disk before any chain hears of it. One JSON line for each transaction, in a chain of digests, so that
 * a line that was changed, moved or taken out is found.
 *
 * `{"block":"12","key":"0x…","raw":"0x…","sum":"0x…"}`: the newest block when it was signed, the idempotency key of the start
 * that it serves, the transaction, and SHA-256 over the sum before it and this line without its sum. A line that was
 * cut short was never acknowledged, and its transaction never sent: what is written next begins with LF and goes on from the sum before.
 *
 * Spec: `runtime/spec/wallet.md#log`.
 *
 * @module
 */

import { type Hex, toHex, utf8 } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { sha256 } from '../../attest/core/hash.ts';
import { parseTransaction, type SignedTransaction } from '../../attest/sign/transaction.ts';
import { WalletError } from './errors.ts';

/** A transaction that was signed for a start. */
export type LoggedSend = {
  /** The newest block when it was signed: its nonce was not used in that one or any before. */
  readonly block: bigint;
  readonly transaction: SignedTransaction;
};

/** Where the lines are, durable when `append` returns, and held to whoever may write the run (`SignedLog` of `queue/ports.ts`). */
export type LogLines = {
  /** All bytes that are there; a crash may have torn the last line. */
  read(): Promise<Uint8Array>;
  append(bytes: Uint8Array): Promise<void>;
};

/** The log of one run. */
export type WalletLog = {
  /** What was signed for a start, in order. */
  sent(key: Hex): readonly LoggedSend[];
  /** Resolves when it is on disk. @throws {@link WalletError} `WALLET_LOG_UNWRITABLE`; then nothing is written any more */
  append(key: Hex, send: LoggedSend): Promise<void>;
};

/**
 * Reads the log of a run, and goes on with it.
 *
 * @param run - its id, which begins the chain of digests
 * @throws {@link WalletError} `WALLET_LOG_DAMAGED`
 */
export async function openWalletLog(lines: LogLines, run: Uint8Array): Promise<WalletLog> {
  const sent = new Map<Hex, LoggedSend[]>();
  const take = (key: Hex, send: LoggedSend) => sent.set(key, [...(sent.get(key) ?? []), send]);
  const text = await readLog(lines);
  let sum = toHex(sha256(utf8('tracebond/wallet-log/1'), run));
  /** A line that was cut short, and after which the log went on. */
  let torn: number | undefined;
  let isTorn = text !== '' && !text.endsWith('\n');
  const pieces = text.split('\n');
  if (!isTorn) pieces.pop();
  pieces.forEach((line, i) => {
    const entry = parseEntry(line);
    if (entry !== undefined && entry.sum === sumOf(sum, entry)) {
      sum = entry.sum;
      torn = undefined;
      take(entry.key, { block: BigInt(entry.block), transaction: entry.transaction });
    } else if (torn !== undefined) {
      throw damaged(torn);
    } else if (!isTorn || i + 1 < pieces.length) {
      torn = i + 1;
    }
  });
  // What was cut short is followed by a line that goes on from before it; nothing else is forgiven.
  if (torn !== undefined) throw damaged(torn);
  let broken: WalletError | undefined;
  const write = async (key: Hex, send: LoggedSend): Promise<void> => {
    if (broken !== undefined) throw broken;
    const entry = { block: send.block.toString(), key, raw: send.transaction.raw };
    const next = sumOf(sum, entry);
    try {
      await lines.append(utf8(`${isTorn ? '\n' : ''}${JSON.stringify({ ...entry, sum: next })}\n`));
    } catch (cause) {
      // What is there now is known when it is read again.
      broken = new WalletError('WALLET_LOG_UNWRITABLE', "the wallet's log cannot be written", { cause });
      throw broken;
    }
    isTorn = false;
    sum = next;
    take(key, send);
  };
  let last: Promise<unknown> = Promise.resolve();
  return {
    sent: (key) => sent.get(key) ?? [],
    append(key, send) {
      const written = last.then(() => write(key, send));
      last = written.catch(() => undefined);
      return written;
    },
  };
}

type Entry = { readonly block: string; readonly key: Hex; readonly raw: string };

function sumOf(before: Hex, { block, key, raw }: Entry): Hex {
  return toHex(sha256(utf8(before), utf8(JSON.stringify({ block, key, raw }))));
}

function parseEntry(line: string): (Entry & { sum: Hex; transaction: SignedTransaction }) | undefined {
  let value: { readonly [field: string]: unknown } | null;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  const { block, key, raw, sum } = value ?? {};
  if (typeof block !== 'string' || !/^(?:0|[1-9][0-9]{0,18})$/.test(block)) return undefined;
  if (typeof key !== 'string' || !/^0x[0-9a-f]{64}$/.test(key)) return undefined;
  if (typeof sum !== 'string' || typeof raw !== 'string') return undefined;
  try {
    return { block, key: key as Hex, raw, sum: sum as Hex, transaction: parseTransaction(raw) };
  } catch (error) {
    if (!RuntimeError.is(error)) throw error;
    return undefined;
  }
}

async function readLog(lines: LogLines): Promise<string> {
  try {
    return new TextDecoder().decode(await lines.read());
  } catch (cause) {
    throw new WalletError('WALLET_LOG_DAMAGED', "the wallet's log cannot be read", { cause });
  }
}

function damaged(line: number): WalletError {
  return new WalletError('WALLET_LOG_DAMAGED', `line ${line} of the wallet's log is not as it was written`, {
    at: { line },
  });
}
