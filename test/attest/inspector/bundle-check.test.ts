import { beforeAll, describe, expect, it } from 'vitest';
import { readEntries, rebuildTrace } from '../../../agents/demo/forge.ts';
import { type BundleCheck, BundleChecker } from '../../../attest/inspector/bundle-check.ts';
import { claimsOf } from '../../../attest/inspector/claims.ts';
import { readDetail } from '../../../attest/inspector/record-detail.ts';
import type { Row } from '../../../attest/inspector/row.ts';
import { verifyBundle } from '../../../attest/verify/verifier.ts';
import { OFF_CHAIN } from '../../../runtime/plan.ts';
import { payloadCount, withhold } from '../../support/forging.ts';
import { fileOf, lyingRun, tamperings } from '../../support/inspected.ts';
import { OPERATOR, OPERATOR_KEY, type ToyRun, toyRun } from '../../support/toy-run.ts';

let honest: ToyRun;
beforeAll(async () => {
  honest = await toyRun();
});

const now = () => performance.now();

async function inspect(bytes: Uint8Array, piece?: number) {
  const rows: Row[] = [];
  const checker = new BundleChecker(fileOf(bytes, piece), now);
  const check = await checker.check((more) => rows.push(...more));
  const place = { deployment: { chainId: 0n, contract: `0x${'0'.repeat(40)}` as const }, operator: OPERATOR };
  return { check, rows, detail: (index: number) => readDetail(checker, index, place) };
}

const levels = (check: BundleCheck) =>
  Object.fromEntries(claimsOf(check, undefined).map(({ id, level }) => [id, level]));

describe('an honest bundle', () => {
  it('fits together, as the verifier says', async () => {
    const { check, rows } = await inspect(honest.bytes);
    const report = await verifyBundle({ now }, honest.bytes.length > 0 ? [honest.bytes] : []);
    expect(check.fault).toBeUndefined();
    expect(check).toMatchObject({
      run: report.run,
      size: report.size,
      root: report.root,
      closed: true,
      truncated: false,
      classes: report.classes,
      lost: 0,
      withheld: 0,
    });
    expect(rows.map(({ index, kind, class: c }) => ({ index, kind, class: c }))).toEqual(
      report.steps.map(({ index, kind, class: c }) => ({ index, kind, class: c })),
    );
    expect(check.sound).toBe(rows.length);
    expect(check.receipts).toEqual({ checked: 2, unchecked: 0 });
    expect(check.payloads).toBeGreaterThan(20);
    expect(check.capabilities).toContainEqual(expect.objectContaining({ capability: 'clock.now', opaque: 1 }));
    // random.bytes, kv.put, and kv.get twice
    expect(check.answers).toEqual({ evidence: 0, computed: 4, unchecked: 0 });
    expect(check.hiddenParts).toBe(0);
    expect(levels(check)).toEqual({
      signed: 'part',
      ran: 'good',
      checked: 'good',
      executed: 'part',
      recorded: 'part',
      ended: 'good',
      seed: 'good',
      bond: 'part',
    });
  });

  it.each([1, 7, 100_000])('is the same in pieces of %i bytes', async (piece) => {
    const { check, rows, detail } = await inspect(honest.bytes, piece);
    const whole = await inspect(honest.bytes);
    expect({ ...check, elapsedMs: 0 }).toEqual({ ...whole.check, elapsedMs: 0 });
    expect(rows).toEqual(whole.rows);
    expect(await detail(5)).toEqual(await whole.detail(5));
  });

  it('shows each record with hashes that are all the same, computed here', async () => {
    const { rows, detail } = await inspect(honest.bytes);
    for (const { index } of rows) {
      const { hashes, payloads, remarks, checkpoints } = await detail(index);
      expect(remarks).toEqual([]);
      const [leaf, ...fields] = hashes;
      expect(leaf?.same).toBe(index === rows.length - 1 ? undefined : true);
      expect(fields.map(({ name, same }) => `${name} ${same}`)).toEqual(
        ['prev', 'pre', 'post', 'subject', 'body', 'facts'].map((name) => `head.${name} true`),
      );
      expect(payloads.length).toBe(payloadCount(honest.bytes, index));
      for (const payload of payloads) expect(payload.commitment.same).toBe(true);
      for (const { signer, root, state } of checkpoints)
        expect([signer.same, root.same, state.same]).toEqual([true, true, true]);
    }
    expect((await detail(rows.length - 1)).checkpoints).toMatchObject([{ closed: true, size: String(rows.length) }]);
  });

  it('tells tools from what they contain, and ends from their starts', async () => {
    const { rows } = await inspect(honest.bytes);
    const tool = rows.find(({ kind }) => kind === 'tool.start') as Row;
    const fetched = rows.filter(({ kind, by }) => kind.startsWith('host.') && by === tool.index);
    expect(fetched.map(({ kind, label }) => `${kind} ${label}`)).toEqual([
      'host.start http.fetch GET http://books.test/ledger',
      'host.end http.fetch GET http://books.test/ledger',
    ]);
    expect(fetched[1]?.of).toBe(fetched[0]?.index);
    expect(rows.find(({ kind }) => kind === 'tool.end')).toMatchObject({ of: tool.index, label: 'count', by: null });
    expect(rows.find(({ kind }) => kind === 'inference.end')?.tokens).toBeGreaterThan(0);
  });
});

