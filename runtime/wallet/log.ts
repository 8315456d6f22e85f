/**
 * What a run has signed, on disk before any chain hears of it. One JSON line for each transaction, in a chain of digests, so that
 * a line that was changed, moved or taken out is found.
 *
 * `{"block":"12","key":"0x…","raw":"0x…","sum":"0x…"}`: the newest block when it was signed, the idempotency key of the start
 * that it serves, the transaction, and SHA-256 over the sum before it and this line without its sum. A line without LF at its
 * end was never acknowledged, and its transaction never sent.
 *
 * Spec: `runtime/spec/wallet.md#log`.
 *
 * @module
 */

import { constants } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
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

/** The log of one run. */
export type WalletLog = {
  /** What was signed for a start, in order. */
  sent(key: Hex): readonly LoggedSend[];
  /** Resolves when it is on disk. @throws {@link WalletError} `WALLET_LOG_UNWRITABLE` */
  append(key: Hex, send: LoggedSend): Promise<void>;
  close(): Promise<void>;
};

/**
 * Opens the log of a run; the file is made with its first line.
 *
 * @param run - its id, which begins the chain of digests
 * @throws {@link WalletError} `WALLET_LOG_DAMAGED`, `WALLET_LOG_UNWRITABLE`
 */
export async function openWalletLog(path: string, run: Uint8Array): Promise<WalletLog> {
  const sent = new Map<Hex, LoggedSend[]>();
  const take = (key: Hex, send: LoggedSend) => sent.set(key, [...(sent.get(key) ?? []), send]);
  const text = await readLog(path);
  const end = text.lastIndexOf('\n') + 1;
  let sum = toHex(sha256(utf8('tracebond/wallet-log/1'), run));
  let size = Buffer.byteLength(text.slice(0, end));
  text
    .slice(0, end)
    .split('\n')
    .slice(0, -1)
    .forEach((line, i) => {
      const entry = parseEntry(line);
      if (entry === undefined || entry.sum !== sumOf(sum, entry)) {
        throw new WalletError('WALLET_LOG_DAMAGED', `line ${i + 1} of the wallet's log is not as it was written`, {
          at: { path, line: i + 1 },
        });
      }
      sum = entry.sum;
      take(entry.key, { block: BigInt(entry.block), transaction: entry.transaction });
    });
  let file: FileHandle | undefined;
  let last: Promise<unknown> = Promise.resolve();
  let isClosed = false;
  const write = async (key: Hex, send: LoggedSend): Promise<void> => {
    if (isClosed) throw new WalletError('WALLET_LOG_UNWRITABLE', "the wallet's log is closed", { at: { path } });
    const entry = { block: send.block.toString(), key, raw: send.transaction.raw };
    const next = sumOf(sum, entry);
    const line = utf8(`${JSON.stringify({ ...entry, sum: next })}\n`);
    try {
      file ??= await openFile(path);
      // What a crash or a full disk left of a line goes first.
      await file.truncate(size);
      await file.appendFile(line);
      await file.datasync();
    } catch (cause) {
      const errno = (cause as NodeJS.ErrnoException).code ?? 'unknown';
      throw new WalletError('WALLET_LOG_UNWRITABLE', `the wallet's log cannot be written (${errno})`, {
        at: { path, errno },
        cause,
      });
    }
    size += line.length;
    sum = next;
    take(key, send);
  };
  return {
    sent: (key) => sent.get(key) ?? [],
    append(key, send) {
      const written = last.then(() => write(key, send));
      last = written.catch(() => undefined);
      return written;
    },
    async close() {
      isClosed = true;
      await last;
      await file?.close();
      file = undefined;
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

async function readLog(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw new WalletError('WALLET_LOG_DAMAGED', "the wallet's log cannot be read", { at: { path }, cause });
  }
}

async function openFile(path: string): Promise<FileHandle> {
  const file = await open(path, constants.O_CREAT | constants.O_APPEND | constants.O_WRONLY, 0o600);
  try {
    // The name of a new file is durable only with its folder.
    const folder = await open(dirname(path), constants.O_RDONLY);
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}
