import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { trustSigner } from '../../attest/verify/trust.ts';
import { verifyBundle } from '../../attest/verify/verifier.ts';
import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import { HostFault, type Vm } from '../../runtime/sandbox/vm.ts';
import { type RealOptions, realRun } from '../support/real-run.ts';
import { OPERATOR } from '../support/toy-run.ts';

let vm: Vm;
beforeAll(async () => {
  vm = await openQuickJsVm();
});
afterAll(() => vm.close());

const play = async (options: RealOptions) => {
  const { result, bytes, executor } = await realRun(vm, options);
  const report = await verifyBundle({ executor, trust: trustSigner(OPERATOR), now: () => performance.now() }, [bytes]);
  return { result, report };
};

describe('an agent that misbehaves', () => {
  it.each([
    ['loops', 'for (;;) {}', 'OUT_OF_FUEL'],
    ['loops and catches everything', 'for (;;) { try { for (;;) {} } catch {} }', 'OUT_OF_FUEL'],
    ['recurses', 'const f = () => f() + 1; return f();', 'STACK_EXHAUSTED|TOOL_ERROR'],
    ['allocates', 'const a = []; for (;;) a.push(new Uint8Array(1 << 20));', 'MEMORY_LIMIT|OUT_OF_FUEL'],
    ['throws', "throw new Error('on purpose');", 'TOOL_ERROR'],
    ['throws nothing', 'throw undefined;', 'TOOL_ERROR'],
    ['returns a function', 'return () => 1;', 'OUTPUT_INVALID'],
    ['returns a cycle', 'const a = {}; a.a = a; return a;', 'OUTPUT_INVALID'],
    ['returns a fraction', 'return { part: 0.5 };', 'OUTPUT_INVALID'],
    ['never settles', 'await new Promise(() => {});', 'DEADLOCK'],
    ['writes too much', "return 'x'.repeat(100000);", 'OUTPUT_TOO_LARGE'],
  ])('%s: the run fails with its code, and the trace of it matches', async (_, agent, codes) => {
    const { result, report } = await play({ agent });
    expect(result.status).toBe('failed');
    expect(codes.split('|')).toContain(result.error?.code);
    expect(report).toMatchObject({ verdict: 'MATCH' });
  });

  it('asks for what does not exist: denied, on record, and it goes on', async () => {
    const agent = `
      const codes = [];
      for (const [method, args] of [['wallet.send', {}], ['fs.read', { path: '/etc/passwd' }], ['kv.get', { wrong: 1 }], ['tool', { name: 'other', input: 1 }], ['http.fetch', { url: 'http://127.0.0.1/', method: 'GET', headers: {}, body: null }]])
        await call(method, args).catch((error) => codes.push(error.code));
      return codes;`;
    const { result, report } = await play({ agent });
    expect(result.output).toEqual(Array(5).fill('CAPABILITY_DENIED'));
    expect(report).toMatchObject({ verdict: 'MATCH' });
    expect(report.steps.filter((step) => step.kind.endsWith('.start'))).toEqual([]);
  });
});

describe('a tool that misbehaves', () => {
  it.each([
    ['loops', 'for (;;) {}', 'OUT_OF_FUEL'],
    ['throws', "throw new TypeError('bad row');", 'TOOL_ERROR'],
    ['returns a BigInt', 'return 1n;', 'OUTPUT_INVALID'],
    ['returns a symbol', "return { a: Symbol('x') };", 'OUTPUT_INVALID'],
    ['never settles', 'await new Promise(() => {});', 'DEADLOCK'],
    ['is denied the agent’s capabilities', "return call('inference', {});", 'TOOL_ERROR'],
  ])('%s: the agent sees an error, and the trace matches', async (_, tool, code) => {
    const agent = `return call('tool', { name: 'tool', input: { n: 1 } }).then(() => 'fine', (error) => error.code);`;
    const { result, report } = await play({ agent, tool });
    expect(result).toMatchObject({ status: 'done', output: code });
    expect(report).toMatchObject({ verdict: 'MATCH' });
  });

  it('sees the time of the last delivery, the same when it is replayed', async () => {
    const tool = `
      const before = Date.now();
      await call('random.bytes', { length: 1 });
      return { before, after: Date.now() };`;
    const agent = `
      const began = Date.now();
      const inner = await call('tool', { name: 'tool', input: null });
      return { began, inner, ended: Date.now() };`;
    let clock = 1_700_000_000_000;
    const { result, report } = await play({ agent, tool, now: () => (clock += 5) });
    const { began, inner, ended } = result.output as {
      began: number;
      inner: { before: number; after: number };
      ended: number;
    };
    expect(began).toBeLessThan(inner.before);
    expect(inner.before).toBeLessThan(inner.after);
    expect(inner.after).toBeLessThan(ended);
    expect(report).toMatchObject({ verdict: 'MATCH' });
  });

  it('may race its calls: the recorded order is replayed', async () => {
    const tool = `
      const first = await Promise.race([call('random.bytes', { length: 4 }), call('random.bytes', { length: 8 })]);
      const rest = await Promise.all([1, 2, 3].map((length) => call('random.bytes', { length })));
      return { first, rest, time: Date.now() > 0, random: Math.floor(Math.random() * 1e9) };`;
    const agent = `return call('tool', { name: 'tool', input: null });`;
    const { result, report } = await play({ agent, tool });
    expect(result.status).toBe('done');
    expect(report).toMatchObject({ verdict: 'MATCH' });
  });
});

describe('a host that fails', () => {
  it('abandons the run instead of signing a result, and the trace says so', async () => {
    const faulty: Vm = {
      ...vm,
      open: async (options) => {
        const session = await vm.open(options);
        return typeof options.entry === 'object'
          ? {
              ...session,
              start: () => Promise.reject(new HostFault('WALL_TIME', 'the clock ran out')),
              close: () => session.close(),
            }
          : session;
      },
    };
    const agent = `return call('tool', { name: 'tool', input: 1 });`;
    const { result, bytes, executor } = await realRun(faulty, { agent });
    expect(result).toMatchObject({ status: 'abandoned', error: { code: 'WALL_TIME' }, output: null });
    const report = await verifyBundle({ executor, trust: trustSigner(OPERATOR), now: () => performance.now() }, [
      bytes,
    ]);
    expect(report.steps.map((step) => step.kind)).toEqual([
      'run.open',
      'agent',
      'policy',
      'tool.start',
      'tool.lost',
      'run.close',
    ]);
    expect(report.verdict).not.toBe('INVALID');
  });

  it('keeps the fuel of agent and tools within the limit of the run', async () => {
    const agent = `
      const codes = [];
      for (let i = 0; i < 5; i++) codes.push(await call('tool', { name: 'tool', input: i }).then(() => 'ok', (error) => error.code));
      return codes;`;
    const tool = 'let s = 0; for (let i = 0; i < 100000; i++) s += i; return s;';
    const { result, report } = await play({ agent, tool, agentFuel: '50000000', limits: { fuel: '70000000' } });
    expect(['done', 'out-of-budget']).toContain(result.status);
    expect(report.verdict).toBe('MATCH');
  });
});
