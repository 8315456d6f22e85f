import { beforeAll, describe, expect, it } from 'vitest';
import { type Entry, readEntries, rebuildTrace, replacePayload } from '../../../agents/demo/forge.ts';
import { toHex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import type { Kind } from '../../../attest/trace/kinds.ts';
import { hashBody } from '../../../attest/trace/state.ts';
import type { Executor, PartialAnswer } from '../../../attest/verify/executor.ts';
import { noTrust, type Standing, type Trust, trustOperators, trustSigner } from '../../../attest/verify/trust.ts';
import { verifyBundle } from '../../../attest/verify/verifier.ts';
import { OFF_CHAIN } from '../../../runtime/plan.ts';
import { editAt, joinLines, linesOf, patchEntry } from '../../support/forging.ts';
import { CALLER_KEY, OPERATOR, OPERATOR_KEY, SIGNER_KEY, type ToyRun, toyRun } from '../../support/toy-run.ts';

const now = () => performance.now();
const keys = { operator: OPERATOR_KEY, receipts: SIGNER_KEY };

let honest: ToyRun;
let entries: readonly Entry[];
let run: Uint8Array;

beforeAll(async () => {
  honest = await toyRun();
  entries = await readEntries(honest.bytes);
  run = honest.result.checkpoint.run;
});

const check = (bytes: Uint8Array, trust: Trust = trustSigner(OPERATOR)) =>
  verifyBundle({ executor: honest.executor, trust, now }, [bytes]);
const structure = (bytes: Uint8Array, trust: Trust = trustSigner(OPERATOR)) => verifyBundle({ trust, now }, [bytes]);
const forge = (edited: readonly Entry[]) => rebuildTrace(edited, run, OFF_CHAIN, keys).bytes;
const place = (kind: Kind, nth = 0) => {
  const found = entries.filter((entry) => entry.record.kind === kind)[nth];
  if (found === undefined) throw new Error(`no ${kind} ${nth}`);
  return Number(found.index);
};
const edit = (index: number, change: (entry: Entry) => Entry) => editAt(entries, index, change);
const patch = (index: number, path: string, value: Json) => edit(index, (entry) => patchEntry(entry, path, value));

describe('an honest bundle', () => {
  it('matches, byte for byte the same when the run is repeated', async () => {
    expect(await check(honest.bytes)).toMatchObject({ verdict: 'MATCH', seedFrom: 'caller' });
    expect(Buffer.from((await toyRun()).bytes).equals(Buffer.from(honest.bytes))).toBe(true);
  });

  it('is rebuilt to the same bytes by the forger when nothing is changed', () => {
    expect(Buffer.from(forge(entries)).equals(Buffer.from(honest.bytes))).toBe(true);
  });

  it('matches when it arrives byte by byte', async () => {
    const pieces = Array.from(honest.bytes, (byte) => Uint8Array.of(byte));
    expect((await verifyBundle({ executor: honest.executor, trust: trustSigner(OPERATOR), now }, pieces)).verdict).toBe(
      'MATCH',
    );
  });

  it('is never MATCH without trust, and structure alone is never MATCH', async () => {
    expect(await check(honest.bytes, noTrust)).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'SIGNER_UNKNOWN' });
    expect(await structure(honest.bytes)).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'STRUCTURE_ONLY' });
    const other = trustSigner(addressOf(CALLER_KEY));
    expect(await check(honest.bytes, other)).toMatchObject({ verdict: 'INVALID', code: 'SIGNER_MISMATCH', step: 0 });
  });

  it('takes trust from a file of operators, for their own contract only', async () => {
    const entry = {
      bond: '7',
      chainId: '0',
      contract: OFF_CHAIN.contract,
      runs: [honest.result.run],
      signer: OPERATOR,
    };
    const file = { operators: [entry], version: 1 } as const;
    expect(await check(honest.bytes, trustOperators(file))).toMatchObject({
      verdict: 'MATCH',
      opened: true,
      bonded: '7',
    });
    const elsewhere = { operators: [{ ...entry, chainId: '1' }], version: 1 } as const;
    expect(await check(honest.bytes, trustOperators(elsewhere))).toMatchObject({ code: 'SIGNER_UNKNOWN' });
  });

  it('says that an operator chose the seed when no caller signed', async () => {
    const alone = await toyRun({ callerKey: null });
    const report = await verifyBundle({ executor: alone.executor, trust: trustSigner(OPERATOR), now }, [alone.bytes]);
    expect(report).toMatchObject({ verdict: 'MATCH', seedFrom: 'operator' });
  });
});

