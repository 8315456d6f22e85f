import { beforeAll, describe, expect, it } from 'vitest';
import { readEntries, rebuildTrace, replacePayload } from '../../../agents/demo/forge.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { type BundleCheck, BundleChecker } from '../../../attest/inspector/bundle-check.ts';
import { MAX_NAMES, type Summary } from '../../../attest/inspector/summary.ts';
import { coinText, doubtsOf, lengthText, shortDigest } from '../../../attest/inspector/summary-text.ts';
import { MAX_TOLD } from '../../../attest/inspector/told-payload.ts';
import { OFF_CHAIN } from '../../../runtime/plan.ts';
import { editAt, swapPayload, withhold } from '../../support/forging.ts';
import { fileOf, tamperings, textRun } from '../../support/inspected.ts';
import { infer, OPERATOR_KEY, SIGNER_KEY, type ToyRun, toyRun } from '../../support/toy-run.ts';
import { ToyError, type ToyGuest } from '../../support/toy-vm.ts';

let honest: ToyRun;
beforeAll(async () => {
  honest = await toyRun();
});

async function checkOf(bytes: Uint8Array): Promise<BundleCheck> {
  return await new BundleChecker(fileOf(bytes, 5000), () => 0).check(() => {});
}

async function summaryOf(bytes: Uint8Array): Promise<Summary> {
  const { summary } = await checkOf(bytes);
  if (summary === null) throw new Error('no summary');
  return summary;
}

const lastRecord = (bytes: Uint8Array) => Buffer.from(bytes).toString().split('{"record"').length - 2;

describe('an honest run', () => {
  it('is told as its records say', async () => {
    const { check, summary } = { check: await checkOf(honest.bytes), summary: await summaryOf(honest.bytes) };
    const entries = await readEntries(honest.bytes);
    const first = (kind: string) => entries.findIndex(({ record }) => record.kind === kind);
    expect(summary.agent).toEqual({ name: null, digest: check.open?.agent.digest });
    expect(summary.model).toBe('toy-model');
    expect(summary.began).toBe(1_700_000_000_000);
    expect(summary.last).toBe(Number(entries.at(-1)?.at));
    expect(summary.input).toEqual({
      step: 0,
      field: 'body.input',
      state: 'shown',
      parts: [{ name: 'question', text: 'what is in the books?', isCut: false }],
    });
    expect(summary.outcome).toMatchObject({ step: lastRecord(honest.bytes), status: 'done', error: null });
    const output = summary.outcome?.payload?.parts.map(({ text }) => text).join() ?? '';
    expect(output).toContain('"missing": null');
    expect(summary.inferences).toEqual({
      count: 2,
      others: 0,
      names: [{ name: '', count: 2, failed: 0, lost: 0, step: first('inference.start') }],
    });
    // The toy model's tokens are bytes: of 'how long is this?' and 'and this?', and of its two answers.
    expect(summary.tokens).toEqual({ prompt: 26, output: 'it has 17 letters'.length + 'no'.length });
    expect(summary.tools.names).toEqual([{ name: 'count', count: 1, failed: 0, lost: 0, step: first('tool.start') }]);
    expect(summary.outside.names).toMatchObject([{ name: 'http://books.test', count: 1, failed: 0 }]);
    expect(summary.own.names.map(({ name, count }) => [name, count])).toEqual([
      ['clock.now', 1],
      ['random.bytes', 1],
      ['kv.put', 1],
      ['kv.get', 2],
    ]);
    expect(summary.denials.names.map(({ name, count }) => [name, count])).toEqual([
      ['http.fetch http://evil.test', 1],
      ['wallet.send malformed arguments', 1],
    ]);
    for (const { step } of summary.denials.names) expect(entries[step]?.record.kind).toBe('policy');
    expect([summary.payments.count, summary.approvals.asked, summary.children.count]).toEqual([0, 0, 0]);
    expect(doubtsOf(check, undefined)).toEqual([]);
  });

  it('that failed is told with its error, and with what failed in it', async () => {
    const guests: Readonly<Record<string, ToyGuest>> = {
      agent: async (ctx) => {
        await ctx.call('inference', infer('one'));
        await ctx.call('tool', { input: null, name: 'count' }).catch(() => null);
        throw new ToyError('AGENT_ERROR', 'gave up');
      },
      count: async () => {
        throw new ToyError('TOOL_ERROR', 'no');
      },
    };
    const summary = await summaryOf((await toyRun({ guests })).bytes);
    expect(summary.tools.names).toMatchObject([{ name: 'count', count: 1, failed: 1 }]);
    expect(summary.outcome).toMatchObject({ status: 'failed', payload: { field: 'body.error.message' } });
    expect(summary.outcome?.payload?.parts[0]?.text).toContain('gave up');
  });
});

