import { beforeAll, describe, expect, it } from 'vitest';
import { type Entry, readEntries, rebuildTrace, replacePayload } from '../../../agents/demo/forge.ts';
import { concatBytes, fromHex, toHex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { MAX_LINE_BYTES } from '../../../attest/trace/lines.ts';
import { idsPayload, jsonPayload, type Payload, textPayload } from '../../../attest/trace/payload.ts';
import { type Executor, ExecutorFault } from '../../../attest/verify/executor.ts';
import { noTrust, parseTrustFile, type Trust, trustSigner } from '../../../attest/verify/trust.ts';
import { verifyBundle } from '../../../attest/verify/verifier.ts';
import { OFF_CHAIN } from '../../../runtime/plan.ts';
import {
  copyEntry,
  editAt,
  insertAt,
  joinLines,
  linesOf,
  makeEntry,
  patchEntry,
  payloadCount,
  steady,
  swapPayload,
  withhold,
} from '../../support/forging.ts';
import {
  OPERATOR,
  OPERATOR_KEY,
  SIGNER_KEY,
  TOY_LIMITS,
  TOY_POLICY,
  type ToyRun,
  toyGuests,
  toyRun,
} from '../../support/toy-run.ts';

const now = () => performance.now();
const keys = { operator: OPERATOR_KEY, receipts: SIGNER_KEY };
const SALT = sha256(utf8('hostile salt'));
/** Indices of the toy run's records, checked below. */
const AT = {
  clock: 2,
  random: 6,
  put: 10,
  get: 14,
  infer: 18,
  tool: 26,
  toolEnd: 32,
  denied: 34,
  output: 39,
  close: 40,
};

let honest: ToyRun;
let entries: readonly Entry[];
let run: Uint8Array;
let lines: readonly string[];

beforeAll(async () => {
  honest = await toyRun();
  entries = await readEntries(honest.bytes);
  run = honest.result.checkpoint.run;
  lines = linesOf(honest.bytes);
});

const check = (bytes: Uint8Array, trust: Trust = trustSigner(OPERATOR), executor: Executor = honest.executor) =>
  verifyBundle({ executor, trust, now }, [bytes]);
const structure = (bytes: Uint8Array) => verifyBundle({ trust: trustSigner(OPERATOR), now }, [bytes]);
const forge = (edited: readonly Entry[]) => rebuildTrace(steady(edited), run, OFF_CHAIN, keys).bytes;
const entry = (index: number) => entries[index] as Entry;
const patch = (index: number, path: string, value: Json) => editAt(entries, index, (e) => patchEntry(e, path, value));
const payload = (index: number, field: string, value: Payload) =>
  editAt(entries, index, (e) => swapPayload(e, field, value));
const without = (...indices: readonly number[]) => entries.filter((_, i) => !indices.includes(i));
const close = (status: string, at: number) => [
  ...entries.slice(0, at),
  patchEntry(patchEntry({ ...entry(AT.close), payloads: new Map() }, 'output', null), 'status', status),
];
/** `bytes` of a closing record without payloads. */
const broken = (status: string, at: number, ...between: readonly Entry[]) => {
  const whole = close(status, at);
  const last = patchEntry(whole.at(-1) as Entry, 'bytes', '0');
  return [...whole.slice(0, -1), ...between, last];
};
const lost = (of: number, kind: 'host.lost' | 'tool.lost' | 'inference.lost', reason = 'HOST_FAULT') =>
  makeEntry(entry(of), kind, { reason }, BigInt(of));

type Case = {
  readonly name: string;
  readonly make: () => readonly Entry[] | Uint8Array;
  readonly verdict: string;
  readonly code?: string;
  readonly step?: number;
  readonly field?: string;
};

const judge = async ({ make, verdict, code, step, field }: Case) => {
  const made = make();
  const report = await check(made instanceof Uint8Array ? made : forge(made as readonly Entry[]));
  expect(report).toMatchObject({
    verdict,
    ...(code === undefined ? {} : { code }),
    ...(step === undefined ? {} : { step }),
    ...(field === undefined ? {} : { field }),
  });
};

it('knows the places of the toy run', () => {
  expect(entries).toHaveLength(41);
  for (const [name, index] of Object.entries(AT)) {
    const { kind } = entry(index).record;
    const wanted = { toolEnd: 'tool.end', output: 'agent', close: 'run.close' }[name] ?? 'policy';
    expect(kind, name).toBe(wanted);
  }
});

describe('an operator who wants a lie to match', () => {
  const deny: Json = {
    by: null,
    call: 99,
    decision: 'deny',
    form: 'deny',
    request: { capability: 'http.fetch', target: 'GET http://books.test/' },
    rule: 'agent.default',
  };
  const cases: readonly Case[] = [
    {
      name: 'a write to the store that is said to have failed',
      make: () =>
        editAt(entries, AT.put + 2, (e) => ({
          ...patchEntry(patchEntry(patchEntry(e, 'response', null), 'error', 'TIMEOUT'), 'bytes', '0'),
          payloads: new Map(),
        })),
      verdict: 'DIVERGED',
      step: AT.put + 2,
      field: 'body.error',
    },
    {
      name: 'a read of a missing key that is said to have failed',
      make: () =>
        editAt(entries, 38, (e) => ({
          ...patchEntry(patchEntry(patchEntry(e, 'response', null), 'error', 'TIMEOUT'), 'bytes', '0'),
          payloads: new Map(),
        })),
      verdict: 'DIVERGED',
      step: 38,
      field: 'body.error',
    },
    {
      name: 'a written value of the operator’s choice',
      make: () =>
        editAt(entries, AT.put + 1, (e) => replacePayload(e, 'body.request', { key: 'greeting', value: 'bye' })),
      verdict: 'DIVERGED',
      step: AT.put + 1,
      field: 'body.request.value',
    },
    {
      name: 'a written key that is not the one that policy saw',
      make: () =>
        editAt(entries, AT.put + 1, (e) => replacePayload(e, 'body.request', { key: 'other', value: 'hello' })),
      verdict: 'DIVERGED',
      step: AT.put + 1,
      field: 'body.request',
    },
    {
      name: 'a denial of a call that nobody made',
      make: () => insertAt(entries, AT.put, makeEntry(entry(AT.put), 'policy', deny)),
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: AT.put,
      field: 'body.call',
    },
    {
      name: 'a denial of a call that no tool made',
      make: () =>
        insertAt(
          entries,
          28,
          makeEntry(entry(28), 'policy', { ...(deny as { [key: string]: Json }), by: '27', call: 7 }),
        ),
      verdict: 'DIVERGED',
      step: 28,
      field: 'body.call',
    },
    {
      name: 'one call of a tool served twice',
      make: () =>
        insertAt(
          entries,
          31,
          copyEntry(entry(28)),
          { ...copyEntry(entry(29)), index: 5_000n, of: 5_000n },
          copyEntry(entry(30), 5_000n),
        ),
      verdict: 'DIVERGED',
      step: 31,
      field: 'body.call',
    },
    {
      name: 'a decision on a call of a tool that has ended',
      make: () => [...entries.slice(0, 33), copyEntry(entry(28)), ...entries.slice(33)],
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: 33,
    },
    {
      name: '`by` that points to a start that is no tool',
      make: () => insertAt(entries, AT.put + 2, patchEntry(copyEntry(entry(28)), 'by', '11')),
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: AT.put + 2,
      field: 'body.by',
    },
    {
      name: 'an inference on behalf of a tool that may have none',
      make: () =>
        insertAt(
          entries,
          28,
          makeEntry(entry(28), 'policy', {
            by: '27',
            call: 0,
            decision: 'allow',
            form: 'grant',
            request: { capability: 'inference', target: 'toy-model' },
            rule: 'tools.count.0',
          }),
          patchEntry(patchEntry(copyEntry(entry(19)), 'by', '27'), 'call', 0),
          { ...copyEntry(entry(20)), of: 1n },
        ).map((e, i, all) => (i === 30 ? { ...e, of: (all[29] as Entry).index } : e)),
      verdict: 'DIVERGED',
      step: 28,
      field: 'body.request.capability',
    },
    {
      name: 'a tool that run.open does not name',
      make: () => editAt(patch(AT.tool, 'request.target', 'evil'), 27, (e) => patchEntry(e, 'tool', 'evil')),
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: 27,
      field: 'body.tool',
    },
    {
      name: 'a tool named __proto__',
      make: () => editAt(patch(AT.tool, 'request.target', '__proto__'), 27, (e) => patchEntry(e, 'tool', '__proto__')),
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: 27,
      field: 'body.tool',
    },
    {
      name: 'a tool’s name given to two tools',
      make: () => {
        const open = entry(0);
        const tools = (open.record.body as unknown as { tools: Json[] }).tools;
        const twice = patchEntry(open, 'tools', [...tools, ...tools]);
        const code = open.payloads.get('body.tools.0.code') as Payload;
        const payloads = new Map(open.payloads).set('body.tools.1.code', code);
        const bytes = [...payloads.values()].reduce((sum, part) => sum + part.data.length, 0).toString();
        return editAt(entries, 0, () => ({ ...patchEntry(twice, 'bytes', bytes), payloads }));
      },
      verdict: 'INVALID',
      code: 'IDENTITY_MISMATCH',
      step: 0,
      field: 'body.tools.1.name',
    },
    {
      name: 'more effects after the agent has ended',
      make: () => insertAt(entries, AT.close, copyEntry(entry(AT.clock))),
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: AT.close,
    },
    {
      name: 'a second agent record after the last',
      make: () => insertAt(entries, AT.close, copyEntry(entry(AT.output))),
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: AT.close,
    },
    {
      name: 'a run that goes on after a loss in the place of an allowed start',
      make: () => [...entries.slice(0, AT.put + 2), copyEntry(entry(AT.get)), ...entries.slice(AT.put + 2)],
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: AT.put + 2,
    },
    {
      name: 'done without the agent’s output',
      make: () => without(AT.output),
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: AT.output,
    },
    {
      name: 'failed in the place of done',
      make: () => patch(AT.close, 'status', 'failed'),
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: AT.close,
    },
    {
      name: 'a broken-off run that shows an output',
      make: () => patch(AT.close, 'status', 'abandoned'),
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: AT.close,
      field: 'body.output',
    },
    {
      name: 'a run without records of its agent that is done',
      make: () => [entry(0), ...entries.slice(AT.close)],
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: 1,
    },
    {
      name: 'a tool that ends while its request is open',
      make: () => without(30),
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      field: 'head.of',
    },
    {
      name: 'a tool that is lost while its request is open',
      make: () => [...entries.slice(0, 30), lost(27, 'tool.lost'), ...broken('abandoned', 0)],
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: 30,
      field: 'head.of',
    },
    {
      name: 'a response and an error at once',
      make: () => patch(AT.put + 2, 'error', 'TIMEOUT'),
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: AT.put + 2,
      field: 'body.response',
    },
    {
      name: 'an end of another start',
      make: () => editAt(entries, 24, (e) => ({ ...e, of: 19n })),
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: 24,
      field: 'head.of',
    },
    {
      name: 'the whole run again after its end',
      make: () => [...entries, ...entries.map((e) => copyEntry(e))],
      verdict: 'INVALID',
    },
    {
      name: 'times that run backwards',
      make: () =>
        rebuildTrace(
          editAt(entries, 9, (e) => ({ ...e, at: 1n })),
          run,
          OFF_CHAIN,
          keys,
        ).bytes,
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: 9,
      field: 'head.at',
    },
    {
      name: 'a time that no clock shows',
      make: () => editAt(entries, AT.close, (e) => ({ ...e, at: (1n << 64n) - 1n })),
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: AT.close,
      field: 'head.at',
    },
    {
      name: 'more bytes than the limit',
      make: () => patch(AT.put + 1, 'bytes', '67108865'),
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: AT.put + 1,
      field: 'body.bytes',
    },
    {
      name: 'fewer bytes than the payloads have',
      make: () => patch(AT.put + 1, 'bytes', '1'),
      verdict: 'INVALID',
      code: 'PAYLOAD_MISMATCH',
      step: AT.put + 1,
      field: 'body.bytes',
    },
    {
      name: 'more bytes than the payloads have',
      make: () => patch(AT.put + 1, 'bytes', '1000'),
      verdict: 'INVALID',
      code: 'PAYLOAD_MISMATCH',
      step: AT.put + 1,
      field: 'body.bytes',
    },
    {
      name: 'a count of tokens that is not that of the ids',
      make: () => patch(20, 'output.count', 3),
      verdict: 'INVALID',
      code: 'PAYLOAD_MISMATCH',
      step: 20,
      field: 'body.output.count',
    },
    {
      name: 'fuel beyond all limits',
      make: () => patch(9, 'fuel', ((1n << 64n) - 1n).toString()),
      verdict: 'DIVERGED',
      step: 9,
      code: 'LIMIT_EXCEEDED',
    },
    {
      name: 'masks where none are',
      make: () => patch(20, 'masks', `0x${'11'.repeat(32)}`),
      verdict: 'DIVERGED',
      step: 20,
      field: 'body.masks',
    },
  ];
  it.each(cases)('$name', judge);
});

describe('payloads that are not what their place takes', () => {
  const salted = {
    text: () => textPayload('hello', SALT),
    json: (value: Json) => jsonPayload(value, SALT),
    raw: (data: string): Payload => ({ mode: 'public', media: 'application/json', data: utf8(data), salt: SALT }),
  };
  const malformed = { verdict: 'INVALID', code: 'MALFORMED_PAYLOAD' } as const;
  const cases: readonly Case[] = [
    {
      name: 'a request that is a text',
      make: () => payload(AT.put + 1, 'body.request', salted.text()),
      ...malformed,
      step: AT.put + 1,
    },
    {
      name: 'a response that is not JSON',
      make: () => payload(AT.put + 2, 'body.response', salted.raw('{')),
      ...malformed,
      step: AT.put + 2,
    },
    {
      name: 'a response with a float',
      make: () => payload(4, 'body.response', salted.raw('{"value":1.5}')),
      ...malformed,
      step: 4,
    },
    {
      name: 'a response that nests too deep',
      make: () => payload(4, 'body.response', salted.raw(`{"value":${'['.repeat(40)}${']'.repeat(40)}}`)),
      ...malformed,
      step: 4,
    },
    {
      name: 'a message that is JSON',
      make: () => payload(19, 'body.request.messages.0.content', salted.json('hello')),
      ...malformed,
      step: 19,
    },
    {
      name: 'ids of three bytes',
      make: () => payload(20, 'body.output.ids', { ...idsPayload([1], SALT), data: Uint8Array.of(1, 2, 3) }),
      ...malformed,
      step: 20,
    },
    {
      name: 'a tool’s input that is no JSON',
      make: () => payload(27, 'body.input', salted.text()),
      ...malformed,
      step: 27,
    },
    {
      name: 'a tool’s result that is no JSON',
      make: () => payload(AT.toolEnd, 'body.result', salted.text()),
      ...malformed,
      step: AT.toolEnd,
    },
    {
      name: 'an output that is no JSON',
      make: () => payload(AT.output, 'body.output', salted.text()),
      ...malformed,
      step: AT.output,
    },
    {
      name: 'a request null',
      make: () => payload(AT.put + 1, 'body.request', salted.json(null)),
      verdict: 'DIVERGED',
      step: AT.put + 1,
      field: 'body.request',
    },
    {
      name: 'random bytes without end',
      make: () => payload(AT.random + 1, 'body.request', salted.json({ length: Number.MAX_SAFE_INTEGER })),
      verdict: 'DIVERGED',
      step: AT.random + 1,
      field: 'body.request',
    },
    {
      name: 'a key __proto__ in an output',
      make: () => payload(AT.output, 'body.output', salted.raw('{"value":{"__proto__":{"all":"fine"}}}')),
      verdict: 'DIVERGED',
      step: AT.output,
    },
  ];
  it.each(cases)('$name', judge);
});

describe('run.open that is signed by caller and operator, and hostile', () => {
  const plan = async (policy: Json) => toyRun({ policy: policy as typeof TOY_POLICY });

  it('calls a malformed policy INVALID at record 0', async () => {
    const hostile = await plan({ ...TOY_POLICY, agent: [{ capability: 'teleport' }, ...TOY_POLICY.agent] } as Json);
    expect(await check(hostile.bytes)).toMatchObject({ verdict: 'INVALID', code: 'MALFORMED_BODY', step: 0 });
  });

  it('calls malformed guest code INVALID at record 0', async () => {
    const hostile = await toyRun({ agentFuel: '01000' });
    expect(await check(hostile.bytes)).toMatchObject({
      verdict: 'INVALID',
      code: 'MALFORMED_PAYLOAD',
      step: 0,
      field: 'body.agent.code.limits.fuel',
    });
  });

  it('takes limits of uint64 as they are', async () => {
    const most = ((1n << 64n) - 1n).toString();
    const limits = { bytes: most, fuel: most, steps: most, tokens: most, wallMs: TOY_LIMITS.wallMs };
    const wide = await toyRun({ limits });
    expect(await check(wide.bytes)).toMatchObject({ verdict: 'MATCH' });
  });
});

describe('what may be hidden, and is seen', () => {
  it('shows a run that was broken off by its status', async () => {
    for (const status of ['cancelled', 'abandoned', 'out-of-budget'] as const) {
      expect(await check(forge(broken(status, AT.get)))).toMatchObject({ verdict: 'MATCH', status, lost: 0 });
    }
    expect(await check(honest.bytes)).toMatchObject({ status: 'done', lost: 0 });
  });

  it('shows a result that was called lost', async () => {
    const hidden = broken('abandoned', 24, lost(23, 'inference.lost'));
    const report = await check(forge(hidden));
    expect(report).toMatchObject({ verdict: 'MATCH', status: 'abandoned', lost: 1 });
    expect(report.classes.opaque).toBe((await check(forge(broken('abandoned', 22)))).classes.opaque + 1);
  });

  it('diverges when the agent acts as if a lost result had come', async () => {
    const hidden = entries.map((e, i) => (i === 24 ? lost(23, 'inference.lost') : e));
    expect(await check(forge(hidden))).toMatchObject({ verdict: 'DIVERGED', step: 25 });
  });

  it('refuses to go on after a loss that broke the run off', async () => {
    const pending = [...entries.slice(0, 30), lost(29, 'host.lost'), ...entries.slice(31)];
    expect((await check(forge(pending))).verdict).toBe('DIVERGED');
    const skipped = [...entries.slice(0, 29), ...entries.slice(31)];
    expect(await check(forge(skipped))).toMatchObject({ verdict: 'INVALID', code: 'ORDER_VIOLATION', step: 29 });
    const agentLess = [...entries.slice(0, 5), ...entries.slice(6)];
    expect(await check(forge(agentLess))).toMatchObject({ verdict: 'INVALID', code: 'ORDER_VIOLATION', step: 5 });
  });
});

describe('an agent that ends while a call of it waits', () => {
  /** Two calls at once, the agent ends with the first answer; `at` gives the place of the second call's records. */
  const race = async (build: (all: readonly Entry[], second: readonly Entry[]) => readonly Entry[]) => {
    const racing = await toyRun({
      guests: {
        ...toyGuests,
        agent: async (ctx) => Promise.race([ctx.call('clock.now', {}), ctx.call('clock.now', {})]),
      },
    });
    const all = await readEntries(racing.bytes);
    expect(all.map((e) => e.record.kind)).toEqual([
      'run.open',
      'agent',
      'policy',
      'host.start',
      'host.end',
      'agent',
      'run.close',
    ]);
    const second = [2, 3].map((i) => patchEntry(copyEntry(all[i] as Entry), 'call', 1));
    const { bytes } = rebuildTrace(steady(build(all, second)), racing.result.checkpoint.run, OFF_CHAIN, keys);
    return check(bytes, trustSigner(OPERATOR), racing.executor);
  };

  it('may lose what is open and close', async () => {
    const report = await race((all, second) => [
      ...all.slice(0, 4),
      ...second,
      ...all.slice(4, 6),
      makeEntry(all[4] as Entry, 'host.lost', { reason: 'CANCELLED' }, (second[1] as Entry).index),
      ...all.slice(6),
    ]);
    expect(report).toMatchObject({ verdict: 'MATCH', status: 'done', lost: 1 });
  });

  it('cannot go on after a loss that stands in the place of an allowed start', async () => {
    const report = await race((all, second) => [
      ...all.slice(0, 4),
      second[0] as Entry,
      makeEntry(all[4] as Entry, 'host.lost', { reason: 'CRASH' }, 3n),
      ...all.slice(5),
    ]);
    expect(report).toMatchObject({ verdict: 'INVALID', code: 'ORDER_VIOLATION', step: 6, field: 'head.kind' });
    expect(report.message).toContain('broken off');
  });

  it('may begin nothing more', async () => {
    const report = await race((all, second) => [...all.slice(0, 6), ...second, ...all.slice(6)]);
    expect(report).toMatchObject({ verdict: 'INVALID', code: 'ORDER_VIOLATION', step: 6, field: 'head.kind' });
    expect(report.message).toContain('the agent has ended');
  });
});

describe('a payload left out', () => {
  it('is CANNOT_RECOMPUTE wherever it is, never MATCH and never DIVERGED', async () => {
    let count = 0;
    for (const [step] of entries.entries()) {
      for (let nth = 0; nth < payloadCount(honest.bytes, step); nth++) {
        const report = await check(withhold(honest.bytes, step, nth));
        expect(report, `payload ${nth} of record ${step}`).toMatchObject({
          verdict: 'CANNOT_RECOMPUTE',
          code: 'PAYLOAD_WITHHELD',
          size: entries.length,
        });
        count++;
      }
    }
    expect(count).toBe([...entries].reduce((sum, e) => sum + e.payloads.size, 0));
  });

  it('that would show a lie hides it, and says so', async () => {
    const lies: readonly [string, readonly Entry[], number, number][] = [
      ['value', editAt(entries, AT.get + 2, (e) => replacePayload(e, 'body.response', 'bye')), AT.get + 2, 0],
      ['random', editAt(entries, 8, (e) => replacePayload(e, 'body.response', '0x00')), 8, 0],
      ['result', editAt(entries, AT.toolEnd, (e) => replacePayload(e, 'body.result', 1)), AT.toolEnd, 0],
      ['output', editAt(entries, AT.close, (e) => replacePayload(e, 'body.output', 1)), AT.close, 0],
      ['ids', editAt(entries, 20, (e) => replacePayload(e, 'body.output.ids', [1])), 20, 0],
    ];
    for (const [name, lie, step, nth] of lies) {
      expect((await check(forge(lie))).verdict, name).toBe('DIVERGED');
      expect(await check(withhold(forge(lie), step, nth)), name).toMatchObject({
        verdict: 'CANNOT_RECOMPUTE',
        code: 'PAYLOAD_WITHHELD',
      });
    }
  });

  it('does not hide a lie that another payload shows', async () => {
    const lie = editAt(entries, AT.toolEnd, (e) => replacePayload(e, 'body.result', { code: 'none', lines: 9 }));
    const policyWithheld = withhold(forge(lie), 0, 2);
    expect(await check(policyWithheld)).toMatchObject({ verdict: 'DIVERGED', step: AT.toolEnd });
    const decision = patch(AT.put, 'rule', 'agent.0');
    expect(await check(withhold(forge(decision), 0, 2))).toMatchObject({ verdict: 'CANNOT_RECOMPUTE' });
  });

  it('does not hide a receipt that another key made, unless it is of what the receipt covers', async () => {
    const other = rebuildTrace(entries, run, OFF_CHAIN, { ...keys, receipts: OPERATOR_KEY }).bytes;
    expect(await check(withhold(other, 0, 1))).toMatchObject({
      verdict: 'INVALID',
      code: 'RECEIPT_MISMATCH',
      step: 20,
    });
    const both = withhold(withhold(other, 20, 2), 24, 2);
    expect(await check(both)).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'PAYLOAD_WITHHELD' });
  });

  it('of a response from outside is told even where nothing follows from it', async () => {
    const last = broken('abandoned', 31, lost(27, 'tool.lost'));
    expect(await check(forge(last))).toMatchObject({ verdict: 'MATCH' });
    expect(await check(withhold(forge(last), 30))).toMatchObject({
      verdict: 'CANNOT_RECOMPUTE',
      code: 'PAYLOAD_WITHHELD',
    });
  });
});