describe('a changed byte', () => {
  it('is INVALID wherever it is', async () => {
    let seed = 1;
    const draw = (below: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return seed % below;
    };
    for (let i = 0; i < 150; i++) {
      const bytes = Uint8Array.from(honest.bytes);
      const at = i < 5 ? bytes.length - 1 - i : draw(bytes.length);
      bytes[at] = (bytes[at] as number) ^ (1 << draw(8));
      const report = await structure(bytes);
      expect(report.verdict, `byte ${at} as ${bytes[at]}`).toBe('INVALID');
    }
  });
});

describe('a cut file', () => {
  it('is never MATCH and never INVALID, at any byte', async () => {
    const step = Math.max(1, Math.floor(honest.bytes.length / 120));
    for (let size = honest.bytes.length - 1; size > 0; size -= step) {
      const report = await structure(honest.bytes.subarray(0, size));
      expect(report.verdict, `cut at ${size}`).toBe('CANNOT_RECOMPUTE');
      expect(['TRUNCATED', 'NOT_CLOSED']).toContain(report.code);
    }
    expect(await structure(new Uint8Array())).toMatchObject({ verdict: 'INVALID', code: 'MISSING_LINE' });
  });

  it('says NOT_CLOSED when whole lines are missing at the end', async () => {
    expect(await check(joinLines(linesOf(honest.bytes).slice(0, -1)))).toMatchObject({
      verdict: 'CANNOT_RECOMPUTE',
      code: 'NOT_CLOSED',
    });
  });
});

describe('lines', () => {
  it('refuses a missing, doubled or swapped line anywhere', async () => {
    const all = linesOf(honest.bytes);
    for (let i = 0; i < all.length - 1; i++) {
      const without = [...all.slice(0, i), ...all.slice(i + 1)];
      expect((await structure(joinLines(without))).verdict, `line ${i} missing`).toBe('INVALID');
      const doubled = [...all.slice(0, i + 1), ...all.slice(i)];
      expect((await structure(joinLines(doubled))).verdict, `line ${i} doubled`).toBe('INVALID');
    }
    for (let i = 0; i + 1 < all.length; i++) {
      const swapped = [...all];
      [swapped[i], swapped[i + 1]] = [swapped[i + 1] as string, swapped[i] as string];
      expect((await structure(joinLines(swapped))).verdict, `lines ${i} and ${i + 1} swapped`).toBe('INVALID');
    }
    expect((await structure(joinLines([...all, all.at(-1) as string]))).verdict).toBe('INVALID');
  });

  it('refuses a second encoding of the same value', async () => {
    const all = linesOf(honest.bytes);
    const spaced = [...all];
    spaced[1] = (spaced[1] as string).replace(':', ': ');
    expect(await structure(joinLines(spaced))).toMatchObject({ verdict: 'INVALID', code: 'MALFORMED_LINE', step: 0 });
  });

  it('says which payload is withheld and checks the rest', async () => {
    const all = linesOf(honest.bytes);
    const at = all.findIndex((line) => line.startsWith('{"record"') && line.includes('"kind":"inference.end"'));
    const commitment = (JSON.parse(all[at + 1] as string) as { payload: { commitment: string } }).payload.commitment;
    const redacted = [...all];
    redacted[at + 1] = JSON.stringify({ withheld: commitment });
    const report = await check(joinLines(redacted));
    expect(report).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'PAYLOAD_WITHHELD' });
    expect(report.size).toBe(Number(honest.result.records));
    expect(report.checked).toBeGreaterThan(10);
    const wrong = [...redacted];
    wrong[at + 1] = JSON.stringify({ withheld: `0x${'11'.repeat(32)}` });
    expect(await structure(joinLines(wrong))).toMatchObject({ verdict: 'INVALID', code: 'PAYLOAD_MISMATCH' });
  });
});

