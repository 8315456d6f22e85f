import { newQuickJSWASMModuleFromVariant, type QuickJSSyncVariant } from 'quickjs-emscripten-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openQuickJsVm } from '../../../runtime/sandbox/quickjs-vm.ts';
import type { Vm } from '../../../runtime/sandbox/vm.ts';
import { CONFIGURATIONS, QUICK_CONFIGURATIONS, runConfiguration } from '../../support/determinism-machines.ts';
import { digestOf, observe } from '../../support/determinism-program.ts';
import {
  DETERMINISTIC_PROGRAMS,
  type DeterminismReport,
  differences,
  GOLDEN,
  observeAll,
} from '../../support/determinism-programs.ts';
import { TierAbsent } from '../../support/isa-tiers.ts';
import { runOnce, script } from '../../support/sandbox-programs.ts';
import { temporaryFolder } from '../../support/temporary.ts';

let vm: Vm;
let here: DeterminismReport;
beforeAll(async () => {
  vm = await openQuickJsVm();
  here = await observeAll(vm);
});
afterAll(() => vm.close());

const silent = () => {};
const expected = { engine: GOLDEN.engine, digest: GOLDEN.digest };

describe('the deterministic programs', () => {
  it('are sixty and more, each with a name of its own, and end in every way', () => {
    const names = new Set(here.programs.map(({ name }) => name));
    expect(names.size).toBe(DETERMINISTIC_PROGRAMS.length);
    expect(names.size).toBeGreaterThanOrEqual(60);
    const ends = new Map<string, number>();
    for (const { runs } of here.programs) ends.set(runs[0]?.end ?? '', (ends.get(runs[0]?.end ?? '') ?? 0) + 1);
    expect(Object.fromEntries(ends)).toEqual({
      done: 93,
      OUT_OF_FUEL: 12,
      STACK_EXHAUSTED: 27,
      MEMORY_LIMIT: 7,
      TOOL_ERROR: 7,
      TRAP: 3,
      OUTPUT_INVALID: 2,
      OUTPUT_TOO_LARGE: 2,
      DEADLOCK: 1,
    });
  });

  it('give the golden digest in this process', () => {
    expect({ engine: here.engine, digest: digestOf(here.programs) }).toEqual(expected);
  });

  it.each(QUICK_CONFIGURATIONS)('give it in another process: $name', async (configuration) => {
    const there = await runConfiguration(configuration, temporaryFolder(), undefined, silent);
    expect(differences(here.programs, there.programs)).toEqual([]);
    expect({ engine: there.engine, digest: digestOf(there.programs) }).toEqual(expected);
  });

  it('need exactly the fuel that they used', () => {
    const searched = DETERMINISTIC_PROGRAMS.flatMap(([, , settings], i) => (settings?.cuts === 'search' ? [i] : []));
    expect(searched.length).toBeGreaterThan(4);
    for (const i of searched) {
      const runs = here.programs[i]?.runs ?? [];
      const [full, enough, tooLittle] = [runs[0], runs.at(-2), runs.at(-1)];
      expect(enough).toEqual({ ...full, fuel: full?.fuelUsed });
      expect(tooLittle).toMatchObject({ end: 'OUT_OF_FUEL', fuel: String(BigInt(full?.fuelUsed ?? 0) - 1n) });
    }
  });

  it('show one unit of fuel, another line and another value', async () => {
    const [program = here.programs[0]] = here.programs.filter(
      ({ name }) => name === 'the least fuel of a small program',
    );
    const changed = (change: (text: string) => string) => JSON.parse(change(JSON.stringify(program))) as typeof program;
    if (program === undefined) throw new Error('no program');
    const used = program.runs[0]?.fuelUsed ?? '';
    for (const other of [
      changed((text) => text.replace(`"fuelUsed":"${used}"`, `"fuelUsed":"${BigInt(used) + 1n}"`)),
      changed((text) => text.replace('"sum 2646700"', '"sum 2646701"')),
      changed((text) => text.replace('"value":2646700', '"value":2646701')),
    ]) {
      expect(differences([program], other === undefined ? [] : [other])).toHaveLength(1);
      expect(digestOf([program])).not.toBe(digestOf(other ?? []));
    }
    const seed = new Uint8Array(32);
    expect(await observe(vm, ['a', 'return String(Math.random());', { seed }])).not.toEqual(
      await observe(vm, ['a', 'return String(Math.random());']),
    );
  });

  it.each([
    ['zone', 'dates', '[...fields, 0, 0]', '[...fields, 0, -60 * date.getTimezoneOffset()]'],
    ['numbers that are none', 'tool: doubles', 'const width = canonicalWidth(op)', 'const width = void 0'],
  ])('notice an engine that lets in: %s', async (_what, name, from, to) => {
    const configuration = { ...QUICK_CONFIGURATIONS[0], name, fault: [from, to] as const, settings: { only: [name] } };
    const { programs } = await runConfiguration(configuration, temporaryFolder(), undefined, silent);
    expect(programs.map((program) => program.name)).toEqual([name]);
    const right = here.programs.filter((program) => program.name === name);
    expect(differences(right, programs)).toHaveLength(1);
  });

  it('depend on the seed and the time, and on nothing else', async () => {
    const random = 'return [String(Math.random()), Date.now()];';
    const first = await runOnce(vm, random);
    expect(await runOnce(vm, random)).toEqual(first);
    expect(await runOnce(vm, random, { seed: new Uint8Array(32) })).not.toEqual(first);
    expect(await runOnce(vm, random, { startTimeMs: 5 })).not.toEqual(first);
  });
});

describe('configurations', () => {
  it('have names of their own', () => {
    expect(new Set(CONFIGURATIONS.map(({ name }) => name)).size).toBe(CONFIGURATIONS.length);
  });

  it('that need another Node are absent, not passed, where nothing is fetched', async () => {
    for (const configuration of CONFIGURATIONS.filter(({ node }) => node !== undefined)) {
      await expect(runConfiguration(configuration, temporaryFolder(), undefined, silent)).rejects.toThrow(TierAbsent);
    }
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