describe('a bundle that somebody changed', () => {
  it('is no evidence, at the right record, with the rest listed unchecked', async () => {
    const { rows: honestRows } = await inspect(honest.bytes);
    for (const { name, bytes, step, code } of tamperings(honest.bytes)) {
      const { check, rows, detail } = await inspect(bytes);
      expect({ name, step: check.fault?.step, code: check.fault?.code }).toEqual({ name, step, code });
      const report = await verifyBundle({ now }, [bytes]);
      expect({ name, step: report.step, code: report.code }).toEqual({ name, step, code });
      expect(check.sound).toBe(step);
      expect(rows.length).toBe(name === 'a record left out' ? honestRows.length - 1 : honestRows.length);
      expect(rows.map(({ index }) => index)).toEqual(rows.map((_, i) => i));
      expect(levels(check)['checked']).toBe('bad');
      const { hashes, payloads, checkpoints } = await detail(step);
      const views = [
        ...hashes,
        ...payloads.map(({ commitment }) => commitment),
        ...checkpoints.flatMap(({ signer, root, state }) => [signer, root, state]),
      ];
      const differ = views.filter(({ same }) => same === false).map(({ name: view }) => view);
      expect({ name, differs: differ.length > 0 }).toEqual({
        name,
        differs: name !== 'a record left out' || differ.length > 0,
      });
    }
  });

  it('shows the stored and the computed hash side by side', async () => {
    const found = tamperings(honest.bytes).find(({ name }) => name === 'a stored hash: post');
    const { detail } = await inspect(found?.bytes ?? new Uint8Array());
    const { detail: honestDetail } = await inspect(honest.bytes);
    const post = (await detail(found?.step ?? 0)).hashes.find(({ name }) => name === 'head.post');
    const right = (await honestDetail(found?.step ?? 0)).hashes.find(({ name }) => name === 'head.post');
    expect(post?.same).toBe(false);
    expect(post?.computed).toBe(right?.stored);
    expect(post?.stored).not.toBe(right?.stored);
  });

  it('with any one bit flipped is never shown as whole', { timeout: 60_000 }, async () => {
    for (let at = 11; at < honest.bytes.length; at += Math.floor(honest.bytes.length / 15)) {
      const bytes = Uint8Array.from(honest.bytes);
      bytes[at] = (bytes[at] as number) ^ 1;
      const { check } = await inspect(bytes, 1 << 16);
      expect({ at, level: levels(check)['checked'] }).toEqual({ at, level: 'bad' });
    }
  });
});

it('a receipt by another key than that of record 0 is no evidence', async () => {
  const keys = { operator: OPERATOR_KEY, receipts: OPERATOR_KEY };
  const entries = await readEntries(honest.bytes);
  const { bytes } = rebuildTrace(entries, honest.result.checkpoint.run, OFF_CHAIN, keys);
  const { check, rows } = await inspect(bytes);
  const first = rows.findIndex(({ kind }) => kind === 'inference.end');
  expect(check.fault).toMatchObject({ step: first, code: 'RECEIPT_MISMATCH' });
  expect(check.sound).toBe(first);
  expect(rows.length).toBe(entries.length);
  expect(levels(check)['checked']).toBe('bad');
});

it('a record of a file that was changed after its check is not passed off as checked', async () => {
  const bytes = Uint8Array.from(honest.bytes);
  const { rows, detail } = await inspect(bytes);
  const index = rows.findIndex(({ kind }) => kind === 'tool.end');
  expect((await detail(index)).remarks).toEqual([]);
  const at = Buffer.from(bytes).indexOf('"kind":"tool.end"');
  const post = Buffer.from(bytes).indexOf('"post":"0x', at) + 12;
  bytes[post] = bytes[post] === 0x30 ? 0x31 : 0x30;
  expect((await detail(index)).remarks.join()).toContain('has changed since it was checked');
});