describe('a lie that is consistent everywhere', () => {
  it('finds a changed output token at its record and position', async () => {
    const at = place('inference.end');
    const lie = edit(at, (entry) => {
      const text = 'it has 99 letters';
      return replacePayload(replacePayload(entry, 'body.output.ids', [...utf8(text)]), 'body.text', text);
    });
    expect(await structure(forge(lie))).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'STRUCTURE_ONLY' });
    expect(await check(forge(lie))).toMatchObject({
      verdict: 'DIVERGED',
      step: at,
      field: 'body.output.ids.7',
      claimed: '57',
      recomputed: '49',
    });
  });

  it('finds an output that ends too early, goes on too long, or holds what no model has', async () => {
    const at = place('inference.end');
    const ids = [...utf8('it has 17 letters')];
    const cases: readonly [string, readonly number[], number, string, string][] = [
      ['empty', [], 0, 'none', '105'],
      ['too early', ids.slice(0, 5), 5, 'none', '115'],
      ['too long', [...ids, 1, 2], ids.length, '1', 'none'],
      ['no token', [...ids.slice(0, 3), 2 ** 32 - 1], 3, '4294967295', '104'],
      ['its last', [...ids.slice(0, -1), 0], ids.length - 1, '0', '115'],
    ];
    for (const [name, claim, index, claimed, recomputed] of cases) {
      const lie = edit(at, (entry) => replacePayload(entry, 'body.output.ids', claim));
      const field = `body.output.ids.${index}`;
      expect(await check(forge(lie)), name).toMatchObject({
        verdict: 'DIVERGED',
        step: at,
        field,
        claimed,
        recomputed,
      });
    }
  });

  it('shows its claim to the executor, and never takes the beginning of an answer for all of it', async () => {
    const claims: (readonly number[])[] = [];
    const executor: Executor = {
      ...honest.executor,
      async infer(request, seed, claim) {
        claims.push(claim);
        const { promptIds, outputIds } = (await honest.executor.infer(request, seed, claim)) as PartialAnswer;
        return { promptIds, outputIds, text: null, finishReason: null, masks: null };
      },
    };
    const report = await verifyBundle({ executor, trust: trustSigner(OPERATOR), now }, [honest.bytes]);
    expect(claims[0]).toEqual([...utf8('it has 17 letters')]);
    expect(report).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'HOST_FAULT' });
  });

  it('finds a changed tool result', async () => {
    const at = place('tool.end');
    const lie = edit(at, (entry) => replacePayload(entry, 'body.result', { code: 'CAPABILITY_DENIED', lines: 3 }));
    expect(await check(forge(lie))).toMatchObject({
      verdict: 'DIVERGED',
      step: at,
      field: 'body.result.lines',
      claimed: '3',
      recomputed: '2',
    });
  });

  it('finds a changed request, input, key value, random bytes, output, fuel and decision', async () => {
    const kv = entries.findIndex(
      (entry) => entry.payloads.has('body.response') && entry.index > 12n && entry.record.kind === 'host.end',
    );
    const random = place('host.end', 1);
    const cases: readonly [string, readonly Entry[], number, string][] = [
      [
        'message',
        edit(place('inference.start'), (e) => replacePayload(e, 'body.request.messages.0.content', 'how short?')),
        place('inference.start'),
        'body.request.messages.0.content',
      ],
      [
        'max tokens',
        patch(place('inference.start'), 'request.maxTokens', 17),
        place('inference.start'),
        'body.request.maxTokens',
      ],
      [
        'tool input',
        edit(place('tool.start'), (e) => replacePayload(e, 'body.input', { url: 'http://books.test/other' })),
        place('tool.start'),
        'body.input',
      ],
      ['random bytes', edit(random, (e) => replacePayload(e, 'body.response', '0x00')), random, 'body.response'],
      ['kv value', edit(kv, (e) => replacePayload(e, 'body.response', 'bye')), kv, 'body.response'],
      ['agent fuel', patch(place('agent', 2), 'fuel', '9'), place('agent', 2), 'body.fuel'],
      ['tool fuel', patch(place('tool.end'), 'fuel', '9'), place('tool.end'), 'body.fuel'],
      ['rule', patch(place('policy', 1), 'rule', 'agent.0'), place('policy', 1), 'body.rule'],
      ['finish', patch(place('inference.end'), 'finish', 'length'), place('inference.end'), 'body.finish'],
      [
        'output',
        edit(entries.length - 2, (e) => replacePayload(e, 'body.output', { all: 'fine' })),
        entries.length - 2,
        'body.output',
      ],
      [
        'closing output',
        edit(entries.length - 1, (e) => replacePayload(e, 'body.output', { all: 'fine' })),
        entries.length - 1,
        'body.output',
      ],
    ];
    for (const [name, lie, step, field] of cases) {
      const report = await check(forge(lie));
      expect(report, name).toMatchObject({ verdict: 'DIVERGED', step });
      expect(`${report.field}.`.startsWith(`${field}.`), `${name}: ${report.field}`).toBe(true);
    }
  });

  it('refuses a dropped record at the place where it is missing', async () => {
    for (let i = 0; i < entries.length - 1; i++) {
      const lie = entries.filter((_, j) => j !== i);
      const report = await check(forge(lie));
      expect(['INVALID', 'DIVERGED'], `record ${i} ${entries[i]?.record.kind}`).toContain(report.verdict);
      const inTool = entries[i]?.record.kind === 'host.end' && i > place('tool.start') && i < place('tool.end');
      expect(report.step).toBe(inTool ? place('tool.end') - 1 : i);
    }
  });

  it('refuses a policy record that was turned around', async () => {
    const denial = entries.findIndex(
      (entry) => entry.record.kind === 'policy' && entry.record.body.decision === 'deny',
    );
    const report = await check(forge(patch(denial, 'decision', 'allow')));
    expect(report.verdict).toBe('INVALID');
    expect(report.step).toBe(denial + 1);
  });

  it('lets nothing opaque be judged: a changed response from outside is only reported', async () => {
    const at = entries.findIndex(
      (entry) =>
        entry.record.kind === 'host.end' &&
        JSON.stringify([...entry.payloads.values()][0]?.media).includes('json') &&
        entry.index > 30n,
    );
    expect(at).toBeGreaterThan(0);
    const report = await check(honest.bytes);
    const opaque = report.steps.filter((step) => step.class === 'opaque');
    expect(opaque.length).toBeGreaterThan(0);
    for (const step of opaque) expect(step.verdict).toBeUndefined();
  });
});

