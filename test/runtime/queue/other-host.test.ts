/** Workers of two versions: a run goes on only where it gives the same again. */

import { expect, it, onTestFinished } from 'vitest';
import { openRedisMachinery } from '../../../runtime/queue/redis-machinery.ts';
import { RecoveryError } from '../../../runtime/recovery.ts';
import { sharedInThreadVm } from '../../support/kill-vm.ts';
import { managed, openManagedBy } from '../../support/managed.ts';
import { until } from '../../support/queue-suite.ts';
import { startRedis } from '../../support/redis-server.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { TOY_IDENTITY } from '../../support/toy-run.ts';

it('a worker with another model leaves a run to one that has its own', async () => {
  const redis = await startRedis();
  onTestFinished(() => redis.close());
  const open = async (works: boolean, tokenizer: `0x${string}`) => {
    const faults: unknown[] = [];
    const onFault = (_run: unknown, error: unknown) => void faults.push(error);
    const machinery = await openRedisMachinery({ url: redis.url, folder: temporaryFolder(), onFault });
    const manager = await openManagedBy(
      await sharedInThreadVm(),
      { machinery, agents: [managed('one', 'return 1;')], works },
      { identity: { ...TOY_IDENTITY, tokenizer }, onFault },
    );
    onTestFinished(() => manager.close());
    return { manager, faults };
  };
  const mine = TOY_IDENTITY.tokenizer;
  const front = await open(false, mine);
  const newer = await open(true, `0x${'99'.repeat(32)}`);
  const { run } = await front.manager.create({ agent: 'one', input: null });
  await until(() => newer.faults.length >= 2);
  expect(newer.faults.every((error) => error instanceof RecoveryError && error.code === 'OTHER_HOST')).toBe(true);
  expect(front.manager.get(run)).toMatchObject({ status: 'running', error: null });
  await open(true, mine);
  expect(await front.manager.settled(run)).toMatchObject({ status: 'done', output: 1 });
});
