import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Hex } from '../../../attest/core/bytes.ts';
import { trustSigner } from '../../../attest/verify/trust.ts';
import { verifyBundle } from '../../../attest/verify/verifier.ts';
import { openAccess } from '../../../inference/access.ts';
import type { AccessKey } from '../../../inference/access-keys.ts';
import { createExecutor } from '../../../runtime/replay.ts';
import { MCP_GUESTS, openMcpApi } from '../../support/mcp-agents.ts';
import { testServers } from '../../support/mcp-servers.ts';
import { gatedModel } from '../../support/run-api.ts';
import { toyRecomputer } from '../../support/toy-run.ts';
import { toyVm } from '../../support/toy-vm.ts';

type Meta = {
  readonly id: Hex;
  readonly status: string;
  readonly signer: Hex;
  readonly bundle: string;
  readonly checkpoint: object;
};

const REVISIONS = [['2025-11-25', 'legacy'] as const, ['2026-07-28', { pin: '2026-07-28' }] as const];

/** A client of the SDK. */
async function connect(url: string, mode: 'legacy' | { readonly pin: string } = 'legacy', key?: string) {
  const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode } });
  const requestInit = key === undefined ? {} : { headers: { authorization: `Bearer ${key}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  onTestFinished(() => client.close());
  const call = async (name: string, args: Record<string, unknown> = {}, more: object = {}) => {
    const result = await client.callTool({ name, arguments: args, ...more });
    return { ...result, run: result._meta?.['tracebond/run'] as Meta | undefined };
  };
  const textOf = ({ content }: { readonly content: readonly { readonly type: string }[] }) =>
    content.map((block) => ('text' in block ? block.text : block.type)).join('|');
  return { client, call, textOf };
}

describe.each(REVISIONS)('agents over MCP %s', (revision, mode) => {
  it('are tools with their schemas, run when they are called, and say how to verify it', async () => {
    const { url, manager, faults } = await openMcpApi();
    const { client, call, textOf } = await connect(url, mode);
    expect(client.getNegotiatedProtocolVersion()).toBe(revision);
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name).sort()).toEqual(manager.agents.map(({ name }) => name).sort());
    const of = (name: string) => tools.find((tool) => tool.name === name);
    expect(of('structured')).toMatchObject({
      description: 'Runs the agent structured.',
      inputSchema: { properties: { n: { type: 'integer' } }, required: ['n'] },
      outputSchema: { properties: { doubled: { type: 'integer' } } },
    });
    expect(of('listed')?.inputSchema).toMatchObject({ properties: { input: { type: 'string' } }, required: ['input'] });
    const done = await call('structured', { n: 21 });
    expect([textOf(done), done.structuredContent, done.isError]).toEqual([
      '{"doubled":42}',
      { doubled: 42 },
      undefined,
    ]);
    expect(done.run).toMatchObject({ agent: 'structured', status: 'done', signer: manager.operator });
    const { contents } = await client.readResource({ uri: done.run?.bundle ?? '' });
    const bundle = Buffer.from((contents[0] as { text: string }).text);
    const ports = {
      executor: createExecutor(toyVm(MCP_GUESTS), toyRecomputer),
      trust: trustSigner(done.run?.signer ?? '0x'),
      now: () => 0,
    };
    const report = await verifyBundle(ports, [bundle]);
    expect(report).toMatchObject({ verdict: 'MATCH', run: done.run?.id });
    expect(textOf(await call('listed', { input: 'a' }))).toBe('["a"]');
    expect(await call('looped', { prompt: 'go' })).toMatchObject({
      content: [{ type: 'text', text: 'the last answer' }],
      structuredContent: { n: 1 },
    });
    expect(textOf(await call('test_multiple_content_types'))).toBe('Multiple content types test:|image|resource');
    expect(faults).toEqual([]);
  });

  it('tell of each record, in order', async () => {
    const { url } = await openMcpApi();
    const { client } = await connect(url, mode);
    const seen: string[] = [];
    const onprogress = ({ progress, message }: { progress: number; message?: string | undefined }) => {
      seen.push(`${progress} ${message}`);
    };
    await client.callTool({ name: 'test_tool_with_progress', arguments: {} }, { onprogress });
    expect(seen).toEqual([
      '1 run.open',
      ...[0, 1, 2].flatMap((i) => {
        return ['agent', 'policy', 'host.start', 'host.end'].map((kind, j) => `${4 * i + j + 2} ${kind}`);
      }),
      '14 agent',
      '15 run.close',
    ]);
  });

  it('are refused, fail and wait in words that say so', async () => {
    const { url, manager } = await openMcpApi();
    const { client, call, textOf } = await connect(url, mode);
    const failed = await call('test_error_handling');
    expect([failed.isError, textOf(failed), failed.run?.status]).toEqual([
      true,
      'TOOL_ERROR: This tool intentionally returns an error for testing',
      'failed',
    ]);
    const before = manager.list().length;
    expect(await call('structured', { n: 'one' })).toMatchObject({ isError: true });
    expect(textOf(await call('test_simple_text', { x: 1.5 }))).toMatch(/^INPUT_INVALID: /);
    expect(manager.list()).toHaveLength(before);
    await expect(call('nobody')).rejects.toMatchObject({ code: -32602 });
    const waits = await call('approve');
    expect(waits).toMatchObject({ isError: true, run: { status: 'suspended' } });
    expect(textOf(waits)).toContain(`run ${waits.run?.id} waits (approval)`);
    const { contents } = await client.readResource({ uri: `tracebond://runs/${waits.run?.id}` });
    expect(JSON.parse((contents[0] as { text: string }).text)).toMatchObject({
      status: 'suspended',
      id: waits.run?.id,
    });
    for (const uri of [`tracebond://runs/0x${'00'.repeat(32)}`, 'tracebond://runs/1', 'file:///etc/passwd']) {
      await expect(client.readResource({ uri })).rejects.toMatchObject({ code: expect.any(Number) });
    }
  });

  it('are cancelled with the call, where that can be told', async () => {
    const { inference, open } = gatedModel();
    const { url, manager } = await openMcpApi({ ports: { inference } });
    const { client } = await connect(url, mode);
    const controller = new AbortController();
    const calling = client.callTool({ name: 'endless', arguments: {} }, { signal: controller.signal });
    calling.catch(() => undefined);
    await expect.poll(() => manager.list()[0]?.records ?? 0).toBeGreaterThan(2);
    controller.abort();
    await expect(calling).rejects.toThrow();
    if (mode === 'legacy') open();
    await expect.poll(() => manager.list()[0]?.status).toBe(mode === 'legacy' ? 'done' : 'cancelled');
  });

  it('are called once by an idempotency key', async () => {
    const { url } = await openMcpApi();
    const { call } = await connect(url, mode);
    const more = { _meta: { 'tracebond/idempotency-key': 'order-7' } };
    const [first, second] = [await call('structured', { n: 1 }, more), await call('structured', { n: 1 }, more)];
    expect(second.run?.id).toBe(first.run?.id);
    expect(await call('structured', { n: 2 }, more)).toMatchObject({ isError: true });
    expect((await call('structured', { n: 1 })).run?.id).not.toBe(first.run?.id);
  });
});

