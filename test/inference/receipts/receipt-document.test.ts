import { describe, expect, it } from 'vitest';
import { toHex, utf8 } from '../../../attest/core/bytes.ts';
import { RuntimeError } from '../../../attest/core/error.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import { type Json, parseJson } from '../../../attest/encoding/canonical-json.ts';
import { signReceipt } from '../../../attest/sign/receipt.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import {
  factsOf as factsOfDocument,
  parseReceiptDocument,
  type ReceiptDocument,
  ReceiptDocumentError,
  toReceiptDocument,
  verifyReceiptDocument,
} from '../../../inference/receipts/receipt-document.ts';
import { factsOf, TEST_KEY, toyRequest } from '../../support/receipt-facts.ts';

const FACTS = factsOf('2 + 2 =', ' 4', { index: 7n, run: sha256(utf8('run')), runSeed: sha256(utf8('seed')) });
const GOOD = toReceiptDocument(FACTS, signReceipt(FACTS, TEST_KEY));
const SIGNER = addressOf(TEST_KEY);
const json = (document: object): Json => parseJson(utf8(JSON.stringify(document)));
const fields = json(GOOD) as { readonly [field: string]: Json };

describe('a document', () => {
  it('has all facts, through JSON', () => {
    const read = parseReceiptDocument(json(GOOD));
    expect(read).toEqual(GOOD);
    expect(factsOfDocument(read)).toEqual(FACTS);
    expect(verifyReceiptDocument(read, SIGNER)).toBe(SIGNER);
    expect(verifyReceiptDocument(read)).toBe(SIGNER);
  });

  it('has the id of its signature', () => {
    expect(GOOD.id).toBe(`rcpt_${toHex(sha256(Buffer.from(GOOD.receipt.signature.slice(2), 'hex'))).slice(2, 26)}`);
  });
});

describe('parse refuses', () => {
  const refused: readonly (readonly [string, Json, string])[] = [
    ['null', null, ''],
    ['a text', 'tracebond/receipt@1', ''],
    ['an array', [], ''],
    ...Object.keys(fields).map((field): readonly [string, Json, string] => {
      const { [field]: _, ...rest } = fields;
      return [`no ${field}`, rest, field];
    }),
    ...Object.keys(fields).map((field): readonly [string, Json, string] => [
      `${field} that is a number`,
      { ...fields, [field]: 1 },
      field,
    ]),
    ['an unknown field', { ...fields, note: '' }, 'note'],
    ['a receipt with a field too many', { ...fields, receipt: { ...GOOD.receipt, note: '' } }, 'receipt.note'],
    ['a request that is none', { ...fields, request: json({ ...GOOD.request, maxTokens: 0 }) }, 'request.maxTokens'],
    [
      'a request that contradicts itself',
      { ...fields, request: json({ ...GOOD.request, prompt: '' }) },
      'request.messages',
    ],
    ['an id of a token below 0', { ...fields, promptIds: [0, -1] }, 'promptIds.1'],
    ['an id of a token beyond uint32', { ...fields, outputIds: [2 ** 32] }, 'outputIds.0'],
    ['an id of a token in a half', { ...fields, outputIds: [0.5] }, 'outputIds.0'],
    ['a run seed of 31 bytes', { ...fields, runSeed: `0x${'00'.repeat(31)}` }, 'runSeed'],
    ['masks of zero, which is how null is signed', { ...fields, masks: `0x${'00'.repeat(32)}` }, 'masks'],
    ['half a character', { ...fields, text: 'x\ud800' }, 'text'],
  ];
  it.each(refused)('%s', (_, value, field) => {
    try {
      parseReceiptDocument(value);
    } catch (error) {
      expect(error).toBeInstanceOf(ReceiptDocumentError);
      expect(error).toMatchObject({ code: 'MALFORMED_DOCUMENT', at: { field: field === 'format' ? 'format' : field } });
      return;
    }
    expect.unreachable();
  });

  it('another format, and says which', () => {
    const code = 'UNSUPPORTED_FORMAT';
    const fault = expect.objectContaining({ code, at: { field: 'format', format: 'tracebond/receipt@2' } });
    expect(() => parseReceiptDocument({ ...fields, format: 'tracebond/receipt@2' })).toThrow(fault);
    expect(() => parseReceiptDocument({ format: 'x'.repeat(1000) })).toThrow(expect.objectContaining({ code }));
  });
});

function codeOf(document: ReceiptDocument, signer?: `0x${string}`): string {
  try {
    verifyReceiptDocument(document, signer);
  } catch (error) {
    if (RuntimeError.is(error)) return error.code;
    throw error;
  }
  return 'none';
}

describe('verify refuses', () => {
  const other = `0x${'a'.repeat(64)}` as const;
  const changed: readonly (readonly [string, Partial<ReceiptDocument>, string])[] = [
    ['another id', { id: `rcpt_${'0'.repeat(24)}` }, 'ID_MISMATCH'],
    ['another run seed', { runSeed: other }, 'SEED_MISMATCH'],
    ['another request', { request: toyRequest({ maxTokens: 65 }) }, 'REQUEST_MISMATCH'],
    ['a request for another model', { request: { ...GOOD.request, model: other } }, 'MODEL_MISMATCH'],
    ['a request for another engine', { request: { ...GOOD.request, engine: other } }, 'ENGINE_MISMATCH'],
    ['another profile', { request: { ...GOOD.request, profile: other } }, 'PROFILE_MISMATCH'],
    ['another prompt', { promptIds: [1] }, 'PROMPT_IDS_MISMATCH'],
    ['another output', { outputIds: [1] }, 'OUTPUT_IDS_MISMATCH'],
    ['masks', { masks: other }, 'MASKS_MISMATCH'],
    ['another text', { text: ' 5' }, 'TEXT_MISMATCH'],
    ['another end', { receipt: { ...GOOD.receipt, finish: 'length' } }, 'SIGNER_MISMATCH'],
    ['another run', { receipt: { ...GOOD.receipt, run: other } }, 'SIGNER_MISMATCH'],
    ['another chain', { receipt: { ...GOOD.receipt, chainId: '1' } }, 'SIGNER_MISMATCH'],
    ['another place', { receipt: { ...GOOD.receipt, index: '8' } }, 'SEED_MISMATCH'],
  ];
  it.each(changed)('%s', (_, change, code) => {
    expect(codeOf({ ...GOOD, ...change }, SIGNER)).toBe(code);
  });

  it('another signer, and a signature of nobody', () => {
    expect(codeOf(GOOD, addressOf(sha256(TEST_KEY)))).toBe('SIGNER_MISMATCH');
    const receipt = { ...GOOD.receipt, signature: `0x${'ff'.repeat(65)}` as const };
    const { id } = toReceiptDocument(FACTS, receipt);
    expect(codeOf({ ...GOOD, id, receipt }, SIGNER)).toBe('MALFORMED_SIGNATURE');
    expect(codeOf({ ...GOOD, id, receipt })).toBe('MALFORMED_SIGNATURE');
  });

  it('to call a changed receipt the work of its old signer where none is asked for', () => {
    const receipt = { ...GOOD.receipt, finish: 'length' as const };
    expect(verifyReceiptDocument({ ...GOOD, receipt })).not.toBe(SIGNER);
  });
});
