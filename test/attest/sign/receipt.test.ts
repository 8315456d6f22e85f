import { readFileSync } from 'node:fs';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { describe, expect, it } from 'vitest';
import { concatBytes, fromHex, type Hex, toHex, uintBytes, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import { type Json, parseJson } from '../../../attest/encoding/canonical-json.ts';
import {
  computeIdsDigest,
  computeMasksRoot,
  computeReceiptDigest,
  computeReceiptFields,
  NO_CONTRACT,
  parseReceipt,
  type Receipt,
  type ReceiptFacts,
  type ReceiptFields,
  signReceipt,
  toReceipt,
  verifyReceipt,
  verifyReceiptFields,
  verifyReceiptSignature,
} from '../../../attest/sign/receipt.ts';
import { ReceiptError } from '../../../attest/sign/receipt-errors.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { factsOf, TEST_KEY, toyMessage, toyRequest } from '../../support/receipt-facts.ts';

type Vectors = {
  readonly privateKey: Hex;
  readonly signer: Hex;
  readonly cases: readonly {
    readonly name: string;
    readonly facts: Omit<ReceiptFacts, 'chainId' | 'index' | 'run' | 'runSeed'> & {
      readonly chainId: string;
      readonly index: string;
      readonly run: Hex;
      readonly runSeed: Hex;
    };
    readonly digest: Hex;
    readonly receipt: Receipt;
  }[];
  readonly collisions: readonly {
    readonly name: string;
    readonly a: Naive;
    readonly b: Naive;
    readonly concatenation: string;
    readonly naive: readonly [Hex, Hex];
    readonly receipt: readonly [Hex, Hex];
  }[];
  readonly mutations: readonly { readonly field: keyof Receipt; readonly value: string; readonly wantErr: string }[];
};
type Naive = { readonly chainId: string; readonly model: string; readonly prompt: string; readonly output: string };

const vectors = JSON.parse(
  readFileSync(new URL('../../vectors/receipt/receipts.json', import.meta.url), 'utf8'),
) as Vectors;
const SIGNER = addressOf(TEST_KEY);
const FACTS = factsOf('2 + 2 =', ' 4', {
  chainId: 31337n,
  contract: `0x${'5f'.repeat(20)}`,
  run: sha256(utf8('run')),
  index: 7n,
  runSeed: sha256(utf8('seed')),
});
const RECEIPT = signReceipt(FACTS, TEST_KEY);

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof ReceiptError) return error.code;
    throw error;
  }
  return 'none';
}

describe('vectors', () => {
  it.each(vectors.cases)('$name', ({ facts, digest, receipt }) => {
    const read: ReceiptFacts = {
      ...facts,
      chainId: BigInt(facts.chainId),
      index: BigInt(facts.index),
      run: fromHex(facts.run),
      runSeed: fromHex(facts.runSeed),
    };
    expect(toHex(computeReceiptDigest(computeReceiptFields(read)))).toBe(digest);
    expect(signReceipt(read, fromHex(vectors.privateKey))).toEqual(receipt);
    verifyReceipt(parseReceipt(receipt), read, vectors.signer);
  });

  it.each(vectors.mutations)('$field is refused as $wantErr', ({ field, value, wantErr }) => {
    const [first] = vectors.cases;
    const facts: ReceiptFacts = {
      ...(first?.facts as NonNullable<typeof first>['facts']),
      chainId: BigInt(first?.facts.chainId ?? 0),
      index: BigInt(first?.facts.index ?? 0),
      run: fromHex(first?.facts.run ?? ''),
      runSeed: fromHex(first?.facts.runSeed ?? ''),
    };
    const receipt = parseReceipt({ ...first?.receipt, [field]: value } as Json);
    expect(codeOf(() => verifyReceipt(receipt, facts, vectors.signer))).toBe(wantErr);
    // The signature covers the field too, whoever compares nothing.
    expect(codeOf(() => verifyReceiptSignature(receipt, vectors.signer))).toBe('SIGNER_MISMATCH');
  });

  it('a field for each mutation', () => {
    const { signature: _, ...fields } = RECEIPT;
    expect(vectors.mutations.map(({ field }) => field).sort()).toEqual(Object.keys(fields).sort());
  });

  it.each(vectors.collisions)(
    'collision of a signature without separators: $name',
    ({ a, b, naive, receipt, ...rest }) => {
      const join = ({ chainId, model, prompt, output }: Naive) => chainId + model + prompt + output;
      expect(a).not.toEqual(b);
      expect(join(a)).toBe(rest.concatenation);
      expect(join(b)).toBe(rest.concatenation);
      expect(naive).toEqual([a, b].map((side) => toHex(sha256(utf8(join(side))))));
      expect(naive[0]).toBe(naive[1]);
      const digests = [a, b].map(({ chainId, model, prompt, output }) => {
        const facts = factsOf(prompt, output, { chainId: BigInt(chainId) });
        const request = { ...facts.request, model: toHex(sha256(utf8(model))) };
        return toHex(computeReceiptDigest(computeReceiptFields({ ...facts, request })));
      });
      expect(digests).toEqual(receipt);
      expect(digests[0]).not.toBe(digests[1]);
    },
  );

  it('a receipt of one side of a collision is refused for the other', () => {
    for (const { a, b } of vectors.collisions) {
      const [one, two] = [a, b].map(({ chainId, prompt, output }) =>
        factsOf(prompt, output, { chainId: BigInt(chainId) }),
      ) as [ReceiptFacts, ReceiptFacts];
      expect(codeOf(() => verifyReceipt(signReceipt(one, TEST_KEY), two, SIGNER))).toMatch(
        /^(?:REQUEST|CHAIN)_MISMATCH$/,
      );
    }
  });
});

