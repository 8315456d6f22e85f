import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { openMcpApi } from '../../support/mcp-agents.ts';
import { runClientConformance, runConformance } from '../../support/mcp-conformance.ts';

/** Client scenarios that apply; each takes the package's server seconds to close. */
const CLIENT = [
  'initialize',
  'tools_call',
  'sse-retry',
  'auth/client-credentials-basic',
  'auth/client-credentials-jwt',
];

/** Rows of a table of the page: scenario, and `pass` or why it does not apply. */
async function rowsOf(heading: string): Promise<ReadonlyMap<string, string>> {
  const page = await readFile(new URL('../../../runtime/spec/mcp.md', import.meta.url), 'utf8');
  const section = page.split(/^### /m).find((part) => part.startsWith(heading)) ?? '';
  const rows = [...section.matchAll(/^\| `([^`]+)` \| (.+?) \|$/gm)];
  return new Map(rows.map(([, name = '', becomes = '']) => [name, becomes]));
}

describe('the conformance package of MCP', () => {
  it('passes every server scenario that applies, as the page says', { timeout: 30_000 }, async () => {
    const { url, faults } = await openMcpApi();
    const results = await runConformance(['server', '--url', url, '--suite', 'all']);
    const rows = await rowsOf('Server scenarios');
    expect([...rows.keys()].sort()).toEqual([...results.keys()].sort());
    for (const [name, failed] of results) {
      const passes = failed.length === 0;
      expect([name, passes, failed]).toEqual([name, rows.get(name)?.startsWith('pass') === true, failed]);
    }
    expect(faults).toEqual([]);
  });

  it('passes every client scenario that applies, as the page says', { timeout: 30_000 }, async () => {
    const rows = await rowsOf('Client scenarios');
    const passing = [...rows].flatMap(([name, becomes]) => (becomes.startsWith('pass') ? [name] : []));
    expect(passing.sort()).toEqual([...CLIENT].sort());
    const results = await Promise.all(CLIENT.map((name) => runClientConformance(['--scenario', name])));
    expect(results.map((result) => [...result])).toEqual(CLIENT.map((name) => [[name, []]]));
  });
});
