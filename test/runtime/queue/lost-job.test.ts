/** A worker that loses its job in the middle of a run. */

import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import type { Hex } from '../../../attest/core/bytes.ts';
import { hashGuestCode } from '../../../attest/trace/guest.ts';
import { openEmbeddedInbox } from '../../../runtime/queue/embedded-inbox.ts';
import { openEmbeddedQueue } from '../../../runtime/queue/embedded-queue.ts';
import { openFileStore } from '../../../runtime/queue/file-store.ts';
import type { RunQueue } from '../../../runtime/queue/ports.ts';
import { sharedInThreadVm } from '../../support/kill-vm.ts';
import { fetchFrom, managed, openManagedBy } from '../../support/managed.ts';
import { until } from '../../support/queue-suite.ts';
import { temporaryFolder } from '../../support/temporary.ts';

it('leaves the run and its child runs as they stand, and whoever takes it up goes on with both', async () => {
  const held: ServerResponse[] = [];
  const server = createServer((_request, response) => void held.push(response));
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const get = `await call('http.fetch', { body: null, headers: {}, method: 'GET', url: '${origin}/' })`;
  const child = managed('child', `return (${get}).body;`, { grants: [fetchFrom(origin)] });
  const { name, agent, limits } = child;
  const parent = managed('parent', `return await call('run.child', { agent: 'child', input: null });`, {
    grants: [{ capability: 'run.child', agents: [{ name, digest: hashGuestCode(agent), limits }] }],
  });
  // Every job has a signal of its own, as it would with other workers beside this one.
  const lost = new Map<Hex, AbortController[]>();
  const faults: unknown[] = [];
  const embedded = openEmbeddedQueue({ maxActive: 8, onFault: (_run, error) => void faults.push(error) });
  const queue: RunQueue = {
    ...embedded,
    work: (handle) =>
      embedded.work(({ run }) => {
        const signal = new AbortController();
        lost.set(run, [...(lost.get(run) ?? []), signal]);
        return handle({ run, lost: signal.signal });
      }),
  };
  const manager = await openManagedBy(
    await sharedInThreadVm(),
    {
      machinery: { queue, store: await openFileStore(temporaryFolder()), inbox: openEmbeddedInbox(), isShared: false },
      agents: [parent, child],
    },
    { onFault: (_run, error) => void faults.push(error) },
  );
  onTestFinished(() => manager.close());
  const { run } = await manager.create({ agent: 'parent', input: null });
  await until(() => held.length === 1);
  lost.get(run)?.[0]?.abort();
  await until(() => lost.get(run)?.length === 2);
  // It is at its child again, which nobody cancelled, and which asked once.
  expect(manager.list().map(({ status }) => status)).toEqual(['running', 'running']);
  expect(held).toHaveLength(1);
  held[0]?.end('page');
  expect(await manager.settled(run)).toMatchObject({ status: 'done', output: 'page' });
  expect(manager.list().map(({ status }) => status)).toEqual(['done', 'done']);
  expect(faults).toEqual([]);
});
