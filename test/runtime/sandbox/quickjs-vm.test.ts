import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openQuickJsVm } from '../../../runtime/sandbox/quickjs-vm.ts';
import { HostFault, type Vm, type VmOptions, type VmState, VmUsageError } from '../../../runtime/sandbox/vm.ts';
import { guestOptions, runOnce, runToEnd } from '../../support/sandbox-programs.ts';

let vm: Vm;
beforeAll(async () => {
  vm = await openQuickJsVm();
});
afterAll(() => vm.close());

const errorOf = (state: VmState) => (state.status === 'failed' ? state.error : state);
const resultOf = (state: VmState | undefined) => (state?.status === 'done' ? state.value : state);

describe('the host protocol', () => {
  it('hands out calls in their order, with ids from 0, and each once', async () => {
    const session = await vm.open(
      guestOptions(`
        const a = call('kv.get', { key: 'a' });
        const b = call('http.fetch', { url: 'https://x.test/', headers: {} });
        const first = await a;
        const c = await call('clock.now', {});
        return [first, await b, c];`),
    );
    const first = await session.start();
    expect(first).toMatchObject({
      status: 'waiting',
      calls: [
        { id: 0, method: 'kv.get', args: { key: 'a' } },
        { id: 1, method: 'http.fetch', args: { url: 'https://x.test/', headers: {} } },
      ],
    });
    const second = await session.deliver({ id: 1, ok: true, value: 'B' });
    expect(second).toMatchObject({ status: 'waiting', calls: [] });
    const third = await session.deliver({ id: 0, ok: true, value: { deep: [null, true] } });
    expect(third).toMatchObject({ status: 'waiting', calls: [{ id: 2, method: 'clock.now', args: {} }] });
    const last = await session.deliver({ id: 2, ok: true, value: 7 });
    expect(last).toMatchObject({ status: 'done', value: [{ deep: [null, true] }, 'B', 7], calls: [] });
    expect(second.fuelUsed > first.fuelUsed && last.fuelUsed > third.fuelUsed).toBe(true);
    await session.close();
  });

  it('lets the order of deliveries decide a race, and Promise.all keep its own', async () => {
    const race = 'const r = await Promise.race([call("a", {}), call("b", {})]); return r;';
    for (const [id, value] of [
      [0, 'A'],
      [1, 'B'],
    ] as const) {
      const session = await vm.open(guestOptions(race));
      await session.start();
      expect(resultOf(await session.deliver({ id, ok: true, value }))).toBe(value);
      await session.close();
    }
    const { states } = await runToEnd(vm, 'return await Promise.all([call("a", 1), call("b", 2), call("c", 3)]);');
    expect(states).toHaveLength(4);
    expect(resultOf(states.at(-1))).toEqual([
      { method: 'a', args: 1 },
      { method: 'b', args: 2 },
      { method: 'c', args: 3 },
    ]);
  });

  it('rejects a failed call with an Error that has its code', async () => {
    const session = await vm.open(
      guestOptions(
        'try { await call("kv.get", {}); } catch (e) { return [e instanceof Error, e.code, e.message, Object.keys(e)]; }',
      ),
    );
    await session.start();
    const error = { code: 'CAPABILITY_DENIED', message: 'kv is denied' };
    expect(resultOf(await session.deliver({ id: 0, ok: false, error }))).toEqual([
      true,
      'CAPABILITY_DENIED',
      'kv is denied',
      ['code'],
    ]);
  });

  it('makes an uncaught failed call a TOOL_ERROR that names its code', async () => {
    const session = await vm.open(guestOptions('return await call("kv.get", {});'));
    await session.start();
    const error = { code: 'HOST_CALL_FAILED', message: 'timeout' };
    expect(errorOf(await session.deliver({ id: 0, ok: false, error }))).toEqual({
      code: 'TOOL_ERROR',
      message: 'HOST_CALL_FAILED: timeout',
    });
  });

  it('moves the time of the guest with a delivery, never back', async () => {
    const session = await vm.open(
      guestOptions(
        'const t = [Date.now()]; for (let i = 0; i < 3; i++) { await call("a", {}); t.push(Date.now()); } return t;',
      ),
    );
    await session.start();
    await session.deliver({ id: 0, ok: true, value: null }, 1_700_000_000_500);
    await session.deliver({ id: 1, ok: true, value: null }, 5);
    expect(resultOf(await session.deliver({ id: 2, ok: true, value: null }))).toEqual([
      1_700_000_000_000, 1_700_000_000_500, 1_700_000_000_500, 1_700_000_000_500,
    ]);
  });

  it('names the entry to the script', async () => {
    for (const entry of ['agent', 'manifest', { tool: 'add' }] as const) {
      expect(resultOf(await runOnce(vm, 'return entry;', { entry }))).toEqual(entry);
    }
  });

  it('is a deadlock when nothing is open and nothing settles', async () => {
    expect(errorOf(await runOnce(vm, 'await new Promise(() => {});'))).toMatchObject({ code: 'DEADLOCK' });
    const session = await vm.open(guestOptions('await call("a", {}); await new Promise(() => {});'));
    expect((await session.start()).status).toBe('waiting');
    expect(errorOf(await session.deliver({ id: 0, ok: true, value: 1 }))).toMatchObject({ code: 'DEADLOCK' });
  });

  it('reports calls that nobody waits for', async () => {
    expect(await runOnce(vm, 'call("kv.put", { key: "a", value: "b" }); return 1;')).toMatchObject({
      status: 'done',
      calls: [{ id: 0, method: 'kv.put' }],
    });
  });

  it('runs two sessions side by side', async () => {
    const agent = await vm.open(guestOptions('return await call("tool", {});'));
    await agent.start();
    const tool = await runOnce(vm, 'return input + 1;', { input: 41 });
    expect(resultOf(await agent.deliver({ id: 0, ok: true, value: resultOf(tool) as number }))).toBe(42);
  });
});

