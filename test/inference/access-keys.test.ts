import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  AccessKeyError,
  accessKeyLine,
  findAccessKey,
  makeAccessKey,
  parseAccessKeys,
} from '../../inference/access-keys.ts';

let drawn = 0;
const ports = {
  now: () => Date.UTC(2026, 0, 2),
  random: (bytes: number) => Uint8Array.from({ length: bytes }, (_, i) => (37 * drawn++ + i) % 256),
};
const made = (name = 'somebody') => makeAccessKey(name, { active: 2 }, ports);

describe('an access key', () => {
  it('is kept as the hash of its secret, which has 256 bits', () => {
    const { key, secret } = made();
    expect(secret).toMatch(/^tb-[A-Za-z0-9_-]{43}$/);
    expect(key.id).toMatch(/^ak-[0-9a-f]{12}$/);
    expect(key).toMatchObject({
      name: 'somebody',
      sha256: createHash('sha256').update(secret).digest('hex'),
      limits: { active: 2, waiting: null, requestsPerMinute: null, tokensPerMinute: null },
      created: '2026-01-02T00:00:00.000Z',
    });
    expect(accessKeyLine(key)).not.toContain(secret.slice(3));
  });

  it('is found by its secret and by nothing else', () => {
    const all = [made('a'), made('b'), made('c')];
    const keys = all.map(({ key }) => key);
    for (const { key, secret } of all) expect(findAccessKey(keys, secret)).toBe(key);
    const { key, secret } = all[1] ?? made();
    const last = secret.endsWith('A') ? 'B' : 'A';
    const strangers = [
      '',
      'tb-',
      secret.slice(3),
      ` ${secret}`,
      `${secret} `,
      `${secret}\n`,
      secret.toLowerCase(),
      secret.slice(0, -1),
      `${secret.slice(0, -1)}${last}`,
      `${secret}A`,
      key.sha256,
      key.id,
      made().secret,
    ];
    for (const stranger of strangers) expect(findAccessKey(keys, stranger), stranger).toBeUndefined();
    expect(findAccessKey([], secret)).toBeUndefined();
    // What has not the form of a key opens nothing, whatever hash somebody wrote into the file.
    const sha256 = createHash('sha256').update('hunter2').digest('hex');
    expect(findAccessKey([{ ...key, sha256 }], 'hunter2')).toBeUndefined();
  });

  it('has a name and limits that are any', () => {
    for (const name of ['', ' a', 'a ', 'x'.repeat(65), 'a\nb', 'a\u0000', 'a\u202eb', '\ud800']) {
      expect(() => makeAccessKey(name, {}, ports), JSON.stringify(name)).toThrow(
        expect.objectContaining({ code: 'NAME_MALFORMED' }),
      );
    }
    for (const value of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
      expect(() => makeAccessKey('a', { waiting: value }, ports)).toThrow(
        expect.objectContaining({ code: 'LIMIT_MALFORMED', at: { limit: 'waiting' } }),
      );
    }
  });
});

describe('the file of access keys', () => {
  it('has a line for each key and for the end of one', () => {
    const [a, b] = [made('a').key, made('b').key];
    const end = accessKeyLine({ revoked: a.id, at: '2026-01-03T00:00:00.000Z' });
    expect(parseAccessKeys('', 'f')).toEqual([]);
    expect(parseAccessKeys(`${accessKeyLine(a)}\n\n${accessKeyLine(b)}\n`, 'f')).toEqual([a, b]);
    expect(parseAccessKeys([accessKeyLine(a), accessKeyLine(b), end].join('\n'), 'f')).toEqual([b]);
    // A key that has ended may come again under its own line only.
    expect(parseAccessKeys([accessKeyLine(a), end, accessKeyLine(a)].join('\n'), 'f')).toEqual([a]);
  });

  const { key } = made();
  const line = accessKeyLine(key);
  const changed = (change: object) => JSON.stringify({ ...key, ...change });
  const BAD: readonly (readonly [name: string, line: string, says: RegExp])[] = [
    ['no JSON', '{', /not JSON/],
    ['half a line', line.slice(0, 50), /not JSON/],
    ['a list', '[]', /expected object/i],
    ['null', 'null', /expected object/i],
    ['a string', '"tb-"', /expected object/i],
    ['an unknown field', changed({ admin: true }), /admin/],
    ['no hash', changed({ sha256: undefined }), /sha256/],
    ['a short hash', changed({ sha256: key.sha256.slice(1) }), /sha256/],
    ['a hash in capitals', changed({ sha256: key.sha256.toUpperCase().replace(/^\d*/, 'A') }), /sha256/],
    ['a foreign id', changed({ id: 'ak-1' }), /id/],
    ['a name of control characters', changed({ name: 'a\nb' }), /name/],
    ['a limit of 0', changed({ limits: { ...key.limits, active: 0 } }), /limits: active/],
    ['a limit as text', changed({ limits: { ...key.limits, waiting: '3' } }), /limits: waiting/],
    ['no limits', changed({ limits: undefined }), /limits/],
    ['a date of no calendar', changed({ created: 'yesterday' }), /created/],
    ['the same key twice', line, /second key/],
    ['the end of a key that never was', '{"revoked":"ak-000000000000","at":"2026-01-03T00:00:00Z"}', /not in force/],
    ['an end without a date', `{"revoked":${JSON.stringify(key.id)}}`, /at/],
    ['a line without end', changed({ name: 'x'.repeat(5000) }), /4096/],
  ];
  it.each(BAD)('is refused with the place: %s', (_, bad, says) => {
    let fault: unknown;
    try {
      parseAccessKeys(`${line}\n${bad}\n`, 'keys.jsonl');
    } catch (error) {
      fault = error;
    }
    expect(fault).toMatchObject({ code: 'KEYS_MALFORMED', at: { file: 'keys.jsonl', line: 2 } });
    expect((fault as Error).message).toMatch(says);
  });

  it('gives keys or an error of its own, whatever it holds', () => {
    const lines = fc.array(fc.oneof(fc.constant(line), fc.json(), fc.string({ unit: 'binary' })));
    fc.assert(
      fc.property(lines, (all) => {
        try {
          expect(parseAccessKeys(all.join('\n'), 'f').length).toBeLessThanOrEqual(all.length);
        } catch (error) {
          expect(error).toBeInstanceOf(AccessKeyError);
        }
      }),
    );
  });
});
