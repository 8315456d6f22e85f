import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideAddress, normalizeAddress, parseRanges } from '../../../runtime/net/address.ts';
import { FORBIDDEN_ANSWERS, PUBLIC_ADDRESSES } from '../../support/ssrf-addresses.ts';
import { describeVectors } from '../../support/vectors.ts';

describe('decideAddress', () => {
  it.each(PUBLIC_ADDRESSES)('%s is public', (address) => {
    expect(decideAddress(address)).toBe('public');
  });

  it.each(FORBIDDEN_ANSWERS)('%j is denied', (address) => {
    expect(decideAddress(address)).toBe('denied');
  });

  it('opens the ranges of a grant and nothing else', () => {
    const ranges = parseRanges(['127.0.0.1/32', '10.20.0.0/16', 'fd00:1::/32', '::1/128']);
    for (const address of ['127.0.0.1', '10.20.255.255', 'fd00:1::9', '::1', '0:0:0:0:0:0:0:1']) {
      expect(decideAddress(address, ranges), address).toBe('granted');
    }
    for (const address of ['127.0.0.2', '10.21.0.0', 'fd00:2::9', '::', '::ffff:127.0.0.1', '::127.0.0.1', '::1%lo']) {
      expect(decideAddress(address, ranges), address).toBe('denied');
    }
    expect(decideAddress('8.8.8.8', ranges)).toBe('public');
  });

  it('takes every IPv4 address inside of IPv6 for denied, whatever it is', () => {
    const part = fc.integer({ min: 0, max: 0xffff }).map((value) => value.toString(16));
    const embedded = fc.oneof(
      fc.tuple(part, part).map(([a, b]) => `::ffff:${a}:${b}`),
      fc.tuple(part, part).map(([a, b]) => `::${a}:${b}`),
      fc.tuple(part, part).map(([a, b]) => `::ffff:0:${a}:${b}`),
      fc.tuple(part, part).map(([a, b]) => `64:ff9b::${a}:${b}`),
      fc.tuple(part, part, part).map(([a, b, c]) => `64:ff9b:1:${c}::${a}:${b}`),
      fc.tuple(part, part, part).map(([a, b, c]) => `2002:${a}:${b}::${c}`),
      fc.tuple(part, part, part).map(([a, b, c]) => `2001:0:${c}::${a}:${b}`),
      fc.tuple(part, part, part).map(([a, b, c]) => `2606:${c}::5efe:${a}:${b}`),
    );
    const everything = parseRanges(['127.0.0.0/8', '10.0.0.0/8', '192.168.0.0/16', '::1/128', 'fc00::/7']);
    fc.assert(
      fc.property(embedded, (address) => {
        if (normalizeAddress(address) === '::1') return;
        expect(decideAddress(address, everything)).toBe('denied');
      }),
      { numRuns: 2000 },
    );
  });

  it('never throws, and reads one spelling of IPv4 only', () => {
    const loose = fc.stringMatching(/^[0-9a-fx.:%[\]/]{0,20}$/);
    fc.assert(
      fc.property(fc.oneof(loose, fc.string(), fc.ipV4Extended(), fc.ipV6()), (text) => {
        const decision = decideAddress(text);
        if (decision !== 'denied' && !text.includes(':')) expect(normalizeAddress(text)).toBe(text);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('parseRanges', () => {
  it.each([
    '127.0.0.1/32',
    '127.0.0.0/8',
    '10.0.0.0/8',
    '172.16.0.0/12',
    '192.168.7.0/24',
    '100.64.0.0/10',
    '::1/128',
    'fc00::/7',
  ])('takes %s', (range) => {
    expect(parseRanges([range])).toHaveLength(1);
  });

  it.each([
    '',
    '/',
    '127.0.0.1',
    '127.0.0.1/',
    '127.0.0.1/33',
    '127.0.0.1/-1',
    '127.0.0.1/032',
    '127.0.0.1/32 ',
    '127.0.0.1/32/32',
    '127.0.0.1/3e1',
    '127.0.0.1/8',
    '127.1/32',
    '0x7f.0.0.1/32',
    '0177.0.0.1/32',
    '127.0.0.1/255.255.255.255',
    'localhost/32',
    '::1/129',
    '::1/64',
    '0::1/128',
    'FD00::/8',
    'fd00::%eth0/8',
    '[::1]/128',
    '*',
  ])('refuses %j as malformed', (range) => {
    expect(() => parseRanges(['10.0.0.0/8', range])).toThrow(
      expect.objectContaining({ code: 'MALFORMED_RANGE', at: { index: 1 } }),
    );
  });

  it.each([
    '0.0.0.0/0',
    '0.0.0.0/32',
    '8.8.8.8/32',
    '10.0.0.0/7',
    '126.0.0.0/7',
    '169.254.169.254/32',
    '224.0.0.0/4',
    '255.255.255.255/32',
    '192.0.2.0/24',
    '::/0',
    '::/128',
    '::/127',
    'fc00::/6',
    'fe80::/10',
    'ff00::/8',
    '2002::/16',
    '64:ff9b::/96',
    '::ffff:7f00:1/128',
    '2606:4700::/32',
  ])('refuses %s as not grantable', (range) => {
    expect(() => parseRanges([range])).toThrow(expect.objectContaining({ code: 'RANGE_NOT_GRANTABLE' }));
  });
});

describeVectors('ssrf-ipaddr', (path) => {
  const vectors = JSON.parse(readFileSync(join(path, 'ranges.json'), 'utf8')) as {
    ranges: { addr: string; range: string }[];
    validity: { fn: string; s: string; ok: boolean }[];
  };

  it('reaches unicast addresses without a zone, and no others', () => {
    expect(vectors.ranges.length).toBeGreaterThan(30);
    for (const { addr, range } of vectors.ranges) {
      const wanted = range === 'unicast' && !addr.includes('%') ? 'public' : 'denied';
      expect(decideAddress(addr), addr).toBe(wanted);
    }
  });

  it('reads no address that is not valid', () => {
    for (const { fn, s, ok } of vectors.validity) {
      if (fn.includes('CIDR')) {
        if (!ok) expect(() => parseRanges([s]), s).toThrow();
      } else if (!ok && !vectors.validity.some((other) => other.s === s && other.ok)) {
        expect(normalizeAddress(s), s).toBeUndefined();
      }
    }
  });
});
