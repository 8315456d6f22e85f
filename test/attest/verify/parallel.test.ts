import { beforeAll, describe, expect, it } from 'vitest';
import { type Entry, readEntries, rebuildTrace, replacePayload } from '../../../agents/demo/forge.ts';
import { fromHex } from '../../../attest/core/bytes.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { jsonPayload, textPayload } from '../../../attest/trace/payload.ts';
import { OFF_CHAIN } from '../../../runtime/plan.ts';
import { editAt, patchEntry, steady, swapPayload } from '../../support/forging.ts';
import { beginRun, type Left, toyManaged, toyTools, verifyRun } from '../../support/kill-cuts.ts';
import { infer, OPERATOR_KEY, SIGNER_KEY, toyAnswer } from '../../support/toy-run.ts';
import { type ToyGuest, toyVm } from '../../support/toy-vm.ts';

const weather = { description: 'the weather', name: 'weather', parameters: '{"type":"object"}' };
const asked: Json = {
  maxTokens: 16,
  messages: [
    { content: 'be brief', name: null, role: 'system', toolCallId: null, toolCalls: [] },
    { content: 'weather?', name: 'ann', role: 'user', toolCallId: null, toolCalls: [] },
    {
      content: '',
      name: null,
      role: 'assistant',
      toolCallId: null,
      toolCalls: [{ arguments: '{"at":"Bern"}', id: 'call_1', name: 'weather' }],
    },
    { content: 'rain', name: null, role: 'tool', toolCallId: 'call_1', toolCalls: [] },
  ],
  parallelToolCalls: true,
  responseFormat: { schema: '{"type":"string"}', type: 'json_schema' },
  sampling: { temperature: 7000, topK: 40, topP: 9000 },
  seed: '11',
  stop: [],
  toolChoice: { type: 'auto' },
  tools: [weather],
};

const GUESTS: Readonly<Record<string, ToyGuest>> = {
  two: async (ctx) => {
    const order: Json[] = [];
    const use = (input: number) => ctx.call('tool', { name: 'adds', input }).then((value) => order.push(value));
    await Promise.all([use(1), use(2)]);
    return order;
  },
  adds: async (ctx) => {
    await ctx.call('kv.put', { key: 'n', value: String(ctx.input) });
    return (ctx.input as number) + 1;
  },
  asks: async (ctx) => ctx.call('inference', asked),
  plain: async (ctx) => ctx.call('inference', infer('hm')),
};
const vm = toyVm(GUESTS);
const keys = { operator: OPERATOR_KEY, receipts: SIGNER_KEY };

let left: Left;
let entries: readonly Entry[];

const forge = (edited: readonly Entry[], from: Left = left) =>
  rebuildTrace(steady(edited), fromHex(from.result.run), OFF_CHAIN, keys).bytes;
const places = (all: readonly Entry[], kind: string) =>
  all.flatMap(({ record }, i) => (record.kind === kind ? [i] : []));

