/**
 * The raw transactions of an embedded chain, on disk before the chain sees them: the chain writes its own state once a
 * second, and what came after is lost when it is killed.
 *
 * One JSON line each: `{"raw":"0x…","time":N}` for a transaction and the time of its block, `{"refused":"0x…"}` for the
 * hash of one that the chain did not take. A line without LF at its end was never answered and counts for nothing.
 *
 * @module
 */

import { type FileHandle, open, readFile, rename } from 'node:fs/promises';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { fromHex, type Hex, toHex } from '../core/bytes.ts';
import { BondError } from './errors.ts';

/** A signed transaction as it was sent. */
export type LoggedTransaction = {
  readonly hash: Hex;
  readonly raw: Hex;
  /** Timestamp of its block, unix seconds. */
  readonly time: number;
};

/** An open log. */
export type TransactionLog = {
  /** Resolves when the transaction is on disk. */
  append(raw: Hex, time: number): Promise<LoggedTransaction>;
  /** Says that the chain did not take a transaction. */
  refuse(hash: Hex): Promise<void>;
  close(): Promise<void>;
};

/** Hash of a raw transaction. @throws EncodingError `MALFORMED_HEX` */
export function hashTransaction(raw: Hex): Hex {
  return toHex(keccak_256(fromHex(raw)));
}

/**
 * Reads the transactions of a log that were not refused, in order; none if there is no log.
 *
 * @throws {@link BondError} `CHAIN_STATE_CORRUPT` for a whole line that is none
 */
export async function readTransactionLog(path: string): Promise<LoggedTransaction[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new BondError('CHAIN_STATE_CORRUPT', 'transaction log cannot be read', { at: { file: path }, cause });
  }
  const transactions = new Map<Hex, LoggedTransaction>();
  text
    .split('\n')
    .slice(0, -1)
    .forEach((line, i) => {
      const entry = parseLine(line);
      if (entry === undefined) {
        throw new BondError('CHAIN_STATE_CORRUPT', `transaction log: line ${i + 1} is none`, {
          at: { file: path, line: i + 1 },
        });
      }
      if ('refused' in entry) transactions.delete(entry.refused);
      else transactions.set(entry.hash, entry);
    });
  return [...transactions.values()];
}

/**
 * Writes a log anew with `transactions` and opens it.
 *
 * @throws {@link BondError} `CHAIN_STATE_UNWRITABLE`, also from its methods
 */
export async function openTransactionLog(
  path: string,
  transactions: readonly LoggedTransaction[],
): Promise<TransactionLog> {
  const next = `${path}.next`;
  const handle = await guard(path, async () => {
    const file = await open(next, 'w', 0o600);
    await file.writeFile(transactions.map(({ raw, time }) => line({ raw, time })).join(''));
    await file.datasync();
    await rename(next, path);
    return file;
  });
  return {
    async append(raw, time) {
      const transaction = { hash: hashTransaction(raw), raw, time };
      await guard(path, () => write(handle, line({ raw, time })));
      return transaction;
    },
    refuse: (hash) => guard(path, () => write(handle, line({ refused: hash }))),
    close: () => handle.close(),
  };
}

async function write(handle: FileHandle, text: string): Promise<void> {
  await handle.appendFile(text);
  await handle.datasync();
}

async function guard<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw new BondError('CHAIN_STATE_UNWRITABLE', 'transaction log cannot be written', { at: { file: path }, cause });
  }
}

function line(value: { raw: Hex; time: number } | { refused: Hex }): string {
  return `${JSON.stringify(value)}\n`;
}

function parseLine(text: string): LoggedTransaction | { readonly refused: Hex } | undefined {
  let value: { raw?: unknown; time?: unknown; refused?: unknown } | null;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { raw, time, refused } = value;
  if (typeof refused === 'string' && /^0x[0-9a-f]{64}$/.test(refused)) return { refused: refused as Hex };
  if (typeof raw !== 'string' || !/^0x(?:[0-9a-f]{2})+$/.test(raw)) return undefined;
  if (typeof time !== 'number' || !Number.isSafeInteger(time) || time < 0) return undefined;
  return { hash: hashTransaction(raw as Hex), raw: raw as Hex, time };
}
