import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readEntries, rebuildTrace, replacePayload } from '../../../agents/demo/forge.ts';
import { pinFileText } from '../../../agents/mcp/pins.ts';
import { fromHex } from '../../../attest/core/bytes.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import type { McpServerConfig } from '../../../runtime/mcp/config.ts';
import type { McpServers } from '../../../runtime/mcp/servers.ts';
import { OFF_CHAIN } from '../../../runtime/plan.ts';
import { openQuickJsVm } from '../../../runtime/sandbox/quickjs-vm.ts';
import { editAt } from '../../support/forging.ts';
import { EVERYTHING_STDIO, everythingHttp, fixtureServer, testServers } from '../../support/mcp-servers.ts';
import {
  bundleSource,
  callsText,
  openScripted,
  prepareFolder,
  runScripted,
  toManaged,
  verifyScripted,
} from '../../support/sdk-agents.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { OPERATOR_KEY, SIGNER_KEY } from '../../support/toy-run.ts';

let vm: Awaited<ReturnType<typeof openQuickJsVm>>;
beforeAll(async () => {
  vm = await openQuickJsVm();
});
afterAll(() => vm.close());

/** Pins by server: the tools are the same in every test. */
const pins = new Map<string, ReturnType<McpServers['list']>>();
/** Bundles by server and source. */
const bundles = new Map<string, ReturnType<typeof bundleSource>>();

/** An agent that imports the pins of a server, and a folder for its runs. */
async function pinnedAgent(servers: McpServers, server: string, source: string) {
  const tools = pins.get(server) ?? servers.list(server);
  pins.set(server, tools);
  const key = JSON.stringify([server, source]);
  const bundle = bundles.get(key) ?? bundlePinned(server, await tools, source);
  bundles.set(key, bundle);
  return {
    folder: temporaryFolder(),
    bundle: await bundle,
    agents: toManaged(await bundle, { mcp: [server], maxBytes: 65_536 }),
  };
}

async function bundlePinned(server: string, tools: Awaited<ReturnType<McpServers['list']>>, source: string) {
  const folder = temporaryFolder();
  await prepareFolder(folder);
  await mkdir(join(folder, 'agent'));
  await writeFile(join(folder, 'agent', 'pinned.mcp.json'), pinFileText({ server, tools }));
  return bundleSource(vm, folder, 'agent', source);
}

const EVERYTHING = `
  import { defineAgent, mcpTool, mcpTools } from 'tracebond';
  import pinned from './pinned.mcp.json';
  const tools = mcpTools(pinned);
  const of = (name) => tools.find((tool) => tool.name === name);
  export default defineAgent({
    name: 'agent', model: 'toy', tools,
    async run(ctx, input) {
      const echo = await ctx.tool(of('echo'), { message: 'hello' });
      const sum = await ctx.tool(of('get-sum'), { a: 1.5, b: 2 });
      const { temperature, conditions } = await ctx.tool(of('get-structured-content'), { location: 'New York' });
      const image = await ctx.tool(of('get-tiny-image'), {});
      const failed = await ctx.tool(of('get-sum'), { a: 'one' }).catch((error) => error.code);
      return { echo, sum, temperature, conditions, image: image.content[0].mimeType, failed };
    },
  });
`;

describe('a run with the tools of the official server', () => {
  const run = async (config: McpServerConfig) => {
    const { servers, said } = testServers({ everything: config });
    const { folder, agents } = await pinnedAgent(servers, 'everything', EVERYTHING);
    const manager = await openScripted(vm, folder, agents, () => '', { mcp: servers });
    const status = await runScripted(manager, 'agent', null);
    await manager.close();
    expect(status.error).toBeNull();
    expect(status.output).toEqual({
      echo: 'Echo: hello',
      sum: 'The sum of 1.5 and 2 is 3.5.',
      temperature: 33,
      conditions: 'Cloudy',
      image: 'image/png',
      failed: 'TOOL_ERROR',
    });
    expect(await verifyScripted(vm, manager, status.run, () => '')).toMatchObject({ verdict: 'MATCH' });
    expect(said).toEqual([]);
  };

  it('over standard input and output is done, and verifies', async () => {
    await run(EVERYTHING_STDIO);
  });

  it('over streamable HTTP is done, and verifies', async () => {
    await run(await everythingHttp());
  });
});

