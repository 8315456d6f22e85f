import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openQuickJsVm } from '../../../runtime/sandbox/quickjs-vm.ts';
import type { Vm } from '../../../runtime/sandbox/vm.ts';
import { type Canaries, openCanaries } from '../../support/hostile-canaries.ts';
import { HOSTILE_GUESTS, isEnd, outcomeText, runHostile } from '../../support/hostile-guests.ts';
import { guestOptions, runOnce } from '../../support/sandbox-programs.ts';

// Two engines with processes of their own.
let vms: readonly [Vm, Vm];
let canaries: Canaries;
beforeAll(async () => {
  vms = [await openQuickJsVm(), await openQuickJsVm()];
  canaries = openCanaries();
});
afterAll(async () => {
  canaries.close();
  for (const vm of vms) await vm.close();
});

describe.each(Object.entries(HOSTILE_GUESTS))('%s', (_class, guests) => {
  it.each(guests.map((guest) => ({ name: guest[0], guest })))('$name', async ({ guest }) => {
    const [here, there] = await Promise.all(vms.map((vm) => runHostile(vm, guest)));
    if (here === undefined || there === undefined) throw new Error('two engines');
    expect(isEnd(here, guest), outcomeText(here)).toBe(true);
    expect(outcomeText(there)).toBe(outcomeText(here));
    expect(canaries.findHarm(outcomeText(here))).toEqual([]);
    if (here.state.status === 'failed') expect(Buffer.byteLength(here.state.error.message)).toBeLessThanOrEqual(2048);
  });
});

describe('afterwards', () => {
  it('the engines do what a fresh one does', async () => {
    const fresh = await openQuickJsVm();
    const body = 'console.log(Object.getOwnPropertyNames(globalThis).length); return [Math.imul(3, 4), Date.now()];';
    const expected = await runOnce(fresh, body);
    expect(expected).toMatchObject({ status: 'done', value: [12, guestOptions('').startTimeMs] });
    for (const vm of vms) expect(await runOnce(vm, body)).toEqual(expected);
    await fresh.close();
  });

  it('there were more than 250 of them, and no two of one name', () => {
    const all = Object.entries(HOSTILE_GUESTS).flatMap(([name, guests]) =>
      guests.map((guest) => `${name}: ${guest[0]}`),
    );
    expect(all.length).toBeGreaterThanOrEqual(250);
    expect(new Set(all).size).toBe(all.length);
  });
});