describe('signatures', () => {
  it('refuses a checkpoint of another key', async () => {
    const other = rebuildTrace(entries, run, OFF_CHAIN, { ...keys, operator: CALLER_KEY });
    expect(await check(other.bytes)).toMatchObject({
      verdict: 'INVALID',
      code: 'SIGNATURE_MISMATCH',
      field: 'checkpoint.signature',
    });
  });

  it('refuses a receipt of another key', async () => {
    const other = rebuildTrace(entries, run, OFF_CHAIN, { ...keys, receipts: CALLER_KEY });
    expect(await check(other.bytes)).toMatchObject({
      verdict: 'INVALID',
      code: 'RECEIPT_MISMATCH',
      step: place('inference.end'),
      field: 'body.receipt',
    });
  });

  it('refuses a run id of the operator’s own choice, and a request that nobody signed', async () => {
    const chosen = rebuildTrace(entries, sha256(utf8('my lucky run')), OFF_CHAIN, keys);
    expect(await check(chosen.bytes)).toMatchObject({ verdict: 'INVALID', code: 'RUN_ID_MISMATCH', step: 0 });
    const nonce = patch(0, 'request.nonce', `0x${'22'.repeat(32)}`);
    expect(await check(forge(nonce))).toMatchObject({ verdict: 'INVALID', code: 'RUN_ID_MISMATCH', step: 0 });
    for (const [path, value] of [
      ['limits.steps', '9999'],
      ['agent.digest', `0x${'33'.repeat(32)}`],
      ['policy.digest', `0x${'33'.repeat(32)}`],
      ['seedFrom', 'operator'],
    ] as const) {
      expect(await check(forge(patch(0, path, value))), path).toMatchObject({
        verdict: 'INVALID',
        code: 'IDENTITY_MISMATCH',
        step: 0,
      });
    }
  });
});

