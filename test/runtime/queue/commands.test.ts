/** The commands that share runs: one takes requests, another works. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { readRedisOptions } from '../../../agents/cli/redis-options.ts';
import { RuntimeUsageError } from '../../../agents/cli/runtime-options.ts';
import { registerServeRuntime } from '../../../agents/cli/serve-runtime.ts';
import { registerServeWorker } from '../../../agents/cli/serve-worker.ts';
import { buildServer } from '../../../inference/server.ts';
import { startCommand } from '../../support/command.ts';
import { until } from '../../support/queue-suite.ts';
import { startRedis } from '../../support/redis-server.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { toyContext } from '../../support/toy-context.ts';

let inference = '';

beforeAll(async () => {
  const app = buildServer(toyContext());
  inference = await app.listen({ host: '127.0.0.1', port: 0 });
  return () => app.close();
});

const AGENT = `
import { defineAgent } from 'tracebond';
export default defineAgent({ name: 'adder', model: 'toy', async run(ctx, { a, b }) { return a + b + 0 * (await ctx.now()); } });
`;

describe('options', () => {
  const read = (env: Record<string, string>, given?: string) => readRedisOptions(given, { env });

  it('are those of the environment unless they are given', () => {
    expect(read({})).toBeUndefined();
    expect(read({ REDIS_URL: '' })).toBeUndefined();
    const plain = { url: 'redis://one', durability: 'always', prefix: 'tracebond' };
    expect(read({ REDIS_URL: 'redis://one' })).toEqual(plain);
    const said = { REDIS_URL: 'redis://one', TRACEBOND_REDIS_DURABILITY: 'everysec', TRACEBOND_REDIS_PREFIX: 'b' };
    expect(read(said, 'redis://two')).toEqual({ url: 'redis://two', durability: 'everysec', prefix: 'b' });
  });

  it('are refused without the address', () => {
    for (const [name, value] of [
      ['TRACEBOND_REDIS_DURABILITY', 'no'],
      ['TRACEBOND_REDIS_PREFIX', '{a}'],
    ] as const) {
      const call = () => read({ REDIS_URL: 'redis://:secret@one', [name]: value });
      expect(call).toThrow(RuntimeUsageError);
      expect(call).toThrow(
        expect.objectContaining({ code: 'BAD_REDIS', message: expect.not.stringContaining('secret') }),
      );
    }
  });
});

describe('serve worker and serve runtime --no-work', () => {
  it('share runs; what the worker counts is at its port, and no password is shown', async () => {
    const redis = await startRedis(['--appendonly', 'yes', '--appendfsync', 'always', '--requirepass', 'sesame']);
    onTestFinished(() => redis.close());
    const home = temporaryFolder();
    const file = join(home, 'agent.ts');
    writeFileSync(file, AGENT);
    const env = {
      TRACEBOND_HOME: home,
      OTEL_EXPORTER_OTLP_ENDPOINT: '',
      REDIS_URL: `redis://:sesame@127.0.0.1:${redis.port}`,
    };
    const start = (name: string, ...more: string[]) =>
      startCommand(
        [
          'serve',
          name,
          '--port',
          '0',
          '--agent',
          file,
          '--folder',
          join(home, name),
          '--inference',
          inference,
          ...more,
        ],
        { env },
      );
    const front = start('runtime', '--no-work');
    const url = (await front.waitFor(/^listening (http:\S+)$/m))[1] ?? '';
    expect(front.err()).toContain(`in Redis at 127.0.0.1:${redis.port}, bundles in ${join(home, 'runtime')}`);
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ agent: 'adder', input: { a: 3, b: 4 } });
    const begun = await fetch(`${url}/v1/runs`, { method: 'POST', headers, body });
    const { id, status } = (await begun.json()) as { id: string; status: string };
    expect(status).toBe('running');
    expect(await (await fetch(`${url}/metrics`)).text()).toContain('tracebond_queue_waiting 1');
    const worker = start('worker');
    const counts = (await worker.waitFor(/^working (http:\S+)$/m))[1] ?? '';
    const look = async () => (await fetch(`${url}/v1/runs/${id}`)).json();
    await until(async () => ((await look()) as { status: string }).status !== 'running', 20_000);
    expect(await look()).toMatchObject({ id, status: 'done', output: 7 });
    // The bundle lies with the worker; here it is made from the journal.
    const bundle = await (await fetch(`${url}/v1/runs/${id}/bundle`)).text();
    expect(bundle.trimEnd().split('\n').at(-1)).toContain('"closed":true');
    const metrics = await (await fetch(`${counts}/metrics`)).text();
    expect(metrics).toContain('tracebond_steps_total 1');
    expect(metrics).toMatch(/^tracebond_queue_stalled_total 0$/m);
    expect(await (await fetch(`${counts}/health`)).json()).toMatchObject({ status: 'ok', queue: { waiting: 0 } });
    expect((await fetch(`${counts}/v1/runs`)).status).toBe(404);
    for (const one of [worker, front]) {
      one.child.kill('SIGTERM');
      expect(await one.ended).toBe(0);
      expect(one.out() + one.err()).not.toContain('sesame');
    }
  });

  it('are refused without a server', async () => {
    vi.stubEnv('REDIS_URL', '');
    onTestFinished(() => void vi.unstubAllEnvs());
    for (const args of [['worker'], ['runtime', '--no-work', '--agent', 'a.ts']]) {
      const serve = new Command().exitOverride();
      registerServeWorker(serve);
      registerServeRuntime(serve);
      const called = serve.parseAsync(['node', 'tracebond', ...args]);
      await expect(called).rejects.toMatchObject({
        code: 'BAD_REDIS',
        message: expect.stringMatching(/REDIS_URL|--no-work/),
      });
    }
  });
});
