/**
 * The wallet of one run: that of its agent, with the run's own log, which is opened when something is sent.
 *
 * @module
 */

import type { Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import type { WalletArgs } from '../../attest/trace/wallet.ts';
import { type LogLines, openWalletLog, type WalletLog } from './log.ts';
import type { SendGrant, SendResult, Wallets } from './wallet.ts';

/** What the effects of a run take of wallets. */
export type RunWallet = {
  /**
   * Sends for the start of an idempotency key, or goes on with what was sent for it. `stopped`: it is not known what was sent, and
   * somebody must look.
   */
  send(args: WalletArgs, grant: SendGrant, key: Hex, signal: AbortSignal): Promise<SendResult | 'stopped'>;
};

/**
 * Opens the wallet of a run.
 *
 * @param signed - its log, as whoever may write the run's journal has it
 * @param tell - told why a send was stopped; messages hold no secret
 */
export function openRunWallet(
  wallets: Wallets,
  { agent, run, signed }: { readonly agent: string; readonly run: Uint8Array; readonly signed: LogLines },
  tell: (error: RuntimeError) => void,
): RunWallet {
  let log: Promise<WalletLog> | undefined;
  return {
    async send(args, grant, key, signal) {
      try {
        log ??= openWalletLog(signed, run);
        return await wallets.send(agent, args, grant, { key, log: await log, signal });
      } catch (error) {
        if (signal.aborted || !RuntimeError.is(error)) throw error;
        // Read again the next time: somebody may have looked after it.
        log = undefined;
        tell(error);
        return 'stopped';
      }
    },
  };
}
