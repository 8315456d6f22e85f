import { createHash } from 'node:crypto';
import { TypedDataEncoder } from 'ethers';
import { describe, expect, it } from 'vitest';
import { fromHex, type Hex, toHex } from '../../../attest/core/bytes.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import {
  computeEmbeddingReceiptFields,
  computeVectorsDigest,
  type EmbeddingFacts,
  type EmbeddingReceiptFields,
  parseEmbeddingReceipt,
  recoverEmbeddingSigner,
  signEmbeddingReceipt,
  verifyEmbeddingReceiptFields,
} from '../../../attest/sign/embedding-receipt.ts';
import { ReceiptError } from '../../../attest/sign/receipt-errors.ts';
import { addressOf, recoverAddress } from '../../../attest/sign/secp256k1.ts';
import { TEST_KEY } from '../../support/receipt-facts.ts';

const hex = (digit: string, bytes = 32): Hex => `0x${digit.repeat(2 * bytes)}`;
const FACTS: EmbeddingFacts = {
  chainId: 31_337n,
  contract: hex('c', 20),
  request: { model: hex('1'), profile: hex('2'), engine: hex('3'), input: ['one', 'zwei "ü"'] },
  ids: [[1, 0xffffffff], [258]],
  vectors: [[1, -0.5, 0], [Math.fround(0.1)]],
};
const RECEIPT = signEmbeddingReceipt(FACTS, TEST_KEY);

/** By Node's own hash. */
function digestOf(...parts: readonly (string | Uint8Array)[]): Hex {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return `0x${hash.digest('hex')}`;
}
const bytes = (...values: readonly number[]) => Uint8Array.from(values);

describe('the fields of a receipt of embeddings', () => {
  it('are the digests of the spec, byte for byte', () => {
    const ids = [bytes(0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff), bytes(0, 0, 1, 2)];
    const json = `{"engine":"${hex('3')}","input":["one","zwei \\"ü\\""],"model":"${hex('1')}","profile":"${hex('2')}"}`;
    expect(computeEmbeddingReceiptFields(FACTS)).toEqual({
      chainId: '31337',
      contract: hex('c', 20),
      request: digestOf('tracebond/embedding/1', json),
      ids: digestOf('tracebond/id-lists/1', ...ids.map((id) => fromHex(digestOf('tracebond/ids/1', id)))),
      vectors: digestOf(
        'tracebond/vectors/1',
        bytes(0, 0, 0, 2),
        bytes(0, 0, 0, 3, 0x3f, 0x80, 0, 0, 0xbf, 0, 0, 0, 0, 0, 0, 0),
        bytes(0, 0, 0, 1, 0x3d, 0xcc, 0xcc, 0xcd),
      ),
      model: hex('1'),
      profile: hex('2'),
      engine: hex('3'),
    });
  });

  it('tell a zero from its negative, and one vector from two', () => {
    const digests = [[[0]], [[-0]], [[0, 0]], [[0], [0]], [[0], []], [[], [0]], []].map((vectors) =>
      toHex(computeVectorsDigest(vectors)),
    );
    expect(new Set(digests).size).toBe(digests.length);
  });
});

describe('the signature of a receipt of embeddings', () => {
  it('is over the typed data of the spec, each field in its place', () => {
    const { chainId, contract, signature, ...message } = RECEIPT;
    const domain = { name: 'Tracebond', version: '1', chainId: BigInt(chainId), verifyingContract: contract };
    const names = ['request', 'ids', 'vectors', 'model', 'profile', 'engine'];
    const types = { EmbeddingReceipt: names.map((name) => ({ name, type: 'bytes32' })) };
    const digest = fromHex(TypedDataEncoder.hash(domain, types, message), 32);
    expect(recoverAddress(digest, fromHex(signature, 65))).toBe(addressOf(TEST_KEY));
    expect(recoverEmbeddingSigner(RECEIPT)).toBe(addressOf(TEST_KEY));
  });

  it('does not hold for another value of any field', () => {
    const others: EmbeddingReceiptFields = {
      chainId: '1',
      contract: hex('d', 20),
      request: hex('9'),
      ids: hex('9'),
      vectors: hex('9'),
      model: hex('9'),
      profile: hex('9'),
      engine: hex('9'),
    };
    for (const [field, value] of Object.entries(others)) {
      expect([field, recoverEmbeddingSigner({ ...RECEIPT, [field]: value })]).not.toEqual([field, addressOf(TEST_KEY)]);
    }
    expect(() => recoverEmbeddingSigner({ ...RECEIPT, signature: hex('0', 65) })).toThrow(
      expect.objectContaining({ code: 'MALFORMED_SIGNATURE' }),
    );
  });
});

describe('a receipt of embeddings', () => {
  const { signature: _, ...fields } = RECEIPT;

  it.each([
    ['chainId', 'CHAIN_MISMATCH', '1'],
    ['contract', 'CONTRACT_MISMATCH', hex('d', 20)],
    ['model', 'MODEL_MISMATCH', hex('9')],
    ['profile', 'PROFILE_MISMATCH', hex('9')],
    ['engine', 'ENGINE_MISMATCH', hex('9')],
    ['request', 'REQUEST_MISMATCH', hex('9')],
    ['ids', 'PROMPT_IDS_MISMATCH', hex('9')],
    ['vectors', 'VECTORS_MISMATCH', hex('9')],
  ] as const)('of another %s is told by it', (field, code, value) => {
    verifyEmbeddingReceiptFields(RECEIPT, fields);
    const fault = expect.objectContaining({ code, at: { field: `receipt.${field}` } });
    expect(() => verifyEmbeddingReceiptFields(RECEIPT, { ...fields, [field]: value })).toThrow(fault);
    expect(() => verifyEmbeddingReceiptFields(RECEIPT, { [field]: value })).toThrow(fault);
  });

  it('is read in its own form and in no other', () => {
    const read = (change: { readonly [field: string]: Json | undefined }) =>
      parseEmbeddingReceipt(JSON.parse(JSON.stringify({ ...RECEIPT, ...change })));
    expect(read({})).toEqual(RECEIPT);
    const bad: readonly { readonly [field: string]: Json | undefined }[] = [
      { chainId: 31_337 },
      { chainId: '031337' },
      { contract: hex('c') },
      { vectors: undefined },
      { engine: hex('A') },
      { signature: hex('1', 64) },
      { finish: 'stop' },
    ];
    for (const change of bad) {
      const [field] = Object.keys(change);
      expect(() => read(change), field).toThrow(ReceiptError);
      expect(() => read(change), field).toThrow(expect.objectContaining({ code: 'MALFORMED_RECEIPT' }));
    }
    for (const value of [null, [], 'x', 7]) {
      expect(() => parseEmbeddingReceipt(value)).toThrow(expect.objectContaining({ code: 'MALFORMED_RECEIPT' }));
    }
  });
});
