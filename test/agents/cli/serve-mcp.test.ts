import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { expect, it, onTestFinished } from 'vitest';
import { pinFileText } from '../../../agents/mcp/pins.ts';
import { childEntry } from '../../../attest/core/entry.ts';
import { buildServer } from '../../../inference/server.ts';
import { hashToolDefinition } from '../../../runtime/mcp/definition.ts';
import { fixtureServer, testServers } from '../../support/mcp-servers.ts';
import { prepareFolder } from '../../support/sdk-agents.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { toyContext } from '../../support/toy-context.ts';

const AGENT = `
import { defineAgent, jsonSchema, mcpTool } from 'tracebond';
import pinned from './fixture.mcp.json';
const [echo, hang, gone] = ['echo', 'hang', 'gone'].map((name) => mcpTool(pinned, name));
export default defineAgent({
  name: 'relay',
  model: 'toy',
  description: 'Has another server say it.',
  inputSchema: jsonSchema({ type: 'object', properties: { message: { type: 'string' } }, required: ['message'] }),
  tools: [echo, hang, gone],
  async run(ctx, { message }) {
    console.log('what a guest logs is not for the client');
    return message === 'hang' ? ctx.tool(hang, {}) : { said: await ctx.tool(echo, { message }) };
  },
});
`;

it('serve mcp offers an agent, which calls a tool of another server, over standard input and output', {
  timeout: 30_000,
}, async () => {
  const inference = buildServer(toyContext());
  const url = await inference.listen({ host: '127.0.0.1', port: 0 });
  onTestFinished(() => inference.close());
  const home = temporaryFolder();
  await prepareFolder(home);
  const { servers } = testServers({ fixture: fixtureServer() });
  const changed = (await servers.list('fixture')).map((tool) => {
    if (tool.definition['name'] !== 'gone') return tool;
    const definition = { ...tool.definition, description: 'as it was' };
    return { definition, digest: hashToolDefinition(definition) };
  });
  writeFileSync(join(home, 'fixture.mcp.json'), pinFileText({ server: 'fixture', tools: changed }));
  writeFileSync(join(home, 'mcp.json'), JSON.stringify({ mcpServers: { fixture: fixtureServer() } }));
  writeFileSync(join(home, 'agent.ts'), AGENT);
  const { url: entry, execArgv } = childEntry(import.meta.url, '../../support/runtime-child.ts');
  const options = ['--inference', url, '--mcp-config', join(home, 'mcp.json'), '--folder', join(home, 'runs')];
  const transport = new StdioClientTransport({
    // The SDK passes over lines that are no JSON; here they are looked at.
    command: 'sh',
    args: [
      '-c',
      '"$@" | tee "$OUT"',
      'sh',
      process.execPath,
      ...execArgv,
      fileURLToPath(entry),
      'serve',
      'mcp',
      join(home, 'agent.ts'),
      ...options,
    ],
    env: { OUT: join(home, 'out'), TRACEBOND_HOME: home, OTEL_EXPORTER_OTLP_ENDPOINT: '' },
    stderr: 'pipe',
  });
  let said = '';
  transport.stderr?.on('data', (chunk) => {
    said += chunk;
  });
  const client = new Client({ name: 'test', version: '1' });
  const faults: Error[] = [];
  client.onerror = (error) => faults.push(error);
  onTestFinished(() => client.close());
  await client.connect(transport);
  const { tools } = await client.listTools();
  expect(tools).toMatchObject([
    { name: 'relay', description: 'Has another server say it.', inputSchema: { required: ['message'] } },
  ]);
  const result = await client.callTool({ name: 'relay', arguments: { message: 'hi' } });
  expect(result.structuredContent).toEqual({ said: '{"message":"hi"}' });
  expect(result._meta?.['tracebond/run']).toMatchObject({ agent: 'relay', status: 'done' });
  const controller = new AbortController();
  const kinds: (string | undefined)[] = [];
  const hanging = client.callTool(
    { name: 'relay', arguments: { message: 'hang' } },
    { signal: controller.signal, onprogress: ({ message }) => kinds.push(message) },
  );
  hanging.catch(() => undefined);
  await expect.poll(() => kinds.includes('host.start'), { timeout: 10_000 }).toBe(true);
  controller.abort();
  await expect(hanging).rejects.toThrow();
  const statuses = async () => (await client.listResources()).resources.map(({ description }) => description);
  await expect.poll(statuses, { timeout: 10_000 }).toContain('run of relay: cancelled');
  await client.close();
  expect(faults).toEqual([]);
  const lines = readFileSync(join(home, 'out'), 'utf8').trimEnd().split('\n');
  for (const line of lines) expect(JSON.parse(line)).toMatchObject({ jsonrpc: '2.0' });
  expect(lines.length).toBeGreaterThan(10);
  expect(said).toContain('agents relay, traces signed by 0x');
  // The pin of a tool that is not even called does not hold, which is said when the runtime opens.
  expect(said.match(/^mcp: .*$/gm)).toEqual([
    expect.stringMatching(/^mcp: TOOL_CHANGED: server "fixture" defines the tool "gone" otherwise/),
  ]);
});
