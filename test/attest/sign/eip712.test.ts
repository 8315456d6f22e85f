import { readFileSync } from 'node:fs';
import { TypedDataEncoder } from 'ethers';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../../attest/core/bytes.ts';
import {
  encodeType,
  hashDomain,
  hashStruct,
  hashTypedData,
  type TypedData,
  type TypedDataField,
  type TypedDataTypes,
} from '../../../attest/sign/eip712.ts';
import { TypedDataError } from '../../../attest/sign/errors.ts';
import { domain as someDomain, typedData } from '../../support/typed-data.ts';

const ADDRESS = '0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826';

/** The example of EIP-712 itself. */
const MAIL: TypedData & { message: Record<string, unknown> } = {
  types: {
    EIP712Domain: [
      { name: 'name', type: 'string' },
      { name: 'version', type: 'string' },
      { name: 'chainId', type: 'uint256' },
      { name: 'verifyingContract', type: 'address' },
    ],
    Person: [
      { name: 'name', type: 'string' },
      { name: 'wallet', type: 'address' },
    ],
    Mail: [
      { name: 'from', type: 'Person' },
      { name: 'to', type: 'Person' },
      { name: 'contents', type: 'string' },
    ],
  },
  primaryType: 'Mail',
  domain: {
    name: 'Ether Mail',
    version: '1',
    chainId: 1,
    verifyingContract: '0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC',
  },
  message: {
    from: { name: 'Cow', wallet: ADDRESS },
    to: { name: 'Bob', wallet: '0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB' },
    contents: 'Hello, Bob!',
  },
};

function faultOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof TypedDataError) return `${error.code} ${error.at['path'] ?? ''}`.trim();
    throw error;
  }
  return 'no error';
}

/** One member `x` of a type, hashed with a value. */
const hashOne = (type: string, value: unknown, more: TypedDataTypes = {}): Uint8Array =>
  hashStruct({ T: [{ name: 'x', type }], ...more }, 'T', { x: value });