describe('a bundle that is not all there', () => {
  it('cut off holds up to its last checkpoint, and says so', async () => {
    const { check, rows } = await inspect(honest.bytes.subarray(0, honest.bytes.length - 400));
    expect(check.fault).toBeUndefined();
    expect(check.truncated).toBe(true);
    expect(levels(check)['checked']).toBe('part');
    expect(levels(check)['signed']).toBe('part');
    expect(rows.length).toBe(check.sound);
  });

  it('with a withheld payload says which', async () => {
    const { rows } = await inspect(honest.bytes);
    const index = rows.findIndex(({ kind }) => kind === 'inference.start');
    const { check, rows: shown, detail } = await inspect(withhold(honest.bytes, index));
    expect(check.fault).toBeUndefined();
    expect(check.withheld).toBe(1);
    expect(check.receipts).toEqual({ checked: 1, unchecked: 1 });
    expect(shown[index]?.withheld).toBe(true);
    expect((await detail(index)).payloads[0]).toMatchObject({ state: 'withheld' });
    expect(levels(check)['checked']).toBe('part');
  });

  it.each([
    ['nothing', ''],
    ['no header', '{"record":{}}\n'],
    ['no JSON', 'hello\nworld\n'],
    ['lines that end nowhere', '{"format":"tracebond/trace","version":1}\n{"record":{"body":{"a":[[[[[['],
    [
      'records that are none',
      '{"format":"tracebond/trace","version":1}\n{"record":7}\n{"record":{"head":[],"body":"x"}}\n',
    ],
  ])('and holds %s is a result, never an exception', async (_name, text) => {
    const { check, rows, detail } = await inspect(Buffer.from(text));
    expect(check.sound).toBe(0);
    expect(check.truncated || check.fault !== undefined).toBe(true);
    expect(levels(check)['checked']).not.toBe('good');
    for (const { index } of rows) expect((await detail(index)).index).toBe(index);
  });
});

it('a lie that fits together is not found here: only executing again finds it', async () => {
  const lie = await lyingRun(honest);
  const { check } = await inspect(lie.bytes);
  expect(check.fault).toBeUndefined();
  expect(levels(check)).toMatchObject({ checked: 'good', executed: 'part' });
  const report = await verifyBundle({ now, executor: honest.executor }, [lie.bytes]);
  expect(report).toMatchObject({ verdict: 'DIVERGED', step: lie.step });
  const claims = claimsOf(check, { report, source: 'here' });
  expect(claims.find(({ id }) => id === 'executed')).toMatchObject({ level: 'bad', step: lie.step });
});

describe('records that are made to be heavy', () => {
  const HEADER = '{"format":"tracebond/trace","version":1}';
  const keys = Array.from({ length: 50_000 }, (_, i) => `"k${i}":"${'v'.repeat(10)}"`).join(',');
  const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
  it.each([
    ['a head of 50,000 fields', `{"record":{"body":{},"head":{${keys}}}}\n`],
    ['a body that nests 200,000 deep', `{"record":{"body":${deep},"head":{"kind":"agent"}}}\n`],
    ['a head that nests 200,000 deep', `{"record":{"body":{},"head":{"kind":${deep}}}}\n`],
    ['a field of a megabyte', `{"record":{"body":{},"head":{"kind":"${'k'.repeat(1_000_000)}"}}}\n`],
    ['50,000 payload lines', `{"record":{"body":{},"head":{}}}\n${'{"payload":{}}\n'.repeat(50_000)}`],
    ['210,000 records', '{"record":{}}\n'.repeat(210_000)],
    [
      'names of a prototype',
      '{"record":{"__proto__":{"head":1},"body":{"constructor":1},"head":{"__proto__":{"kind":"x"}}}}\n',
    ],
  ])('%s are shown in part, and nothing fails', async (_name, lines) => {
    const { check, rows, detail } = await inspect(Buffer.from(`${HEADER}\n${lines}`), 1 << 16);
    expect(check.sound).toBe(0);
    expect(rows.length).toBeGreaterThan(0);
    const { head, body, payloads, hashes } = await detail(0);
    expect(head.length).toBeLessThanOrEqual(64);
    expect(payloads.length).toBeLessThanOrEqual(64);
    for (const [name, value] of head) expect(name.length + value.length).toBeLessThan(9000);
    expect((body ?? '').length).toBeLessThanOrEqual(128 * 1024);
    expect(hashes.length).toBeLessThan(10);
    expect(({} as { kind?: string }).kind).toBeUndefined();
  });
});
