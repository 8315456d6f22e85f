/**
 * The wallet of one run: that of its agent, with the run's own log, which is opened when something is sent.
 *
 * @module
 */

import type { Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import type { WalletArgs } from '../../attest/trace/wallet.ts';
import { openWalletLog, type WalletLog } from './log.ts';
import type { SendGrant, SendResult, Wallets } from './wallet.ts';

/** What the effects of a run take of wallets. */
export type RunWallet = {
  /**
   * Sends for the start of an idempotency key, or goes on with what was sent for it. `stopped`: it is not known what was sent, and
   * somebody must look.
   */
  send(args: WalletArgs, grant: SendGrant, key: Hex, signal: AbortSignal): Promise<SendResult | 'stopped'>;
  close(): Promise<void>;
};

/**
 * Opens the wallet of a run.
 *
 * @param path - of the log
 * @param tell - told why a send was stopped; messages hold no secret
 */
export function openRunWallet(
  wallets: Wallets,
  { agent, run, path }: { readonly agent: string; readonly run: Uint8Array; readonly path: string },
  tell: (error: RuntimeError) => void,
): RunWallet {
  let log: Promise<WalletLog> | undefined;
  return {
    async send(args, grant, key, signal) {
      try {
        log ??= openWalletLog(path, run);
        return await wallets.send(agent, args, grant, { key, log: await log, signal });
      } catch (error) {
        if (signal.aborted || !RuntimeError.is(error)) throw error;
        // Opened again the next time: somebody may have looked after it.
        const broken = log;
        log = undefined;
        await broken?.then((one) => one.close()).catch(() => undefined);
        tell(error);
        return 'stopped';
      }
    },
    async close() {
      await log?.then((one) => one.close()).catch(() => undefined);
    },
  };
}
