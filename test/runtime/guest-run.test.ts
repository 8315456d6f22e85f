import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { GuestRun } from '../../runtime/guest-run.ts';
import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import {
  type Delivery,
  HostFault,
  type HostFaultCode,
  type Vm,
  type VmOptions,
  type VmSession,
} from '../../runtime/sandbox/vm.ts';
import { beginRun, crashRun, kindsOf, verifyRun } from '../support/kill-cuts.ts';
import { managed } from '../support/managed.ts';
import { toyVm } from '../support/toy-vm.ts';

/** A sandbox of one guest that adds up what it is told, and whose sessions are lost when told. */
function losingVm(losses: readonly (HostFaultCode | undefined)[]) {
  const fates = [...losses];
  const log: string[] = [];
  let open = 0;
  const vm = {
    engine: `0x${'00'.repeat(32)}`,
    open: async (): Promise<VmSession> => {
      open += 1;
      let sum = 0;
      const step = async (what: string) => {
        const fate = fates.shift();
        log.push(fate === undefined ? what : `${what} ${fate}`);
        if (fate !== undefined) throw new HostFault(fate, 'as told');
        return { status: 'waiting' as const, calls: [{ id: sum, method: 'more', args: null }], fuelUsed: BigInt(sum) };
      };
      return {
        log: [],
        start: () => step('start'),
        deliver: (delivery: Delivery, timeMs?: number) => {
          sum += delivery.ok ? Number(delivery.value) : 0;
          return step(`${delivery.ok ? delivery.value : 'x'}@${timeMs}`);
        },
        close: async () => {
          open -= 1;
        },
      };
    },
  } as unknown as Vm;
  return { vm, log, open: () => open };
}

const options = {} as VmOptions;
const give = (value: number): Delivery => ({ id: 0, ok: true, value });

describe('a guest whose session is lost', () => {
  it('is started again with all that it was told, in order and at the same times', async () => {
    const { vm, log, open } = losingVm([undefined, undefined, 'WORKER_LOST', undefined, undefined, undefined]);
    const guest = new GuestRun(vm, options);
    await guest.start();
    await guest.deliver(give(1), 11);
    expect((await guest.deliver(give(2), 12)).fuelUsed).toBe(3n);
    expect(log).toEqual(['start', '1@11', '2@12 WORKER_LOST', 'start', '1@11', '2@12']);
    expect(guest.state?.fuelUsed).toBe(3n);
    await guest.close();
    expect(open()).toBe(0);
  });

  it('is started again where it was lost at its start or while it was started again', async () => {
    const { vm, log } = losingVm(['HOST_OUT_OF_MEMORY', undefined, 'WORKER_LOST', undefined, 'WORKER_LOST']);
    const guest = new GuestRun(vm, options);
    await guest.start();
    expect((await guest.deliver(give(5), 1)).fuelUsed).toBe(5n);
    expect(log.filter((line) => line === 'start')).toHaveLength(3);
  });

  it('is given up after three losses', async () => {
    const { vm, log, open } = losingVm([undefined, ...Array.from({ length: 9 }, () => 'WORKER_LOST' as const)]);
    const guest = new GuestRun(vm, options);
    await guest.start();
    await expect(guest.deliver(give(1), 1)).rejects.toMatchObject({ code: 'WORKER_LOST' });
    expect(log).toHaveLength(5);
    expect(open()).toBe(0);
  });

  it.each(['WALL_TIME', 'HOST_STACK', 'HOST_INTERNAL'] as const)(
    'is not tried again after %s: it would do so again',
    async (code) => {
      const { vm, log } = losingVm([undefined, code]);
      const guest = new GuestRun(vm, options);
      await guest.start();
      await expect(guest.deliver(give(1), 1)).rejects.toMatchObject({ code });
      expect(log).toHaveLength(2);
    },
  );

  it('is not started again once it was ended', async () => {
    const { vm, log, open } = losingVm([undefined, 'WORKER_LOST']);
    const guest = new GuestRun(vm, options);
    await guest.start();
    const told = guest.deliver(give(1), 1);
    await guest.close();
    await expect(told).rejects.toMatchObject({ code: 'WORKER_LOST' });
    expect(log.length).toBeLessThanOrEqual(2);
    expect(open()).toBe(0);
  });

  it('takes deliveries one after the other, however fast they come', async () => {
    const { vm, log } = losingVm([]);
    const guest = new GuestRun(vm, options);
    const all = [guest.start(), guest.deliver(give(1), 1), guest.deliver(give(2), 2), guest.deliver(give(4), 3)];
    expect((await Promise.all(all)).map(({ fuelUsed }) => fuelUsed)).toEqual([0n, 1n, 3n, 7n]);
    expect(log).toEqual(['start', '1@1', '2@2', '4@3']);
  });

  it('that has ended hears nothing more, and makes no call twice', async () => {
    const vm = toyVm({
      one: async (ctx) => {
        const value = await ctx.call('a', null);
        ctx.call('b', null).catch(() => null);
        return value;
      },
    });
    const guest = new GuestRun(vm, { ...options, source: 'one', input: null } as VmOptions);
    expect((await guest.start()).calls).toHaveLength(1);
    expect(await guest.deliver(give(1), 1)).toMatchObject({ status: 'done', value: 1, calls: [{ method: 'b' }] });
    expect(await guest.deliver(give(2), 2)).toMatchObject({ status: 'done', value: 1, calls: [] });
  });
});

describe('sandbox processes that are killed', () => {
  it('are replaced, and the run goes on with the same records', async () => {
    const vm = await openQuickJsVm();
    try {
      const entry = managed(
        'agent',
        `const out = []; for (let i = 0; i < 4; i++) { await call('kv.put', { key: 'a', value: 'v' + Math.random() });
          out.push(await call('kv.get', { key: 'a' }), Date.now() > 0); } return out;`,
      );
      const now = (() => {
        let clock = 1_700_000_000_000;
        return () => clock++;
      })();
      const killed: number[] = [];
      let records = 0;
      const left = await beginRun(vm, entry, null, {
        now,
        onRecord: ({ kind }) => {
          if (kind !== 'host.start' || ![2, 5].includes(++records)) return;
          for (const pid of childrenOf(process.pid)) {
            killed.push(pid);
            process.kill(pid, 'SIGKILL');
          }
        },
      });
      expect(killed.length).toBeGreaterThanOrEqual(2);
      expect(left.result).toMatchObject({ status: 'done', error: null });
      const calm = await crashRun(vm, entry, null, 10_000, {
        now: (() => {
          let clock = 1_700_000_000_000;
          return () => clock++;
        })(),
      });
      expect(kindsOf(left.bytes)).toEqual(kindsOf(calm));
      expect(await verifyRun(vm, left.bytes)).toMatchObject({ verdict: 'MATCH' });
    } finally {
      await vm.close();
    }
  });
});

/** Processes that a process has started. */
function childrenOf(pid: number): readonly number[] {
  const tasks = readdirSync(`/proc/${pid}/task`);
  return tasks.flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number),
  );
}