describe('values', () => {
  it.each([
    ['return null;', null],
    ['return { b: 1, a: [true, "x", -3], u: undefined };', { b: 1, a: [true, 'x', -3] }],
    ['return -0;', 0],
    ['return new Date(0);', '1970-01-01T00:00:00.000Z'],
    ['return "\\ud800x\\0";', '\ufffdx\0'],
    ['return Object.create(null);', {}],
    ['return { __proto__: null, ["__proto__"]: 1 };', JSON.parse('{"__proto__":1}')],
    ['return Number.MAX_SAFE_INTEGER;', Number.MAX_SAFE_INTEGER],
  ])('%s', async (body, value) => {
    expect(resultOf(await runOnce(vm, body))).toEqual(value);
  });

  it.each([
    ['return 1.5;', '$ is 1.5, not a safe integer; write a fraction as text'],
    ['return { a: [0, NaN] };', '$.a[1] is NaN, not a safe integer; write a fraction as text'],
    ['return 2 ** 53;', '$ is 9007199254740992, not a safe integer; write a fraction as text'],
    ['return { "b c": 1n };', '$["b c"] is bigint, which is no JSON'],
    ['return () => 1;', '$ is function, which is no JSON'],
    ['return [Symbol("x")];', '$[0] is symbol, which is no JSON'],
    ['', '$ is undefined, which is no JSON'],
    ['return [, 1];', '$[0] is undefined, which is no JSON'],
    ['return new Map([[1, 2]]);', '$ is an object of a class, not a plain one'],
    ['return { e: new Error("x") };', '$.e is an object of a class, not a plain one'],
    ['const a = {}; a.a = a; return a;', '$.a holds itself'],
    ['let a = 1; for (let i = 0; i < 25; i++) a = [a]; return a;', 'value nests deeper than 24 levels'],
  ])('refuses as OUTPUT_INVALID: %s', async (body, message) => {
    expect(errorOf(await runOnce(vm, body))).toEqual({ code: 'OUTPUT_INVALID', message });
  });

  it('takes 24 levels', async () => {
    expect((await runOnce(vm, 'let a = 1; for (let i = 0; i < 24; i++) a = [a]; return a;')).status).toBe('done');
  });

  it('refuses arguments of a call where the guest can catch it', async () => {
    const body = 'try { await call("kv.put", { value: 0.5 }); } catch (e) { return [e.code, e.message]; }';
    expect(resultOf(await runOnce(vm, body))).toEqual([
      'INPUT_INVALID',
      '$.value is 0.5, not a safe integer; write a fraction as text',
    ]);
  });

  it('refuses an input that cannot be recorded, before anything runs', async () => {
    const state = await runOnce(vm, 'return 1;', { input: { a: [0.1] } });
    expect(errorOf(state)).toEqual({
      code: 'INPUT_INVALID',
      message: '$.a[0] is not a safe integer; write a fraction as text',
    });
    expect(state.fuelUsed).toBe(0n);
  });
});

