/**
 * Typed data for tests: arbitrary types, values and domains.
 *
 * @module
 */

import fc from 'fast-check';
import type { TypedData, TypedDataField } from '../../attest/sign/eip712.ts';

/** A struct's name by number; not in the order of the alphabet, so that sorting shows. */
const NAMES = ['Mail', 'Zebra', 'person', 'Alpha', '_Under', '$Dollar', 'Mail2'];

const MEMBERS = ['a', 'to', 'from', '_x', '$y', 'contents', 'name1', 'zz'];

/**
 * Typed data of which every struct may be used or not, without recursion. Integers come as bigints, decimal texts,
 * hexadecimal texts or numbers; bytes as arrays or texts.
 */
export const typedData: fc.Arbitrary<TypedData> = fc.nat({ max: NAMES.length - 1 }).chain((last) =>
  fc.tuple(...Array.from({ length: last + 1 }, (_, i) => members(i, last))).chain((structs) => {
    const types = Object.fromEntries(structs.map((fields, i) => [NAMES[i] as string, fields]));
    const primaryType = NAMES[0] as string;
    return fc.record({
      domain,
      types: fc.constant(types),
      primaryType: fc.constant(primaryType),
      message: someValue(types, primaryType) as fc.Arbitrary<Record<string, unknown>>,
    });
  }),
);

/** A domain with any of the standard fields, none included. */
export const domain: fc.Arbitrary<Record<string, unknown>> = fc.record(
  {
    name: fc.string({ unit: 'binary' }),
    version: fc.string(),
    chainId: fc.bigInt({ min: 0n, max: (1n << 256n) - 1n }),
    verifyingContract: fc.uint8Array({ minLength: 20, maxLength: 20 }).map(hex),
    salt: fc.uint8Array({ minLength: 32, maxLength: 32 }).map(hex),
  },
  { requiredKeys: [] },
);

/** Lower-case hexadecimal. */
export function hex(bytes: Uint8Array): string {
  return `0x${Buffer.from(bytes).toString('hex')}`;
}

function members(struct: number, last: number): fc.Arbitrary<TypedDataField[]> {
  const widths = Array.from({ length: 32 }, (_, i) => i + 1);
  const bases: fc.Arbitrary<string>[] = [
    fc.constantFrom('bool', 'address', 'string', 'bytes'),
    fc.constantFrom(...widths.map((width) => `bytes${width}`)),
    fc.constantFrom(...widths.flatMap((width) => [`uint${8 * width}`, `int${8 * width}`])),
  ];
  if (struct < last) bases.push(fc.integer({ min: struct + 1, max: last }).map((i) => NAMES[i] as string));
  const type = fc
    .tuple(fc.oneof(...bases), fc.array(fc.constantFrom('[]', '[0]', '[1]', '[2]', '[3]'), { maxLength: 2 }))
    .map(([base, suffixes]) => base + suffixes.join(''));
  return fc
    .uniqueArray(fc.constantFrom(...MEMBERS), { maxLength: 4 })
    .chain((names) =>
      fc.tuple(...names.map((name) => type.map((text) => ({ name, type: text })))).map((fields) => [...fields]),
    );
}

function someValue(types: Record<string, readonly TypedDataField[]>, type: string): fc.Arbitrary<unknown> {
  const array = /^(.*)\[(\d*)\]$/.exec(type);
  if (array) {
    const [, inner = '', count = ''] = array;
    const size = count === '' ? { maxLength: 3 } : { minLength: Number(count), maxLength: Number(count) };
    return fc.array(someValue(types, inner), size);
  }
  const fields = types[type];
  if (fields) return fc.record(Object.fromEntries(fields.map((field) => [field.name, someValue(types, field.type)])));
  if (type === 'bool') return fc.boolean();
  if (type === 'string') return fc.string({ unit: 'binary' });
  if (type === 'address') return fc.uint8Array({ minLength: 20, maxLength: 20 }).map(hex);
  if (type.startsWith('bytes')) {
    const width = Number(type.slice(5));
    return fc
      .uint8Array(width === 0 ? { maxLength: 70 } : { minLength: width, maxLength: width })
      .chain((bytes) =>
        fc.constantFrom<unknown>(new Uint8Array(bytes), hex(bytes), `0x${hex(bytes).slice(2).toUpperCase()}`),
      );
  }
  const signed = type.startsWith('int');
  const bits = BigInt(type.slice(signed ? 3 : 4));
  const [min, max] = signed ? [-(1n << (bits - 1n)), (1n << (bits - 1n)) - 1n] : [0n, (1n << bits) - 1n];
  return fc
    .oneof(fc.bigInt({ min, max }), fc.constantFrom(min, max, 0n))
    .chain((value) =>
      fc.constantFrom<unknown>(
        value,
        String(value),
        value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`,
        Number.isSafeInteger(Number(value)) ? Number(value) : value,
      ),
    );
}
