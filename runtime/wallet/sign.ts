/**
 * Signing of a wallet's transactions.
 *
 * @module
 */

import { Transaction as EthersTransaction, SigningKey } from 'ethers';
import { toHex } from '../../attest/core/bytes.ts';
import { parseTransaction, type SignedTransaction, type Transaction } from '../../attest/sign/transaction.ts';

/**
 * Signs a transaction; the same one gives the same bytes (RFC 6979).
 *
 * @param key - 32 bytes, a key of secp256k1
 */
export function signTransaction(transaction: Transaction, key: Uint8Array): SignedTransaction {
  const made = EthersTransaction.from({ ...transaction, nonce: Number(transaction.nonce), type: 2 });
  made.signature = new SigningKey(toHex(key)).sign(made.unsignedHash);
  // Read as whoever verifies the run reads it.
  return parseTransaction(made.serialized);
}