describe('a verifier whose own machine fails', () => {
  const failing = (which: 'agent' | 'tool', when: 'open' | 'start'): Executor => ({
    ...honest.executor,
    async openGuest(start) {
      const mine = (start.entry === 'agent') === (which === 'agent');
      if (mine && when === 'open') throw new ExecutorFault('no memory');
      const session = await honest.executor.openGuest(start);
      if (!mine) return session;
      return { ...session, start: () => Promise.reject(new ExecutorFault('no memory')), close: () => session.close() };
    },
  });

  it.each([
    ['agent', 'open'],
    ['agent', 'start'],
    ['tool', 'open'],
    ['tool', 'start'],
  ] as const)('says HOST_FAULT and accuses nobody: %s, %s', async (which, when) => {
    const report = await check(honest.bytes, trustSigner(OPERATOR), failing(which, when));
    expect(report).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'HOST_FAULT' });
    expect(report.steps.some((step) => step.verdict === 'DIVERGED')).toBe(false);
  });

  it('survives every hostile request while it has no guest to ask', async () => {
    const none: Executor = { ...honest.executor, sandbox: `0x${'00'.repeat(32)}` };
    for (const value of [null, 1, 'text', [], { length: Number.MAX_SAFE_INTEGER }, { length: '8' }] as Json[]) {
      for (const at of [AT.random, AT.put, AT.get]) {
        const hostile = payload(at + 1, 'body.request', jsonPayload(value, SALT));
        const report = await check(forge(hostile), trustSigner(OPERATOR), none);
        expect(report, JSON.stringify(value)).toMatchObject({
          verdict: 'DIVERGED',
          step: at + 1,
          field: 'body.request',
        });
      }
    }
  });

  it('gives a tool the fuel that it had, whatever of the agent is withheld', async () => {
    // The agent may use all but 5 of the run's fuel, so the tool fails in the run for want of it.
    const limits = { ...TOY_LIMITS, fuel: '30' };
    const tight = await toyRun({ limits, agentFuel: '28' });
    expect(await check(tight.bytes, trustSigner(OPERATOR), tight.executor)).toMatchObject({ verdict: 'MATCH' });
    for (const nth of [0, 1]) {
      const report = await check(withhold(tight.bytes, 0, nth), trustSigner(OPERATOR), tight.executor);
      expect(report).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'PAYLOAD_WITHHELD' });
    }
  });
});