describe('digest', () => {
  it('is EIP-712 as written out by hand', () => {
    const fields = computeReceiptFields(FACTS);
    const word = (value: bigint) => uintBytes(value, 32);
    const hash = (text: string) => keccak_256(utf8(text));
    const domain = keccak_256(
      concatBytes(
        hash('EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)'),
        hash('Tracebond'),
        hash('1'),
        word(31337n),
        concatBytes(new Uint8Array(12), fromHex(FACTS.contract)),
      ),
    );
    const struct = keccak_256(
      concatBytes(
        hash(
          'InferenceReceipt(bytes32 run,uint64 index,bytes32 request,bytes32 seed,bytes32 promptIds,bytes32 outputIds,bytes32 masks,bytes32 text,string finish,bytes32 model,bytes32 profile,bytes32 engine)',
        ),
        fromHex(fields.run),
        word(7n),
        ...(['request', 'seed', 'promptIds', 'outputIds', 'masks', 'text'] as const).map((name) =>
          fromHex(fields[name]),
        ),
        hash('stop'),
        ...(['model', 'profile', 'engine'] as const).map((name) => fromHex(fields[name])),
      ),
    );
    expect(computeReceiptDigest(fields)).toEqual(keccak_256(concatBytes(Uint8Array.of(0x19, 1), domain, struct)));
  });

  it('of ids keeps their number and borders', () => {
    expect(computeIdsDigest([1, 2])).toEqual(sha256(utf8('tracebond/ids/1'), Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 2)));
    expect(computeIdsDigest([0])).not.toEqual(computeIdsDigest([]));
    for (const id of [-1, 0.5, 2 ** 32, Number.NaN]) expect(() => computeIdsDigest([id])).toThrow(RangeError);
  });
});

describe('masks root', () => {
  it('is the Merkle root over their digests, by a name of its own', () => {
    const [one, two] = [sha256(utf8('one')), sha256(utf8('two'))];
    const leaf = (mask: Uint8Array) => sha256(utf8('tracebond/mask/1'), mask);
    expect(toHex(computeMasksRoot([one]))).toBe(toHex(leaf(one)));
    expect(toHex(computeMasksRoot([one, two]))).toBe(toHex(sha256(Uint8Array.of(1), leaf(one), leaf(two))));
  });

  it('differs with order and number', () => {
    const [one, two] = [sha256(utf8('one')), sha256(utf8('two'))];
    const roots = [[], [one], [two], [one, two], [two, one], [one, one]].map((masks) => toHex(computeMasksRoot(masks)));
    expect(new Set(roots).size).toBe(roots.length);
  });
});

