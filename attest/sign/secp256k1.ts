/**
 * ECDSA over secp256k1 in the two forms that are met here: 65 bytes `r || s || v` from which a contract recovers the
 * signer's address, and 64 bytes `r || s` over SHA-256. Deterministic (RFC 6979), low s only: of the two signatures that
 * verify for each nonce, one is refused.
 *
 * Spec: `attest/spec/encoding.md#signatures`.
 *
 * @module
 */

import { secp256k1 } from '@noble/curves/secp256k1.js';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { bytesUint, concatBytes, type Hex, toHex } from '../core/bytes.ts';
import { type Digest, sha256 } from '../core/hash.ts';
import { SignatureError } from './errors.ts';

const ORDER = secp256k1.Point.Fn.ORDER;

/**
 * Signs a digest.
 *
 * @param digest - 32 bytes
 * @param privateKey - 32 bytes, big-endian, in `[1, n)`
 * @returns 65 bytes `r || s || v`, `v` 27 or 28
 * @throws {@link SignatureError} `MALFORMED_KEY`
 * @throws RangeError if the digest is not 32 bytes
 */
export function signDigest(digest: Digest, privateKey: Uint8Array): Uint8Array {
  assertDigestLength(digest);
  assertPrivateKey(privateKey);
  const signature = secp256k1.sign(digest, privateKey, { prehash: false, lowS: true, format: 'recovered' });
  const recovery = signature[0] as number;
  // Bits 2 and 3 say that r overflowed the group order, which has a chance of 2^-127 and no `v` on chain.
  if (recovery > 1) throw new RangeError(`signature has recovery id ${recovery}`);
  return concatBytes(signature.subarray(1), Uint8Array.of(27 + recovery));
}

/**
 * The address whose key made a signature over a digest. Any well-formed signature recovers to some address: the caller
 * compares it.
 *
 * @param digest - 32 bytes
 * @param signature - untrusted, 65 bytes `r || s || v`
 * @returns `0x` and 40 lower-case digits
 * @throws {@link SignatureError} `MALFORMED_SIGNATURE` if it is not 65 bytes, `v` is neither 27 nor 28, r or s is outside
 *   `[1, n)`, or r is no point; `HIGH_S`
 * @throws RangeError if the digest is not 32 bytes
 */
export function recoverAddress(digest: Digest, signature: Uint8Array): Hex {
  assertDigestLength(digest);
  if (signature.length !== 65) {
    throw new SignatureError('MALFORMED_SIGNATURE', `signature has ${signature.length} bytes, expected 65`);
  }
  const v = signature[64] as number;
  if (v !== 27 && v !== 28) throw new SignatureError('MALFORMED_SIGNATURE', `signature has v ${v}, expected 27 or 28`);
  const compact = signature.subarray(0, 64);
  assertScalars(compact);
  let publicKey: Uint8Array;
  try {
    const recovered = concatBytes(Uint8Array.of(v - 27), compact);
    publicKey = secp256k1.recoverPublicKey(recovered, digest, { prehash: false });
  } catch (cause) {
    throw new SignatureError('MALFORMED_SIGNATURE', 'signature leads to no public key', { cause });
  }
  return publicKeyAddress(publicKey);
}

/**
 * The address of a private key.
 *
 * @param privateKey - 32 bytes, big-endian, in `[1, n)`
 * @returns `0x` and 40 lower-case digits
 * @throws {@link SignatureError} `MALFORMED_KEY`
 */
export function addressOf(privateKey: Uint8Array): Hex {
  assertPrivateKey(privateKey);
  return publicKeyAddress(secp256k1.getPublicKey(privateKey));
}

/**
 * Checks a signature over the SHA-256 of a message; returns only if it holds.
 *
 * @param publicKey - trusted as to whose it is; SEC1, 33 bytes compressed or 65 uncompressed
 * @param message - untrusted
 * @param signature - untrusted, 64 bytes `r || s` (IEEE P1363)
 * @throws {@link SignatureError} `MALFORMED_KEY` if the key is no point of the curve
 * @throws {@link SignatureError} `MALFORMED_SIGNATURE` if it is not 64 bytes or r or s is outside `[1, n)`
 * @throws {@link SignatureError} `HIGH_S` if s is above half the group order
 * @throws {@link SignatureError} `SIGNATURE_MISMATCH` if it is by another key or over another message
 */
export function verifySha256(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): void {
  assertPublicKey(publicKey);
  if (signature.length !== 64) {
    throw new SignatureError('MALFORMED_SIGNATURE', `signature has ${signature.length} bytes, expected 64`);
  }
  assertScalars(signature);
  if (!secp256k1.verify(signature, sha256(message), publicKey, { prehash: false, lowS: true })) {
    throw new SignatureError('SIGNATURE_MISMATCH', 'signature is by another key or over another message');
  }
}

function publicKeyAddress(publicKey: Uint8Array): Hex {
  const point = secp256k1.Point.fromBytes(publicKey).toBytes(false);
  return toHex(keccak_256(point.subarray(1)).subarray(12));
}

function assertPublicKey(publicKey: Uint8Array): void {
  const [prefix] = publicKey;
  const isSec1 =
    (publicKey.length === 33 && (prefix === 2 || prefix === 3)) || (publicKey.length === 65 && prefix === 4);
  if (!isSec1 || !secp256k1.utils.isValidPublicKey(publicKey)) {
    throw new SignatureError('MALFORMED_KEY', 'public key is no point of secp256k1');
  }
}

function assertPrivateKey(privateKey: Uint8Array): void {
  if (privateKey.length !== 32 || !secp256k1.utils.isValidSecretKey(privateKey)) {
    throw new SignatureError('MALFORMED_KEY', 'private key is not 32 bytes in [1, n)');
  }
}

function assertScalars(compact: Uint8Array): void {
  const r = bytesUint(compact.subarray(0, 32));
  const s = bytesUint(compact.subarray(32, 64));
  if (r === 0n || r >= ORDER || s === 0n || s >= ORDER) {
    throw new SignatureError('MALFORMED_SIGNATURE', 'signature has r or s outside [1, n)');
  }
  if (s > ORDER >> 1n) throw new SignatureError('HIGH_S', 'signature has s above half the group order');
}

function assertDigestLength(digest: Digest): void {
  if (digest.length !== 32) throw new RangeError(`digest has ${digest.length} bytes, expected 32`);
}
