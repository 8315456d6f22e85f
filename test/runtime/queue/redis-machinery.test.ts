/** The machinery of many machines, on a real server. */

import { afterAll, beforeAll } from 'vitest';
import { openRedisMachinery } from '../../../runtime/queue/redis-machinery.ts';
import { describeMachinery } from '../../support/queue-suite.ts';
import { type RedisServerProcess, startRedis } from '../../support/redis-server.ts';
import { temporaryFolder } from '../../support/temporary.ts';

let server: RedisServerProcess;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.close());

let sets = 0;
describeMachinery('Redis', async () => {
  const prefix = `suite-${sets++}`;
  const folders = [temporaryFolder(), temporaryFolder()] as const;
  return {
    isShared: true,
    open: (isOther = false) =>
      openRedisMachinery({ url: server.url, prefix, folder: folders[isOther ? 1 : 0], home: isOther ? 'two' : 'one' }),
  };
});
