import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import type { Hex } from '../../attest/core/bytes.ts';
import { RetentionError } from '../../runtime/retention.ts';
import { startRetention, sweepPayloads } from '../../runtime/retention-sweep.ts';
import { openRunApi } from '../support/run-api.ts';

const DAY = 86_400_000;

async function withRuns() {
  const api = await openRunApi();
  const done = await api.settled('count', { n: 1 });
  const waiting = await api.settled('approve');
  const faults: Hex[] = [];
  const sweepAt = (now: number, days: number) => sweepPayloads({ ...ports(now), manager: api.manager }, days * DAY);
  const ports = (now: number) => ({
    manager: api.manager,
    forget: api.book.forget,
    now: () => now,
    onFault: (run: Hex) => void faults.push(run),
  });
  return { ...api, done, waiting, sweepAt, ports, faults };
}

describe('retention by age', () => {
  it('takes what is over for long enough, once, and nothing else', async () => {
    const { sweepAt, ports, manager, done, waiting } = await withRuns();
    expect(await sweepAt(Date.now() + 6 * DAY, 7)).toBe(0);
    expect(manager.get(done.id).output).toEqual({ n: 1 });
    const forgotten: Hex[] = [];
    const forget = async (run: Hex) => void forgotten.push(run);
    expect(await sweepPayloads({ ...ports(Date.now() + 8 * DAY), manager, forget }, 7 * DAY)).toBe(1);
    expect(forgotten).toEqual([done.id]);
    expect(manager.get(done.id).output).toBeNull();
    expect(manager.get(waiting.id).status).toBe('suspended');
    expect(await sweepAt(Date.now() + 8 * DAY, 7)).toBe(0);
  });

  it('tells of a run that it could not take, and goes on', async () => {
    const { manager, done, ports, faults, settled } = await withRuns();
    await settled('count', { n: 2 });
    const withhold: typeof manager.withhold = async (run) => {
      if (run === done.id) throw new RetentionError('NOT_CLOSED', 'planted');
      return manager.withhold(run);
    };
    const some = { list: () => manager.list(), withhold };
    expect(await sweepPayloads({ ...ports(Date.now() + DAY), manager: some }, 0)).toBe(1);
    expect(faults).toEqual([done.id]);
  });

  it('is done at the start and every hour', async () => {
    const { manager, done, ports, settled } = await withRuns();
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    onTestFinished(() => void vi.useRealTimers());
    const stop = startRetention(ports(Date.now() + 2 * DAY), 1);
    await vi.waitFor(() => expect(manager.get(done.id).withheldAt).toBeTypeOf('number'));
    const late = await settled('count', { n: 2 });
    await vi.advanceTimersByTimeAsync(3_600_000);
    await vi.waitFor(() => expect(manager.get(late.id).withheldAt).toBeTypeOf('number'));
    await stop();
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('a run without payloads', () => {
  it('is known by its records where its status is lost', async () => {
    const { close, folder, done, sweepAt } = await withRuns();
    await sweepAt(Date.now() + 8 * DAY, 7);
    await close();
    rmSync(join(folder, `${done.id.slice(2)}.status.json`));
    const { send, faults } = await openRunApi({ folder });
    expect((await send('GET', `/v1/runs/${done.id}`)).json).toMatchObject({
      status: 'done',
      agent: 'count',
      output: null,
      records: done.records,
      withheldAt: expect.any(Number),
    });
    expect(faults).toEqual([]);
  });
});

describe('a run whose model is another now', () => {
  it('is not gone on with', async () => {
    const first = await openRunApi();
    const { id } = await first.settled('approve');
    await first.close();
    const { TOY_IDENTITY } = await import('../support/toy-run.ts');
    const identity = { ...TOY_IDENTITY, signer: `0x${'12'.repeat(20)}` as const };
    const { send } = await openRunApi({ folder: first.folder, ports: { identity } });
    const response = await send('POST', `/v1/runs/${id}/cancel`);
    expect([response.status, response.json.error?.code]).toEqual([409, 'wrong_state']);
    const shown = (await send('GET', `/v1/runs/${id}`)).json;
    expect(shown).toMatchObject({ status: 'broken', error: { message: 'the run cannot go on here' } });
    // Why is the operator's to know, not a client's.
    expect(response.text).not.toContain(identity.signer);
  });
});
