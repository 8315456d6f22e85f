import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { registerMcp } from '../../../agents/cli/mcp.ts';
import { parsePinFile } from '../../../agents/mcp/pins.ts';
import { fixtureServer } from '../../support/mcp-servers.ts';
import { temporaryFolder } from '../../support/temporary.ts';

/** Runs the command in this process. */
async function run(args: readonly string[]) {
  let code = 0;
  const said: string[] = [];
  const spies = (['log', 'error'] as const).map((method) =>
    vi.spyOn(console, method).mockImplementation((line) => void said.push(String(line))),
  );
  const program = new Command('tracebond').exitOverride();
  registerMcp(program, (verdict) => {
    code = verdict;
  });
  try {
    await program.parseAsync(['node', 'tracebond', 'mcp', ...args]);
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  return { code, said: said.join('\n') };
}

function folderWith(files: Readonly<Record<string, unknown>>) {
  const folder = temporaryFolder();
  for (const [name, value] of Object.entries(files)) {
    writeFileSync(join(folder, name), typeof value === 'string' ? value : JSON.stringify(value));
  }
  return (name: string) => join(folder, name);
}

const SERVERS = { mcpServers: { fixture: fixtureServer() } };

describe('mcp pin and mcp check', () => {
  it('write down the tools of a server, and find what differs from it', async () => {
    const at = folderWith({ 'mcp.json': SERVERS });
    const pins = at('fixture.mcp.json');
    const made = await run(['pin', 'fixture', '--mcp-config', at('mcp.json'), '--out', pins]);
    expect(made.said).toMatch(/^12 tools of fixture in /);
    const file = parsePinFile(readFileSync(pins));
    expect(file.tools.map(({ definition }) => definition['name'])).toContain('Weird Name.2');
    const same = await run(['check', pins, '--mcp-config', at('mcp.json')]);
    expect([same.code, same.said]).toEqual([0, expect.stringContaining('12 of 12 tools are as pinned')]);
    const other = readFileSync(pins, 'utf8').replaceAll(file.tools[0]?.digest ?? '', `0x${'11'.repeat(32)}`);
    writeFileSync(pins, other);
    await expect(run(['check', pins, '--mcp-config', at('mcp.json')])).rejects.toMatchObject({
      code: 'PIN_MISMATCH',
      at: { field: '$.tools.0.digest', file: pins },
    });
    const elsewhere = await run(['check', at('empty.json')]).catch((error) => error);
    expect(elsewhere).toMatchObject({ code: 'ENOENT' });
    writeFileSync(pins, JSON.stringify({ ...file, server: 'other' }));
    const lost = await run(['check', pins, '--mcp-config', at('mcp.json')]);
    expect([lost.code, lost.said]).toEqual([
      1,
      expect.stringContaining('there is no server \\"other\\"'.replaceAll('\\', '')),
    ]);
  });

  it('take a program from the command line, and say what runs need', async () => {
    const at = folderWith({});
    const { command, args = [] } = fixtureServer() as { command: string; args?: string[] };
    const out = at('x.json');
    const { said } = await run(['pin', 'fixture', '--command', command, '--out', out, '--', ...args]);
    expect(said).toContain('"mcpServers"');
    expect(parsePinFile(readFileSync(out)).tools).toHaveLength(12);
  });

  it.each([
    ['MALFORMED_CONFIG', ['pin', 'a b', '--url', 'http://127.0.0.1:1']],
    ['MALFORMED_CONFIG', ['pin', 'a', '--url', 'ftp://x']],
    ['MALFORMED_CONFIG', ['pin', 'a', '--url', 'http://x', '--command', 'y']],
    ['MALFORMED_CONFIG', ['pin', 'a', '--', 'x']],
    ['MALFORMED_CONFIG', ['pin', 'a', '--mcp-config', '/nonexistent.json']],
    ['UNKNOWN_SERVER', ['pin', 'a']],
    ['SERVER_UNREACHABLE', ['pin', 'a', '--command', '/nonexistent/program']],
    ['SERVER_UNREACHABLE', ['pin', 'a', '--url', 'http://127.0.0.1:1/mcp']],
  ])('refuse with %s: %j', async (code, args) => {
    vi.stubEnv('TRACEBOND_MCP_CONFIG', '');
    onTestFinished(() => void vi.unstubAllEnvs());
    await expect(run(args)).rejects.toMatchObject({ code });
  });

  it('name the file and the place of a configuration that is malformed', async () => {
    const at = folderWith({ 'mcp.json': { mcpServers: { a: { command: 'x', args: [1] } } } });
    const place = expect.stringContaining(`${at('mcp.json')}: mcpServers.a.args.0: `);
    await expect(run(['pin', 'a', '--mcp-config', at('mcp.json')])).rejects.toMatchObject({ message: place });
  });
});

describe('a file of pins', () => {
  const DIGEST = `0x${'11'.repeat(32)}`;
  const tool = { definition: { name: 'a', inputSchema: { type: 'object' } }, digest: DIGEST };
  it.each([
    ['$', '{'],
    ['$', '{"server":"a","server":"b","tools":[]}'],
    ['$', '[]'],
    ['$.server', JSON.stringify({ server: 'a b', tools: [] })],
    ['$.tools', JSON.stringify({ server: 'a' })],
    ['$.tools.0.digest', JSON.stringify({ server: 'a', tools: [{ ...tool, digest: '0x11' }] })],
    [
      '$.tools.0.definition.name',
      JSON.stringify({ server: 'a', tools: [{ ...tool, definition: { inputSchema: { type: 'object' } } }] }),
    ],
    [
      '$.tools.0.definition.inputSchema',
      JSON.stringify({ server: 'a', tools: [{ ...tool, definition: { name: 'a' } }] }),
    ],
  ])('is refused with its place: %s', (field, text) => {
    expect(() => parsePinFile(Buffer.from(text))).toThrow(
      expect.objectContaining({ code: 'MALFORMED_PIN', at: { field } }),
    );
  });

  it('is held to its digests', () => {
    const text = JSON.stringify({ server: 'a', tools: [tool] });
    expect(() => parsePinFile(Buffer.from(text))).toThrow(expect.objectContaining({ code: 'PIN_MISMATCH' }));
  });
});
