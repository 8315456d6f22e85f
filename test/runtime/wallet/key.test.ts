import { hkdfSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { toHex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { deriveWalletKey } from '../../../runtime/wallet/key.ts';

const SECRET = Uint8Array.from({ length: 32 }, (_, i) => i);
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

describe('keys of wallets', () => {
  it('are what they always were', () => {
    const addresses = ['payer', 'travel-desk', ''].map((name) => addressOf(deriveWalletKey(SECRET, name)));
    expect(addresses).toEqual([
      '0xb77331fb533e7691484415b000196dfe6cff00ea',
      '0x2f6f179e55664abe528cd16e9925491435a843e6',
      '0x61116a737deefcdfa86bab2dc2e1f1af26b047db',
    ]);
  });

  it('are HKDF of the platform, reduced as FIPS 186-5 says', () => {
    for (const name of ['payer', 'bücher', 'a'.repeat(64)]) {
      const secret = sha256(utf8(name));
      const wide = BigInt(
        toHex(new Uint8Array(hkdfSync('sha256', secret, utf8('tracebond/wallet/1'), utf8(name), 48))),
      );
      expect(BigInt(toHex(deriveWalletKey(secret, name)))).toBe((wide % (ORDER - 1n)) + 1n);
    }
  });

  it('differ by secret and by name', () => {
    const keys = [SECRET, sha256(SECRET)].flatMap((secret) =>
      ['a', 'b', 'ab', 'A'].map((name) => toHex(deriveWalletKey(secret, name))),
    );
    expect(new Set(keys).size).toBe(8);
  });

  it('refuses a secret of another length', () => {
    for (const length of [0, 31, 33, 64]) {
      expect(() => deriveWalletKey(new Uint8Array(length), 'payer')).toThrow(RangeError);
    }
  });
});