describe('tools side by side in a trace', () => {
  beforeAll(async () => {
    const entry = toyManaged('two', { tools: toyTools({ adds: [{ capability: 'kv.put' }] }) });
    left = await beginRun(vm, entry, null);
    entries = await readEntries(left.bytes);
  });

  it('match', async () => {
    expect(await verifyRun(vm, left.bytes)).toMatchObject({ verdict: 'MATCH' });
    expect(places(entries, 'tool.end')).toHaveLength(2);
  });

  it('may have ended in one order alone', async () => {
    const [first, second] = places(entries, 'tool.end') as [number, number];
    const swapped = [...entries];
    [swapped[first], swapped[second]] = [entries[second] as Entry, entries[first] as Entry];
    const report = await verifyRun(vm, forge(swapped));
    // Each end is right for itself: in which order they came is what the agent saw.
    expect(report).toMatchObject({ verdict: 'DIVERGED', step: entries.length - 2, field: 'body.output.0' });
    expect(second).toBeGreaterThan(first);
  });

  it('have results, fuel and calls of their own', async () => {
    const [first, second] = places(entries, 'tool.end') as [number, number];
    const [one, two] = [entries[first] as Entry, entries[second] as Entry];
    // The result of one in the place of the other.
    const exchanged = editAt(entries, first, (entry) => ({ ...two, of: entry.of, at: entry.at, index: entry.index }));
    expect(await verifyRun(vm, forge(exchanged))).toMatchObject({
      verdict: 'DIVERGED',
      step: first,
      field: 'body.result',
    });
    const fuel = editAt(entries, second, (entry) => patchEntry(entry, 'fuel', '77'));
    expect(await verifyRun(vm, forge(fuel))).toMatchObject({ verdict: 'DIVERGED', step: second, field: 'body.fuel' });
    const [, otherStart] = places(entries, 'tool.start') as [number, number];
    const put = places(entries, 'policy').find(
      (i) => ((entries[i] as Entry).record.body as { by: string | null }).by !== null,
    ) as number;
    const stolen = editAt(
      editAt(entries, put, (entry) => patchEntry(entry, 'by', String(otherStart))),
      put + 1,
      (entry) => patchEntry(entry, 'by', String(otherStart)),
    );
    const report = await verifyRun(vm, forge(stolen));
    expect(report.verdict).toBe('DIVERGED');
    expect(report.step).toBeGreaterThanOrEqual(put);
    expect(one.record.kind).toBe('tool.end');
  });

  it('have a store that does not fail', async () => {
    const put = places(entries, 'host.end')[0] as number;
    const failed = editAt(entries, put, (entry) => ({
      ...patchEntry(patchEntry(patchEntry(entry, 'error', 'TIMEOUT'), 'response', null), 'bytes', '0'),
      payloads: new Map(),
    }));
    expect(await verifyRun(vm, forge(failed))).toMatchObject({ verdict: 'DIVERGED', step: put, field: 'body.error' });
  });

  it('share what the run has: one that starts while another holds it is false', async () => {
    // 300 million for the agent's code, and as much for one tool: the other must wait for what that leaves.
    const limited = toyManaged('two', {
      tools: toyTools({ adds: [{ capability: 'kv.put' }] }),
      limits: { fuel: '600000000' },
    });
    const one = await beginRun(vm, limited, null);
    const own = await readEntries(one.bytes);
    const [first, second] = places(own, 'tool.start') as [number, number];
    expect(one.result).toMatchObject({ status: 'done' });
    expect(second).toBeGreaterThan(places(own, 'tool.end')[0] as number);
    expect(await verifyRun(vm, one.bytes)).toMatchObject({ verdict: 'MATCH' });
    const early = [
      ...own.slice(0, first + 1),
      ...own.slice(second - 1, second + 1),
      ...own.slice(first + 1, second - 1),
      ...own.slice(second + 1),
    ];
    expect(await verifyRun(vm, forge(early, one))).toMatchObject({
      verdict: 'DIVERGED',
      step: first + 2,
      field: 'state.counters.fuel',
    });
  });
});

