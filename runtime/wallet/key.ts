/**
 * The key of an agent's wallet: derived from a secret of the operator and the agent's name, so that nothing has to be kept and
 * a new version of the agent has the same wallet.
 *
 * Spec: `runtime/spec/wallet.md#keys`.
 *
 * @module
 * @see RFC 5869 (HKDF), FIPS 186-5 A.4.1 (extra random bits)
 */

import { hkdf } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesUint, uintBytes, utf8 } from '../../attest/core/bytes.ts';

const SALT = utf8('tracebond/wallet/1');
/** Order of secp256k1 (SEC 2, 2.4.1). */
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

/**
 * Derives the private key of an agent's wallet.
 *
 * @param secret - 32 bytes that nobody can guess
 * @param agent - name of the agent
 * @returns 32 bytes, big-endian, in `[1, n)`
 * @throws RangeError if the secret is not 32 bytes
 */
export function deriveWalletKey(secret: Uint8Array, agent: string): Uint8Array {
  if (secret.length !== 32) throw new RangeError(`secret has ${secret.length} bytes, expected 32`);
  // 128 bits more than the order has: what the reduction favours cannot be told.
  const wide = bytesUint(hkdf(sha256, secret, SALT, utf8(agent), 48));
  return uintBytes((wide % (ORDER - 1n)) + 1n, 32);
}
