import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openQuickJsVm } from '../../../runtime/sandbox/quickjs-vm.ts';
import type { Vm } from '../../../runtime/sandbox/vm.ts';
import { runOnce, script } from '../../support/sandbox-programs.ts';

let vm: Vm;
beforeAll(async () => {
  vm = await openQuickJsVm();
});
afterAll(() => vm.close());

describe('memory that runs out', () => {
  const hoards = [
    'const a = []; for (;;) a.push({ a: a.length });',
    'const m = new Map(); for (let i = 0; ; i++) m.set(i, {});',
    'let o = {}; for (;;) o = { o };',
    'const o = {}; for (let i = 0; ; i++) o["k" + i] = i;',
    'const a = []; for (;;) a.push(Promise.resolve(a));',
    'const a = []; for (;;) { a.push(call("x", "y".repeat(10))); if (a.length % 5 === 0) await null; }',
    'const a = []; const f = async () => { a.push(new Array(50).fill(0)); await null; return f(); }; await f();',
    'const a = []; for (;;) a.push(new Error("x"));',
    'const a = []; for (;;) a.push(Symbol("x" + a.length), /x/g, new Date());',
    'for (let i = 0; ; i++) globalThis["g" + i] = () => i;',
    'return JSON.parse("[" + "{},".repeat(60000) + "1]").length;',
  ];

  it.each(hoards)('is MEMORY_LIMIT even where the engine has no room to say so: %s', async (body) => {
    for (const memoryBytes of [1 << 20, 1_118_577, 1_258_579]) {
      const state = await runOnce(vm, body, {
        memoryBytes,
        fuel: 3_000_000_000n,
        outputBytes: 1 << 27,
        wallMs: 60_000,
      });
      expect(state).toMatchObject({ status: 'failed', error: { code: 'MEMORY_LIMIT', message: 'out of memory' } });
    }
  });
});

describe('what a guest can see', () => {
  it('has no door but call, and nothing of the host', async () => {
    const body = `
      const absent = ['process', 'require', 'module', 'Buffer', 'fetch', 'setTimeout', 'setInterval', 'setImmediate',
        'queueMicrotask', 'SharedArrayBuffer', 'Atomics', 'WebAssembly', 'WeakRef', 'FinalizationRegistry', 'performance',
        'crypto', 'navigator', 'Worker', 'std', 'os', 'scriptArgs', 'print', 'XMLHttpRequest', '__tracebond', '__sys'];
      return absent.filter((name) => name in globalThis || typeof globalThis[name] !== 'undefined');`;
    expect(await runOnce(vm, body)).toMatchObject({ status: 'done', value: [] });
  });

  it('has no shared memory by a back door', async () => {
    const body = `
      const seen = [];
      for (const name of Object.getOwnPropertyNames(globalThis)) {
        const prototype = globalThis[name]?.prototype;
        if (prototype && Object.prototype.toString.call(prototype).includes('Shared')) seen.push(name);
      }
      return seen;`;
    expect(await runOnce(vm, body)).toMatchObject({ status: 'done', value: [] });
  });

  it('has a fixed clock while it runs', async () => {
    const body =
      'const t = Date.now(); for (let i = 0; i < 20000; i++); return [Date.now() - t, new Date().getTime() - t];';
    expect(await runOnce(vm, body)).toMatchObject({ status: 'done', value: [0, 0] });
  });
});

describe('built-ins that guest code has changed', () => {
  const sabotage: readonly (readonly [string, string])[] = [
    ['JSON', 'JSON.stringify = () => "{"; JSON.parse = () => { throw 1; };'],
    ['Promise', 'Promise.prototype.then = () => {}; globalThis.Promise = null;'],
    ['Array', 'Array.prototype.join = () => "evil"; Array.isArray = () => true; Array.prototype.push = () => 0;'],
    [
      'String',
      'String.prototype.toWellFormed = () => "evil"; String.prototype.slice = () => "evil"; globalThis.String = null;',
    ],
    ['Object', 'Object.keys = () => { throw 1; }; Object.getPrototypeOf = () => null;'],
    ['Reflect', 'Reflect.apply = () => "evil"; globalThis.Reflect = null;'],
    ['RegExp', 'RegExp.prototype.test = () => true;'],
    ['Number', 'Number.isSafeInteger = () => true;'],
    ['Error', 'globalThis.Error = null; globalThis.InternalError = null; globalThis.TypeError = null;'],
  ];

  it.each(sabotage)('%s does not change what crosses', async (_name, code) => {
    const state = await runOnce(vm, 'return { a: [1, "x"], b: null };', {
      source: code + script('return { a: [1, "x"], b: null };'),
    });
    // Either the guest has broken itself, or the value is right; it is never another one.
    if (state.status === 'done') expect(state.value).toEqual({ a: [1, 'x'], b: null });
    else
      expect(state).toMatchObject({
        status: 'failed',
        error: { code: expect.stringMatching(/^(TOOL_ERROR|DEADLOCK)$/) },
      });
  });

  it('cannot smuggle a fraction out', async () => {
    const source = `Number.isSafeInteger = () => true; ${script('return 1.5;')}`;
    expect(await runOnce(vm, '', { source })).toMatchObject({ status: 'failed', error: { code: 'OUTPUT_INVALID' } });
  });
});