describe('limits', () => {
  it('closes a run that would exceed its budget, and the trace of it matches', async () => {
    for (const limits of [
      { bytes: '1100', fuel: '1000000', steps: '200', tokens: '100000', wallMs: '60000' },
      { bytes: '1000000', fuel: '1000000', steps: '200', tokens: '20', wallMs: '60000' },
    ]) {
      const broke = await toyRun({ limits });
      expect(broke.result.status, JSON.stringify(limits)).toBe('out-of-budget');
      const report = await verifyBundle({ executor: broke.executor, trust: trustSigner(OPERATOR), now }, [broke.bytes]);
      expect(report.verdict).toBe('MATCH');
    }
  });

  it('denies starts beyond the limit of steps', async () => {
    const limits = { bytes: '1000000', fuel: '1000000', steps: '4', tokens: '100000', wallMs: '60000' };
    const broke = await toyRun({ limits });
    expect(broke.result.status).toBe('failed');
    expect(broke.result.error?.message).toContain('limits.steps');
    const report = await verifyBundle({ executor: broke.executor, trust: trustSigner(OPERATOR), now }, [broke.bytes]);
    expect(report.verdict).toBe('MATCH');
  });
});

describe('a chain', () => {
  const chain = (more: Partial<NonNullable<Standing['onChain']>>): Trust => ({
    standingOf: async (open) => ({
      trusted: true,
      opened: true,
      bonded: '1',
      onChain: {
        body: toHex(hashBody(open)),
        deadline: BigInt(open.deadline),
        exposure: BigInt(open.exposure),
        ...more,
      },
    }),
  });

  it('has the last word on which history of a run was bonded', async () => {
    const { size, root } = honest.result.checkpoint;
    const closed = { size, root: toHex(root) };
    expect(await check(honest.bytes, chain({}))).toMatchObject({ verdict: 'MATCH' });
    expect(await check(honest.bytes, chain({ closed }))).toMatchObject({ verdict: 'MATCH' });
    const other = chain({ closed: { ...closed, root: `0x${'44'.repeat(32)}` } });
    expect(await check(honest.bytes, other)).toMatchObject({
      verdict: 'INVALID',
      code: 'CHECKPOINT_MISMATCH',
      field: 'checkpoint.root',
    });
    const longer = chain({ closed: { ...closed, size: size + 1n } });
    expect(await check(honest.bytes, longer)).toMatchObject({ verdict: 'INVALID', code: 'CHECKPOINT_MISMATCH' });
    expect(await check(honest.bytes, chain({ deadline: 1n }))).toMatchObject({
      code: 'CHECKPOINT_MISMATCH',
      field: 'body.deadline',
    });
    expect(await check(honest.bytes, chain({ exposure: 1n }))).toMatchObject({
      code: 'CHECKPOINT_MISMATCH',
      field: 'body.exposure',
    });
    const elsewhere = chain({ body: `0x${'44'.repeat(32)}` });
    expect(await check(honest.bytes, elsewhere)).toMatchObject({
      verdict: 'INVALID',
      code: 'CHECKPOINT_MISMATCH',
      step: 0,
    });
  });
});
