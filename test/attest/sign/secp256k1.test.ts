import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { computeAddress, SigningKey } from 'ethers';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concatBytes, fromHex, toHex, uintBytes, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import { checksumAddress, parseAddress } from '../../../attest/sign/address.ts';
import { SignatureError } from '../../../attest/sign/errors.ts';
import { addressOf, recoverAddress, signDigest, verifySha256 } from '../../../attest/sign/secp256k1.ts';
import { flip } from '../../support/merkle-reference.ts';
import { describeVectors } from '../../support/vectors.ts';

const N = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const KEY = fromHex('0x4646464646464646464646464646464646464646464646464646464646464646');
const DIGEST = sha256(utf8('a digest'));

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof SignatureError) return error.code;
    throw error;
  }
  return 'no error';
}

const scalar = (signature: Uint8Array, part: 0 | 1): bigint =>
  BigInt(toHex(signature.subarray(32 * part, 32 * part + 32)));

/** The same signature with other scalars. */
const withScalars = (signature: Uint8Array, r: bigint, s: bigint): Uint8Array =>
  concatBytes(uintBytes(r, 32), uintBytes(s, 32), signature.subarray(64));

type Wycheproof = {
  testGroups: {
    publicKey: { uncompressed: string };
    tests: { tcId: number; msg: string; sig: string; result: 'valid' | 'invalid' | 'acceptable' }[];
  }[];
};

describeVectors('wycheproof', (folder) => {
  it('accepts 95 of the P1363 cases and refuses 157, 72 of them valid but for a high s', () => {
    const file = join(folder, 'ecdsa_secp256k1_sha256_p1363_test.json');
    const { testGroups } = JSON.parse(readFileSync(file, 'utf8')) as Wycheproof;
    const counts: Record<string, number> = {};
    let validButHigh = 0;
    for (const { publicKey, tests } of testGroups) {
      const key = fromHex(`0x${publicKey.uncompressed}`);
      const compressed = concatBytes(Uint8Array.of(2 + ((key[64] as number) & 1)), key.subarray(1, 33));
      for (const test of tests) {
        const [message, signature] = [fromHex(`0x${test.msg}`), fromHex(`0x${test.sig}`)];
        const code = codeOf(() => verifySha256(key, message, signature));
        expect(codeOf(() => verifySha256(compressed, message, signature))).toBe(code);
        if (code === 'no error') expect(test.result, `case ${test.tcId}`).toBe('valid');
        if (test.result === 'valid') expect(['no error', 'HIGH_S'], `case ${test.tcId}`).toContain(code);
        counts[code] = (counts[code] ?? 0) + 1;
        if (code === 'HIGH_S' && test.result === 'valid') validButHigh++;
      }
    }
    const { 'no error': ok, ...errors } = counts;
    expect(ok).toBe(95);
    expect(Object.values(errors).reduce((sum, count) => sum + count, 0)).toBe(157);
    expect(validButHigh).toBe(72);
  });
});

describe('signDigest and recoverAddress', () => {
  it('agree with ethers, byte for byte, and are low', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 1n, max: N - 1n }),
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        (secret, digest) => {
          const key = uintBytes(secret, 32);
          const signature = signDigest(new Uint8Array(digest), key);
          expect(toHex(signature)).toBe(new SigningKey(key).sign(digest).serialized);
          expect(addressOf(key)).toBe(computeAddress(toHex(key)).toLowerCase());
          expect(recoverAddress(new Uint8Array(digest), signature)).toBe(addressOf(key));
          expect(scalar(signature, 1) <= N / 2n).toBe(true);
        },
      ),
      { numRuns: 50 },
    );
  });

  it('make the signature of RFC 6979 every time', () => {
    // The common test vector of Bitcoin libraries: key 1, SHA-256("Satoshi Nakamoto").
    const signature = signDigest(sha256(utf8('Satoshi Nakamoto')), uintBytes(1, 32));
    expect(toHex(signature.subarray(0, 64))).toBe(
      '0x934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d82442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5',
    );
    expect(signDigest(DIGEST, KEY)).toEqual(signDigest(DIGEST, KEY));
  });

  it('lead elsewhere, or nowhere, with any bit changed', () => {
    const signature = signDigest(DIGEST, KEY);
    const signer = addressOf(KEY);
    for (let bit = 0; bit < 65 * 8; bit++) {
      let found: string | undefined;
      const code = codeOf(() => {
        found = recoverAddress(DIGEST, flip(signature, bit));
      });
      if (code === 'no error') expect(found).not.toBe(signer);
    }
    for (let bit = 0; bit < 256; bit += 7) expect(recoverAddress(flip(DIGEST, bit), signature)).not.toBe(signer);
  });

  it('refuse the twin of a signature', () => {
    const signature = signDigest(DIGEST, KEY);
    const twin = withScalars(signature, scalar(signature, 0), N - scalar(signature, 1));
    twin[64] = 27 + 28 - (signature[64] as number);
    expect(codeOf(() => recoverAddress(DIGEST, twin))).toBe('HIGH_S');
    expect(codeOf(() => recoverAddress(DIGEST, withScalars(signature, scalar(signature, 0), N / 2n + 1n)))).toBe(
      'HIGH_S',
    );
  });

  it('refuse what is no signature', () => {
    const signature = signDigest(DIGEST, KEY);
    const [r, s] = [scalar(signature, 0), scalar(signature, 1)];
    for (const v of [0, 1, 26, 29, 30, 35, 37, 255]) {
      expect(codeOf(() => recoverAddress(DIGEST, signature.with(64, v)))).toBe('MALFORMED_SIGNATURE');
    }
    for (const [first, second] of [
      [0n, s],
      [N, s],
      [(1n << 256n) - 1n, s],
      [r, 0n],
      [r, N],
      [r, (1n << 256n) - 1n],
      [5n, s], // no point has this x
    ] as const) {
      expect(codeOf(() => recoverAddress(DIGEST, withScalars(signature, first, second)))).toBe('MALFORMED_SIGNATURE');
    }
    for (const length of [0, 1, 32, 64, 66]) {
      expect(codeOf(() => recoverAddress(DIGEST, new Uint8Array(length)))).toBe('MALFORMED_SIGNATURE');
    }
  });

  it('refuse what is no key', () => {
    for (const key of [
      new Uint8Array(32),
      uintBytes(N, 32),
      uintBytes((1n << 256n) - 1n, 32),
      new Uint8Array(31),
      new Uint8Array(33).fill(1),
      new Uint8Array(),
    ]) {
      expect(codeOf(() => signDigest(DIGEST, key))).toBe('MALFORMED_KEY');
      expect(codeOf(() => addressOf(key))).toBe('MALFORMED_KEY');
    }
    expect(codeOf(() => signDigest(DIGEST, uintBytes(N - 1n, 32)))).toBe('no error');
  });

  it('take a digest, not a message', () => {
    expect(() => signDigest(new Uint8Array(31), KEY)).toThrow(RangeError);
    expect(() => recoverAddress(new Uint8Array(33), new Uint8Array(65))).toThrow(RangeError);
  });
});

