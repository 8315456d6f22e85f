import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Command } from 'commander';
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { openRuntime } from '../../../agents/cli/open-runtime.ts';
import { registerRuns } from '../../../agents/cli/runs.ts';
import { verifyFile } from '../../../agents/cli/verify.ts';
import type { Hex } from '../../../attest/core/bytes.ts';
import { trustSigner } from '../../../attest/verify/trust.ts';
import { buildServer } from '../../../inference/server.ts';
import { createExecutor } from '../../../runtime/replay.ts';
import { openQuickJsVm } from '../../../runtime/sandbox/quickjs-vm.ts';
import { startCommand } from '../../support/command.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { toyContext } from '../../support/toy-context.ts';

let inference = '';

beforeAll(async () => {
  const app = buildServer(toyContext());
  inference = await app.listen({ host: '127.0.0.1', port: 0 });
  return () => app.close();
});

const AGENT = (origin: string) => `
import { defineAgent, defineTool } from 'tracebond';
const get = defineTool({
  name: 'get',
  description: 'gets a page',
  capabilities: { fetch: ['${origin}/*'] },
  execute: async ({ url }, ctx) => (await ctx.fetch(url)).body,
});
export default defineAgent({
  name: 'getter',
  model: 'toy',
  tools: [get],
  async run(ctx, { url, pay }) {
    const pages = [];
    for (let i = 0; i < 3; i++) pages.push(await ctx.tool(get, { url: url + '/' + i }));
    if (pay) pages.push((await ctx.approve({ summary: 'pay?' })).approved ? 'paid' : 'kept');
    return pages;
  },
});
`;

