import { describe, expect, it } from 'vitest';
import { utf8 } from '../../../attest/core/bytes.ts';
import { parseMcpConfig, renderServer } from '../../../runtime/mcp/config.ts';

const read = (value: unknown) => parseMcpConfig(utf8(JSON.stringify(value)));
const server = (entry: unknown) => read({ mcpServers: { files: entry } });

describe('the file of servers', () => {
  it('reads the form that MCP clients share, and leaves what belongs to others', () => {
    const config = read({
      theme: 'dark',
      mcpServers: {
        files: { command: 'node', args: ['server.js'], env: { LEVEL: 'debug' }, timeoutMs: 5 },
        remote: { type: 'http', url: 'https://mcp.example.com/mcp', headers: { 'X-Team': 'a' } },
        bare: { url: 'http://127.0.0.1:9/mcp' },
      },
    });
    expect([...config.keys()]).toEqual(['files', 'remote', 'bare']);
    expect(config.get('bare')).toEqual({ type: 'http', url: 'http://127.0.0.1:9/mcp' });
  });

  it.each([
    ['$', () => parseMcpConfig(utf8('{"mcpServers": {'))],
    ['$', () => parseMcpConfig(utf8('{"mcpServers": {}, "mcpServers": {}}'))],
    ['mcpServers', () => read([])],
    ['mcpServers', () => read({ servers: {} })],
    ['mcpServers.a b', () => read({ mcpServers: { 'a b': { command: 'x' } } })],
    ['mcpServers.files', () => server('node')],
    ['mcpServers.files.command', () => server({})],
    ['mcpServers.files.command', () => server({ command: '' })],
    ['mcpServers.files.args', () => server({ command: 'x', args: 'y' })],
    ['mcpServers.files.args.1', () => server({ command: 'x', args: ['y', 1] })],
    ['mcpServers.files.env.LEVEL', () => server({ command: 'x', env: { LEVEL: 1 } })],
    ['mcpServers.files.env.A=B', () => server({ command: 'x', env: { 'A=B': '1' } })],
    ['mcpServers.files.url', () => server({ type: 'http' })],
    ['mcpServers.files.url', () => server({ url: 'file:///etc/passwd' })],
    ['mcpServers.files.type', () => server({ type: 'sse', url: 'http://a/sse' })],
    ['mcpServers.files.timeoutMs', () => server({ command: 'x', timeoutMs: 0 })],
    ['mcpServers.files', () => server({ command: 'x', shell: true })],
    ['mcpServers.files.headers.a:b', () => server({ url: 'http://a', headers: { 'a:b': 'c' } })],
    [
      'mcpServers.files.auth',
      () => server({ url: 'http://a', auth: { type: 'client_credentials', clientId: 'a', issuer: 'http://b' } }),
    ],
    [
      'mcpServers.files.auth.issuer',
      () => server({ url: 'http://a', auth: { type: 'client_credentials', clientId: 'a', clientSecret: 'b' } }),
    ],
  ])('refuses one that is malformed at %s', (field, make) => {
    expect(make).toThrow(expect.objectContaining({ code: 'MALFORMED_CONFIG', at: { field } }));
  });
});

describe('secrets of a server', () => {
  const secrets = { get: (name: string) => ({ TOKEN: 'hunter2-hunter2', LINES: 'first\nsecond' })[name] };

  it('are put in, and taken out of answers', () => {
    const config = { type: 'http' as const, url: 'http://a', headers: { Authorization: 'Bearer {{secret:TOKEN}}' } };
    const rendered = renderServer('files', config, secrets);
    expect(rendered.config).toMatchObject({ headers: { Authorization: 'Bearer hunter2-hunter2' } });
    expect(rendered.redactor.redact('I know hunter2-hunter2!')).toBe('I know [redacted:TOKEN]!');
    const stdio = renderServer('files', { command: 'x', env: { KEY: '{{secret:TOKEN}}' } }, secrets);
    expect(stdio.config).toMatchObject({ env: { KEY: 'hunter2-hunter2' } });
  });

  it.each([
    ['mcpServers.files.env.KEY', { command: 'x', env: { KEY: '{{secret:OTHER}}' } }],
    ['mcpServers.files.env.KEY', { command: 'x', env: { KEY: '{{TOKEN}}' } }],
    ['mcpServers.files.headers.A', { type: 'http' as const, url: 'http://a', headers: { A: '{{secret:LINES}}' } }],
    [
      'mcpServers.files.auth.clientSecret',
      {
        type: 'http' as const,
        url: 'http://a',
        auth: { type: 'client_credentials' as const, clientId: 'a', clientSecret: '{{secret:NO}}', issuer: 'http://b' },
      },
    ],
  ])('are refused with their place where they cannot be used: %s', (field, config) => {
    expect(() => renderServer('files', config, secrets)).toThrow(
      expect.objectContaining({ code: 'MALFORMED_CONFIG', at: { field } }),
    );
  });
});