describe('errors of the guest', () => {
  it.each([
    ['throw new Error("plain");', 'plain'],
    ['throw new RangeError("far");', 'RangeError: far'],
    ['throw "text";', 'text'],
    ['throw { a: 1 };', 'thrown: {"a":1}'],
    ['throw undefined;', 'undefined'],
    ['throw Symbol("s");', 'Symbol(s)'],
    ['throw { get message() { throw 1; } };', 'a value that cannot be read was thrown'],
    ['throw Object.assign(new Error("x"), { code: "OUT_OF_FUEL" });', 'OUT_OF_FUEL: x'],
  ])('%s is a TOOL_ERROR', async (body, message) => {
    expect(errorOf(await runOnce(vm, body))).toEqual({ code: 'TOOL_ERROR', message });
  });

  it('keeps messages within 2 KiB and free of places in the host', async () => {
    const long = errorOf(await runOnce(vm, 'throw new Error("ä".repeat(5000));'));
    expect(long).toEqual({ code: 'TOOL_ERROR', message: 'ä'.repeat(1024) });
    const state = errorOf(await runOnce(vm, 'const e = new Error("x"); throw new Error(e.stack);'));
    expect(JSON.stringify(state)).not.toMatch(/file:|node_modules|\/runtime\/|\.ts/);
  });

  it('names a script that does not parse, throws, or is none', async () => {
    const source = (text: string) => runOnce(vm, '', { source: text }).then(errorOf);
    expect(await source('}')).toEqual({
      code: 'TOOL_ERROR',
      message: "SyntaxError: unexpected token in expression: '}'",
    });
    expect(await source('throw new Error("at load")')).toEqual({ code: 'TOOL_ERROR', message: 'at load' });
    for (const text of [
      '',
      'globalThis.__tracebond = 1',
      'globalThis.__tracebond = {}',
      'globalThis.__tracebond = null',
    ]) {
      expect(await source(text)).toEqual({
        code: 'TOOL_ERROR',
        message: 'TypeError: the script sets no globalThis.__tracebond',
      });
    }
  });

  it('counts what leaves, and stops the guest that says too much', async () => {
    const big = '"x".repeat(70000)';
    for (const body of [
      `return ${big};`,
      `await call("kv.put", { value: ${big} });`,
      `try { await call("kv.put", { value: ${big} }); } catch { return 1; }`,
      'for (let i = 0; i < 100; i++) console.log("x".repeat(1000));',
      'for (let i = 0; i < 2000; i++) call("a", {});',
    ]) {
      expect(errorOf(await runOnce(vm, body))).toMatchObject({ code: 'OUTPUT_TOO_LARGE' });
    }
    // Between two deliveries the count begins anew; for console lines it does not.
    const talk = (what: string) => `for (let i = 0; i < 5; i++) { ${what}; await call("a", {}); } return 1;`;
    expect((await runToEnd(vm, talk('call("b", "x".repeat(30000))'))).states.at(-1)?.status).toBe('done');
    const lines = (await runToEnd(vm, talk('for (let i = 0; i < 5; i++) console.log("x".repeat(4000))'))).states.at(-1);
    expect(lines && errorOf(lines)).toMatchObject({ code: 'OUTPUT_TOO_LARGE' });
  });

  it('stops at the memory that it was given', async () => {
    const hold =
      'const a = []; for (let i = 0; i < input; i++) a.push(new Uint8Array(1 << 20).fill(1)); return a.length;';
    expect(resultOf(await runOnce(vm, hold, { input: 12 }))).toBe(12);
    expect(errorOf(await runOnce(vm, hold, { input: 17 }))).toEqual({ code: 'MEMORY_LIMIT', message: 'out of memory' });
    expect(resultOf(await runOnce(vm, hold, { input: 2, memoryBytes: 4 << 20 }))).toBe(2);
    expect(errorOf(await runOnce(vm, hold, { input: 4, memoryBytes: 4 << 20 }))).toMatchObject({
      code: 'MEMORY_LIMIT',
    });
    expect(resultOf(await runOnce(vm, hold, { input: 40, memoryBytes: 48 << 20 }))).toBe(40);
    const caught = 'try { new Uint8Array(1 << 26); } catch (e) { return [e.name, e.message]; }';
    expect(resultOf(await runOnce(vm, caught))).toEqual(['InternalError', 'out of memory']);
  });

  it('works in the least memory, and says MEMORY_LIMIT when a delivery does not fit', async () => {
    expect((await runOnce(vm, 'return 1;', { memoryBytes: 1 << 20 })).status).toBe('done');
    const session = await vm.open(guestOptions('return (await call("a", {})).length;', { memoryBytes: 1 << 20 }));
    await session.start();
    expect(errorOf(await session.deliver({ id: 0, ok: true, value: 'x'.repeat(1 << 21) }))).toMatchObject({
      code: 'MEMORY_LIMIT',
    });
    const full = await runOnce(vm, 'return 1;', { memoryBytes: 1 << 20, input: 'x'.repeat(1 << 24) });
    expect(errorOf(full)).toMatchObject({ code: 'MEMORY_LIMIT' });
  });

  it('uses all fuel when it runs out, and says how much it used otherwise', async () => {
    const state = await runOnce(vm, 'for (;;);');
    expect(state).toMatchObject({ status: 'failed', error: { code: 'OUT_OF_FUEL' }, fuelUsed: 100_000_000n });
    const done = await runOnce(vm, 'return 1;');
    expect(done.fuelUsed > 0n).toBe(true);
    expect(await runOnce(vm, 'return 1;', { fuel: done.fuelUsed })).toMatchObject({ status: 'done' });
    expect(await runOnce(vm, 'return 1;', { fuel: done.fuelUsed - 1n })).toMatchObject({
      error: { code: 'OUT_OF_FUEL' },
    });
    expect(await runOnce(vm, 'return 1;', { fuel: 1n })).toMatchObject({
      error: { code: 'OUT_OF_FUEL' },
      fuelUsed: 1n,
    });
  });
});

