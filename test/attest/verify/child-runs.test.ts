import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Entry, type Forgery, readEntries, rebuildTrace, replacePayload } from '../../../agents/demo/forge.ts';
import { fromHex, type Hex, toHex } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { checkpointToJson, signCheckpoint } from '../../../attest/trace/checkpoint.ts';
import { hashGuestCode } from '../../../attest/trace/guest.ts';
import { verifyChildren } from '../../../attest/verify/child-bundles.ts';
import { trustSigner } from '../../../attest/verify/trust.ts';
import { OFF_CHAIN } from '../../../runtime/plan.ts';
import { createExecutor } from '../../../runtime/replay.ts';
import { editAt, patchEntry, steady, withhold } from '../../support/forging.ts';
import { toyManaged, verifyRun } from '../../support/kill-cuts.ts';
import { openManaged } from '../../support/managed.ts';
import { CALLER_KEY, OPERATOR, OPERATOR_KEY, SIGNER_KEY, toyRecomputer } from '../../support/toy-run.ts';
import { type ToyGuest, toyVm } from '../../support/toy-vm.ts';

const GUESTS: Readonly<Record<string, ToyGuest>> = {
  parent: async (ctx) => {
    const { agent } = ctx.input as { readonly agent: string };
    const child = (input: Json) =>
      ctx.call('run.child', { agent, input }).catch((error: { code: string }) => error.code);
    return [await child({ n: 1 }), await child({ n: 2 })];
  },
  child: async (ctx) => [ctx.input, await ctx.call('random.bytes', { length: 2 })],
  fails: async () => {
    throw new Error('as it does');
  },
};
const vm = toyVm(GUESTS);
const keys = { operator: OPERATOR_KEY, receipts: SIGNER_KEY };
const child = toyManaged('child');
const fails = toyManaged('fails');
const parent = toyManaged('parent', {
  grants: [
    {
      capability: 'run.child',
      agents: [child, fails].map(({ name, agent, limits }) => ({ name, digest: hashGuestCode(agent), limits })),
    },
  ],
});

/** A parent's bundle with those of its two children, in the order in which they were begun. */
type Family = {
  readonly run: Hex;
  readonly bytes: Uint8Array;
  readonly children: readonly { readonly run: Hex; readonly bytes: Uint8Array }[];
};

async function family(agent: string): Promise<Family> {
  const folder = mkdtempSync(join(tmpdir(), 'tracebond-test-'));
  const manager = await openManaged(vm, folder, [parent, child, fails]);
  const { run } = await manager.create({ agent: 'parent', input: { agent } });
  await manager.settled(run);
  const own = manager.list().filter((status) => status.parent?.run === run);
  own.sort((a, b) => Number(a.parent?.index) - Number(b.parent?.index));
  const read = (id: Hex) => new Uint8Array(readFileSync(manager.bundle(id)));
  const found = {
    run,
    bytes: read(run),
    children: own.map((status) => ({ run: status.run, bytes: read(status.run) })),
  };
  await manager.close();
  rmSync(folder, { recursive: true });
  return found;
}

let good: Family;
let bad: Family;
let entries: readonly Entry[];
const END = 4;

/** Bundles by run; what is not there is missing. */
async function check(bytes: Uint8Array, bundles: ReadonlyMap<Hex, Uint8Array>) {
  const ports = {
    executor: createExecutor(vm, toyRecomputer),
    trust: trustSigner(OPERATOR),
    now: () => performance.now(),
  };
  const find = async (run: Hex) => {
    const found = bundles.get(run);
    return found === undefined
      ? undefined
      : (async function* () {
          yield found;
        })();
  };
  return verifyRun(vm, bytes, verifyChildren(ports, find));
}
const bundlesOf = ({ children }: Family) => new Map(children.map(({ run, bytes }) => [run, bytes]));
const forge = (edited: readonly Entry[], run: Hex = good.run) =>
  rebuildTrace(steady(edited), fromHex(run), OFF_CHAIN, keys);
const edit = (path: string, value: Json) =>
  forge(editAt(entries, END, (entry) => patchEntry(entry, path, value))).bytes;

