import { Transaction as EthersTransaction, SigningKey } from 'ethers';
import { describe, expect, it } from 'vitest';
import { type Hex, toHex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { parseTransaction, type Transaction, TransactionError } from '../../../attest/sign/transaction.ts';
import { seededRandom } from '../../support/random.ts';

const KEY = sha256(utf8('a key of a test'));
const PLAIN = {
  chainId: 31337n,
  nonce: 0n,
  maxPriorityFeePerGas: 1_000_000_000n,
  maxFeePerGas: 3_000_000_000n,
  gasLimit: 21_000n,
  to: `0x${'ab'.repeat(20)}` as Hex,
  value: 10n ** 18n,
  data: '0x' as Hex,
};

/** A transaction that ethers signs and writes. */
function sign(fields: Transaction, key: Uint8Array): EthersTransaction {
  const made = EthersTransaction.from({ ...fields, nonce: Number(fields.nonce), type: 2 });
  made.signature = new SigningKey(key).sign(made.unsignedHash);
  return made;
}

describe('transactions', () => {
  it('reads what ethers writes', () => {
    const random = seededRandom(7);
    const big = (bytes: number) => BigInt(toHex(random.bytes(1 + random.below(bytes))));
    for (let i = 0; i < 40; i++) {
      const key = sha256(random.bytes(8));
      const fee = big(12);
      const transaction = {
        chainId: 1n + big(6),
        nonce: random.chance(20) ? 0n : big(6),
        maxFeePerGas: fee,
        maxPriorityFeePerGas: random.chance(50) ? 0n : fee / 2n,
        gasLimit: big(6),
        to: toHex(random.bytes(20)),
        value: random.chance(30) ? 0n : big(32),
        data: toHex(random.bytes(random.below(random.chance(50) ? 3 : 300))),
      };
      const theirs = sign(transaction, key);
      const from = addressOf(key);
      const raw = theirs.serialized;
      expect(parseTransaction(raw)).toEqual({ ...transaction, from, hash: theirs.hash, raw });
    }
  });

  it('refuses every other form', () => {
    const raw = sign({ ...PLAIN, data: `0x${'11'.repeat(60)}` }, KEY).serialized;
    const body = raw.slice(4);
    const cases: Record<string, string> = {
      empty: '0x',
      'no hexadecimal': 'raw',
      'upper case': raw.toUpperCase(),
      legacy: `0x${body}`,
      'type 1': `0x01${body}`,
      'type alone': '0x02',
      'a byte more': `${raw}00`,
      'a byte less': raw.slice(0, -2),
      'too large': `0x02${'00'.repeat(9000)}`,
      'a huge size': '0x02fbffffffff',
      'a size of eight bytes': '0x02ffffffffffffffffff',
      'no list': '0x0284deadbeef',
      'an empty list': '0x02c0',
    };
    for (const [name, text] of Object.entries(cases)) {
      expect(() => parseTransaction(text), name).toThrow(TransactionError);
    }
  });

  it('refuses a contract creation, an access list, numbers with zeros before them, long forms and a high s', () => {
    const item = (hex: string) => {
      const length = hex.length / 2;
      if (length === 1 && Number.parseInt(hex, 16) < 0x80) return hex;
      return length > 55 ? `b8${length.toString(16).padStart(2, '0')}${hex}` : `${(0x80 + length).toString(16)}${hex}`;
    };
    const whole = (items: readonly string[]) => {
      const content = items.join('');
      const length = content.length / 2;
      return `0x02${length > 55 ? `f8${length.toString(16).padStart(2, '0')}` : (0xc0 + length).toString(16)}${content}`;
    };
    const signed = sign(PLAIN, KEY);
    const signature = signed.signature;
    if (signature === null) throw new Error('not signed');
    const trimmed = (hex: string) => hex.slice(2).replace(/^(?:00)+/, '');
    const fields = [
      item('7a69'),
      '80',
      item('3b9aca00'),
      item('b2d05e00'),
      item('5208'),
      item('ab'.repeat(20)),
      item('0de0b6b3a7640000'),
      '80',
      'c0',
      signature.yParity === 1 ? '01' : '80',
      item(trimmed(signature.r)),
      item(trimmed(signature.s)),
    ];
    expect(whole(fields)).toBe(signed.serialized);
    const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
    const high = (order - BigInt(signature.s)).toString(16).padStart(64, '0');
    const changes: Record<string, readonly [number, string]> = {
      creation: [5, '80'],
      'a short recipient': [5, item('ab'.repeat(19))],
      'an access list': [8, 'c1c0'],
      'an access list that is bytes': [8, '80'],
      'a zero before the nonce': [1, item('00')],
      'a nonce with a zero byte': [1, '820001'],
      'a byte in a long form': [1, '8101'],
      'a size in a long form': [5, `b814${'ab'.repeat(20)}`],
      'a nonce of nine bytes': [1, item('01'.repeat(9))],
      'a value of 33 bytes': [6, item('01'.repeat(33))],
      'parity 2': [9, '02'],
      'r of zero': [10, '80'],
      's above the order': [11, item('ff'.repeat(32))],
      'a high s': [11, item(high)],
      'a list for a number': [4, 'c0'],
    };
    for (const [name, [at, text]] of Object.entries(changes)) {
      expect(() => parseTransaction(whole(fields.with(at, text))), name).toThrow(TransactionError);
    }
    expect(() => parseTransaction(whole([...fields, '80'])), 'a field more').toThrow(TransactionError);
    expect(() => parseTransaction(whole(fields.slice(0, -1))), 'a field less').toThrow(TransactionError);
  });

  it('never takes a changed bit for the same wallet and the same transaction', () => {
    const signed = parseTransaction(sign(PLAIN, KEY).serialized);
    for (let bit = 0; bit < (signed.raw.length - 2) * 4; bit += 3) {
      const at = 2 + (bit >> 2);
      const digit = (Number.parseInt(signed.raw.charAt(at), 16) ^ (1 << (bit & 3))).toString(16);
      const flipped = signed.raw.slice(0, at) + digit + signed.raw.slice(at + 1);
      try {
        expect(parseTransaction(flipped).from).not.toBe(signed.from);
      } catch (error) {
        expect(error).toBeInstanceOf(TransactionError);
      }
    }
  });
});