describe('the log', () => {
  it('keeps lines in order, cut to 4,096 characters', async () => {
    const { log } = await runToEnd(
      vm,
      'console.log("a", 1, { b: [2] }, null, undefined, 1.5, () => 1); await call("x", {}); console.error("y".repeat(5000)); return 1;',
    );
    expect(log).toEqual(['a 1 {"b":[2]} null undefined 1.5 () => 1', 'y'.repeat(4096)]);
  });
});

describe('the contract of a session', () => {
  const usage = async (run: () => Promise<unknown>): Promise<string> => {
    const error = await run().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (!(error instanceof VmUsageError)) throw new Error(`no VmUsageError but ${String(error)}`);
    return error.code;
  };

  it('has a code for each breach', async () => {
    const session = await vm.open(guestOptions('await call("a", {}); return 1;'));
    expect(await usage(() => session.deliver({ id: 0, ok: true, value: 1 }))).toBe('NOT_WAITING');
    await session.start();
    expect(await usage(() => session.start())).toBe('ALREADY_STARTED');
    expect(await usage(() => session.deliver({ id: 1, ok: true, value: 1 }))).toBe('UNKNOWN_CALL');
    expect(await usage(() => session.deliver({ id: 0, ok: true, value: 0.5 }))).toBe('MALFORMED_DELIVERY');
    expect(await usage(() => session.deliver({ id: 0, ok: true, value: 1 }, 0.5))).toBe('MALFORMED_DELIVERY');
    expect((await session.deliver({ id: 0, ok: true, value: 1 })).status).toBe('done');
    expect(await usage(() => session.deliver({ id: 0, ok: true, value: 1 }))).toBe('NOT_WAITING');
    await session.close();
    expect(await usage(() => session.start())).toBe('CLOSED');
    expect(await usage(() => session.deliver({ id: 0, ok: true, value: 1 }))).toBe('CLOSED');
  });

  it.each([
    { fuel: 0n },
    { fuel: 1n << 60n },
    { memoryBytes: 1000 },
    { memoryBytes: 2 ** 31 },
    { wallMs: 0 },
    { outputBytes: 0 },
    { seed: new Uint8Array(31) },
    { startTimeMs: -1 },
  ] satisfies Partial<VmOptions>[])('refuses options out of range: %o', async (options) => {
    expect(await usage(() => vm.open(guestOptions('', options)))).toBe('MALFORMED_OPTIONS');
  });

  it('is closed with the engine', async () => {
    const other = await openQuickJsVm();
    expect(other.engine).toBe(vm.engine);
    expect(['bubblewrap', 'namespaces', 'none']).toContain(other.secondWall);
    await other.close();
    expect(await usage(() => other.open(guestOptions('')))).toBe('CLOSED');
  });
});

describe('host faults', () => {
  const fault = async (run: Promise<unknown>): Promise<string> => {
    const error = await run.then(
      (state) => state,
      (reason: unknown) => reason,
    );
    if (!(error instanceof HostFault)) throw new Error(`no HostFault but ${JSON.stringify(error)}`);
    return error.code;
  };

  it('kills a guest that runs too long, and goes on with the next one', async () => {
    const endless = { fuel: BigInt(Number.MAX_SAFE_INTEGER), wallMs: 100 };
    expect(await fault(runOnce(vm, 'try { for (;;); } finally { return 1; }', endless))).toBe('WALL_TIME');
    expect(await fault(runOnce(vm, 'for (;;) await null;', endless))).toBe('WALL_TIME');
    expect((await runOnce(vm, 'return 1;')).status).toBe('done');
  });

  it('counts running, not waiting', async () => {
    const session = await vm.open(guestOptions('await call("a", {}); return 1;', { wallMs: 150 }));
    await session.start();
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect((await session.deliver({ id: 0, ok: true, value: 1 })).status).toBe('done');
  });

  it('loses the worker when the engine is closed under a running guest', async () => {
    const other = await openQuickJsVm();
    const session = await other.open(guestOptions('for (;;);', { fuel: BigInt(Number.MAX_SAFE_INTEGER) }));
    const running = fault(session.start());
    await new Promise((resolve) => setTimeout(resolve, 600));
    await other.close();
    expect(await running).toBe('WORKER_LOST');
  });
});