describe('/mcp', () => {
  it('asks for an access key, and shows each the runs that it began', async () => {
    const limits = { active: null, requestsPerMinute: 2, tokensPerMinute: null, waiting: null };
    const keys = new Map(['tb-one', 'tb-other'].map((id) => [id, { id, limits }] as const));
    const access = openAccess({ authenticate: (secret) => keys.get(secret) as AccessKey | undefined });
    const { url } = await openMcpApi({ server: { access } });
    await expect(connect(url)).rejects.toThrow();
    const [one, other] = [await connect(url, 'legacy', 'tb-one'), await connect(url, 'legacy', 'tb-other')];
    const { run } = await one.call('test_simple_text');
    const uri = `tracebond://runs/${run?.id}`;
    expect((await one.client.listResources()).resources).toMatchObject([{ uri }]);
    expect((await other.client.listResources()).resources).toEqual([]);
    expect((await one.client.readResource({ uri })).contents).toHaveLength(1);
    await expect(other.client.readResource({ uri })).rejects.toThrow(`no run ${run?.id}`);
    await expect(other.client.readResource({ uri: `${uri}/bundle` })).rejects.toThrow(`no run ${run?.id}`);
    await one.call('test_simple_text');
    expect(one.textOf(await one.call('test_simple_text'))).toMatch(/^rate_limit/);
  });

  it('is a server whose tools agents elsewhere can call, by their pins', async () => {
    const { url, manager } = await openMcpApi();
    const { servers, said } = testServers({ other: { type: 'http', url } });
    const found = (await servers.list('other')).find(({ definition }) => definition['name'] === 'structured');
    const pin = { server: 'other', tool: 'structured', definition: found?.digest ?? '0x' } as const;
    const options = { maxBytes: 65_536, timeoutMs: 10_000, signal: new AbortController().signal };
    const result = await servers.call(pin, '{"n":4}', options);
    expect(JSON.parse((result as { text: string }).text)).toEqual({
      result: { content: [{ type: 'text', text: '{"doubled":8}' }], structuredContent: { doubled: 8 } },
    });
    expect(manager.list()).toHaveLength(1);
    expect(said).toEqual([]);
  });

  it('refuses pages of others, other methods, and bodies that are none of the protocol', async () => {
    const { url, app } = await openMcpApi();
    const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' });
    const ask = async (init: RequestInit) => (await fetch(url, { method: 'POST', headers, body, ...init })).status;
    expect(await ask({})).toBe(200);
    expect(await ask({ headers: { ...headers, origin: 'http://localhost:3000' } })).toBe(200);
    for (const origin of ['https://evil.example', 'null', 'http://127.0.0.1.evil.example']) {
      expect(await ask({ headers: { ...headers, origin } })).toBe(403);
    }
    expect(await ask({ method: 'GET', body: null as never })).toBe(405);
    expect(await ask({ method: 'PUT' })).toBe(404);
    expect(await ask({ body: '{' })).toBe(400);
    expect(await ask({ headers: { ...headers, 'content-type': 'text/plain' } })).toBe(415);
    expect(await ask({ body: `"${'x'.repeat(5 << 20)}"` })).toBe(413);
    const foreign = await app.inject({
      method: 'POST',
      url: '/mcp',
      headers: { ...headers, host: 'evil.example' },
      body,
    });
    expect(foreign.statusCode).toBe(403);
  });
});
