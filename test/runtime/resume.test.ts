import { beforeAll, describe, expect, it } from 'vitest';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import type { Limits } from '../../attest/trace/bodies.ts';
import { RunControl } from '../../runtime/control.ts';
import type { ManagedAgent } from '../../runtime/manager-types.ts';
import { readJournal } from '../../runtime/recovery.ts';
import { HostFault, type Vm } from '../../runtime/sandbox/vm.ts';
import {
  beginRun,
  countingWorld,
  crashRun,
  itemEnds,
  kindsOf,
  type Left,
  resumeRun,
  toyManaged,
  toyTools,
  verifyRun,
} from '../support/kill-cuts.ts';
import { type InThreadVm, sharedInThreadVm } from '../support/kill-vm.ts';
import { fetchFrom, guest, managed } from '../support/managed.ts';
import { infer } from '../support/toy-run.ts';
import { type ToyGuest, toyVm } from '../support/toy-vm.ts';

let vm: InThreadVm;

beforeAll(async () => {
  vm = await sharedInThreadVm();
});

const kv = ['kv.get', 'kv.put', 'random.bytes'].map((capability) => ({ capability })) as [{ capability: 'kv.get' }];
const http = (url: string, method = 'GET') =>
  `call('http.fetch', { url: 'http://shop.test/${url}', method: '${method}', headers: {}, body: ${method === 'GET' ? null : `'${url}'`} })`;
const shop = fetchFrom('http://shop.test', { idempotent: true });

/** Agents over all kinds of calls; those of `inside` touch nothing outside. */
const AGENTS: Readonly<Record<string, ManagedAgent>> = {
  'every call of its own': managed(
    'calls',
    `const out = [];
    await call('kv.put', { key: 'a', value: 'x' + Math.random() });
    out.push(await call('kv.get', { key: 'a' }), await call('random.bytes', { length: 5 }));
    out.push(await call('inference', ${JSON.stringify(infer('hm?'))}));
    for (const [method, args] of [['wallet.send', {}], ['kv.get', {}], ['tool', { name: 'none', input: 1 }], ['http.fetch', {}]])
      out.push(await call(method, args).catch((error) => [error.code, error.message]));
    return out;`,
  ),
  'tools that end in every way': managed(
    'ends',
    `const use = (name) => call('tool', { name, input: { name } }).catch((error) => [error.code, error.message]);
    const out = [];
    for (const name of ['fine', 'throws', 'spins', 'waits']) out.push(await use(name));
    return out;`,
    {
      tools: {
        fine: {
          body: `await call('kv.put', { key: 'k', value: 'v' }); return call('kv.get', { key: 'k' });`,
          grants: kv,
        },
        throws: { body: `await call('random.bytes', { length: 1 }); throw new RangeError('no');`, grants: kv },
        spins: { body: `await call('random.bytes', { length: 1 }); for (;;);`, grants: kv },
        waits: { body: `return new Promise(() => {});`, grants: kv },
      },
    },
  ),
  'an agent that throws': managed(
    'throws',
    `await call('random.bytes', { length: 2 }); throw new TypeError('this is it');`,
  ),
  'an agent out of fuel': managed('spins', `await call('kv.put', { key: 'a', value: 'b' }); for (;;);`),
  'an agent that waits for nothing': managed(
    'stuck',
    `await call('kv.get', { key: 'a' }); return new Promise(() => {});`,
  ),
  'calls left behind': managed(
    'leaves',
    `await call('kv.put', { key: 'a', value: '1' });
    const left = await call('tool', { name: 'leaves', input: null });
    return [left, await call('kv.get', { key: 'a' })];`,
    {
      tools: {
        leaves: {
          body: `call('random.bytes', { length: 3 }); call('kv.get', { key: 'z' }); return 'gone';`,
          grants: kv,
        },
      },
    },
  ),
};

const order = (n: number | string, method = 'POST'): Json => ({
  url: 'http://shop.test/',
  method,
  headers: {},
  body: method === 'GET' ? null : `order ${n}`,
});
const bodyOf = (value: Json) => (value as { readonly body: string }).body;