describe('records that nobody signed', () => {
  const unsigned = () => {
    const lie = editAt(entries, 38, (e) => replacePayload(e, 'body.response', 'planted'));
    return joinLines(linesOf(forge(lie)).slice(0, -1));
  };

  it('accuse nobody: a divergence after the last checkpoint is INVALID', async () => {
    expect(await check(unsigned())).toMatchObject({ verdict: 'INVALID', code: 'UNSIGNED_RECORD', step: 38 });
  });

  it('name no signer where no checkpoint is', async () => {
    const bare = joinLines(lines.filter((line) => !line.startsWith('{"checkpoint"')).slice(0, 8));
    expect(await check(bare)).toMatchObject({
      verdict: 'CANNOT_RECOMPUTE',
      code: 'NOT_CLOSED',
      size: 0,
      root: null,
      signer: null,
    });
  });
});

describe('lines', () => {
  const at = (prefix: string) => lines.findIndex((line) => line.startsWith(prefix));
  const cases: readonly Case[] = [
    { name: 'no line', make: () => new Uint8Array(), verdict: 'INVALID', code: 'MISSING_LINE' },
    { name: 'one LF', make: () => utf8('\n'), verdict: 'INVALID', code: 'MALFORMED_LINE' },
    {
      name: 'the header alone',
      make: () => joinLines(lines.slice(0, 1)),
      verdict: 'CANNOT_RECOMPUTE',
      code: 'NOT_CLOSED',
    },
    {
      name: 'a header of another version',
      make: () => joinLines(['{"format":"tracebond/trace","version":2}', ...lines.slice(1)]),
      verdict: 'INVALID',
      code: 'UNSUPPORTED_VERSION',
    },
    {
      name: 'the header twice',
      make: () => joinLines([lines[0] as string, ...lines]),
      verdict: 'INVALID',
      code: 'UNEXPECTED_LINE',
    },
    {
      name: 'run.open and its payloads alone',
      make: () => joinLines(lines.slice(0, 6)),
      verdict: 'CANNOT_RECOMPUTE',
      code: 'NOT_CLOSED',
    },
    {
      name: 'a byte order mark',
      make: () => concatBytes(Uint8Array.of(0xef, 0xbb, 0xbf), honest.bytes),
      verdict: 'INVALID',
      code: 'MALFORMED_LINE',
    },
    {
      name: 'CR before LF',
      make: () => utf8(lines.map((line) => `${line}\r\n`).join('')),
      verdict: 'INVALID',
      code: 'MALFORMED_LINE',
    },
    {
      name: 'NUL between lines',
      make: () => joinLines([lines[0] as string, `\0${lines[1]}`, ...lines.slice(2)]),
      verdict: 'INVALID',
      code: 'MALFORMED_LINE',
    },
    {
      name: 'an empty line between lines',
      make: () => joinLines([lines[0] as string, '', ...lines.slice(1)]),
      verdict: 'INVALID',
      code: 'MALFORMED_LINE',
    },
    {
      name: 'a checkpoint before the first record',
      make: () => joinLines([lines[0] as string, lines.at(-1) as string, ...lines.slice(1)]),
      verdict: 'INVALID',
      code: 'UNEXPECTED_LINE',
    },
    {
      name: 'a checkpoint between a record and its payload',
      make: () => {
        const moved = lines.filter((_, i) => i !== at('{"checkpoint"'));
        return joinLines([...moved.slice(0, 2), lines[at('{"checkpoint"')] as string, ...moved.slice(2)]);
      },
      verdict: 'INVALID',
      code: 'MISSING_LINE',
      step: 0,
    },
    {
      name: 'a checkpoint twice at one size',
      make: () => {
        const twice = at('{"checkpoint"');
        return joinLines([...lines.slice(0, twice + 1), ...lines.slice(twice)]);
      },
      verdict: 'INVALID',
      code: 'ORDER_VIOLATION',
      step: AT.close,
      field: 'body.checkpoints',
    },
    {
      name: 'run.close without its checkpoint, then a record',
      make: () => joinLines([...lines.slice(0, -1), lines.at(-3) as string]),
      verdict: 'INVALID',
      code: 'MISSING_LINE',
    },
    {
      name: 'a line after the closed checkpoint',
      make: () => joinLines([...lines, lines[0] as string]),
      verdict: 'INVALID',
      code: 'UNEXPECTED_LINE',
    },
    {
      name: 'the beginning of a line after the closed checkpoint',
      make: () => concatBytes(honest.bytes, utf8('{"record":')),
      verdict: 'INVALID',
      code: 'UNEXPECTED_LINE',
    },
    {
      name: 'two runs in one file',
      make: () => concatBytes(honest.bytes, honest.bytes),
      verdict: 'INVALID',
      code: 'UNEXPECTED_LINE',
    },
    {
      name: 'a key __proto__ in a body',
      make: () =>
        joinLines([lines[0] as string, (lines[1] as string).replace('{"agent":', '{"__proto__":{},"agent":')]),
      verdict: 'INVALID',
      code: 'MALFORMED_BODY',
      step: 0,
    },
    {
      name: 'a line of very many values',
      make: () => concatBytes(joinLines(lines.slice(0, 1)), utf8(`{"record":[${'0,'.repeat(1 << 20)}0]}\n`)),
      verdict: 'INVALID',
      code: 'MALFORMED_LINE',
    },
    {
      name: 'nesting without end',
      make: () => concatBytes(joinLines(lines.slice(0, 1)), utf8(`{"record":${'['.repeat(100_000)}\n`)),
      verdict: 'INVALID',
      code: 'MALFORMED_LINE',
    },
    {
      name: 'an index of uint64',
      make: () =>
        joinLines(
          lines.map((line, i) => (i === 1 ? line.replace('"index":"0"', `"index":"${2n ** 64n - 1n}"`) : line)),
        ),
      verdict: 'INVALID',
      code: 'HEAD_MISMATCH',
      step: 0,
      field: 'head.index',
    },
    {
      name: 'an `of` beyond uint64',
      make: () => joinLines(lines.map((line, i) => (i === 1 ? line.replace('"of":"0"', `"of":"${2n ** 64n}"`) : line))),
      verdict: 'INVALID',
      code: 'MALFORMED_HEAD',
      step: 0,
      field: 'head.of',
    },
  ];
  it.each(cases)('$name', judge);

  it('holds no more of a line without end than the longest line', async () => {
    let given = 0;
    const endless = function* () {
      yield utf8('{"format":"');
      for (;;) {
        given += 1 << 20;
        yield new Uint8Array(1 << 20).fill(0x61);
      }
    };
    const report = await verifyBundle({ trust: noTrust, now }, endless());
    expect(report).toMatchObject({ verdict: 'INVALID', code: 'MALFORMED_LINE' });
    expect(given).toBeLessThanOrEqual(MAX_LINE_BYTES + (1 << 20));
  });

  it('lets go of its source at the first fault', async () => {
    let closed = false;
    const source = function* () {
      try {
        for (;;) yield utf8('no bundle\n');
      } finally {
        closed = true;
      }
    };
    expect((await verifyBundle({ trust: noTrust, now }, source())).verdict).toBe('INVALID');
    expect(closed).toBe(true);
  });
});

