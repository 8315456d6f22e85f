import { describe, expect, it } from 'vitest';
import type { Hex } from '../../../attest/core/bytes.ts';
import type { McpCallOptions, McpServers } from '../../../runtime/mcp/servers.ts';
import { fixtureServer, forgetfulServer, silentServer, testServers } from '../../support/mcp-servers.ts';

const OPTIONS: McpCallOptions = { maxBytes: 65_536, timeoutMs: 10_000, signal: new AbortController().signal };

/** Pins of what the server has now, and calls by them. */
async function pinned(servers: McpServers) {
  const tools = await servers.list('fixture');
  const pinOf = (tool: string) => {
    const found = tools.find(({ definition }) => definition['name'] === tool);
    return { server: 'fixture', tool, definition: found?.digest ?? (`0x${'00'.repeat(32)}` as Hex) };
  };
  const call = (tool: string, args: unknown = {}, options: Partial<McpCallOptions> = {}) =>
    servers.call(pinOf(tool), typeof args === 'string' ? args : JSON.stringify(args), { ...OPTIONS, ...options });
  return { pinOf, call };
}

const textOf = (text: string) => ({
  ok: true,
  text: JSON.stringify({ result: { content: [{ type: 'text', text }] } }),
});

describe('tools of an MCP server', () => {
  it('are called with arguments and answer in JSON text, fractions included', async () => {
    const { servers, said } = testServers({ fixture: fixtureServer() });
    const { call } = await pinned(servers);
    expect(await call('echo', { message: 'hi', factor: 1.5 })).toEqual(textOf('{"message":"hi","factor":1.5}'));
    const fractions = await call('fractions');
    expect(fractions).toMatchObject({ ok: true });
    expect(JSON.parse((fractions as { text: string }).text)).toMatchObject({
      result: { structuredContent: { celsius: 21.5, rows: [1, 2 ** 60] } },
    });
    expect(await call('fail')).toEqual({
      ok: true,
      text: '{"result":{"content":[{"type":"text","text":"no such row: 7"}],"isError":true}}',
    });
    expect(said).toEqual([]);
  });

  it.each(['', 'null', '[]', '{"a":1,"a":2}', '{"a":'])('are not called with the arguments %s', async (args) => {
    const { servers } = testServers({ fixture: { command: '/nonexistent' } });
    const pin = { server: 'fixture', tool: 'echo', definition: `0x${'00'.repeat(32)}` as const };
    expect(await servers.call(pin, args, OPTIONS)).toEqual({ ok: false, error: 'BAD_REQUEST' });
  });

  it('are refused once their definition is another, as soon as the server says so, and the operator hears of it once', async () => {
    const { servers, said } = testServers({ fixture: fixtureServer() });
    const { call, pinOf } = await pinned(servers);
    expect(await call('gone')).toEqual(textOf('still here'));
    await call('change');
    await expect.poll(() => call('echo', { message: 'hi' })).toEqual({ ok: false, error: 'TOOL_CHANGED' });
    expect(await call('gone')).toEqual({ ok: false, error: 'TOOL_UNKNOWN' });
    expect(await call('echo', { message: 'hi' })).toEqual({ ok: false, error: 'TOOL_CHANGED' });
    expect(await servers.check([pinOf('echo'), pinOf('big'), pinOf('gone')])).toMatchObject([
      { tool: 'echo', failure: 'TOOL_CHANGED' },
      { tool: 'gone', failure: 'TOOL_UNKNOWN' },
    ]);
    expect(said).toEqual([
      expect.stringMatching(
        /^mcp: TOOL_CHANGED: server "fixture" defines the tool "echo" otherwise .*: it is refused$/,
      ),
      'mcp: TOOL_UNKNOWN: server "fixture" has no tool "gone", which was pinned',
    ]);
  });

  it('are refused within a minute where the server says nothing of the change', async () => {
    let time = 0;
    const { servers } = testServers({ fixture: fixtureServer('silent') }, { now: () => time });
    const { call } = await pinned(servers);
    await call('change');
    time = 59_999;
    expect(await call('big', { bytes: 1 })).toMatchObject({ ok: true });
    time = 60_000;
    expect(await call('echo', { message: 'hi' })).toEqual({ ok: false, error: 'TOOL_CHANGED' });
  });

  it('are bounded in bytes and in time, and a call that is given up ends with its reason', async () => {
    const { servers } = testServers({ fixture: fixtureServer() });
    const { call } = await pinned(servers);
    expect(await call('big', { bytes: 70_000 })).toEqual({ ok: false, error: 'TOO_LARGE' });
    expect(await call('hang', {}, { timeoutMs: 50 })).toEqual({ ok: false, error: 'TIMEOUT' });
    const reason = new Error('cancelled');
    const controller = new AbortController();
    const hanging = call('hang', {}, { signal: controller.signal });
    setTimeout(() => controller.abort(reason), 20);
    await expect(hanging).rejects.toBe(reason);
    expect(await call('big', { bytes: 1 })).toEqual(textOf('x'));
  });

  it('end with the server: a message beyond all bounds ends it, and the next call starts another', async () => {
    const { servers, said } = testServers({ fixture: fixtureServer() });
    const { call } = await pinned(servers);
    expect(await call('big', { bytes: 9 << 20 })).toEqual({ ok: false, error: 'TOO_LARGE' });
    expect(await call('die')).toEqual({ ok: false, error: 'UNREACHABLE' });
    expect(await call('big', { bytes: 1 })).toEqual(textOf('x'));
    expect(said).toHaveLength(2);
  });

  it('are called on another connection once a server over HTTP has forgotten its session', async () => {
    const { config, forget } = await forgetfulServer();
    const { servers, said } = testServers({ fixture: config });
    const { call } = await pinned(servers);
    const empty = { ok: true, text: '{"result":{"content":[]}}' };
    expect(await call('count')).toEqual(empty);
    forget();
    expect(await call('count')).toEqual({ ok: false, error: 'UNREACHABLE' });
    expect(await call('count')).toEqual(empty);
    expect(said).toHaveLength(1);
  });

  it('keep the secrets of the configuration, and what the server writes for its operator, out of answers', async () => {
    const config = { ...fixtureServer(), env: { FIXTURE_KEY: '{{secret:FIXTURE}}' } };
    const { servers, said } = testServers({ fixture: config }, { secrets: { FIXTURE: 'hunter2-hunter2' } });
    const { call } = await pinned(servers);
    expect(await call('key')).toEqual(textOf('the key is [redacted:FIXTURE]'));
    expect(said).toEqual([]);
  });

  it('cannot be called where the server is not configured, not there or none', async () => {
    const { servers, said } = testServers({
      missing: { command: '/nonexistent/server' },
      silent: { type: 'http', url: await silentServer(), timeoutMs: 100 },
      http: { type: 'http', url: 'http://127.0.0.1:1/mcp' },
    });
    const pin = (server: string) => ({ server, tool: 'echo', definition: `0x${'00'.repeat(32)}` as const });
    const call = (server: string) => servers.call(pin(server), '{}', OPTIONS);
    expect(await call('other')).toEqual({ ok: false, error: 'UNREACHABLE' });
    expect(await call('missing')).toEqual({ ok: false, error: 'UNREACHABLE' });
    expect(await call('http')).toEqual({ ok: false, error: 'UNREACHABLE' });
    expect(await call('silent')).toEqual({ ok: false, error: 'TIMEOUT' });
    expect(said).toHaveLength(2);
    await expect(servers.list('missing')).rejects.toMatchObject({ code: 'SERVER_UNREACHABLE' });
    await expect(servers.list('other')).rejects.toMatchObject({ code: 'UNKNOWN_SERVER' });
    expect(await servers.check([pin('other'), pin('missing')])).toMatchObject([
      { server: 'other', failure: 'UNREACHABLE' },
      { server: 'missing', failure: 'UNREACHABLE' },
    ]);
  });

  it('of the current revision alone are called too', async () => {
    const { servers } = testServers({ fixture: fixtureServer('loud', 'modern') });
    const { call } = await pinned(servers);
    expect(await call('echo', { message: 'hi' })).toEqual(textOf('{"message":"hi"}'));
    await call('change');
    await expect.poll(() => call('gone')).toEqual({ ok: false, error: 'TOOL_UNKNOWN' });
  });
});
