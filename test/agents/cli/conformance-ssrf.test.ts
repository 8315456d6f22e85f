import { describe, expect, it } from 'vitest';
import { evaluateCase } from '../../../agents/cli/conformance.ts';
import {
  FORBIDDEN_ANSWERS,
  FORBIDDEN_HOSTS,
  FORBIDDEN_URLS,
  PUBLIC_HOSTS,
  PUBLIC_NAMES,
} from '../../support/ssrf-addresses.ts';

const evaluate = (value: unknown) => evaluateCase('ssrf', new TextEncoder().encode(JSON.stringify(value)));
const PUBLIC = ['93.184.216.34', '2606:4700::1111'];

describe('conformance ssrf', () => {
  it('denies every form of what is not public', async () => {
    const urls = [
      ...Object.values(FORBIDDEN_HOSTS)
        .flat()
        .map((host) => `https://${host}/`),
      ...Object.values(FORBIDDEN_URLS).flat(),
    ];
    for (const url of urls) {
      for (const resolved of [PUBLIC, []]) expect(await evaluate({ url, resolved }), url).toEqual({ decision: 'deny' });
    }
    for (const answer of FORBIDDEN_ANSWERS) {
      const resolved = [...PUBLIC, answer];
      expect(await evaluate({ url: 'http://example.com/', resolved }), answer).toEqual({ decision: 'deny' });
      expect(await evaluate({ url: 'http://8.8.8.8/', resolved }), answer).toEqual({ decision: 'deny' });
    }
  });

  it('allows public addresses, and names that lead to nothing else', async () => {
    for (const host of PUBLIC_HOSTS) {
      for (const resolved of [[], PUBLIC]) {
        expect(await evaluate({ url: `http://${host}:8080/x`, resolved }), host).toEqual({ decision: 'allow' });
      }
    }
    for (const name of PUBLIC_NAMES) {
      expect(await evaluate({ url: `https://${name}/x`, resolved: PUBLIC }), name).toEqual({ decision: 'allow' });
      expect(await evaluate({ url: `https://${name}/x`, resolved: [] }), name).toEqual({ decision: 'deny' });
    }
    expect(await evaluate({ url: 'http://8.8.8.8/' })).toEqual({ decision: 'allow' });
    expect(await evaluate({ url: 'http://example.com/' })).toEqual({ decision: 'deny' });
  });

  it.each([
    [{}],
    [{ resolved: [] }],
    [{ url: 1, resolved: [] }],
    [{ url: null, resolved: [] }],
    [{ url: ['http://8.8.8.8/'], resolved: [] }],
    [{ url: 'http://8.8.8.8/', resolved: null }],
    [{ url: 'http://8.8.8.8/', resolved: '8.8.8.8' }],
    [{ url: 'http://8.8.8.8/', resolved: [1] }],
    [{ url: 'http://8.8.8.8/', resolved: [['8.8.8.8']] }],
    [{ url: 'http://8.8.8.8/', resolved: { 0: '8.8.8.8' } }],
    [[]],
    ['http://8.8.8.8/'],
  ])('%j is no case', async (value) => {
    expect(await evaluate(value)).toEqual({ error: 'MALFORMED_CASE' });
  });
});