const TOYS: Readonly<Record<string, ToyGuest>> = {
  orders: async (ctx) => {
    const out: Json[] = [];
    for (let i = 0; i < 3; i++) out.push(bodyOf(await ctx.call('http.fetch', order(i))));
    out.push(await ctx.call('clock.now', {}), await ctx.call('http.fetch', order(0, 'GET')));
    return out;
  },
  spender: async (ctx) => {
    await ctx.call('http.fetch', order('x'.repeat(300)));
    await ctx.call('inference', infer('y'.repeat(300)));
    const tool = ctx.call('tool', { name: 'spends', input: 'z'.repeat(300) });
    return [await Promise.all([tool, ctx.call('kv.put', { key: 'k', value: 'w'.repeat(400) })]), 'q'.repeat(500)];
  },
  spends: async (ctx) => {
    await ctx.call('http.fetch', order('v'.repeat(300)));
    return 'u'.repeat(300);
  },
  abandons: async (ctx) => {
    const others = [ctx.call('tool', { name: 'slow', input: null }), ctx.call('http.fetch', order('a'))];
    await new Promise<void>((resolve) => void ctx.call('random.bytes', { length: 1 }).then(() => resolve()));
    return (await Promise.all(others)).length;
  },
  slow: async (ctx) => ctx.call('http.fetch', order('b')),
  small: async (ctx) => ctx.call('random.bytes', { length: 4 }),
  fan: async (ctx) => {
    const use = (n: number) => ctx.call('tool', { name: 'buy', input: n });
    const denied = ctx.call('nothing', {}).catch((error: { code: string }) => error.code);
    const all = await Promise.all([use(1), use(2), use(3), ctx.call('kv.put', { key: 'k', value: 'v' }), denied]);
    const both = [use(4), ctx.call('clock.now', {})];
    return [all.length, typeof (await Promise.race(both)), (await Promise.all(both)).length];
  },
  buy: async (ctx) => {
    const [bought] = await Promise.all([
      ctx.call('http.fetch', order(ctx.input as number)),
      ctx.call('random.bytes', { length: 2 }),
    ]);
    await ctx.call('kv.put', { key: 'n', value: String(ctx.input) });
    return bodyOf(bought as Json);
  },
};

const OUTSIDE: Readonly<Record<string, ManagedAgent>> = {
  'requests one after the other': toyManaged('orders', { grants: [shop] }),
  'tools side by side, and a race': toyManaged('fan', { grants: [shop], tools: toyTools({ buy: [shop, ...kv] }) }),
};

const toy = toyVm(TOYS);

/** Cheap ends: running out of fuel is as good with little of it. */
const thrifty = (entry: ManagedAgent): ManagedAgent => ({
  ...entry,
  agent: { ...entry.agent, limits: { ...entry.agent.limits, fuel: '2000000' } },
  tools: new Map(
    [...entry.tools].map(([name, code]) => [name, { ...code, limits: { ...code.limits, fuel: '1000000' } }]),
  ),
});

const outcome = ({ result }: Left): Json =>
  result.status === 'suspended' ? result.reason : { status: result.status, output: result.output, error: result.error };

/** At most so many, spread over all, the last among them. */
const some = <T>(all: readonly T[], most: number): readonly T[] => {
  const step = Math.ceil(all.length / most);
  return all.filter((_, i) => (all.length - 1 - i) % step === 0);
};

