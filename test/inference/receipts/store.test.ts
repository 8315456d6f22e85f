import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { signReceipt } from '../../../attest/sign/receipt.ts';
import {
  parseReceiptDocument,
  type ReceiptDocument,
  toReceiptDocument,
} from '../../../inference/receipts/receipt-document.ts';
import { openReceiptStore } from '../../../inference/receipts/store.ts';
import { factsOf, TEST_KEY } from '../../support/receipt-facts.ts';
import { temporaryFolder } from '../../support/temporary.ts';

function documentOf(index: number): ReceiptDocument {
  const facts = factsOf('hi', `answer ${index}`, { index: BigInt(index) });
  return toReceiptDocument(facts, signReceipt(facts, TEST_KEY));
}

const open = (
  folder: string,
  options: { maxDocuments?: number; maxBytes?: number; onFault?: (e: unknown) => void } = {},
) => openReceiptStore({ folder, parse: parseReceiptDocument, ...options });
const ONE = documentOf(1);
const file = (folder: string, { id } = ONE) => join(folder, `${id}.json`);

describe('a receipt', () => {
  it('can be read at once, later, and after a restart', async () => {
    const folder = join(temporaryFolder(), 'new', 'receipts');
    const store = await open(folder);
    await store.put(ONE, null);
    expect(existsSync(file(folder))).toBe(false);
    expect(await store.get(ONE.id, null)).toEqual(ONE);
    await store.close();
    expect(await store.get(ONE.id, null)).toEqual(ONE);
    expect(await (await open(folder)).get(ONE.id, null)).toEqual(ONE);
    expect(readdirSync(folder)).toEqual([`${ONE.id}.json`]);
    expect(store.counts).toEqual({ documents: 1, bytes: statSync(file(folder)).size });
  });

  it('is kept for whom it is made while it is written for another', async () => {
    const store = await open(temporaryFolder());
    await store.put(ONE, { id: 'a' });
    // The first is on its way to its file.
    for (let i = 0; i < 5; i++) await undefined;
    await store.put(ONE, { id: 'b' });
    await store.close();
    for (const id of ['a', 'b']) expect(await store.get(ONE.id, { id })).toEqual(ONE);
    expect(await store.get(ONE.id, { id: 'c' })).toBeUndefined();
  });

  it('is waited for where too many others wait for their files (K1)', async () => {
    const store = await openReceiptStore({
      folder: temporaryFolder(),
      parse: () => ({ id: '' }),
    });
    const idOf = (i: number) => `rcpt_${String(i).padStart(24, '0')}`;
    const puts = Array.from({ length: 300 }, (_, i) => store.put({ id: idOf(i) }, null));
    await Promise.all(puts.slice(0, 256));
    expect(store.counts.documents).toBe(0);
    await puts[299];
    expect(store.counts.documents).toBeGreaterThanOrEqual(300 - 256);
    await store.close();
    expect(store.counts.documents).toBe(300);
  });

  it('knows the last 256 for whom it was made', async () => {
    const folder = temporaryFolder();
    const store = await open(folder);
    for (let i = 0; i < 300; i++) await store.put(ONE, { id: `k${i}` });
    await store.close();
    expect(JSON.parse(readFileSync(file(folder), 'utf8')).owners).toHaveLength(256);
    expect(await store.get(ONE.id, { id: 'k299' })).toEqual(ONE);
    expect(await store.get(ONE.id, { id: 'k0' })).toBeUndefined();
  });

  it('that is kept again takes its room once', async () => {
    const folder = temporaryFolder();
    const store = await open(folder);
    for (const id of ['a', 'b', 'b']) {
      await store.put(ONE, { id });
      await store.close();
    }
    expect(store.counts).toEqual({ documents: 1, bytes: statSync(file(folder)).size });
  });

  it('is found by the ids of responses too, the last so many of them, and by whom it was made for', async () => {
    const store = await open(temporaryFolder(), { maxDocuments: 2 });
    const caller = { id: 'a' };
    await store.put(ONE, caller, 'chatcmpl-1');
    await store.put(ONE, caller, 'chatcmpl-2');
    expect(await store.get('chatcmpl-1', caller)).toEqual(ONE);
    expect(await store.get('chatcmpl-2', { id: 'b' })).toBeUndefined();
    await store.put(documentOf(2), caller, '../3');
    expect(await store.get('chatcmpl-1', caller)).toBeUndefined();
    expect(await store.get('chatcmpl-2', caller)).toEqual(ONE);
    expect(await store.get('../3', caller)).toEqual(documentOf(2));
    expect(await store.get('../4', caller)).toBeUndefined();
    await store.close();
  });

  it('is for the eyes of its owner on this computer', async () => {
    const folder = join(temporaryFolder(), 'receipts');
    const store = await open(folder);
    await store.put(ONE, null);
    await store.close();
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(file(folder)).mode & 0o777).toBe(0o600);
  });

  it('is given to whom it was made for', async () => {
    const folder = temporaryFolder();
    const store = await open(folder);
    const [a, b, c] = ['a', 'b', 'c'].map((id) => ({ id })) as [{ id: string }, { id: string }, { id: string }];
    await store.put(ONE, a);
    const seenBy = async (from: typeof store) => {
      const seen = await Promise.all([a, b, c, null].map((caller) => from.get(ONE.id, caller)));
      return seen.map((document) => document !== undefined);
    };
    expect(await seenBy(store)).toEqual([true, false, false, true]);
    await store.close();
    expect(await seenBy(store)).toEqual([true, false, false, true]);
    // The same question by another: both may read the one receipt, before and after it is written.
    await store.put(ONE, b);
    expect(await seenBy(store)).toEqual([true, true, false, true]);
    await store.close();
    expect(await seenBy(await open(folder))).toEqual([true, true, false, true]);
    expect(store.counts.documents).toBe(1);
  });

  it('of a server without keys is nobody elses when there are keys', async () => {
    const store = await open(temporaryFolder());
    await store.put(ONE, null);
    expect(await store.get(ONE.id, { id: 'null' })).toBeUndefined();
    await store.close();
    expect(await store.get(ONE.id, { id: 'null' })).toBeUndefined();
  });

  it.each([
    '',
    'x',
    'rcpt_',
    `rcpt_${'0'.repeat(23)}`,
    `rcpt_${'A'.repeat(24)}`,
    '../secret',
    `rcpt_${'0'.repeat(24)}/..`,
    `${'../'.repeat(8)}etc/passwd`,
    `rcpt_${'0'.repeat(24)}\n`,
  ])('has no id like %j', async (id) => {
    const folder = join(temporaryFolder(), 'receipts');
    const faults: unknown[] = [];
    const store = await open(folder, { onFault: (fault) => faults.push(fault) });
    writeFileSync(join(folder, '..', 'secret.json'), JSON.stringify({ owners: [null], document: ONE }));
    expect(await store.get(id, null)).toBeUndefined();
    expect(faults).toEqual([]);
  });
});