describe('facts', () => {
  const changed: readonly (readonly [string, ReceiptFacts, string])[] = [
    ['another chain', { ...FACTS, chainId: 1n }, 'CHAIN_MISMATCH'],
    ['another contract', { ...FACTS, contract: NO_CONTRACT }, 'CONTRACT_MISMATCH'],
    ['another run', { ...FACTS, run: sha256(utf8('other')) }, 'RUN_MISMATCH'],
    ['another record', { ...FACTS, index: 8n }, 'INDEX_MISMATCH'],
    ['another run seed', { ...FACTS, runSeed: sha256(utf8('other')) }, 'SEED_MISMATCH'],
    ['another token in', { ...FACTS, completion: { ...FACTS.completion, promptIds: [1] } }, 'PROMPT_IDS_MISMATCH'],
    ['another token out', { ...FACTS, completion: { ...FACTS.completion, outputIds: [1] } }, 'OUTPUT_IDS_MISMATCH'],
    [
      'masks where all was allowed',
      { ...FACTS, completion: { ...FACTS.completion, masks: `0x${'a'.repeat(64)}` } },
      'MASKS_MISMATCH',
    ],
    ['another text', { ...FACTS, completion: { ...FACTS.completion, text: ' 5' } }, 'TEXT_MISMATCH'],
    ['another end', { ...FACTS, completion: { ...FACTS.completion, finishReason: 'length' } }, 'FINISH_MISMATCH'],
    ['another model', { ...FACTS, request: { ...FACTS.request, model: `0x${'a'.repeat(64)}` } }, 'MODEL_MISMATCH'],
    [
      'another role',
      { ...FACTS, request: toyRequest({ messages: [toyMessage('2 + 2 =', { role: 'system' })] }) },
      'REQUEST_MISMATCH',
    ],
    [
      'another border of messages',
      {
        ...FACTS,
        request: toyRequest({ messages: ['2 + ', '2 ='].map((content) => toyMessage(content)) }),
      },
      'REQUEST_MISMATCH',
    ],
    ['another limit', { ...FACTS, request: { ...FACTS.request, maxTokens: 65 } }, 'REQUEST_MISMATCH'],
    ['another stop', { ...FACTS, request: { ...FACTS.request, stop: ['x'] } }, 'REQUEST_MISMATCH'],
    ['another own seed', { ...FACTS, request: { ...FACTS.request, seed: '1' } }, 'REQUEST_MISMATCH'],
    [
      'a choice',
      { ...FACTS, request: { ...FACTS.request, responseFormat: { type: 'choice', choices: ['4'] } } },
      'REQUEST_MISMATCH',
    ],
  ];
  it.each(changed)('%s', (_, facts, code) => {
    verifyReceipt(RECEIPT, FACTS, SIGNER);
    expect(codeOf(() => verifyReceipt(RECEIPT, facts, SIGNER))).toBe(code);
  });

  it('known in part are compared in part', () => {
    const { request, model } = computeReceiptFields(FACTS);
    verifyReceiptFields(RECEIPT, { request, model });
    expect(codeOf(() => verifyReceiptFields(RECEIPT, { request, model: request }))).toBe('MODEL_MISMATCH');
  });

  it('with the signature alone make the receipt again', () => {
    expect(toReceipt(FACTS, RECEIPT.signature)).toEqual(RECEIPT);
  });
});

describe('signature', () => {
  it('by another key', () => {
    expect(codeOf(() => verifyReceipt(signReceipt(FACTS, sha256(TEST_KEY)), FACTS, SIGNER))).toBe('SIGNER_MISMATCH');
  });

  it('with any one bit flipped', () => {
    const bytes = fromHex(RECEIPT.signature);
    for (let bit = 0; bit < 8 * bytes.length; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      const code = codeOf(() => verifyReceipt({ ...RECEIPT, signature: toHex(flipped) }, FACTS, SIGNER));
      expect(code).toMatch(/^(?:SIGNER_MISMATCH|MALFORMED_SIGNATURE)$/);
    }
  });

  it('is compared with the address in any case', () => {
    verifyReceipt(RECEIPT, FACTS, SIGNER.toUpperCase().replace('0X', '0x') as Hex);
  });
});

describe('parse', () => {
  const malformed: readonly (readonly [string, Json, string])[] = [
    ['null', null, 'receipt'],
    ['an array', [], 'receipt'],
    ['nothing', {}, 'receipt.chainId'],
    ['an unknown field', { ...RECEIPT, note: 1 }, 'receipt.note'],
    ...(Object.keys(RECEIPT) as (keyof Receipt)[]).map((field): readonly [string, Json, string] => {
      const { [field]: _, ...rest } = RECEIPT;
      return [`no ${field}`, rest, `receipt.${field}`];
    }),
    ...(Object.keys(RECEIPT) as (keyof Receipt)[]).map((field): readonly [string, Json, string] => [
      `${field} of a wrong type`,
      { ...RECEIPT, [field]: 1 },
      `receipt.${field}`,
    ]),
    ['index with a zero before', { ...RECEIPT, index: '07' }, 'receipt.index'],
    ['index beyond uint64', { ...RECEIPT, index: (1n << 64n).toString() }, 'receipt.index'],
    ['upper-case hex', { ...RECEIPT, run: RECEIPT.run.toUpperCase() }, 'receipt.run'],
    ['short hex', { ...RECEIPT, run: RECEIPT.run.slice(0, -2) }, 'receipt.run'],
    ['unknown finish', { ...RECEIPT, finish: 'tool_calls' }, 'receipt.finish'],
    ['short signature', { ...RECEIPT, signature: RECEIPT.signature.slice(0, -2) }, 'receipt.signature'],
  ];
  it.each(malformed)('%s', (_, value, field) => {
    try {
      parseReceipt(value);
    } catch (error) {
      expect(error).toBeInstanceOf(ReceiptError);
      expect((error as ReceiptError).code).toBe('MALFORMED_RECEIPT');
      expect((error as ReceiptError).at).toEqual({ field });
      return;
    }
    expect.unreachable();
  });

  it('reads what was signed, through JSON', () => {
    const read = parseReceipt(parseJson(utf8(JSON.stringify(RECEIPT))));
    expect(read).toEqual(RECEIPT satisfies ReceiptFields);
  });
});