describe('a journal cut after any record', () => {
  for (const [name, entry] of Object.entries(AGENTS)) {
    it(`gives the same in the end: ${name}`, async () => {
      const whole = await beginRun(vm, thrifty(entry), { n: 1 });
      expect(await verifyRun(vm, whole.bytes)).toMatchObject({ verdict: 'MATCH' });
      const kinds = kindsOf(whole.bytes);
      for (const { end } of some(itemEnds(whole.bytes), 9)) {
        const again = await resumeRun(vm, whole.bytes.subarray(0, end));
        expect(outcome(again), `cut at ${end}`).toEqual(outcome(whole));
        expect(kindsOf(again.bytes)).toEqual(kinds);
        expect(again.bytes.subarray(0, end)).toEqual(whole.bytes.subarray(0, end));
        expect(await verifyRun(vm, again.bytes), `cut at ${end}`).toMatchObject({ verdict: 'MATCH' });
      }
      expect(vm.sessions()).toBe(0);
    });
  }

  for (const [name, entry] of Object.entries(OUTSIDE)) {
    it(`does nothing twice outside: ${name}`, async () => {
      const first = countingWorld();
      const whole = await beginRun(toy, entry, { n: 1 }, first);
      const effects = [...first.performed.keys()].filter((effect) => effect.startsWith('POST')).sort();
      expect(effects.length).toBeGreaterThan(2);
      for (const { items } of some(
        itemEnds(whole.bytes).map((_, i) => ({ items: i + 1 })),
        24,
      )) {
        const world = countingWorld();
        const left = await crashRun(toy, entry, { n: 1 }, items, world);
        const again = await resumeRun(toy, left, world);
        expect(again.result.status).toBe('done');
        for (const [effect, times] of world.performed)
          if (effect.startsWith('POST')) expect([effect, times]).toEqual([effect, 1]);
        expect([...world.performed.keys()].filter((effect) => effect.startsWith('POST')).sort()).toEqual(effects);
        expect(await verifyRun(toy, again.bytes)).toMatchObject({ verdict: 'MATCH' });
      }
    });
  }
});

describe('a journal cut at any byte', () => {
  it('is read up to its last whole item, and goes on from there', async () => {
    const entry = toyManaged('small');
    const whole = await beginRun(toy, entry, { n: 1 }, countingWorld());
    const ends = itemEnds(whole.bytes).map(({ end }) => end);
    const from = ends.at(-4) as number;
    const resumed = new Set<number>();
    for (let size = from; size <= whole.bytes.length; size++) {
      const cut = whole.bytes.subarray(0, size);
      const { keepBytes } = await readJournal([cut]);
      expect(keepBytes).toBe(ends.findLast((end) => end <= size));
      // What is whole decides what follows: one of each, and now and then another.
      if (resumed.has(keepBytes) && size % 97 !== 0) continue;
      resumed.add(keepBytes);
      const again = await resumeRun(toy, cut, countingWorld());
      expect(again.result.status, `cut at ${size}`).toBe('done');
      expect(await verifyRun(toy, again.bytes), `cut at ${size}`).toMatchObject({ verdict: 'MATCH' });
    }
    expect(resumed.size).toBe(4);
  });

  it('may be cut again and again', async () => {
    const whole = await beginRun(vm, AGENTS['every call of its own'] as ManagedAgent, { n: 1 });
    let bytes = whole.bytes.subarray(0, itemEnds(whole.bytes)[2]?.end);
    for (let round = 0; round < 12; round++) {
      const { bytes: longer } = await resumeRun(vm, bytes);
      const ends = itemEnds(longer).map(({ end }) => end);
      const next = ends.find((end) => end > bytes.length) ?? longer.length;
      bytes = longer.subarray(0, Math.min(longer.length, next + (round % 3) * 200));
    }
    const last = await resumeRun(vm, bytes);
    expect(outcome(last)).toEqual(outcome(whole));
    expect(await verifyRun(vm, last.bytes)).toMatchObject({ verdict: 'MATCH' });
  });
});