const FIXTURE = `
  import { defineAgent, mcpTool, mcpTools } from 'tracebond';
  import pinned from './pinned.mcp.json';
  const tools = mcpTools(pinned);
  export default defineAgent({
    name: 'agent', model: 'toy', tools,
    async run(ctx, calls) {
      const ends = [];
      for (const [name, input] of calls) {
        const tool = tools.find((one) => one.name === name);
        const end = await ctx.tool(tool, JSON.parse(input)).then(
          (value) => ({ value: JSON.stringify(value) }),
          ({ code, message }) => ({ code, message }),
        );
        ends.push(end);
      }
      return ends;
    },
  });
`;

/** Calls whose arguments travel as text, since they may hold fractions. */
function toInput(calls: readonly (readonly [string, unknown])[]): Json {
  return calls.map(([tool, args]) => [tool, JSON.stringify(args)]);
}

const ECHO = toInput([['echo', { message: 'hi' }]]);

/** An end by code; what a tool is thrown by the host is a failure of the tool. */
const failed = (message: string) => ({ code: 'TOOL_ERROR', message: `HOST_CALL_FAILED: ${message}` });

describe('tools of an MCP server in a run', () => {
  const open = async (source = FIXTURE, config = fixtureServer()) => {
    const { servers } = testServers({ fixture: config });
    const { folder, agents, bundle } = await pinnedAgent(servers, 'fixture', source);
    const manager = await openScripted(vm, folder, agents, () => '', { mcp: servers });
    const run = async (calls: readonly (readonly [string, unknown])[]) => {
      const status = await runScripted(manager, 'agent', toInput(calls));
      expect(status.error).toBeNull();
      expect(await verifyScripted(vm, manager, status.run, () => '')).toMatchObject({ verdict: 'MATCH' });
      return { run: status.run, output: status.output };
    };
    return { manager, run, folder, agents, bundle };
  };

  it('give fractions and pictures as they are, and throw what the server calls an error', async () => {
    const { manager, run } = await open();
    const { output } = await run([
      ['fractions', {}],
      ['picture', {}],
      ['weird_name_2', {}],
      ['fail', {}],
      ['echo', { factor: 1.5 }],
    ]);
    expect(output).toEqual([
      { value: '{"celsius":21.5,"rows":[1,1152921504606847000]}' },
      { value: '{"text":"here","content":[{"type":"image","data":"iVBORw0KGgo=","mimeType":"image/png"}]}' },
      { value: '"weird"' },
      { code: 'TOOL_ERROR', message: 'no such row: 7' },
      { code: 'TOOL_ERROR', message: expect.stringContaining("must have required property 'message'") },
    ]);
    await manager.close();
  });

  it('fail by code where they are changed, gone, too large or end in the middle, and the run still verifies', async () => {
    const { manager, run } = await open();
    const { output } = await run([
      ['big', { bytes: 70_000 }],
      ['die', {}],
      ['change', {}],
      ['gone', {}],
      ['echo', { message: 'hi' }],
    ]);
    expect(output).toEqual([
      failed('TOO_LARGE'),
      failed('UNREACHABLE'),
      { value: '"changed"' },
      failed('TOOL_UNKNOWN'),
      failed('TOOL_CHANGED'),
    ]);
    await manager.close();
  });

  it('are denied where the operator has no such server, and unreachable where he has none at all', async () => {
    const { folder, agents, bundle } = await open();
    const manager = await openScripted(vm, join(folder, 'other'), agents, () => '');
    const status = await runScripted(manager, 'agent', ECHO);
    expect(status.output).toEqual([failed('UNREACHABLE')]);
    await manager.close();
    const denied = await openScripted(vm, join(folder, 'denied'), toManaged(bundle), () => '');
    const other = await runScripted(denied, 'agent', ECHO);
    expect(other.output).toEqual([{ code: 'TOOL_ERROR', message: expect.stringMatching(/^CAPABILITY_DENIED/) }]);
    await denied.close();
  });

  it('are called by the model of a loop, by the names that it was shown', async () => {
    const source = `
      import { defineAgent, mcpTool } from 'tracebond';
      import pinned from './pinned.mcp.json';
      export default defineAgent({ name: 'agent', model: 'toy', tools: [mcpTool(pinned, 'echo', { name: 'say' })] });
    `;
    const { servers } = testServers({ fixture: fixtureServer() });
    const { folder, agents } = await pinnedAgent(servers, 'fixture', source);
    const shown: string[] = [];
    const model = ({ messages, tools }: Parameters<Parameters<typeof openScripted>[3]>[0]) => {
      shown.push(JSON.stringify(tools));
      return messages.at(-1)?.role === 'tool' ? 'done' : callsText(['say', { message: 'hi', factor: 0.25 }]);
    };
    const manager = await openScripted(vm, folder, agents, model, { mcp: servers });
    const status = await runScripted(manager, 'agent', 'go');
    expect(status.output).toMatchObject({
      text: 'done',
      steps: [{ calls: [{ ok: true, result: '{"message":"hi","factor":0.25}' }] }, {}],
    });
    expect(shown[0]).toContain('factor');
    expect(await verifyScripted(vm, manager, status.run, model)).toMatchObject({ verdict: 'MATCH' });
    await manager.close();
  });

  it.each([
    ['echo', 'its annotations', 'sent'],
    ['append', 'its annotations', 'asked'],
    ['again', 'the developer', 'sent'],
  ])('after a crash a call of %s, by the word of %s, is %s', async (tool, _, becomes) => {
    const source = `
      import { defineAgent, mcpTool } from 'tracebond';
      import pinned from './pinned.mcp.json';
      const again = mcpTool(pinned, 'append', { name: 'again', idempotent: true });
      const tools = [mcpTool(pinned, 'echo'), mcpTool(pinned, 'append'), again];
      const run = (ctx, name) => ctx.tool(tools.find((tool) => tool.name === name), {});
      export default defineAgent({ name: 'agent', model: 'toy', tools, run });
    `;
    const { folder, agents } = await open(source);
    let calls = 0;
    const hanging: Pick<McpServers, 'call'> = {
      call: (_pin, _args, { signal }) => {
        calls += 1;
        return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      },
    };
    const first = await openScripted(vm, folder, agents, () => '', { mcp: hanging });
    const { run } = await first.create({ agent: 'agent', input: tool });
    await expect.poll(() => calls).toBe(1);
    await first.close();
    const answering: Pick<McpServers, 'call'> = {
      call: async () => {
        calls += 1;
        return { ok: true, text: '{"result":{"content":[{"type":"text","text":"once"}]}}' };
      },
    };
    const second = await openScripted(vm, folder, agents, () => '', { mcp: answering });
    const status = await second.settled(run);
    if (becomes === 'sent') expect([calls, status.output]).toEqual([2, 'once']);
    else {
      expect([calls, status.reason]).toEqual([1, 'reconciliation']);
      const { index } = status.waiting[0] ?? { index: '' };
      await second.reconcile(run, BigInt(index), 'send');
      expect([(await second.settled(run)).output, calls]).toEqual(['once', 2]);
    }
    expect(await verifyScripted(vm, second, run, () => '')).toMatchObject({ verdict: 'MATCH' });
    await second.close();
  });

  it('cannot be said to have been others: another server, tool or argument diverges', async () => {
    const { manager, run } = await open();
    const { run: id } = await run([['echo', { message: 'hi' }]]);
    await manager.close();
    const entries = await readEntries(await readFile(manager.bundle(id)));
    const at = entries.findIndex(({ record }) => 'capability' in record.body && record.body.capability === 'mcp.call');
    const start = entries.findIndex(({ record }, i) => i >= at && record.kind === 'host.start');
    expect([...(entries[start]?.payloads.keys() ?? [])]).toEqual(['body.request']);
    const keys = { operator: OPERATOR_KEY, receipts: SIGNER_KEY };
    const verdictOf = async (index: number, field: string, change: (value: string) => string) => {
      const forged = editAt(entries, index, (entry) => {
        const { value } = JSON.parse(Buffer.from(entry.payloads.get(field)?.data ?? []).toString('utf8'));
        return replacePayload(entry, field, JSON.parse(change(JSON.stringify(value))));
      });
      const { bytes } = rebuildTrace(forged, fromHex(id), OFF_CHAIN, keys);
      await writeFile(manager.bundle(id), bytes);
      return (await verifyScripted(vm, manager, id, () => '')).verdict;
    };
    expect(await verdictOf(start, 'body.request', (text) => text)).toBe('MATCH');
    for (const [from, to] of [
      ['"fixture"', '"another"'],
      ['"echo"', '"append"'],
      ['\\"hi\\"', '\\"ho\\"'],
    ] as const) {
      expect(await verdictOf(start, 'body.request', (text) => text.replace(from, to))).toBe('DIVERGED');
    }
  });
});
