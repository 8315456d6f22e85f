/** What is counted of the queue. */

import { expect, test } from 'vitest';
import type { Hex } from '../../../attest/core/bytes.ts';
import { openRunMetrics } from '../../../runtime/api/metrics.ts';
import type { RecordSeen } from '../../../runtime/ledger.ts';
import { QueueError } from '../../../runtime/queue/errors.ts';
import { toyRun } from '../../support/toy-run.ts';

const lines = async (metrics: ReturnType<typeof openRunMetrics>) => (await metrics.print()).text.split('\n');

test('how the queue stands, asked once for each print', async () => {
  const metrics = openRunMetrics();
  expect(await lines(metrics)).toContain('tracebond_queue_waiting 0');
  let asked = 0;
  let counts = { waiting: 3, active: 2, stalled: 1 };
  metrics.watchQueue(async () => {
    asked += 1;
    return counts;
  });
  const told = ['tracebond_queue_waiting 3', 'tracebond_queue_active 2', 'tracebond_queue_stalled_total 1'];
  expect(await lines(metrics)).toEqual(expect.arrayContaining(told));
  counts = { waiting: 0, active: 5, stalled: 4 };
  const then = ['tracebond_queue_waiting 0', 'tracebond_queue_active 5', 'tracebond_queue_stalled_total 4'];
  expect(await lines(metrics)).toEqual(expect.arrayContaining(then));
  expect(asked).toBe(2);
});

test('a queue that cannot be reached is no number, and forgets no count', async () => {
  const metrics = openRunMetrics();
  let isThere = true;
  metrics.watchQueue(async () => {
    if (!isThere) throw new QueueError('QUEUE_UNREACHABLE', 'gone');
    return { waiting: 1, active: 1, stalled: 2 };
  });
  await metrics.print();
  isThere = false;
  const told = ['tracebond_queue_waiting Nan', 'tracebond_queue_active Nan', 'tracebond_queue_stalled_total 2'];
  expect(await lines(metrics)).toEqual(expect.arrayContaining(told));
});

test('steps are the starts of calls that this process recorded', async () => {
  const metrics = openRunMetrics();
  const seen: RecordSeen[] = [];
  await toyRun({ onRecord: (record) => void seen.push(record) });
  const run = `0x${'1'.repeat(64)}` satisfies Hex;
  for (const record of seen) metrics.onRecord(run, 'toy', record);
  for (const record of seen) metrics.onRecord(run, 'toy', { ...record, isPast: true });
  const starts = seen.filter(({ kind }) => kind.endsWith('.start')).length;
  expect(starts).toBeGreaterThan(5);
  expect(await lines(metrics)).toContain(`tracebond_steps_total ${starts}`);
});
