import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Wallet } from 'ethers';
import { describe, expect, it } from 'vitest';
import { KeystoreError, type KeystoreErrorCode } from '../../../attest/bond/errors.ts';
import { createKey, listKeys, openKey, readKey } from '../../../attest/bond/keystore.ts';
import { toHex } from '../../../attest/core/bytes.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { temporaryFolder } from '../../support/temporary.ts';

/** A guess costs next to nothing: for tests only. */
const WEAK = { scryptLog2N: 10 };

async function codeOf(promise: Promise<unknown>): Promise<KeystoreErrorCode> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(KeystoreError);
  return (error as KeystoreError).code;
}

describe('the keystore', () => {
  it('gives back the key that it was given, to its owner alone', async () => {
    const folder = join(temporaryFolder(), 'keys');
    const privateKey = Uint8Array.from({ length: 32 }, (_, i) => i + 1);
    const entry = await createKey(folder, 'operator-1', 'pässword', { ...WEAK, privateKey });
    expect(entry).toEqual({ name: 'operator-1', address: addressOf(privateKey) });
    expect(await openKey(folder, 'operator-1', 'pässword')).toEqual(privateKey);
    expect(statSync(join(folder, 'operator-1.json')).mode & 0o777).toBe(0o600);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(readdirSync(folder)).toEqual(['operator-1.json']);
    const text = readFileSync(join(folder, 'operator-1.json'), 'utf8');
    expect(text).not.toContain(toHex(privateKey).slice(2));
    // Other tools read it too.
    expect((await Wallet.fromEncryptedJson(text, 'pässword')).privateKey).toBe(toHex(privateKey));
  });

  it('makes different keys, and costs a guess 128 MiB by default', async () => {
    const folder = temporaryFolder();
    const a = await createKey(folder, 'a', 'secret');
    const b = await createKey(folder, 'b', 'secret', WEAK);
    expect(a.address).not.toBe(b.address);
    expect(await listKeys(folder)).toEqual([a, b]);
    expect(await readKey(folder, 'b')).toEqual(b);
    expect(addressOf(await openKey(folder, 'a', 'secret'))).toBe(a.address);
    expect(JSON.parse(readFileSync(join(folder, 'a.json'), 'utf8'))).toMatchObject({
      version: 3,
      Crypto: { kdf: 'scrypt', kdfparams: { n: 131072, r: 8, p: 1 } },
    });
  });

  it('refuses wrong and empty passwords, names, and what is not there', async () => {
    const folder = temporaryFolder();
    await createKey(folder, 'a', 'secret', WEAK);
    const before = readFileSync(join(folder, 'a.json'), 'utf8');
    expect(await codeOf(openKey(folder, 'a', 'Secret'))).toBe('PASSWORD_WRONG');
    expect(await codeOf(openKey(folder, 'a', ''))).toBe('PASSWORD_EMPTY');
    expect(await codeOf(createKey(folder, 'c', ''))).toBe('PASSWORD_EMPTY');
    expect(await codeOf(createKey(folder, 'a', 'other', WEAK))).toBe('KEY_EXISTS');
    expect(readFileSync(join(folder, 'a.json'), 'utf8')).toBe(before);
    expect(await codeOf(openKey(folder, 'b', 'secret'))).toBe('KEY_NOT_FOUND');
    for (const name of ['', '..', '../a', 'a/b', 'A', 'a.json', '-a', 'a-', 'a b', 'ä', 'a\0', 'a'.repeat(65)]) {
      expect(await codeOf(createKey(folder, name, 'secret', WEAK)), name).toBe('MALFORMED_NAME');
      expect(await codeOf(openKey(folder, name, 'secret')), name).toBe('MALFORMED_NAME');
    }
    expect(await listKeys(join(folder, 'nowhere'))).toEqual([]);
    expect(await codeOf(createKey(join(folder, 'a.json'), 'b', 'secret', WEAK))).toBe('KEYSTORE_UNWRITABLE');
    expect(await codeOf(listKeys(join(folder, 'a.json')))).toBe('KEYSTORE_UNREADABLE');
  });

  it('refuses files that are no keys, lie about their address, or ask for too much work', async () => {
    const folder = temporaryFolder();
    await createKey(folder, 'a', 'secret', WEAK);
    const good = JSON.parse(readFileSync(join(folder, 'a.json'), 'utf8'));
    const params = good.Crypto.kdfparams;
    const withCrypto = (change: object) => ({ ...good, Crypto: { ...good.Crypto, ...change } });
    const bad: readonly (readonly [string, string])[] = [
      ['empty', ''],
      ['no JSON', '{'],
      ['null', 'null'],
      ['another version', JSON.stringify({ ...good, version: 1 })],
      ['no address', JSON.stringify({ ...good, address: undefined })],
      ['another address', JSON.stringify({ ...good, address: '00'.repeat(20) })],
      ['too much work', JSON.stringify(withCrypto({ kdfparams: { ...params, n: 2 ** 30 } }))],
      ['work without end', JSON.stringify(withCrypto({ kdfparams: { ...params, p: 1e9 } }))],
      ['another derivation', JSON.stringify(withCrypto({ kdf: 'pbkdf2' }))],
      ['no ciphertext', JSON.stringify(withCrypto({ ciphertext: 5 }))],
      ['too large', `${JSON.stringify(good)}${' '.repeat(70_000)}`],
    ];
    for (const [name, text] of bad) {
      writeFileSync(join(folder, 'b.json'), text);
      expect(await codeOf(openKey(folder, 'b', 'secret')), name).toBe('MALFORMED_KEY_FILE');
    }
    writeFileSync(join(folder, 'b.json'), JSON.stringify(withCrypto({ mac: '00'.repeat(32) })));
    expect(await codeOf(openKey(folder, 'b', 'secret'))).toBe('PASSWORD_WRONG');
    if (process.getuid?.() !== 0) {
      chmodSync(join(folder, 'b.json'), 0);
      expect(await codeOf(openKey(folder, 'b', 'secret'))).toBe('KEYSTORE_UNREADABLE');
    }
  });
});