describe('a journal that is none of this run', () => {
  const entry = managed('one', `const a = await call('kv.get', { key: 'a' }); return [a, Math.random()];`);

  it('is left as it is', async () => {
    const whole = await beginRun(vm, entry, { n: 1 });
    const cut = whole.bytes.subarray(0, itemEnds(whole.bytes)[3]?.end);
    const other = guest('one', `const a = await call('kv.get', { key: 'b' }); return [a];`);
    const appended: Uint8Array[] = [];
    const journaled = await readJournal([cut]);
    const { planOf } = await import('../../runtime/recovery.ts');
    const { TraceWriter } = await import('../../attest/trace/writer.ts');
    const { runAgent } = await import('../../runtime/run.ts');
    const { OPERATOR_KEY, toyClient } = await import('../support/toy-run.ts');
    const { OFF_CHAIN } = await import('../../runtime/plan.ts');
    const sink = { append: async (bytes: Uint8Array) => void appended.push(bytes) };
    const writer = new TraceWriter(
      { sink, now: Date.now, salt: () => new Uint8Array(32) },
      journaled.run,
      OFF_CHAIN,
      OPERATOR_KEY,
      journaled.items,
    );
    const plan = { ...planOf(journaled), agent: other };
    await expect(runAgent({ vm, inference: toyClient, writer, now: Date.now }, plan)).rejects.toMatchObject({
      code: 'JOURNAL_MISMATCH',
    });
    expect(appended).toEqual([]);
  });
});

describe('a run that is out of budget', () => {
  it('gives its agent no more fuel than it has itself', async () => {
    const spins = AGENTS['an agent out of fuel'] as ManagedAgent;
    const short = { ...thrifty(spins), limits: { ...spins.limits, fuel: '1500000' } };
    const { bytes, result } = await beginRun(vm, short, null);
    expect(result).toMatchObject({ status: 'failed', error: { code: 'OUT_OF_FUEL' } });
    expect(await verifyRun(vm, bytes)).toMatchObject({ verdict: 'MATCH', status: 'failed' });
  });

  const grants = { grants: [shop], tools: toyTools({ spends: [shop] }) };
  it.each([
    [{ bytes: '2500' }, 'an end of the agent'],
    [{ bytes: '3220' }, 'a start'],
    [{ bytes: '3580' }, 'a start of a tool'],
    [{ bytes: '3940' }, 'an end of a tool’s call'],
    [{ bytes: '4180' }, 'a start beside a tool'],
    [{ bytes: '4780' }, 'a result of a tool'],
    [{ bytes: '5140' }, 'an output of the agent'],
    [{ fuel: '300000000' }, 'fuel for a tool'],
    [{ tokens: '60' }, 'tokens'],
  ] as readonly (readonly [Partial<Limits>, string])[])('is over wherever it was cut: %j, %s', async (limits) => {
    const whole = await beginRun(toy, toyManaged('spender', { ...grants, limits }), null, countingWorld());
    expect(whole.result).toMatchObject({ status: 'out-of-budget', error: { code: 'OUT_OF_BUDGET' } });
    expect(await verifyRun(toy, whole.bytes)).toMatchObject({ verdict: 'MATCH', status: 'out-of-budget' });
    for (const { end } of itemEnds(whole.bytes).slice(-5)) {
      const again = await resumeRun(toy, whole.bytes.subarray(0, end), countingWorld());
      // What was lost is CANCELLED in the journal, whatever it was lost for.
      expect(['out-of-budget', 'cancelled'], `cut at ${end}`).toContain(again.result.status);
      expect(kindsOf(again.bytes)).toEqual(kindsOf(whole.bytes));
      expect(await verifyRun(toy, again.bytes)).toMatchObject({ verdict: 'MATCH' });
    }
  });
});