describe('what is no fact is not told', () => {
  it('a payload that is withheld', async () => {
    const [code, input] = [0, 1];
    const hidden = await checkOf(withhold(honest.bytes, 0, input));
    expect(hidden.summary?.input).toEqual({ step: 0, field: 'body.input', state: 'withheld', parts: [] });
    expect(doubtsOf(hidden, undefined)).toMatchObject([{ level: 'part', text: expect.stringContaining('withholds') }]);
    expect((await summaryOf(withhold(honest.bytes, 0, code))).agent.name).toBeNull();
    const output = await summaryOf(withhold(honest.bytes, lastRecord(honest.bytes)));
    expect(output.outcome).toMatchObject({ status: 'done', payload: { state: 'withheld', parts: [] } });
  });

  it('a record that does not fit, and whatever is behind it', async () => {
    const whole = await summaryOf(honest.bytes);
    for (const { name, bytes, step } of tamperings(honest.bytes)) {
      const check = await checkOf(bytes);
      const { summary } = check;
      expect({ name, sound: check.sound }).toEqual({ name, sound: step });
      expect({ name, outcome: summary?.outcome }).toEqual({ name, outcome: undefined });
      const told = JSON.stringify({ ...summary, last: 0, began: 0 });
      for (const found of told.matchAll(/"step":(\d+)/g)) {
        if (summary?.approvals.asked !== 0 || Number(found[1]) !== 0) expect(Number(found[1])).toBeLessThan(step);
      }
      expect(summary?.last).toBeLessThan(whole.last);
      expect(doubtsOf(check, undefined)[0]).toMatchObject({ level: 'bad', text: expect.stringContaining(`${step}`) });
    }
  });

  it('an input whose bytes were changed', async () => {
    const text = Buffer.from(honest.bytes).toString();
    const encoded = (question: string) => Buffer.from(`{"value":{"question":"${question}"}}`).toString('base64');
    const asked = encoded('what is in the books?');
    expect(text).toContain(asked);
    const { summary, fault } = await checkOf(Buffer.from(text.replace(asked, encoded('what is in the looks?'))));
    expect(fault).toMatchObject({ step: 0, code: 'PAYLOAD_MISMATCH' });
    expect(summary).toBeNull();
  });

  it('and a history that ends early, is unsigned or false says so', async () => {
    const text = Buffer.from(honest.bytes).toString();
    const cut = await checkOf(Buffer.from(text.slice(0, text.lastIndexOf('{"checkpoint"'))));
    expect(doubtsOf(cut, undefined).map(({ level }) => level)).toEqual(['part']);
    expect(doubtsOf(cut, undefined)[0]?.text).toContain('anybody can have written');
    const open = await checkOf(Buffer.from(text.slice(0, text.lastIndexOf('{"record"'))));
    expect(open.summary?.outcome).toBeUndefined();
    expect(doubtsOf(open, undefined).some(({ text }) => text.includes('its end is not in this file'))).toBe(true);
    const honestCheck = await checkOf(honest.bytes);
    expect(doubtsOf(honestCheck, 12)).toEqual([{ level: 'bad', text: expect.stringContaining('Record 12 is false') }]);
  });
});

