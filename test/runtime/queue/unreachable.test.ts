/** Runs whose queue or store fails in the middle of them: they are tried again where others may, and not given up. */

import { expect, it, onTestFinished } from 'vitest';
import { openEmbeddedInbox } from '../../../runtime/queue/embedded-inbox.ts';
import { QueueError } from '../../../runtime/queue/errors.ts';
import { openFileStore } from '../../../runtime/queue/file-store.ts';
import type { JobEnd, RunInbox, RunJob, RunQueue } from '../../../runtime/queue/ports.ts';
import { sharedInThreadVm } from '../../support/kill-vm.ts';
import { managed, openManagedBy } from '../../support/managed.ts';
import { temporaryFolder } from '../../support/temporary.ts';

/** A manager whose jobs the test hands out, and whose inbox fails the first time that a run listens. */
async function open(isShared: boolean) {
  let handle: (job: RunJob) => Promise<JobEnd> = () => Promise.reject(new Error('nobody works'));
  const queue: RunQueue = {
    add: async () => {},
    ensure: async () => {},
    work(handler) {
      handle = handler;
    },
    hasRoom: async () => true,
    counts: async () => ({ waiting: 0, active: 0, stalled: 0 }),
    close: async () => {},
  };
  const sound = openEmbeddedInbox();
  let failures = 1;
  const inbox: RunInbox = {
    ...sound,
    async attach(run, control) {
      if (failures-- > 0) throw new QueueError('QUEUE_UNREACHABLE', 'the server cannot be reached');
      return sound.attach(run, control);
    },
  };
  const manager = await openManagedBy(await sharedInThreadVm(), {
    machinery: { queue, inbox, store: await openFileStore(temporaryFolder()), isShared },
    agents: [managed('one', 'return 1;')],
  });
  onTestFinished(() => manager.close());
  const { run } = await manager.create({ agent: 'one', input: null });
  return { manager, run, work: () => handle({ run, lost: new AbortController().signal }) };
}

it('of a shared queue a job that met a fault of its server is done again', async () => {
  const { manager, run, work } = await open(true);
  await expect(work()).rejects.toMatchObject({ code: 'QUEUE_UNREACHABLE' });
  expect(manager.get(run)).toMatchObject({ status: 'running', error: null });
  expect(await work()).toBe('rested');
  expect(manager.get(run)).toMatchObject({ status: 'done', output: 1 });
});

it('of a queue of this program alone it is shown, since nobody asks again', async () => {
  const { manager, run, work } = await open(false);
  expect(await work()).toBe('rested');
  expect(manager.get(run)).toMatchObject({ status: 'broken', error: { code: 'QUEUE_UNREACHABLE' } });
});
