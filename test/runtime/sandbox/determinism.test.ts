import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { newQuickJSWASMModuleFromVariant, type QuickJSSyncVariant } from 'quickjs-emscripten-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { childEntry } from '../../../attest/core/entry.ts';
import { openQuickJsVm } from '../../../runtime/sandbox/quickjs-vm.ts';
import type { Vm } from '../../../runtime/sandbox/vm.ts';
import { DETERMINISTIC_PROGRAMS, runOnce, runToEnd, script } from '../../support/sandbox-programs.ts';

let vm: Vm;
beforeAll(async () => {
  vm = await openQuickJsVm();
});
afterAll(() => vm.close());

const asJson = (value: unknown): string =>
  JSON.stringify(value, (_key, item) => (typeof item === 'bigint' ? String(item) : item));

async function inChild(flags: readonly string[], env: Readonly<Record<string, string>>): Promise<string> {
  const { url, execArgv } = childEntry(import.meta.url, '../../support/sandbox-child.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, ...execArgv, fileURLToPath(url)], {
    env: { ...process.env, NODE_OPTIONS: '', ...env },
    maxBuffer: 1 << 24,
  });
  return stdout;
}

describe('the same run', () => {
  it('has equal results, logs, ends and fuel in other processes, zones, locales and compiler tiers', async () => {
    const here: unknown[] = [vm.engine];
    for (const [name, body] of DETERMINISTIC_PROGRAMS) here.push([name, await runToEnd(vm, body)]);
    const expected = asJson(here);
    expect(await inChild(['--liftoff-only'], { TZ: 'Asia/Kathmandu', LANG: 'de_DE.UTF-8' })).toBe(expected);
    expect(await inChild(['--no-liftoff', '--stack-size=3000'], { TZ: 'America/St_Johns', LANG: 'tr_TR' })).toBe(
      expected,
    );
  });

  it('ends in every way that it should', async () => {
    const ends: Record<string, string> = {};
    for (const [name, body] of DETERMINISTIC_PROGRAMS) {
      const last = (await runToEnd(vm, body)).states.at(-1);
      ends[name] = last?.status === 'failed' ? last.error.code : (last?.status ?? '');
    }
    expect(ends).toMatchObject({
      arithmetic: 'done',
      'host calls': 'done',
      'out of fuel': 'OUT_OF_FUEL',
      'out of memory': 'MEMORY_LIMIT',
      'out of depth': 'STACK_EXHAUSTED',
      'parser depth': 'STACK_EXHAUSTED',
    });
    expect(Object.values(ends).filter((end) => end === 'done')).toHaveLength(13);
  });

  it('depends on the seed and the time, and on nothing else', async () => {
    const random = 'return [String(Math.random()), Date.now()];';
    const first = await runOnce(vm, random);
    expect(await runOnce(vm, random)).toEqual(first);
    expect(await runOnce(vm, random, { seed: new Uint8Array(32) })).not.toEqual(first);
    expect(await runOnce(vm, random, { startTimeMs: 5 })).not.toEqual(first);
  });
});

describe('the metered engine', () => {
  it('computes what the unmetered one does', async () => {
    const { default: variant } = (await import('@jitl/quickjs-wasmfile-release-sync')) as unknown as {
      default: QuickJSSyncVariant;
    };
    const plain = await newQuickJSWASMModuleFromVariant(variant);
    const programs = DETERMINISTIC_PROGRAMS.filter(([name]) =>
      ['arithmetic', 'strings', 'maps', 'json', 'regular expressions', 'big integers', 'typed arrays'].includes(name),
    );
    expect(programs).toHaveLength(7);
    for (const [name, body] of programs) {
      const context = plain.newContext();
      context.unwrapResult(context.evalCode(script(body))).dispose();
      const promise = context.unwrapResult(context.evalCode('__tracebond.run("agent", null)'));
      context.runtime.executePendingJobs();
      const settled = context.getPromiseState(promise);
      if (settled.type !== 'fulfilled') throw new Error(`${name} is ${settled.type}`);
      expect([name, await runOnce(vm, body)]).toMatchObject([
        name,
        { status: 'done', value: context.dump(settled.value) },
      ]);
      settled.value.dispose();
      promise.dispose();
      context.dispose();
    }
  });
});
