/**
 * Faults of wallets that are the host's own; what a guest hears of is a host failure.
 *
 * @module
 */

import { RuntimeError } from '../../attest/core/error.ts';

export type WalletErrorCode =
  /** A run's log of what it sent does not hold together: whoever looks decides, nothing is sent. */
  | 'WALLET_LOG_DAMAGED'
  | 'WALLET_LOG_UNWRITABLE'
  /** The policy of the run names another wallet than the operator's secret gives now. */
  | 'WALLET_KEY_MISMATCH'
  /** The policy of the run names a chain that this host has no connection to. */
  | 'CHAIN_NOT_CONFIGURED'
  /** What the chain says does not hold together: a nonce was used, and by no transaction that it shows. */
  | 'CHAIN_INCONSISTENT';

/** A wallet that must not send, whatever was asked. Messages hold no key and no address of a node. */
export class WalletError extends RuntimeError<WalletErrorCode> {
  override readonly name = 'WalletError';
}
