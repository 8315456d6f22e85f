/**
 * The embedded chain: an anvil of our own on 127.0.0.1, kept in a folder. It is for development and demonstrations; its
 * coins and tokens are SIMULATED.
 *
 * E1. A transaction that was answered is on disk: in anvil's state, or in the log that is played again at the next start.
 * E2. Time never goes back, over any number of starts.
 * E3. One process has the folder open; a chain that a killed process left behind is stopped before the next one starts.
 *
 * Files: `state.json` (anvil's, once a second and at the end), `state.good.json` (the last whole one that a start found),
 * `transactions.jsonl` (since that one), `lock.json`.
 *
 * @module
 */

import { copyFile, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Hex } from '../core/bytes.ts';
import { findAnvil, startAnvil } from './anvil.ts';
import { releaseChainLock, takeChainLock, updateChainLock } from './chain-lock.ts';
import { BondError } from './errors.ts';
import { openRpcGate, type RpcCall, rpcAt, Sequencer } from './rpc-gate.ts';
import { type LoggedTransaction, openTransactionLog, readTransactionLog } from './transaction-log.ts';

/** Chain id of development chains. */
export const EMBEDDED_CHAIN_ID = 31337n;

/** An embedded chain that runs. */
export type EmbeddedChain = {
  readonly rpcUrl: string;
  readonly chainId: bigint;
  /** Process of the chain itself. */
  readonly pid: number;
  /** Writes the state and stops; once. */
  close(): Promise<void>;
};

/**
 * Starts the embedded chain of a folder, from where it stopped.
 *
 * @throws {@link BondError} `CHAIN_BINARY_MISSING`, `CHAIN_START_FAILED`, `PORT_IN_USE`, `CHAIN_LOCKED`,
 * `CHAIN_STATE_CORRUPT`, `CHAIN_STATE_UNWRITABLE`
 */
export async function openEmbeddedChain(options: openEmbeddedChain.Options): Promise<EmbeddedChain> {
  const { dir, onProgress = () => undefined } = options;
  const program = options.program ?? findAnvil();
  await mkdir(dir, { recursive: true, mode: 0o700 }).catch((cause) => {
    throw new BondError('CHAIN_STATE_UNWRITABLE', 'folder of the embedded chain cannot be made', {
      at: { file: dir },
      cause,
    });
  });
  const lock = join(dir, 'lock.json');
  await takeChainLock(lock);
  const undo: (() => Promise<void>)[] = [() => releaseChainLock(lock)];
  try {
    const state = join(dir, 'state.json');
    await restoreState(state, join(dir, 'state.good.json'), onProgress);
    const logFile = join(dir, 'transactions.jsonl');
    const logged = await readTransactionLog(logFile);
    const anvil = await startAnvil(state, EMBEDDED_CHAIN_ID, program);
    const killAtExit = () => anvil.kill('SIGTERM');
    process.once('exit', killAtExit);
    undo.push(async () => {
      process.removeListener('exit', killAtExit);
      await anvil.stop();
    });
    const call = rpcAt(anvil.port);
    const sequencer = new Sequencer(call);
    const replayed = await replay(call, sequencer, logged, onProgress);
    await sequencer.start();
    // Those that the state already had are in state.good.json too: the log begins after it.
    const log = await openTransactionLog(logFile, replayed);
    undo.push(() => log.close());
    const gate = await openRpcGate(options.port ?? 0, call, sequencer, log);
    undo.push(() => gate.close());
    const rpcUrl = `http://127.0.0.1:${gate.port}`;
    await updateChainLock(lock, { owner: process.pid, anvil: anvil.pid, rpcUrl });
    onProgress(`embedded chain (SIMULATED coins) at ${rpcUrl}`);
    let closing: Promise<void> | undefined;
    return {
      rpcUrl,
      chainId: EMBEDDED_CHAIN_ID,
      pid: anvil.pid,
      close() {
        closing ??= rollBack(undo);
        return closing;
      },
    };
  } catch (error) {
    await rollBack(undo);
    throw error;
  }
}

export declare namespace openEmbeddedChain {
  type Options = {
    /** Folder of the chain's files; made if missing. */
    readonly dir: string;
    /** Port on 127.0.0.1; any free one by default. */
    readonly port?: number;
    /** Told in words what takes time or went wrong before. */
    readonly onProgress?: (message: string) => void;
    /** Path of the anvil program; that of the npm package by default. */
    readonly program?: string;
  };
}

async function rollBack(undo: (() => Promise<void>)[]): Promise<void> {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
}

/** Makes sure that `state` is whole or absent, and keeps a copy of a whole one. */
async function restoreState(state: string, good: string, onProgress: (message: string) => void): Promise<void> {
  try {
    if (await isWholeState(state)) {
      const next = `${good}.next`;
      await copyFile(state, next);
      await rename(next, good);
      return;
    }
    await rm(state, { force: true });
    if (await isWholeState(good)) {
      onProgress('the chain was killed while it wrote its state: going back to the state before, and playing the log');
      await copyFile(good, state);
    }
  } catch (cause) {
    if (cause instanceof BondError) throw cause;
    throw new BondError('CHAIN_STATE_UNWRITABLE', 'state of the embedded chain cannot be copied', {
      at: { file: state },
      cause,
    });
  }
}

async function isWholeState(path: string): Promise<boolean> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw new BondError('CHAIN_STATE_CORRUPT', 'state of the embedded chain cannot be read', {
      at: { file: path },
      cause,
    });
  }
  try {
    const value = JSON.parse(text) as { accounts?: unknown; block?: unknown } | null;
    return typeof value === 'object' && value !== null && value.accounts !== undefined && value.block !== undefined;
  } catch {
    return false;
  }
}

/** Plays what the state lost; resolves with those transactions. */
async function replay(
  call: RpcCall,
  sequencer: Sequencer,
  logged: readonly LoggedTransaction[],
  onProgress: (message: string) => void,
): Promise<LoggedTransaction[]> {
  const replayed: LoggedTransaction[] = [];
  for (const transaction of logged) {
    const known = await call('eth_getTransactionByHash', [transaction.hash satisfies Hex]);
    if (known.result !== null && known.result !== undefined) continue;
    const answer = await sequencer.replay(transaction);
    if (answer.error === undefined) replayed.push(transaction);
    // It was on its way when the chain was killed and never answered, and the chain does not take it now either.
    else onProgress(`the chain does not take transaction ${transaction.hash} again: ${answer.error.message}`);
  }
  if (replayed.length > 0) onProgress(`played ${replayed.length} transactions that the chain's state had lost`);
  return replayed;
}
