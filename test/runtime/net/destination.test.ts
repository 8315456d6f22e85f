import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideAddress, parseRanges } from '../../../runtime/net/address.ts';
import { parseTarget, readHost, verifyDestination } from '../../../runtime/net/destination.ts';
import {
  FORBIDDEN_ANSWERS,
  FORBIDDEN_HOSTS,
  FORBIDDEN_URLS,
  PUBLIC_ADDRESSES,
  PUBLIC_HOSTS,
  PUBLIC_NAMES,
} from '../../support/ssrf-addresses.ts';

const PUBLIC = '93.184.216.34';
const codes = { code: expect.stringMatching(/^(ADDRESS_DENIED|BAD_REQUEST|UNREACHABLE)$/) };
const check = (url: string, answers: readonly string[], ranges: readonly string[] = []) =>
  verifyDestination(readHost(parseTarget(url)), answers, parseRanges(ranges));

describe('destinations', () => {
  it('are at least 250 forms', () => {
    const hosts = Object.values(FORBIDDEN_HOSTS).flat();
    const urls = Object.values(FORBIDDEN_URLS).flat();
    expect(new Set(hosts).size + new Set(urls).size + new Set(FORBIDDEN_ANSWERS).size).toBeGreaterThan(350);
  });

  it.each(Object.entries(FORBIDDEN_HOSTS))('%s: no form leads anywhere', (_, hosts) => {
    for (const host of hosts) {
      for (const url of [`http://${host}/`, `https://${host}:8443/a?b#c`]) {
        for (const answers of [[PUBLIC], []]) {
          expect(() => check(url, answers), url).toThrow(expect.objectContaining(codes));
        }
      }
    }
  });

  it.each(Object.entries(FORBIDDEN_URLS))('%s: no form leads anywhere', (_, urls) => {
    for (const url of urls) expect(() => check(url, [PUBLIC]), url).toThrow(expect.objectContaining(codes));
  });

  it.each(FORBIDDEN_ANSWERS)('one answer %j denies, wherever it stands', (answer) => {
    const denied = expect.objectContaining({ code: 'ADDRESS_DENIED' });
    for (const answers of [[answer], [PUBLIC, answer], [answer, PUBLIC], [PUBLIC, answer, '1.1.1.1']]) {
      expect(() => check('http://example.com/', answers), JSON.stringify(answers)).toThrow(denied);
      expect(() => check(`http://${PUBLIC}/`, answers), JSON.stringify(answers)).toThrow(denied);
    }
  });

  it('lead to public addresses and names', () => {
    for (const host of PUBLIC_HOSTS) expect(check(`http://${host}/`, []), host).toHaveLength(1);
    for (const name of PUBLIC_NAMES) {
      expect(check(`https://${name}/`, PUBLIC_ADDRESSES), name).toEqual(PUBLIC_ADDRESSES);
      expect(() => check(`https://${name}/`, []), name).toThrow(expect.objectContaining({ code: 'UNREACHABLE' }));
    }
  });

  it('are addresses in their one text', () => {
    expect(check('http://0x8.8.8.8/', [])).toEqual(['8.8.8.8']);
    expect(check('http://[2606:4700:0::0:1111]/', [])).toEqual(['2606:4700::1111']);
    expect(check('http://example.com/', ['2606:4700:0:0::1111'])).toEqual(['2606:4700::1111']);
  });

  it('are decided alike in every spelling of an IPv4 address', () => {
    const first = fc.constantFrom(0, 1, 8, 10, 100, 127, 169, 172, 192, 198, 203, 224, 240, 255);
    const second = fc.oneof(fc.constantFrom(0, 16, 31, 51, 64, 168, 254), fc.integer({ min: 0, max: 255 }));
    const octet = fc.integer({ min: 0, max: 255 });
    const radices = fc.array(fc.constantFrom(8, 10, 16), { minLength: 4, maxLength: 4 });
    const zeros = fc.constantFrom('', '0', '000');
    const spell = (value: number, radix: number, pad: string): string =>
      radix === 10 ? `${value}` : `${radix === 16 ? '0x' : '0'}${pad}${value.toString(radix)}`;
    const arbitrary = fc.tuple(
      fc.tuple(fc.oneof(first, octet), second, octet, octet),
      fc.integer({ min: 1, max: 4 }),
      radices,
      zeros,
    );
    fc.assert(
      fc.property(arbitrary, ([octets, parts, radix, pad]) => {
        const values = octets.slice(0, parts - 1);
        values.push(octets.slice(parts - 1).reduce((sum, value) => sum * 256 + value, 0));
        const host = values.map((value, i) => spell(value, radix[i] ?? 10, pad)).join('.');
        const address = octets.join('.');
        if (decideAddress(address) === 'public') expect(check(`http://${host}/`, []), host).toEqual([address]);
        else
          expect(() => check(`http://${host}/`, []), host).toThrow(expect.objectContaining({ code: 'ADDRESS_DENIED' }));
      }),
      { numRuns: 2000 },
    );
  });

  it('with a local name are granted addresses, never public ones', () => {
    const ranges = ['127.0.0.1/32'];
    expect(check('http://localhost:3000/', ['127.0.0.1'], ranges)).toEqual(['127.0.0.1']);
    expect(check('http://db.internal/', ['127.0.0.1'], ranges)).toEqual(['127.0.0.1']);
    for (const answers of [['127.0.0.2'], [PUBLIC], ['127.0.0.1', PUBLIC], ['127.0.0.1', '::1']]) {
      expect(() => check('http://localhost:3000/', answers, ranges)).toThrow(
        expect.objectContaining({ code: 'ADDRESS_DENIED' }),
      );
    }
  });

  it('have 64 answers at most', () => {
    expect(check('http://example.com/', new Array<string>(64).fill(PUBLIC))).toHaveLength(64);
    expect(() => check('http://example.com/', new Array<string>(65).fill(PUBLIC))).toThrow('too many');
  });
});