describe('verifySha256', () => {
  const message = utf8('a message');
  const signature = signDigest(sha256(message), KEY).subarray(0, 64);
  const publicKey = fromHex(SigningKey.computePublicKey(KEY) as `0x${string}`);

  it('has a code for each fault', () => {
    expect(codeOf(() => verifySha256(publicKey, message, signature))).toBe('no error');
    expect(codeOf(() => verifySha256(publicKey, utf8('a massage'), signature))).toBe('SIGNATURE_MISMATCH');
    const other = fromHex(SigningKey.computePublicKey(DIGEST) as `0x${string}`);
    expect(codeOf(() => verifySha256(other, message, signature))).toBe('SIGNATURE_MISMATCH');
    const high = withScalars(signature, scalar(signature, 0), N - scalar(signature, 1));
    expect(codeOf(() => verifySha256(publicKey, message, high))).toBe('HIGH_S');
    expect(codeOf(() => verifySha256(publicKey, message, signature.subarray(1)))).toBe('MALFORMED_SIGNATURE');
    expect(codeOf(() => verifySha256(publicKey, message, new Uint8Array(64)))).toBe('MALFORMED_SIGNATURE');
    expect(codeOf(() => verifySha256(publicKey, message, concatBytes(signature, Uint8Array.of(27))))).toBe(
      'MALFORMED_SIGNATURE',
    );
  });

  it.each([
    ['nothing', new Uint8Array()],
    ['infinity', Uint8Array.of(0)],
    ['a point that is not on the curve', flip(publicKey, 500)],
    ['hybrid form', publicKey.with(0, 6 + ((publicKey[64] as number) & 1))],
    ['x and y without prefix', publicKey.subarray(1)],
    ['x only', publicKey.subarray(1, 33)],
    ['a compressed prefix on 65 bytes', publicKey.with(0, 2)],
    ['an uncompressed prefix on 33 bytes', concatBytes(Uint8Array.of(4), publicKey.subarray(1, 33))],
    ['x beyond the field', concatBytes(Uint8Array.of(2), new Uint8Array(32).fill(255))],
    ['zeros', new Uint8Array(65)],
    ['a byte too much', concatBytes(publicKey, Uint8Array.of(0))],
  ])('refuses a key: %s', (_name, key) => {
    expect(codeOf(() => verifySha256(key, message, signature))).toBe('MALFORMED_KEY');
  });
});

describe('addresses', () => {
  // ERC-55
  it.each([
    '0x52908400098527886E0F7030069857D2E4169EE7',
    '0x8617E340B3D01FA5F11F306F4090FD50E238070D',
    '0xde709f2102306220921060314715629080e2fb77',
    '0x27b1fdb04752bbc536007a920d24acb045561c26',
    '0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed',
    '0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359',
    '0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB',
    '0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb',
  ])('%s', (text) => {
    const bytes = fromHex(text.toLowerCase(), 20);
    expect(checksumAddress(bytes)).toBe(text);
    expect(parseAddress(text)).toEqual(bytes);
    expect(parseAddress(text.toLowerCase())).toEqual(bytes);
    const letter = [...text].findIndex((char, i) => i > 1 && /[a-f]/i.test(char));
    const wrong = [...text].with(letter, swapCase(text.charAt(letter))).join('');
    if (/[a-f]/.test(wrong.slice(2)) && /[A-F]/.test(wrong)) expect(parseAddress(wrong)).toBeUndefined();
  });
});

function swapCase(letter: string): string {
  return letter === letter.toUpperCase() ? letter.toLowerCase() : letter.toUpperCase();
}
