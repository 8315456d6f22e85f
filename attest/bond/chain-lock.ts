/**
 * One process for one embedded chain: a file with who has it open. A lock whose process is gone is taken over, and the
 * chain that it left behind is stopped.
 *
 * @module
 */

import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { BondError } from './errors.ts';

/** Content of a lock. */
export type ChainLock = {
  /** Process that opened the chain. */
  readonly owner: number;
  /** The chain's own process, once started. */
  readonly anvil?: number;
  readonly rpcUrl?: string;
};

/**
 * Takes the lock.
 *
 * @throws {@link BondError} `CHAIN_LOCKED` while another process lives, its `rpcUrl` in `at`; `CHAIN_STATE_UNWRITABLE`
 */
export async function takeChainLock(path: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await writeFile(path, `${JSON.stringify({ owner: process.pid } satisfies ChainLock)}\n`, {
        flag: 'wx',
        mode: 0o600,
      });
      return;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') {
        throw new BondError('CHAIN_STATE_UNWRITABLE', 'chain lock cannot be written', { at: { file: path }, cause });
      }
    }
    const held = await readLock(path);
    if ((held !== undefined && isAlive(held.owner)) || attempt > 3) {
      throw new BondError('CHAIN_LOCKED', `embedded chain is open in process ${held?.owner ?? 'unknown'}`, {
        at: { file: path, owner: held?.owner ?? null, rpcUrl: held?.rpcUrl ?? null },
      });
    }
    if (held?.anvil !== undefined) await stopOrphan(held.anvil);
    await rm(path, { force: true });
  }
}

/** Writes what is known of a chain that is open now into its lock. */
export async function updateChainLock(path: string, lock: ChainLock): Promise<void> {
  await writeFile(path, `${JSON.stringify(lock)}\n`);
}

/** Lets the lock go. */
export async function releaseChainLock(path: string): Promise<void> {
  await rm(path, { force: true });
}

async function readLock(path: string): Promise<ChainLock | undefined> {
  let value: { owner?: unknown; anvil?: unknown; rpcUrl?: unknown } | null;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch {
    // Cut short by a crash, or gone meanwhile: nobody holds it.
    return undefined;
  }
  const { owner, anvil, rpcUrl } = value ?? {};
  if (typeof owner !== 'number' || !Number.isSafeInteger(owner) || owner <= 0) return undefined;
  return {
    owner,
    ...(typeof anvil === 'number' && Number.isSafeInteger(anvil) && anvil > 0 ? { anvil } : {}),
    ...(typeof rpcUrl === 'string' ? { rpcUrl: rpcUrl.slice(0, 256) } : {}),
  };
}

/** Stops a chain whose owner was killed: two chains must not write one state. */
async function stopOrphan(pid: number): Promise<void> {
  // The number may have gone to another program meanwhile.
  if (!isAlive(pid) || !(await commandOf(pid)).includes('anvil')) return;
  process.kill(pid, 'SIGKILL');
  for (let i = 0; i < 200 && isAlive(pid); i++) await new Promise((resolve) => setTimeout(resolve, 25));
}

function commandOf(pid: number): Promise<string> {
  return new Promise((resolve) => {
    execFile('ps', ['-o', 'command=', '-p', String(pid)], (error, stdout) => {
      if (error === null) return resolve(stdout);
      // No ps here: Linux tells it in a file.
      readFile(`/proc/${pid}/cmdline`, 'utf8').then(resolve, () => resolve(''));
    });
  });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