describe('signatures', () => {
  const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
  const malleate: readonly [string, (signature: Uint8Array) => Uint8Array][] = [
    [
      'high s',
      (signature) => {
        const s = ORDER - BigInt(toHex(signature.subarray(32, 64)));
        const high = fromHex(`0x${s.toString(16).padStart(64, '0')}`);
        return concatBytes(signature.subarray(0, 32), high, Uint8Array.of(55 - (signature[64] as number)));
      },
    ],
    [
      'v of 0 or 1',
      (signature) => concatBytes(signature.subarray(0, 64), Uint8Array.of((signature[64] as number) - 27)),
    ],
    [
      'the other v',
      (signature) => concatBytes(signature.subarray(0, 64), Uint8Array.of(55 - (signature[64] as number))),
    ],
    ['zero', () => new Uint8Array(65)],
    ['all ones', () => new Uint8Array(65).fill(0xff)],
  ];

  it.each(malleate)('of a checkpoint has one form: %s', async (_, change) => {
    const edited = lines.map((line) =>
      line.startsWith('{"checkpoint"')
        ? line.replace(/0x[0-9a-f]{130}/, (signature) => toHex(change(fromHex(signature))))
        : line,
    );
    expect(await structure(joinLines(edited))).toMatchObject({
      verdict: 'INVALID',
      code: 'SIGNATURE_MISMATCH',
      field: 'checkpoint.signature',
    });
  });

  it.each(malleate)('of a caller has one form: %s', async (_, change) => {
    const signature = (entry(0).record.body as { signature: string }).signature;
    const bytes = forge(patch(0, 'signature', toHex(change(fromHex(signature)))));
    expect(await structure(bytes)).toMatchObject({
      verdict: 'INVALID',
      code: 'SIGNATURE_MISMATCH',
      step: 0,
      field: 'body.signature',
    });
  });
});