describe('bounds', () => {
  it('of number: the oldest go, also those of an earlier run', async () => {
    const folder = temporaryFolder();
    const first = await open(folder);
    for (let i = 0; i < 3; i++) await first.put(documentOf(i), null);
    await first.close();
    // Their order on disk is that of their times.
    for (let i = 0; i < 3; i++) utimesSync(file(folder, documentOf(i)), 1000 - i, 1000 - i);
    const store = await open(folder, { maxDocuments: 3 });
    await store.put(documentOf(3), null);
    await store.close();
    const kept = await Promise.all([0, 1, 2, 3].map((i) => store.get(documentOf(i).id, null)));
    expect(kept.map((document) => document !== undefined)).toEqual([true, true, false, true]);
    expect(readdirSync(folder)).toHaveLength(3);
    expect(store.counts.documents).toBe(3);
  });

  it('of bytes; one that alone is larger stays', async () => {
    const folder = temporaryFolder();
    const store = await open(folder, { maxBytes: 5000 });
    for (let i = 0; i < 20; i++) await store.put(documentOf(i), null);
    await store.close();
    expect(store.counts.bytes).toBeLessThanOrEqual(5000);
    expect(store.counts.documents).toBe(readdirSync(folder).length);
    expect(await store.get(documentOf(19).id, null)).toBeDefined();
    const tight = await open(temporaryFolder(), { maxBytes: 1 });
    await tight.put(ONE, null);
    await tight.close();
    expect(await tight.get(ONE.id, null)).toEqual(ONE);
  });

  it('of what waits: a thousand at once are all kept, in whole files', async () => {
    const folder = temporaryFolder();
    const store = await open(folder);
    const made = Array.from({ length: 40 }, (_, i) => documentOf(i));
    // The same ids again and again, and 1,000 of other names.
    const many = Array.from({ length: 1000 }, (_, i) => ({ ...ONE, id: `rcpt_${i.toString(16).padStart(24, '0')}` }));
    await Promise.all([...made, ...many, ...made].map((document) => store.put(document, null)));
    for (const document of [...made, ...many]) expect(await store.get(document.id, null)).toBeDefined();
    await store.close();
    const names = readdirSync(folder);
    expect(names).toHaveLength(1040);
    for (const name of names) JSON.parse(readFileSync(join(folder, name), 'utf8'));
  });
});