describe('a start of inference with everything', () => {
  let own: Left;
  let all: readonly Entry[];
  let at: number;

  beforeAll(async () => {
    own = await beginRun(vm, toyManaged('asks'), null);
    all = await readEntries(own.bytes);
    at = places(all, 'inference.start')[0] as number;
  });

  it('matches', async () => {
    expect(await verifyRun(vm, own.bytes)).toMatchObject({ verdict: 'MATCH' });
    expect(own.result).toMatchObject({ output: { text: toyAnswer(asked as never).text } });
  });

  const fields: readonly (readonly [string, Json])[] = [
    ['request.maxTokens', 17],
    ['request.messages.0.role', 'user'],
    ['request.messages.1.name', 'bob'],
    ['request.messages.1.name', null],
    ['request.messages.3.toolCallId', 'call_2'],
    ['request.parallelToolCalls', false],
    ['request.sampling.temperature', 7001],
    ['request.sampling.topK', 41],
    ['request.sampling.topP', 9001],
    ['request.seed', '12'],
    ['request.stop', ['end']],
    ['request.stop', ['end', 'more']],
    ['request.toolChoice', { type: 'required' }],
    ['request.toolChoice', { name: 'weather', type: 'function' }],
    ['request.responseFormat', { type: 'json_object' }],
    ['request.responseFormat', { type: 'text' }],
    ['request.messages.2.toolCalls', null],
    ['request.tools', null],
    ['call', 7],
    ['by', '0'],
  ];
  it.each(fields)('is false where %s is %j', async (path, value) => {
    const lie = editAt(all, at, (entry) => {
      const patched = patchEntry(entry, path, value);
      if (value !== null && !path.endsWith('responseFormat')) return patched;
      // A payload that nothing names any more goes with its field.
      const gone = path.endsWith('responseFormat') ? 'body.request.responseFormat.schema' : `body.${path}`;
      const payloads = new Map([...entry.payloads].filter(([field]) => field !== gone));
      const bytes = [...payloads.values()].reduce((sum, { data }) => sum + data.length, 0);
      return patchEntry({ ...patched, payloads }, 'bytes', String(bytes));
    });
    const report = await verifyRun(vm, forge(lie, own));
    expect(['DIVERGED', 'INVALID']).toContain(report.verdict);
    expect(report.step).toBe(at);
    if (report.verdict === 'DIVERGED') expect(report.field).toContain(`body.${path.split('.')[0]}`);
  });

  const salt = new Uint8Array(32).fill(9);
  const payloads: readonly (readonly [string, Parameters<typeof swapPayload>[2]])[] = [
    ['body.request.messages.0.content', textPayload('be long', salt)],
    [
      'body.request.messages.2.toolCalls',
      jsonPayload([{ arguments: '{"at":"Rome"}', id: 'call_1', name: 'weather' }], salt),
    ],
    [
      'body.request.messages.2.toolCalls',
      jsonPayload([{ arguments: '{"at":"Bern"}', id: 'call_1', name: 'other' }], salt),
    ],
    ['body.request.messages.2.toolCalls', jsonPayload([], salt)],
    ['body.request.responseFormat.schema', textPayload('{"type":"number"}', salt)],
    ['body.request.tools', jsonPayload([{ ...weather, description: 'the time' }], salt)],
    ['body.request.tools', jsonPayload([weather, { ...weather, name: 'other' }], salt)],
    ['body.request.tools', jsonPayload([], salt)],
  ];
  it.each(payloads)('is false where %s says something else', async (field, payload) => {
    const lie = editAt(all, at, (entry) => swapPayload(entry, field, payload));
    const report = await verifyRun(vm, forge(lie, own));
    expect(['DIVERGED', 'INVALID']).toContain(report.verdict);
    expect(report.step).toBe(at);
    if (report.verdict === 'DIVERGED')
      expect(report.field).toContain(field.replace('.content', '').replace('.schema', ''));
  });

  it('has one form for what it does not say: no list is no payload', async () => {
    const plain = await beginRun(vm, toyManaged('plain'), null);
    const bare = await readEntries(plain.bytes);
    const start = places(bare, 'inference.start')[0] as number;
    for (const field of ['body.request.tools', 'body.request.messages.0.toolCalls']) {
      const lie = editAt(bare, start, (entry) => swapPayload(entry, field, jsonPayload([], salt)));
      expect(await verifyRun(vm, forge(lie, plain)), field).toMatchObject({ verdict: 'INVALID', step: start, field });
    }
  });

  it('is not checked, and no lie, where any of its texts is withheld', async () => {
    const { withhold, payloadCount } = await import('../../support/forging.ts');
    expect(payloadCount(own.bytes, at)).toBe(7);
    for (let nth = 0; nth < 7; nth++) {
      expect(await verifyRun(vm, withhold(own.bytes, at, nth))).toMatchObject({
        verdict: 'CANNOT_RECOMPUTE',
        code: 'PAYLOAD_WITHHELD',
      });
    }
  });

  it('answers what was asked: another answer is found', async () => {
    const end = places(all, 'inference.end')[0] as number;
    const lie = editAt(all, end, (entry) => replacePayload(entry, 'body.text', 'sun'));
    expect(await verifyRun(vm, forge(lie, own))).toMatchObject({ verdict: 'DIVERGED', step: end, field: 'body.text' });
  });
});