describe('what is hostile or long', () => {
  const KEYS = { operator: OPERATOR_KEY, receipts: SIGNER_KEY };

  /** The honest run with another output, all signatures right again. */
  async function withOutput(value: Json | Uint8Array): Promise<Summary> {
    const entries = await readEntries(honest.bytes);
    const edited = editAt(entries, entries.length - 1, (entry) => {
      if (!(value instanceof Uint8Array)) return replacePayload(entry, 'body.output', value);
      const old = entry.payloads.get('body.output');
      if (old === undefined) throw new Error('no output');
      return swapPayload(entry, 'body.output', { ...old, media: 'image/png', data: value });
    });
    return await summaryOf(rebuildTrace(edited, honest.result.checkpoint.run, OFF_CHAIN, KEYS).bytes);
  }
  const nested = (depth: number): Json => (depth === 0 ? 1 : [nested(depth - 1)]);
  const partsOf = (summary: Summary) => summary.outcome?.payload?.parts;

  it('is cut, and said to be', async () => {
    expect(partsOf(await withOutput('x'.repeat(MAX_TOLD)))).toEqual([
      { name: null, text: 'x'.repeat(MAX_TOLD), isCut: false },
    ]);
    expect(partsOf(await withOutput('é'.repeat(MAX_TOLD + 1)))).toEqual([
      { name: null, text: 'é'.repeat(MAX_TOLD), isCut: true },
    ]);
    const large = partsOf(await withOutput('€'.repeat(400_000)));
    expect(large).toMatchObject([{ name: null, isCut: true }]);
    expect(large?.[0]?.text).toHaveLength(MAX_TOLD);
    expect(large?.[0]?.text.slice(0, 12)).toBe('{"value":"€€');
    let deep: Json = 1;
    for (let i = 0; i < 29; i++) deep = [deep, ...Array.from({ length: 60 }, () => i)];
    expect(partsOf(await withOutput(deep))).toMatchObject([{ isCut: true }]);
    expect((await withOutput(nested(900))).outcome?.payload).toMatchObject({ state: 'unreadable', parts: [] });
  });

  it('an object is told member by member, so that no text can pass for another member', async () => {
    const parts = partsOf(await withOutput({ answer: '# Title\nanswer: 42', count: 3, list: ['a'] }));
    expect(parts?.map(({ name, text }) => [name, text])).toEqual([
      ['answer', '# Title\nanswer: 42'],
      ['count', '3'],
      ['list', '[\n  "a"\n]'],
    ]);
    const many = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`m${i}`, i]));
    expect(partsOf(await withOutput(many))?.map(({ name }) => name)).toEqual([null]);
  });

  it('bytes that are no text are not told', async () => {
    const summary = await withOutput(Uint8Array.of(1, 2, 255));
    expect(summary.outcome?.payload).toMatchObject({ state: 'unreadable', parts: [] });
  });

  it('of many names only the first are kept; the rest is counted', async () => {
    const summary = await summaryOf(await textRun(Array.from({ length: 60 }, (_, i) => `tool ${i} <b>`)));
    expect(summary.tools).toMatchObject({ count: 60, others: 60 - MAX_NAMES });
    expect(summary.tools.names).toHaveLength(MAX_NAMES);
    expect(summary.tools.names[0]).toMatchObject({ name: 'tool 0 <b>', failed: 1 });
  });
});

it('says times, amounts and digests in few words', () => {
  expect([0, 999, 1500, 61_000, 3_600_000 * 3, 86_400_000 * 3].map(lengthText)).toEqual([
    '0 ms',
    '999 ms',
    '1.5 s',
    '1 min 1 s',
    '3 h 0 min',
    '3 days 0 h',
  ]);
  expect(coinText('0')).toBe('0 wei');
  expect(coinText('5')).toBe('5 wei');
  expect(coinText('1500000000000000000')).toBe('1.5 coins (1500000000000000000 wei)');
  expect(coinText('20000000000000000000')).toBe('20 coins (20000000000000000000 wei)');
  expect(shortDigest(`0x${'ab'.repeat(32)}`)).toBe('0xabababab…ababab');
});
