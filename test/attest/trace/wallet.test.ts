import { describe, expect, it } from 'vitest';
import type { GuestCall } from '../../../attest/trace/guest.ts';
import { parseCall } from '../../../attest/trace/guest.ts';
import {
  approvedSend,
  hashWalletArgs,
  MAX_CALL_DATA,
  parseWalletTarget,
  type WalletArgs,
  walletTargetOf,
} from '../../../attest/trace/wallet.ts';
import { toyPlan } from '../../support/toy-run.ts';

const to = `0x${'ab'.repeat(20)}` as const;
const args: WalletArgs = { chain: '1', data: '0x', to, value: '7' };
const word = (value: bigint) => value.toString(16).padStart(64, '0');

describe('walletTargetOf', () => {
  it.each<[string, `0x${string}`, string, bigint]>([
    ['a payment', '0x', '0x', 0n],
    ['data without a whole selector', '0xa905', '0xa905', 0n],
    ['transfer', `0xa9059cbb${word(1n)}${word(5n)}`, '0xa9059cbb', 5n],
    ['approve of everything', `0x095ea7b3${word(1n)}${'ff'.repeat(32)}`, '0x095ea7b3', 2n ** 256n - 1n],
    ['increaseAllowance', `0x39509351${word(1n)}${word(6n)}`, '0x39509351', 6n],
    ['transferFrom', `0x23b872dd${word(1n)}${word(2n)}${word(9n)}`, '0x23b872dd', 9n],
    ['transfer with more after it', `0xa9059cbb${word(1n)}${word(5n)}ffff`, '0xa9059cbb', 5n],
    ['transfer that ends early: zeros follow', `0xa9059cbb${word(1n)}01`, '0xa9059cbb', 2n ** 248n],
    ['transfer without its amount', '0xa9059cbb', '0xa9059cbb', 0n],
    ['another method', `0x12345678${word(1n)}${word(5n)}`, '0x12345678', 0n],
  ])('%s', (_, data, selector, units) => {
    const target = walletTargetOf({ ...args, data });
    expect(parseWalletTarget(target)).toEqual({
      chain: '1',
      to,
      selector,
      value: 7n,
      units,
      digest: hashWalletArgs({ ...args, data }),
    });
  });

  it('tells any two sends apart', () => {
    const targets = [
      args,
      { ...args, value: '8' },
      { ...args, chain: '2' },
      { ...args, data: '0x12345678' as const },
      { ...args, data: '0x1234567800' as const },
    ].map(walletTargetOf);
    expect(new Set(targets).size).toBe(targets.length);
  });

  it.each(['', 'x', '1 2 3 4 5', '1 2 3 -4 5 6', '1 2 3 04 5 6', '1 2 3 4 5 6 7', `1 2 3 ${'9'.repeat(79)} 5 6`])(
    'is not read from %j',
    (target) => {
      expect(parseWalletTarget(target)).toBeUndefined();
    },
  );
});

describe('a call of wallet.send', () => {
  const parse = async (value: object) => {
    const call: GuestCall = { id: 0, method: 'wallet.send', args: value as GuestCall['args'] };
    return parseCall(call, null, toyPlan().plan.openBody);
  };

  it('has its target', async () => {
    expect(await parse(args)).toMatchObject({ method: 'wallet.send', target: walletTargetOf(args) });
    const most = `0x${'00'.repeat(MAX_CALL_DATA)}`;
    expect(await parse({ ...args, data: most })).toMatchObject({ method: 'wallet.send' });
  });

  it.each<[string, object]>([
    ['more data than may be', { data: `0x${'00'.repeat(MAX_CALL_DATA + 1)}` }],
    ['half a byte', { data: '0x0' }],
    ['capital letters', { to: to.toUpperCase() }],
    ['an address that is none', { to: '0x12' }],
    ['a negative value', { value: '-1' }],
    ['a value above 256 bits', { value: (2n ** 256n).toString() }],
    ['a number for a value', { value: 7 }],
    ['more fields', { gas: '1' }],
  ])('is denied with %s', async (_, more) => {
    expect(await parse({ ...args, ...more })).toEqual({ method: 'unknown', target: 'malformed arguments' });
  });
});

describe('approvedSend', () => {
  it('reads what a person was asked about', () => {
    expect(approvedSend({ wallet: { ...args } })).toBe(hashWalletArgs(args));
  });

  it.each([[undefined], [null], ['wallet'], [[{ wallet: 1 }]], [{}], [{ wallet: { ...args }, more: 1 }]])(
    'reads nothing from %j',
    (details) => {
      expect(approvedSend(details as never)).toBeUndefined();
    },
  );
});
