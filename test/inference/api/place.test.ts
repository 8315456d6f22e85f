import { describe, expect, it } from 'vitest';
import { fromHex, type Hex } from '../../../attest/core/bytes.ts';
import { ZERO_DIGEST } from '../../../attest/core/hash.ts';
import { placeSchema, readPlace } from '../../../inference/api/place.ts';

const hex = (digit: string, bytes = 32): Hex => `0x${digit.repeat(2 * bytes)}`;
const PLACE = { run: hex('a'), index: '7', runSeed: hex('b') };
const read = (extension: object) => readPlace(placeSchema.parse(extension));

describe('the place of a request', () => {
  it('is outside all runs where nothing is said', () => {
    const none = { pinned: {}, place: { run: ZERO_DIGEST, index: 0n, runSeed: ZERO_DIGEST } };
    expect(readPlace()).toEqual(none);
    expect(read({})).toEqual(none);
  });

  it('has run, index and seed as they were given', () => {
    const place = { run: fromHex(PLACE.run), index: 7n, runSeed: fromHex(PLACE.runSeed) };
    expect(read(PLACE)).toEqual({ pinned: {}, place });
    const chain = { chainId: '31337', contract: hex('c', 20) };
    expect(read({ ...PLACE, ...chain })).toEqual({
      pinned: {},
      place: { ...place, chainId: 31_337n, contract: chain.contract },
    });
    // The chain may be named outside a run too.
    expect(read(chain).place).toMatchObject({ run: ZERO_DIGEST, chainId: 31_337n, contract: chain.contract });
  });

  it('has the digests that the client insists on, and no others', () => {
    const pinned = { model: hex('1'), profile: hex('2'), engine: hex('3') };
    expect(read(pinned).pinned).toEqual(pinned);
    expect(read({ profile: pinned.profile }).pinned).toEqual({ profile: pinned.profile });
  });

  it.each(['run', 'index', 'runSeed', 'run index', 'run runSeed', 'index runSeed'])(
    'is refused with only these of its parts: %s',
    (names) => {
      const some = Object.fromEntries(Object.entries(PLACE).filter(([name]) => names.split(' ').includes(name)));
      expect(() => read(some)).toThrow(
        expect.objectContaining({ code: 'INVALID_VALUE', at: expect.objectContaining({ param: 'tracebond' }) }),
      );
    },
  );
});