/** A server whose pages come when they are let, each with its requests counted. */
async function pages() {
  const asked: string[] = [];
  const held: ServerResponse[] = [];
  let isOpen = false;
  const server = createServer((request, response) => {
    asked.push(request.url ?? '');
    if (isOpen || request.url === '/0') response.end(`page ${request.url}`);
    else held.push(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const open = () => {
    isOpen = true;
    for (const response of held.splice(0)) response.end('late');
  };
  return { origin, asked, open };
}

async function setUp() {
  const site = await pages();
  const home = temporaryFolder();
  const file = join(home, 'agent.ts');
  writeFileSync(file, AGENT(site.origin));
  const folder = join(home, 'runs');
  const shared = ['--inference', inference, '--allow-origin', site.origin, '--allow-address', '127.0.0.1/32'];
  const env = { TRACEBOND_HOME: home, OTEL_EXPORTER_OTLP_ENDPOINT: '' };
  const serve = (more: readonly string[] = []) =>
    startCommand(['serve', 'runtime', '--port', '0', '--agent', file, '--folder', folder, ...shared, ...more], { env });
  const run = (args: readonly string[], input?: string) =>
    startCommand(['run', file, '--out', folder, ...shared, ...args], {
      env,
      ...(input === undefined ? {} : { input }),
    });
  return { ...site, home, folder, file, env, serve, run };
}

const urlOf = async (command: ReturnType<typeof startCommand>) =>
  (await command.waitFor(/^listening (http:\S+)$/m))[1] ?? '';

async function verify(bundle: string, signer: string) {
  const vm = await openQuickJsVm();
  onTestFinished(() => vm.close());
  return verifyFile(bundle, trustSigner(signer as Hex), {
    executor: createExecutor(vm, undefined),
    close: async () => {},
  });
}

describe('serve runtime', () => {
  it('goes on with a run after kill -9, and the trace verifies', async () => {
    const { serve, origin, asked, open, folder, home } = await setUp();
    const first = serve();
    const url = await urlOf(first);
    expect(first.err()).toContain('SIMULATED operator 0x');
    expect(first.err()).toContain('off chain');
    expect(statSync(join(home, 'operator.key')).mode & 0o777).toBe(0o600);
    const body = JSON.stringify({ agent: 'getter', input: { pay: false, url: origin } });
    const headers = { 'content-type': 'application/json', 'idempotency-key': 'k' };
    const begun = await fetch(`${url}/v1/runs`, { method: 'POST', headers, body });
    const { id } = (await begun.json()) as { id: string };
    await vi.waitFor(() => expect(asked).toContain('/1'), 20_000);
    first.child.kill('SIGKILL');
    expect(await first.ended).toBe('SIGKILL');
    open();
    const second = serve(['--retain', '0']);
    const next = await urlOf(second);
    // The same request, asked again by a client that had no answer.
    const again = await fetch(`${next}/v1/runs?wait=20`, { method: 'POST', headers, body });
    const run = (await again.json()) as { id: string; status: string; output: string[] };
    expect(run).toMatchObject({ id, status: 'done', output: ['page /0', 'page /1', 'page /2'] });
    expect(asked.filter((path) => path === '/0')).toHaveLength(1);
    expect(asked.filter((path) => path === '/1')).toHaveLength(2);
    const { operator } = (await (await fetch(`${next}/v1/agents`)).json()) as { operator: string };
    expect(await verify(join(folder, `${id.slice(2)}.trace`), operator)).toMatchObject({
      verdict: 'MATCH',
      status: 'done',
    });
    const printed: string[] = [];
    const call = (...args: string[]) => {
      const program = new Command().exitOverride();
      registerRuns(program, { env: {}, print: (line) => void printed.push(line) });
      return program.parseAsync(['node', 'tracebond', 'runs', ...args, '--url', next]);
    };
    await call('list');
    expect(printed.splice(0).join()).toMatch(new RegExp(`^${id}  \\S+  done  getter$`));
    await call('show', id);
    expect(printed.splice(0)).toEqual([`done  ${id}  getter`, '  output ["page /0","page /1","page /2"]']);
    await call('bundle', id, '--out', join(home, 'copy.trace'));
    expect(await verify(join(home, 'copy.trace'), operator)).toMatchObject({ verdict: 'MATCH' });
    await call('forget', id);
    await expect(call('cancel', id)).rejects.toMatchObject({ name: 'RunsError', code: 'REFUSED', at: { status: 409 } });
    second.child.kill('SIGTERM');
    expect(await second.ended).toBe(0);
  }, 60_000);

  it.each([
    [[], 'NO_AGENT'],
    [['--agent', 'x', '--allow-origin', 'example.com'], 'BAD_ORIGIN'],
    [['--agent', 'x', '--allow-origin', 'https://example.com/path'], 'BAD_ORIGIN'],
    [['--agent', 'x', '--allow-method', 'get'], 'BAD_ORIGIN'],
    [['--agent', 'x', '--allow-address', '127.0.0.1'], 'BAD_ADDRESS'],
    [['--agent', 'x', '--secret', 'token=X'], 'BAD_SECRET'],
    [['--agent', 'x', '--secret', 'TOKEN=NOT_SET_HERE'], 'BAD_SECRET'],
    [['--agent', 'x', '--approver', '0x12'], 'BAD_APPROVER'],
    [['--agent', 'x', '--limit', 'gas=5'], 'BAD_LIMIT'],
    [['--agent', 'x', '--limit', 'fuel=-5'], 'BAD_LIMIT'],
    [['--agent', 'x', '--inference', 'localhost:8080'], 'BAD_URL'],
    [['--agent', 'x', '--otlp', 'ftp://x'], 'BAD_URL'],
    [['--agent', 'x', '--retain', '-1'], 'BAD_DAYS'],
    [['--agent', 'x', '--port', '99999'], 'BAD_PORT'],
    [['--agent', 'x', '--host', '0.0.0.0'], 'HOST_REFUSED'],
  ] as const)('refuses %j before anything is opened', async (args, code) => {
    const { main } = await import('../../../agents/cli/main.ts');
    vi.stubEnv('TRACEBOND_HOME', temporaryFolder());
    const printed = vi.spyOn(console, 'error').mockImplementation(() => {});
    onTestFinished(() => {
      vi.unstubAllEnvs();
      printed.mockRestore();
    });
    expect(await main(['node', 'tracebond', 'serve', 'runtime', ...args])).toBe(1);
    expect(printed.mock.calls.flat().join('\n')).toContain(`tracebond: ${code}: `);
  });
});

describe('run', () => {
  it('waits for a person with exit code 5, goes on, and its bundle verifies', async () => {
    const { run, origin, open, folder, file, home } = await setUp();
    open();
    const waiting = run(['--input', '-', '--json'], JSON.stringify({ url: origin, pay: true }));
    expect([await waiting.ended, waiting.err()]).toEqual([5, expect.stringContaining('off chain')]);
    const report = JSON.parse(waiting.out()) as { run: string; waiting: { index: string }[]; status: string };
    expect(report).toMatchObject({ status: 'suspended', reason: 'approval', waiting: [{ for: 'approval' }] });
    // Nobody is asked where there is no terminal: the word comes from elsewhere.
    const options = {
      inference,
      profile: 'exact',
      folder,
      allowOrigin: [origin],
      allowAddress: ['127.0.0.1/32'],
    } as const;
    const environment = { env: {}, home, tracebondHome: home, cache: home };
    const runtime = await openRuntime([file], options, environment, () => {});
    const [id, index] = [report.run as Hex, BigInt(report.waiting[0]?.index ?? -1)];
    await runtime.manager.approve(id, index, { approved: true, approver: null, note: '', signature: null });
    expect(await runtime.manager.settled(id)).toMatchObject({ status: 'done' });
    await runtime.close();
    const resumed = run(['--resume', report.run]);
    expect(await resumed.ended).toBe(0);
    expect(resumed.out()).toContain('output     ["page /0","page /1","page /2","paid"]');
    const [, bundle = '', signer = ''] = /tracebond verify (\S+) --signer (\S+)/.exec(resumed.out()) ?? [];
    expect(await verify(bundle, signer)).toMatchObject({ verdict: 'MATCH', status: 'done' });
    expect(readdirSync(folder).filter((name) => name.endsWith('.trace'))).toHaveLength(1);
  }, 60_000);
});