/** A child's bundle made false, and a parent that repeats what it says. */
async function falseChild(
  change: (all: readonly Entry[]) => readonly Entry[],
  output?: Json,
): Promise<{ lie: Forgery; parent: Uint8Array }> {
  const [first] = good.children;
  if (first === undefined) throw new Error('no child');
  const lie = rebuildTrace(steady(change(await readEntries(first.bytes))), fromHex(first.run), OFF_CHAIN, keys);
  const { closed, root, signature, size, state } = checkpointToJson(lie.checkpoint) as Record<string, Json>;
  let edited = editAt(entries, END, (entry) =>
    patchEntry(entry, 'checkpoint', { closed, root, signature, size, state } as Json),
  );
  if (output !== undefined) edited = editAt(edited, END, (entry) => replacePayload(entry, 'body.output', output));
  return { lie, parent: forge(edited).bytes };
}

beforeAll(async () => {
  good = await family('child');
  bad = await family('fails');
  entries = await readEntries(good.bytes);
});

describe('a child run in a trace', () => {
  it('matches with its bundle, done or failed', async () => {
    expect(await check(good.bytes, bundlesOf(good))).toMatchObject({ verdict: 'MATCH' });
    expect(await check(bad.bytes, bundlesOf(bad))).toMatchObject({ verdict: 'MATCH' });
    expect(entries[END]?.record).toMatchObject({
      kind: 'run.child.end',
      body: { status: 'done', run: good.children[0]?.run },
    });
  });

  it('was not checked where its bundle is not at hand', async () => {
    expect(await check(good.bytes, new Map())).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'CHILD_RUN' });
    const half = new Map([...bundlesOf(good)].slice(0, 1));
    const report = await check(good.bytes, half);
    expect(report).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'CHILD_RUN' });
    expect(report.steps[END]).toMatchObject({ verdict: 'MATCH' });
    expect(await verifyRun(vm, good.bytes)).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'CHILD_RUN' });
  });

  it('was not checked where its bundle is cut, withheld or empty', async () => {
    const [first, second] = good.children as [Family['children'][0], Family['children'][0]];
    for (const bytes of [withhold(first.bytes, 3, 0), withhold(first.bytes, 0, 1)]) {
      const report = await check(
        good.bytes,
        new Map([
          [first.run, bytes],
          [second.run, second.bytes],
        ]),
      );
      expect(report.verdict).toBe('CANNOT_RECOMPUTE');
    }
    const cut = first.bytes.subarray(0, first.bytes.length - 300);
    const report = await check(
      good.bytes,
      new Map([
        [first.run, cut],
        [second.run, second.bytes],
      ]),
    );
    expect(['CANNOT_RECOMPUTE', 'DIVERGED']).toContain(report.verdict);
    expect(report.verdict).not.toBe('MATCH');
  });

  it('gave what its own bundle says', async () => {
    const lie = forge(editAt(entries, END, (entry) => replacePayload(entry, 'body.output', [{ n: 1 }, '0x0000'])));
    expect(await check(lie.bytes, bundlesOf(good))).toMatchObject({
      verdict: 'DIVERGED',
      step: END,
      field: 'body.output.1',
    });
  });

  it('ended as its own bundle says', async () => {
    const all = await readEntries(bad.bytes);
    const as = (status: string) =>
      forge(
        editAt(all, END, (entry) => patchEntry(entry, 'status', status)),
        bad.run,
      ).bytes;
    for (const status of ['cancelled', 'abandoned', 'out-of-budget']) {
      expect(await check(as(status), bundlesOf(bad))).toMatchObject({
        verdict: 'DIVERGED',
        step: END,
        field: 'body.status',
        recomputed: 'failed',
      });
    }
    const other = forge(
      editAt(all, END, (entry) => replacePayload(entry, 'body.error.message', 'otherwise')),
      bad.run,
    ).bytes;
    expect(await check(other, bundlesOf(bad))).toMatchObject({
      verdict: 'DIVERGED',
      step: END,
      field: 'body.error.message',
    });
    const code = forge(
      editAt(all, END, (entry) => patchEntry(entry, 'error.code', 'TRAP')),
      bad.run,
    ).bytes;
    expect(await check(code, bundlesOf(bad))).toMatchObject({
      verdict: 'DIVERGED',
      step: END,
      field: 'body.error.code',
    });
  });

  it('is the one that was asked for', async () => {
    const [first, second] = good.children as [Family['children'][0], Family['children'][0]];
    // The other child in its place, checkpoint, output and all.
    const other = entries.filter(({ record }) => record.kind === 'run.child.end')[1] as Entry;
    const swapped = editAt(entries, END, (entry) => ({ ...other, at: entry.at, index: entry.index, of: entry.of }));
    expect(await check(forge(swapped).bytes, bundlesOf(good))).toMatchObject({
      verdict: 'DIVERGED',
      step: END,
      field: 'body.request',
    });
    expect(await check(edit('run', second.run), bundlesOf(good))).toMatchObject({ verdict: 'DIVERGED', step: END });
    // A bundle under a name that is not its own.
    const misnamed = new Map([
      [first.run, second.bytes],
      [second.run, first.bytes],
    ]);
    expect(await check(good.bytes, misnamed)).toMatchObject({ verdict: 'DIVERGED', step: END, field: 'body.run' });
  });

  it('ended at the checkpoint that is named', async () => {
    const place = (entries[END] as Entry).record.body as { readonly checkpoint: { readonly [field: string]: Json } };
    for (const [field, value] of [
      ['size', '4'],
      ['root', `0x${'11'.repeat(32)}`],
      ['state', `0x${'11'.repeat(32)}`],
      ['signature', `0x${'11'.repeat(65)}`],
    ] as const) {
      expect(place.checkpoint[field]).not.toBe(value);
      const report = await check(edit(`checkpoint.${field}`, value), bundlesOf(good));
      // What is named is what was signed: any other is no word of the operator.
      expect(report, field).toMatchObject({ step: END, field: 'body.checkpoint.signature' });
      expect(['DIVERGED', 'INVALID']).toContain(report.verdict);
    }
    expect(await check(edit('checkpoint.closed', false), bundlesOf(good))).toMatchObject({
      verdict: 'INVALID',
      step: END,
      field: 'body.checkpoint.closed',
    });
  });

  it('ended where its own bundle ends, whatever else the operator signed', async () => {
    const [first] = good.children as [Family['children'][0]];
    const { checkpoint } = rebuildTrace(await readEntries(first.bytes), fromHex(first.run), OFF_CHAIN, keys);
    const changes = { size: 4n, root: sha256(checkpoint.root), state: sha256(checkpoint.state) };
    for (const [field, value] of Object.entries(changes)) {
      const other = signCheckpoint({ ...checkpoint, [field]: value }, OFF_CHAIN, OPERATOR_KEY);
      const { closed, root, signature, size, state } = checkpointToJson(other) as Record<string, Json>;
      const named = edit('checkpoint', { closed, root, signature, size, state } as Json);
      expect(await check(named, bundlesOf(good)), field).toMatchObject({
        verdict: 'DIVERGED',
        step: END,
        field: `body.checkpoint.${field}`,
      });
    }
    const foreign = signCheckpoint(checkpoint, OFF_CHAIN, CALLER_KEY);
    expect(await check(edit('checkpoint.signature', toHex(foreign.signature)), new Map())).toMatchObject({
      verdict: 'DIVERGED',
      step: END,
      field: 'body.checkpoint.signature',
    });
  });

  it('holds itself: a false child makes its parent false, and is named', async () => {
    const [first, second] = good.children as [Family['children'][0], Family['children'][0]];
    const lied = [{ n: 1 }, '0xdead'];
    const { lie, parent: said } = await falseChild((all) => {
      const random = all.findIndex(({ record }) => record.kind === 'host.end');
      return editAt(all, random, (entry) => replacePayload(entry, 'body.response', '0xdead')).map((entry) =>
        entry.payloads.has('body.output') ? replacePayload(entry, 'body.output', lied) : entry,
      );
    }, lied);
    const report = await check(
      said,
      new Map([
        [first.run, new Uint8Array(lie.bytes)],
        [second.run, second.bytes],
      ]),
    );
    expect(report).toMatchObject({
      verdict: 'DIVERGED',
      step: END,
      field: 'body.run',
      recomputed: 'DIVERGED at its record 4',
    });
    const damaged = Uint8Array.from(first.bytes);
    damaged[damaged.length - 200] = (damaged[damaged.length - 200] as number) ^ 1;
    expect(
      await check(
        good.bytes,
        new Map([
          [first.run, damaged],
          [second.run, second.bytes],
        ]),
      ),
    ).toMatchObject({
      verdict: 'DIVERGED',
      step: END,
      field: 'body.run',
    });
  });

  it('is of the operator of its parent', async () => {
    const [first, second] = good.children as [Family['children'][0], Family['children'][0]];
    const all = await readEntries(first.bytes);
    const other = addressOf(CALLER_KEY);
    const stolen = rebuildTrace(
      editAt(all, 0, (entry) => patchEntry(entry, 'operator', other)),
      fromHex(first.run),
      OFF_CHAIN,
      { ...keys, operator: CALLER_KEY },
    );
    const report = await check(
      good.bytes,
      new Map([
        [first.run, new Uint8Array(stolen.bytes)],
        [second.run, second.bytes],
      ]),
    );
    expect(report).toMatchObject({ verdict: 'DIVERGED', step: END, field: 'body.run' });
    expect(toHex(stolen.checkpoint.run)).toBe(first.run);
  });

  it('says of which record it is', async () => {
    const { lie, parent: said } = await falseChild((all) =>
      editAt(all, 0, (entry) => patchEntry(entry, 'parent.index', '9')),
    );
    const [first, second] = good.children as [Family['children'][0], Family['children'][0]];
    expect(
      await check(
        said,
        new Map([
          [first.run, new Uint8Array(lie.bytes)],
          [second.run, second.bytes],
        ]),
      ),
    ).toMatchObject({
      verdict: 'DIVERGED',
      step: END,
      field: 'body.parent.index',
    });
    const elsewhere = await falseChild((all) =>
      editAt(all, 0, (entry) => patchEntry(entry, 'parent.run', `0x${'44'.repeat(32)}`)),
    );
    expect(
      await check(
        elsewhere.parent,
        new Map([
          [first.run, new Uint8Array(elsewhere.lie.bytes)],
          [second.run, second.bytes],
        ]),
      ),
    ).toMatchObject({
      verdict: 'DIVERGED',
      step: END,
      field: 'body.parent.run',
    });
  });

  it('is asked for as the policy and the agent say', async () => {
    const start = END - 1;
    const cases: readonly (readonly [string, Json, string])[] = [
      ['request.agent', `0x${'11'.repeat(32)}`, 'body.request.agent'],
      ['request.limits', `0x${'11'.repeat(32)}`, 'body.request.limits'],
      ['request.nonce', `0x${'11'.repeat(32)}`, 'body.request.nonce'],
      ['request.input', `0x${'11'.repeat(32)}`, 'body.request.input'],
      ['request.caller', addressOf(CALLER_KEY), 'body.request.caller'],
      ['request.expiry', '1', 'body.request.expiry'],
    ];
    for (const [path, value, field] of cases) {
      const lie = forge(editAt(entries, start, (entry) => patchEntry(entry, path, value))).bytes;
      expect(await check(lie, bundlesOf(good)), path).toMatchObject({ verdict: 'DIVERGED', step: start, field });
    }
    const { request } = (entries[start] as Entry).record.body as {
      readonly request: { readonly [field: string]: Json };
    };
    expect(request['caller']).toBe(OPERATOR);
    // Another input, with the request that goes with it.
    const input = editAt(entries, start, (entry) => {
      const changed = replacePayload(entry, 'body.input', { n: 3 });
      return patchEntry(changed, 'request.input', (changed.record.body as { readonly input: Json }).input);
    });
    expect(await check(forge(input).bytes, bundlesOf(good))).toMatchObject({
      verdict: 'DIVERGED',
      step: start,
      field: 'body.input.n',
    });
  });
});
