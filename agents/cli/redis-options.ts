/**
 * Whether runs are shared by many machines, as options and environment say it.
 *
 * @module
 */

import type { RedisDurability } from '../../runtime/queue/redis-connect.ts';
import type { Environment } from './environment.ts';
import { RuntimeUsageError } from './runtime-options.ts';

/** The Redis server that runs are shared on; its address holds a password and is never shown. */
export type RedisSettings = {
  readonly url: string;
  readonly durability: RedisDurability;
  readonly prefix: string;
};

const DURABILITIES: readonly RedisDurability[] = ['always', 'everysec', 'trusted'];

/**
 * Reads them; undefined: runs are of this process alone.
 *
 * @param given - of the option `--redis`; `REDIS_URL` by default
 * @throws {@link RuntimeUsageError} `BAD_REDIS`
 */
export function readRedisOptions(
  given: string | undefined,
  { env }: Pick<Environment, 'env'>,
): RedisSettings | undefined {
  const url = given ?? env['REDIS_URL'] ?? '';
  if (url === '') return undefined;
  const said = env['TRACEBOND_REDIS_DURABILITY'] || 'always';
  const durability = DURABILITIES.find((known) => known === said);
  if (durability === undefined) {
    throw usage(`TRACEBOND_REDIS_DURABILITY: expected one of ${DURABILITIES.join(', ')}, got ${JSON.stringify(said)}`);
  }
  const prefix = env['TRACEBOND_REDIS_PREFIX'] || 'tracebond';
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(prefix)) {
    throw usage('TRACEBOND_REDIS_PREFIX: expected 1 to 64 of A-Z, a-z, 0-9, ".", "_", "-"');
  }
  return { url, durability, prefix };
}

function usage(message: string): RuntimeUsageError {
  return new RuntimeUsageError('BAD_REDIS', message);
}
