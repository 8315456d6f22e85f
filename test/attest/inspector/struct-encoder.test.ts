import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { toHex } from '../../../attest/core/bytes.ts';
import { encodeType, hashTypedData, type TypedData } from '../../../attest/sign/eip712.ts';
import { TypedDataError } from '../../../attest/sign/errors.ts';
import { domain, hex, typedData } from '../../support/typed-data.ts';

// What the page's build does by an alias: every module of attest meets the encoder without ethers.
vi.mock('../../../attest/sign/struct-encoder.ts', () => import('../../../attest/inspector/struct-encoder.ts'));
const withEthers = await vi.importActual<typeof import('../../../attest/sign/struct-encoder.ts')>(
  '../../../attest/sign/struct-encoder.ts',
);
const { toSchema } = await import('../../../attest/sign/eip712-types.ts');
const { RECEIPT_TYPES } = await import('../../../attest/sign/receipt.ts');
const light = await import('../../../attest/inspector/struct-encoder.ts');

const vectors = JSON.parse(readFileSync(new URL('../../vectors/eip712/cases.json', import.meta.url), 'utf8')) as {
  cases: readonly (TypedData & { readonly name: string; readonly type?: string; readonly digest: string })[];
};

it.each(vectors.cases)('has the digest of the vector: $name', ({ name: _, type, digest, ...data }) => {
  expect(toHex(hashTypedData(data))).toBe(digest);
  if (type !== undefined) expect(encodeType(data.types, data.primaryType)).toBe(type);
});

describe('agreement with ethers', () => {
  it('on 40 typed data of any shape', async () => {
    const { TypedDataEncoder } = await import('ethers');
    fc.assert(
      fc.property(typedData, (data) => {
        const used = (name: string, found: Record<string, { name: string; type: string }[]> = {}) => {
          const fields = data.types[name];
          if (fields === undefined || found[name]) return found;
          found[name] = [...fields];
          for (const { type } of fields) used(type.replace(/\[.*$/, ''), found);
          return found;
        };
        const message = data.message as Record<string, unknown>;
        expect(toHex(hashTypedData(data))).toBe(TypedDataEncoder.hash(data.domain, used(data.primaryType), message));
      }),
      { numRuns: 40 },
    );
  });

  it('on random values of the structs that a trace signs', () => {
    const b32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
    const structs = {
      Checkpoint: [
        { name: 'run', type: 'bytes32' },
        { name: 'size', type: 'uint64' },
        { name: 'root', type: 'bytes32' },
        { name: 'state', type: 'bytes32' },
        { name: 'closed', type: 'bool' },
      ],
      ...RECEIPT_TYPES,
    };
    for (const [name, members] of Object.entries(structs)) {
      const values = members.map(({ name: member, type }) => {
        if (type === 'bool') return [member, fc.boolean()] as const;
        if (type === 'string') return [member, fc.string({ unit: 'binary' })] as const;
        if (type === 'address') return [member, fc.uint8Array({ minLength: 20, maxLength: 20 }).map(hex)] as const;
        if (type.startsWith('uint')) {
          return [member, fc.bigInt({ min: 0n, max: (1n << BigInt(type.slice(4))) - 1n })] as const;
        }
        expect(type).toBe('bytes32');
        return [member, b32] as const;
      });
      fc.assert(
        fc.property(fc.record(Object.fromEntries(values)), (value) => {
          const schema = toSchema(structs);
          expect(toHex(light.structEncoder(schema, name).hash(value))).toBe(
            toHex(withEthers.structEncoder(schema, name).hash(value)),
          );
        }),
        { numRuns: 40 },
      );
    }
  });
});

it('refuses what is not exactly of its type, by the same checks', () => {
  fc.assert(
    fc.property(domain, (one) => {
      const data = { domain: one, types: { T: [{ name: 'x', type: 'uint64' }] }, primaryType: 'T', message: { x: -1 } };
      expect(() => hashTypedData(data)).toThrow(TypedDataError);
    }),
    { numRuns: 20 },
  );
});