/** The types that the primary type reaches: ethers refuses the rest. */
function reachable(types: TypedDataTypes, primaryType: string): Record<string, TypedDataField[]> {
  const out: Record<string, TypedDataField[]> = {};
  const visit = (name: string): void => {
    const fields = types[name];
    if (fields === undefined || out[name]) return;
    out[name] = [...fields];
    for (const { type } of fields) visit(type.replace(/\[.*$/, ''));
  };
  visit(primaryType);
  return out;
}

describe('the example of the standard', () => {
  it('has its type, hashes and digest', () => {
    expect(encodeType(MAIL.types, 'Mail')).toBe(
      'Mail(Person from,Person to,string contents)Person(string name,address wallet)',
    );
    expect(toHex(hashStruct(MAIL.types, 'Mail', MAIL.message))).toBe(
      '0xc52c0ee5d84264471806290a3f2c4cecfc5490626bf912d01f240d7a274b371e',
    );
    expect(toHex(hashDomain(MAIL.domain, MAIL.types))).toBe(
      '0xf2cee375fa42b42143804025fc449deafd50cc031ca257e0b194a650a912090f',
    );
    expect(toHex(hashTypedData(MAIL))).toBe('0xbe609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2');
  });

  it('is the same where the domain type is made of the domain', () => {
    const { EIP712Domain: _, ...types } = MAIL.types;
    expect(hashTypedData({ ...MAIL, types })).toEqual(hashTypedData(MAIL));
  });

  it('changes with each value, each name and each type', () => {
    const digests = [
      MAIL,
      { ...MAIL, domain: { ...MAIL.domain, chainId: 2 } },
      { ...MAIL, message: { ...MAIL.message, contents: 'Hello, Bob' } },
      { ...MAIL, message: { ...MAIL.message, from: MAIL.message['to'] } },
      { ...MAIL, types: { ...MAIL.types, Person: [...(MAIL.types['Person'] ?? [])].reverse() } },
      { ...MAIL, types: { ...MAIL.types, Letter: MAIL.types['Mail'] ?? [] }, primaryType: 'Letter' },
    ].map((data) => toHex(hashTypedData(data)));
    expect(new Set(digests).size).toBe(digests.length);
  });
});

describe('the vectors', () => {
  type Case = TypedData & { readonly name: string; readonly type?: string; readonly digest: string };
  const text = readFileSync(new URL('../../vectors/eip712/cases.json', import.meta.url), 'utf8');
  const { cases } = JSON.parse(text) as { cases: readonly Case[] };

  it('are 40 generated and 8 of our own', () => {
    expect(cases.filter(({ name }) => name.startsWith('generated')).length).toBe(40);
    expect(cases.length).toBe(48);
    expect(new Set(cases.map(({ digest }) => digest)).size).toBe(48);
  });

  it.each(cases)('have this digest: $name', ({ name: _, type, digest, ...data }) => {
    expect(toHex(hashTypedData(data))).toBe(digest);
    if (type !== undefined) expect(encodeType(data.types, data.primaryType)).toBe(type);
  });
});

// ethers hashes what the checks let through, so it is no oracle of the encoding: the vectors are. Against it one sees that the
// checks change no value, that structs which it is given one by one come to the same, and the order of a domain's fields.
describe('agreement with ethers', () => {
  it('on 200 typed data of any shape, checked and without their unused types', () => {
    fc.assert(
      fc.property(typedData, (data) => {
        const types = reachable(data.types, data.primaryType);
        const message = data.message as Record<string, unknown>;
        expect(encodeType(data.types, data.primaryType)).toBe(TypedDataEncoder.from(types).encodeType('Mail'));
        expect(toHex(hashTypedData(data))).toBe(TypedDataEncoder.hash(data.domain, types, message));
      }),
      { numRuns: 200 },
    );
  });

  it('on 300 of them with types so long that it is given one struct at a time', () => {
    const long = Array.from({ length: 3 }, (_, i) => ({ name: `${'n'.repeat(1000)}${i}`, type: `uint${8 * (i + 1)}` }));
    const values = Object.fromEntries(long.map(({ name }, i) => [name, i]));
    fc.assert(
      fc.property(typedData, (data) => {
        const { Mail = [], ...others } = reachable(data.types, data.primaryType);
        const types = { ...others, Mail: [...Mail, ...long], Outer: [{ name: 'mails', type: 'Mail[2][]' }] };
        const mail = { ...data.message, ...values };
        const message = { mails: [[mail, mail]] };
        const oracle = TypedDataEncoder.from(types);
        for (const [struct, value] of [
          ['Outer', message],
          ['Mail', mail],
        ] as const) {
          expect(encodeType(types, struct)).toBe(oracle.encodeType(struct));
          expect(toHex(hashStruct(types, struct, value))).toBe(oracle.hashStruct(struct, value));
        }
      }),
      { numRuns: 300 },
    );
  });

  it('on 300 domains, also by the type that a wallet sends along', () => {
    fc.assert(
      fc.property(someDomain, (domain) => {
        const expected = TypedDataEncoder.hashDomain(domain);
        expect(toHex(hashDomain(domain))).toBe(expected);
        const payload = TypedDataEncoder.getPayload(domain, { T: [] }, {}) as unknown as TypedData;
        expect(toHex(hashDomain(payload.domain, payload.types))).toBe(expected);
        expect(toHex(hashTypedData(payload))).toBe(TypedDataEncoder.hash(domain, { T: [] }, {}));
      }),
      { numRuns: 300 },
    );
  });

  it('on a message cut or changed at any leaf: an error or another digest, never the same one', () => {
    fc.assert(
      fc.property(typedData, fc.nat(), (data, pick) => {
        const message = data.message as Record<string, unknown>;
        const fields = data.types[data.primaryType] ?? [];
        const field = fields[pick % Math.max(fields.length, 1)];
        if (field === undefined) return;
        const { [field.name]: _, ...rest } = message;
        expect(faultOf(() => hashTypedData({ ...data, message: rest }))).toBe(
          `MISSING_FIELD ${data.primaryType}.${field.name}`,
        );
        expect(faultOf(() => hashTypedData({ ...data, message: { ...message, extra: 1 } }))).toBe(
          `UNKNOWN_FIELD ${data.primaryType}.extra`,
        );
        expect(
          faultOf(() => hashTypedData({ ...data, message: { ...message, [field.name]: { not: 'it' } } })),
        ).not.toBe('no error');
      }),
      { numRuns: 300 },
    );
  });
});

describe('types', () => {
  it('may be recursive', () => {
    const types = {
      Node: [
        { name: 'value', type: 'uint8' },
        { name: 'children', type: 'Node[]' },
      ],
    };
    expect(encodeType(types, 'Node')).toBe('Node(uint8 value,Node[] children)');
    const leaf = { value: 2, children: [] };
    const tree = { value: 1, children: [leaf, { value: 3, children: [leaf] }] };
    expect(hashStruct(types, 'Node', tree)).not.toEqual(hashStruct(types, 'Node', { ...tree, children: [leaf, leaf] }));
    const mutual = { B: [{ name: 'a', type: 'A[]' }], A: [{ name: 'b', type: 'B' }], C: [{ name: 'a', type: 'A' }] };
    expect(encodeType(mutual, 'A')).toBe('A(B b)B(A[] a)');
    expect(encodeType(mutual, 'B')).toBe('B(A[] a)A(B b)');
    expect(encodeType(mutual, 'C')).toBe('C(A a)A(B b)B(A[] a)');
  });

  it('end a recursive struct with null, as wallets do, and no other', () => {
    // The list of the standard's own rationale.
    const types = {
      List: [
        { name: 'value', type: 'uint256' },
        { name: 'next', type: 'List' },
      ],
    };
    const two = { value: 1, next: { value: 2, next: null } };
    const one = { value: 1, next: null };
    expect(hashStruct(types, 'List', two)).not.toEqual(hashStruct(types, 'List', one));
    expect(faultOf(() => hashStruct(types, 'List', { value: 1 }))).toBe('MISSING_FIELD List.next');
    expect(faultOf(() => hashStruct(types, 'List', { value: null, next: null }))).toBe('MALFORMED_VALUE List.value');
    expect(faultOf(() => hashTypedData({ ...MAIL, message: { ...MAIL.message, to: null } }))).toBe(
      'MALFORMED_VALUE Mail.to',
    );
    let far: unknown = null;
    for (let i = 0; i < 1000; i++) far = { value: i, next: far };
    expect(faultOf(() => hashStruct(types, 'List', far as Record<string, unknown>))).toMatch(/^TOO_DEEP/);
  });

  it('may be named like what objects inherit', () => {
    const types = JSON.parse(
      '{"__proto__":[{"name":"__proto__","type":"uint8"},{"name":"constructor","type":"bool"}]}',
    ) as TypedDataTypes;
    const message = JSON.parse('{"__proto__":1,"constructor":true}') as Record<string, unknown>;
    expect(encodeType(types, '__proto__')).toBe('__proto__(uint8 __proto__,bool constructor)');
    expect(faultOf(() => hashStruct(types, '__proto__', message))).toBe('no error');
    expect(faultOf(() => hashStruct(types, '__proto__', {}))).toBe('MISSING_FIELD __proto__.__proto__');
    expect(faultOf(() => hashStruct({}, 'toString', {}))).toBe('UNKNOWN_TYPE');
  });

  it.each([
    ['an alias', 'uint'],
    ['a signed alias', 'int'],
    ['seven bits', 'uint7'],
    ['no bits', 'uint0'],
    ['264 bits', 'int264'],
    ['a leading zero', 'uint08'],
    ['no bytes', 'bytes0'],
    ['33 bytes', 'bytes33'],
    ['a leading zero of bytes', 'bytes01'],
    ['fixed point', 'fixed128x18'],
    ['a function', 'function'],
    ['an undefined struct', 'Person'],
    ['an undefined struct in an array', 'Person[]'],
    ['nothing', ''],
    ['an array of nothing', '[]'],
    ['an open array', 'uint8['],
    ['a closed array', 'uint8]'],
    ['a length with a leading zero', 'uint8[01]'],
    ['a negative length', 'uint8[-1]'],
    ['a length that is no number', 'uint8[n]'],
    ['a length beyond bounds', 'uint8[99999999999999999999]'],
    ['text after the array', 'uint8[]x'],
    ['space', 'uint8 '],
    ['space before', ' uint8'],
    ['a line end', 'uint8\n'],
    ['capitals', 'Uint8'],
    ['payable', 'address payable'],
    ['a tuple', '(uint8,uint8)'],
    ['something injected', 'uint8 a,uint8'],
    ['a thousand dimensions', `uint8${'[]'.repeat(1000)}`],
    ['a long name', 'A'.repeat(5000)],
  ])('that are none: %s', (_name, type) => {
    expect(faultOf(() => hashOne(type, []))).toMatch(/^UNKNOWN_TYPE T\.x/);
    expect(faultOf(() => encodeType({ T: [{ name: 'x', type }] }, 'T'))).toMatch(/^UNKNOWN_TYPE T\.x/);
  });

  it.each([
    ['no object', null],
    ['an array', []],
    ['a text', 'T'],
    ['a struct without list', { T: {} }],
    ['a member that is null', { T: [null] }],
    ['a member without name', { T: [{ type: 'bool' }] }],
    ['a member without type', { T: [{ name: 'x' }] }],
    ['a type that is no text', { T: [{ name: 'x', type: 8 }] }],
    [
      'a member twice',
      {
        T: [
          { name: 'x', type: 'bool' },
          { name: 'x', type: 'bool' },
        ],
      },
    ],
    ['a member with punctuation', { T: [{ name: 'x,uint8 y', type: 'bool' }] }],
    ['a member without letters', { T: [{ name: '', type: 'bool' }] }],
    ['a member that begins with a digit', { T: [{ name: '1', type: 'bool' }] }],
    ['a struct with punctuation', { T: [], 'T(bool x)': [] }],
    ['a struct without letters', { T: [], '': [] }],
    ['a struct named like an atomic type', { T: [], uint256: [] }],
    ['a struct named like an alias', { T: [], uint: [] }],
    ['a struct named like no type', { T: [], bytes33: [] }],
    ['a struct named like an array', { T: [], 'T[]': [] }],
  ])('that are malformed: %s', (_name, types) => {
    expect(faultOf(() => hashStruct(types as unknown as TypedDataTypes, 'T', { x: true }))).toMatch(/^MALFORMED_TYPES/);
    expect(
      faultOf(() =>
        hashTypedData({ domain: {}, types: types as unknown as TypedDataTypes, primaryType: 'T', message: {} }),
      ),
    ).toMatch(/^MALFORMED_TYPES/);
  });

  it('have a bounded text', () => {
    // Each struct names the next one: encodeType of all of them together grows with the square.
    const count = 3000;
    const types = Object.fromEntries(
      Array.from({ length: count }, (_, i) => [
        `T${i}`,
        i + 1 < count ? [{ name: 'next', type: `T${i + 1}[]` }] : [{ name: 'x', type: 'bool' }],
      ]),
    );
    const wide = { ...types, All: Array.from({ length: count }, (_, i) => ({ name: `m${i}`, type: `T${i}[]` })) };
    expect(encodeType(types, 'T0').length).toBeGreaterThan(count * 10);
    const values = Object.fromEntries(
      Array.from({ length: count }, (_, i) => [`m${i}`, [i + 1 < count ? { next: [] } : { x: true }]]),
    );
    expect(faultOf(() => hashStruct(wide, 'All', values))).toMatch(/^TOO_LARGE/);
  });
});

describe('values', () => {
  it.each([
    ['uint8', -1, 'OUT_OF_RANGE'],
    ['uint8', 256, 'OUT_OF_RANGE'],
    ['uint8', '256', 'OUT_OF_RANGE'],
    ['uint8', '0x100', 'OUT_OF_RANGE'],
    ['int8', 128, 'OUT_OF_RANGE'],
    ['int8', -129n, 'OUT_OF_RANGE'],
    ['uint256', 1n << 256n, 'OUT_OF_RANGE'],
    ['uint256', -1n, 'OUT_OF_RANGE'],
    ['int256', 1n << 255n, 'OUT_OF_RANGE'],
    ['int256', -(1n << 255n) - 1n, 'OUT_OF_RANGE'],
    ['uint256', 2 ** 53, 'MALFORMED_VALUE'],
    ['uint256', 1.5, 'MALFORMED_VALUE'],
    ['uint256', Number.NaN, 'MALFORMED_VALUE'],
    ['uint256', '', 'MALFORMED_VALUE'],
    ['uint256', ' 1', 'MALFORMED_VALUE'],
    ['uint256', '1.0', 'MALFORMED_VALUE'],
    ['uint256', '1e3', 'MALFORMED_VALUE'],
    ['uint256', '0x', 'MALFORMED_VALUE'],
    ['uint256', '0b1', 'MALFORMED_VALUE'],
    ['uint256', '--1', 'MALFORMED_VALUE'],
    ['uint256', '1n', 'MALFORMED_VALUE'],
    ['uint256', '9'.repeat(1_000_000), 'MALFORMED_VALUE'],
    ['uint256', true, 'MALFORMED_VALUE'],
    ['uint256', null, 'MALFORMED_VALUE'],
    ['uint256', [1], 'MALFORMED_VALUE'],
    ['uint256', Uint8Array.of(1), 'MALFORMED_VALUE'],
    ['bool', 1, 'MALFORMED_VALUE'],
    ['bool', 'true', 'MALFORMED_VALUE'],
    ['bool', null, 'MALFORMED_VALUE'],
    ['string', 1, 'MALFORMED_VALUE'],
    ['string', null, 'MALFORMED_VALUE'],
    ['string', 'a\ud800', 'MALFORMED_VALUE'],
    ['bytes', 'abcd', 'MALFORMED_VALUE'],
    ['bytes', '0xabc', 'MALFORMED_VALUE'],
    ['bytes', '0xzz', 'MALFORMED_VALUE'],
    ['bytes', [1, 2], 'MALFORMED_VALUE'],
    ['bytes', { length: 2 }, 'MALFORMED_VALUE'],
    ['bytes4', '0x010203', 'WRONG_LENGTH'],
    ['bytes4', '0x0102030405', 'WRONG_LENGTH'],
    ['bytes32', '0x', 'WRONG_LENGTH'],
    ['bytes1', new Uint8Array(2), 'WRONG_LENGTH'],
    ['bytes4', 0x01020304, 'MALFORMED_VALUE'],
    ['address', ADDRESS.slice(2), 'MALFORMED_ADDRESS'],
    ['address', `${ADDRESS}00`, 'MALFORMED_ADDRESS'],
    ['address', ADDRESS.slice(0, -1), 'MALFORMED_ADDRESS'],
    ['address', ADDRESS.replace('CD2a', 'cD2a'), 'MALFORMED_ADDRESS'],
    ['address', ADDRESS.replace('0x', '0X'), 'MALFORMED_ADDRESS'],
    ['address', 'vitalik.eth', 'MALFORMED_ADDRESS'],
    ['address', 1n, 'MALFORMED_ADDRESS'],
    ['address', null, 'MALFORMED_ADDRESS'],
    ['uint8[]', 1, 'MALFORMED_VALUE'],
    ['uint8[]', {}, 'MALFORMED_VALUE'],
    ['uint8[]', null, 'MALFORMED_VALUE'],
    ['uint8[]', '0x0102', 'MALFORMED_VALUE'],
    ['uint8[]', Uint8Array.of(1, 2), 'MALFORMED_VALUE'],
    ['uint8[2]', [1], 'WRONG_LENGTH'],
    ['uint8[2]', [1, 2, 3], 'WRONG_LENGTH'],
    ['uint8[0]', [1], 'WRONG_LENGTH'],
    ['uint8[][2]', [[1]], 'WRONG_LENGTH'],
    ['uint8[2][]', [[1, 2], [1]], 'WRONG_LENGTH'],
    ['uint8[]', [1, 256], 'OUT_OF_RANGE'],
  ])('of %s: %s is refused', (type, value, code) => {
    expect(faultOf(() => hashOne(type, value)).split(' ')[0]).toBe(code);
  });

  it('are named by their path', () => {
    const types = { Inner: [{ name: 'list', type: 'uint8[2][]' }], T: [{ name: 'x', type: 'Inner[]' }] };
    const message = {
      x: [
        { list: [] },
        {
          list: [
            [1, 2],
            [3, 256],
          ],
        },
      ],
    };
    expect(faultOf(() => hashStruct(types, 'T', message))).toBe('OUT_OF_RANGE T.x.1.list.1.1');
  });

  it.each([
    ['an array', []],
    ['null', null],
    ['a text', '{}'],
    ['bytes', new Uint8Array(1)],
    ['nothing', undefined],
  ])('of a struct: %s is refused', (_name, value) => {
    expect(faultOf(() => hashStruct({ T: [] }, 'T', value as unknown as Record<string, unknown>))).toBe(
      'MALFORMED_VALUE T',
    );
    expect(faultOf(() => hashOne('S', value ?? null, { S: [] }))).toBe('MALFORMED_VALUE T.x');
  });

  it('are the same however an integer or bytes are written', () => {
    const all = [255, 255n, '255', '0xff', '0xFF', '0x00ff', '0255'].map((value) => toHex(hashOne('uint8', value)));
    expect(new Set(all).size).toBe(1);
    const negative = [-1, -1n, '-1', '-0x1'].map((value) => toHex(hashOne('int8', value)));
    expect(new Set(negative).size).toBe(1);
    expect(hashOne('bytes', '0xABcd')).toEqual(hashOne('bytes', Uint8Array.of(0xab, 0xcd)));
    expect(hashOne('address', ADDRESS)).toEqual(hashOne('address', ADDRESS.toLowerCase()));
    expect(hashOne('address', ADDRESS)).toEqual(hashOne('address', `0x${ADDRESS.slice(2).toUpperCase()}`));
  });
});

describe('domains', () => {
  it('follow their type exactly', () => {
    const types = {
      EIP712Domain: [
        { name: 'chainId', type: 'uint256' },
        { name: 'name', type: 'string' },
      ],
      T: [],
    };
    const domain = { name: 'x', chainId: '5' };
    // "User-agents should accept fields in any order as specified by the EIP712Domain type."
    expect(hashDomain(domain, types)).not.toEqual(hashDomain(domain));
    expect(faultOf(() => hashDomain({ name: 'x' }, types))).toBe('MISSING_FIELD EIP712Domain.chainId');
    expect(faultOf(() => hashDomain({ ...domain, version: '1' }, types))).toBe('UNKNOWN_FIELD EIP712Domain.version');
  });

  it('without a type take standard fields only', () => {
    expect(faultOf(() => hashDomain({ name: 'x', chainID: 1 }))).toBe('UNKNOWN_FIELD EIP712Domain.chainID');
    expect(faultOf(() => hashDomain({ name: null }))).toBe('MALFORMED_VALUE EIP712Domain.name');
    expect(faultOf(() => hashDomain({ chainId: -1 }))).toBe('OUT_OF_RANGE EIP712Domain.chainId');
    expect(faultOf(() => hashDomain({ salt: '0x00' }))).toBe('WRONG_LENGTH EIP712Domain.salt');
    for (const domain of [null, [], 'x', undefined]) {
      expect(faultOf(() => hashDomain(domain as unknown as Record<string, unknown>))).toBe(
        'MALFORMED_VALUE EIP712Domain',
      );
    }
  });

  it('are all there is where they are the primary type', () => {
    const data = { ...MAIL, primaryType: 'EIP712Domain', message: {} };
    const digest = hashTypedData(data);
    expect(hashTypedData({ ...data, message: MAIL.domain })).toEqual(digest);
    const { message: _, ...silent } = data;
    expect(hashTypedData(silent)).toEqual(digest);
    expect(digest).not.toEqual(hashTypedData(MAIL));
    expect(faultOf(() => hashTypedData({ ...data, message: { ...MAIL.domain, chainId: 7 } }))).toBe('MALFORMED_VALUE');
    expect(faultOf(() => hashTypedData({ ...data, message: { name: 'x' } }))).toMatch(/^MISSING_FIELD/);
    const { EIP712Domain: __, ...types } = MAIL.types;
    expect(hashTypedData({ ...data, types })).toEqual(digest);
  });

  it('need the rest of the data too', () => {
    const without = (name: keyof TypedData): TypedData => ({ ...MAIL, [name]: undefined }) as unknown as TypedData;
    expect(faultOf(() => hashTypedData(without('domain')))).toMatch(/^MALFORMED_VALUE/);
    expect(faultOf(() => hashTypedData(without('types')))).toMatch(/^MALFORMED_TYPES/);
    expect(faultOf(() => hashTypedData(without('primaryType')))).toMatch(/^MALFORMED_TYPES/);
    expect(faultOf(() => hashTypedData(without('message')))).toMatch(/^MALFORMED_VALUE/);
    expect(faultOf(() => hashTypedData({ ...MAIL, primaryType: 'Letter' }))).toMatch(/^UNKNOWN_TYPE/);
  });
});