describe('many', () => {
  const host = (key: string): Json => ({ key, value: 'v' });

  it('keys and calls cost no more each than a few', async () => {
    const count = 150;
    const many = await toyRun({
      guests: {
        ...toyGuests,
        agent: async (ctx) => {
          const puts = Array.from({ length: count }, (_, i) => ctx.call('kv.put', host(`key ${i}`)));
          await Promise.all(puts);
          return count;
        },
      },
    });
    const report = await check(many.bytes, trustSigner(OPERATOR), many.executor);
    expect(report).toMatchObject({ verdict: 'MATCH', lost: 0 });
    expect(report.steps.length).toBe(3 + 4 * count);
  });

  it('open starts are refused beyond their number', async () => {
    const many = await toyRun({
      guests: {
        ...toyGuests,
        agent: async (ctx) => Promise.all(Array.from({ length: 300 }, () => ctx.call('clock.now', {}))),
      },
      limits: { ...TOY_LIMITS, steps: '300' },
    });
    const all = await readEntries(many.bytes);
    // Every effect is begun and none is ended: policy and start of each call, one after the other.
    const starts = all.filter((e) => e.record.kind === 'policy' || e.record.kind === 'host.start');
    const forged = (change: (one: Entry) => Entry) => {
      const at = (all[1] as Entry).at;
      const begun = starts.map((one, i) => ({ ...change(one), at, checkpoint: i === starts.length - 1 }));
      return rebuildTrace([...all.slice(0, 2), ...begun], many.result.checkpoint.run, OFF_CHAIN, keys).bytes;
    };
    const refused = { verdict: 'INVALID', code: 'ORDER_VIOLATION' };
    expect(await structure(forged((one) => one))).toMatchObject({
      ...refused,
      field: 'head.kind',
      step: 2 + 2 * 256 + 1,
    });
    // Four times 60 MiB, shown or not, may be held; the fifth may not.
    const large = (one: Entry) =>
      one.record.kind === 'policy' ? one : { ...patchEntry(one, 'bytes', '62914560'), payloads: new Map() };
    expect(await structure(forged(large))).toMatchObject({ ...refused, field: 'body.bytes', step: 2 + 2 * 4 + 1 });
  });
});

describe('trust', () => {
  it('takes an address with its checksum letters', async () => {
    const mixed = OPERATOR.toUpperCase().replace('0X', '0x') as typeof OPERATOR;
    expect(await check(honest.bytes, trustSigner(mixed))).toMatchObject({ verdict: 'MATCH' });
  });

  it('refuses a file that names an operator twice, or is no trust file', () => {
    const operator = { bond: '7', chainId: '0', contract: OFF_CHAIN.contract, runs: [], signer: OPERATOR };
    const read = (value: unknown) => () => parseTrustFile(utf8(JSON.stringify(value)));
    expect(read({ operators: [operator], version: 1 })().operators).toHaveLength(1);
    expect(read({ operators: [operator, { ...operator, bond: '8' }], version: 1 })).toThrow(/repeats an operator/);
    expect(read({ operators: [{ ...operator, signer: OPERATOR.toUpperCase() }], version: 1 })).toThrow(/signer/);
    expect(read({ operators: [operator], version: 2 })).toThrow(/version/);
    expect(() => parseTrustFile(utf8('{'))).toThrow(/not JSON/);
  });
});