describe('a folder', () => {
  it('keeps nothing of a file that could not be put in its place', async () => {
    const folder = temporaryFolder();
    const faults: unknown[] = [];
    const store = await open(folder, { onFault: (error) => faults.push(error) });
    mkdirSync(file(folder));
    await store.put(ONE, null);
    await store.close();
    expect(faults).toHaveLength(1);
    expect(readdirSync(folder)).toEqual([`${ONE.id}.json`]);
    expect(statSync(file(folder)).isDirectory()).toBe(true);
  });

  it('is cleared of what a killed process left, and of nothing else', async () => {
    const folder = temporaryFolder();
    writeFileSync(`${file(folder)}.new-0123`, '{');
    writeFileSync(join(folder, 'notes.txt'), 'mine');
    mkdirSync(join(folder, 'rcpt_'));
    const store = await open(folder, { maxDocuments: 1 });
    await store.put(ONE, null);
    await store.put(documentOf(2), null);
    await store.close();
    expect(readdirSync(folder).sort()).toEqual(['notes.txt', 'rcpt_', `${documentOf(2).id}.json`].sort());
  });

  it.each([
    ['half a file', JSON.stringify({ owners: [null], document: ONE }).slice(0, 99)],
    ['another JSON', '[]'],
    ['null', 'null'],
    ['another receipt', JSON.stringify({ owners: [null], document: documentOf(2) })],
    ['no owners', JSON.stringify({ document: ONE })],
    ['a document that is none', JSON.stringify({ owners: [null], document: { ...ONE, text: 1 } })],
    ['nothing', ''],
  ])('with %s under an id is told, not given', async (_, content) => {
    const folder = temporaryFolder();
    const faults: unknown[] = [];
    const store = await open(folder, { onFault: (fault) => faults.push(fault) });
    writeFileSync(file(folder), content);
    expect(await store.get(ONE.id, null)).toBeUndefined();
    expect(faults).toHaveLength(1);
    // And is mended by the next answer.
    await store.put(ONE, null);
    await store.close();
    expect(await store.get(ONE.id, null)).toEqual(ONE);
  });

  it('that a link leads out of is not written through', async () => {
    const folder = join(temporaryFolder(), 'receipts');
    const store = await open(folder);
    const outside = join(folder, '..', 'outside.json');
    writeFileSync(outside, 'mine');
    symlinkSync(outside, file(folder));
    await store.put(ONE, null);
    await store.close();
    expect(readFileSync(outside, 'utf8')).toBe('mine');
    expect(await store.get(ONE.id, null)).toEqual(ONE);
  });

  it('that is gone is told, and answers go on', async () => {
    const folder = join(temporaryFolder(), 'receipts');
    const faults: unknown[] = [];
    const store = await open(folder, { onFault: (fault) => faults.push(fault) });
    const { rmSync } = await import('node:fs');
    rmSync(folder, { recursive: true });
    await store.put(ONE, null);
    await store.close();
    expect(faults).toMatchObject([{ code: 'ENOENT' }]);
    mkdirSync(folder);
    chmodSync(folder, 0o700);
    await store.put(ONE, null);
    await store.close();
    expect(await store.get(ONE.id, null)).toEqual(ONE);
  });
});