describe('a run that was being broken off', () => {
  const entry = managed(
    'long',
    `const both = [call('tool', { name: 'waits', input: 1 }), call('tool', { name: 'waits', input: 2 })];
    const [a] = await Promise.all([${http('slow')}.catch(() => null), ...both]); return a;`,
    { grants: [shop], tools: { waits: { body: `return (await ${http('slow')}).status;`, grants: [shop] } } },
  );
  /** Never answers; the run is ended by its control. */
  const never: CutHttp = (_grant, _request, { signal }) =>
    new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));

  type CutHttp = ReturnType<typeof countingWorld>['http'];

  const broken = async (how: 'cancelled' | 'deadline') => {
    const control = new RunControl();
    let starts = 0;
    let clock = 1_700_000_000_000;
    return beginRun(
      vm,
      { ...entry, limits: { ...entry.limits, wallMs: '50000' } },
      { n: 1 },
      {
        http: never,
        control,
        now: () => clock,
        onRecord: ({ kind }) => {
          if (!kind.endsWith('.start') || ++starts < 5) return;
          setTimeout(() => {
            if (how === 'deadline') clock += 60_000;
            // Any word wakes the run.
            if (how === 'cancelled') control.cancel();
            else control.say(999n, { type: 'child' }).catch(() => undefined);
          }, 5);
        },
      },
    );
  };

  it.each([
    ['cancelled', 'cancelled', 'CANCELLED'],
    ['deadline', 'out-of-budget', 'DEADLINE'],
  ] as const)('%s: stays so wherever the process ended', async (how, status, reason) => {
    const whole = await broken(how);
    expect(whole.result.status).toBe(status);
    const ends = itemEnds(whole.bytes);
    const first = ends.findIndex(({ kind }) => kind.endsWith('.lost'));
    expect(ends.slice(first).map(({ kind }) => kind)).toEqual(
      ['host.lost', 'host.lost', 'tool.lost', 'tool.lost', 'host.lost', 'run.close', 'checkpoint'].sort(
        byOrder(ends.slice(first).map(({ kind }) => kind)),
      ),
    );
    expect(Buffer.from(whole.bytes).toString()).toContain(reason);
    for (const { end } of ends.slice(first)) {
      const again = await resumeRun(vm, whole.bytes.subarray(0, end), { now: () => 1_700_000_040_000 });
      expect(again.result.status, `cut at ${end}`).toBe(status);
      expect(kindsOf(again.bytes)).toEqual(kindsOf(whole.bytes));
      expect(await verifyRun(vm, again.bytes)).toMatchObject({ verdict: 'MATCH', status });
    }
  });

  it('abandoned: stays so wherever the process ended', async () => {
    const abandons = toyManaged('abandons', { grants: [shop], tools: toyTools({ slow: [shop] }) });
    let faults = 0;
    const failing: Vm = {
      ...toy,
      open: async (options) => {
        const session = await toy.open(options);
        if (options.entry !== 'agent') return session;
        // The host fails where the agent should move on: its record is missing.
        const deliver = async (): Promise<never> => {
          faults += 1;
          throw new HostFault('HOST_INTERNAL', 'as told');
        };
        return { ...session, deliver };
      },
    };
    const slow: CutHttp = (grant, request, options) => never(grant, request, options);
    const whole = await beginRun(failing, abandons, null, { http: slow });
    expect(faults).toBe(1);
    expect(whole.result).toMatchObject({ status: 'abandoned', error: { code: 'HOST_INTERNAL' } });
    const ends = itemEnds(whole.bytes);
    const kinds = kindsOf(whole.bytes);
    const first = ends.findIndex(({ kind }) => kind.endsWith('.lost'));
    expect(kinds.slice(-4)).toEqual(['host.end', 'host.lost', 'tool.lost', 'run.close']);
    for (const { end } of ends.slice(first)) {
      const again = await resumeRun(toy, whole.bytes.subarray(0, end), countingWorld());
      expect(again.result.status, `cut at ${end}`).toBe('abandoned');
      expect(kindsOf(again.bytes)).toEqual(kinds);
      expect(await verifyRun(toy, again.bytes)).toMatchObject({ verdict: 'MATCH', status: 'abandoned' });
    }
    // Before the first loss nothing was broken off: another process goes on.
    const calm = await resumeRun(toy, whole.bytes.subarray(0, ends[first - 1]?.end), countingWorld());
    expect(calm.result.status).toBe('done');
  });
});

/** Sorts like a list that holds the same things. */
const byOrder = (wanted: readonly string[]) => (a: string, b: string) => wanted.indexOf(a) - wanted.indexOf(b);
