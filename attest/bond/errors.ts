/**
 * Faults around the bond: the chain, its embedded form, the contract's refusals, and the keystore.
 *
 * @module
 */

import { RuntimeError } from '../core/error.ts';

export type BondErrorCode =
  /** Nothing answers at the RPC address, or it stopped answering. */
  | 'CHAIN_UNREACHABLE'
  /** Another chain id than the expected one. */
  | 'WRONG_CHAIN'
  /** No code at the contract's address. */
  | 'NO_CONTRACT'
  /** Code that does not answer as this contract does. */
  | 'NOT_A_BOND'
  /** The contract refused: `at.name` is its custom error, `at['args.x']` the values it gave. */
  | 'CONTRACT_REVERT'
  /** The sender cannot pay the gas. */
  | 'INSUFFICIENT_FUNDS'
  /** The node refused a request for another reason. */
  | 'CHAIN_REFUSED'
  /** A transaction was sent and not mined in time. */
  | 'TRANSACTION_TIMEOUT'
  /** Not an RPC address, an address, a digest or a key. */
  | 'MALFORMED_ARGUMENT'
  /** The embedded chain's program is not installed for this platform. */
  | 'CHAIN_BINARY_MISSING'
  /** The embedded chain did not start; `at.output` has its last words. */
  | 'CHAIN_START_FAILED'
  /** The port asked for is taken. */
  | 'PORT_IN_USE'
  /** Another process has this embedded chain open. */
  | 'CHAIN_LOCKED'
  /** The embedded chain's files cannot be read. */
  | 'CHAIN_STATE_CORRUPT'
  /** The embedded chain's files cannot be written. */
  | 'CHAIN_STATE_UNWRITABLE';

/** A chain, contract or embedded chain that does not do what was asked. */
export class BondError extends RuntimeError<BondErrorCode> {
  override readonly name = 'BondError';
}

export type KeystoreErrorCode =
  | 'MALFORMED_NAME'
  | 'KEY_EXISTS'
  | 'KEY_NOT_FOUND'
  | 'MALFORMED_KEY_FILE'
  | 'PASSWORD_EMPTY'
  | 'PASSWORD_WRONG'
  | 'KEYSTORE_UNWRITABLE'
  | 'KEYSTORE_UNREADABLE';

/** A key that cannot be made, stored or opened. Messages hold no secret. */
export class KeystoreError extends RuntimeError<KeystoreErrorCode> {
  override readonly name = 'KeystoreError';
}
