import { afterAll, beforeAll, expect, it } from 'vitest';
import { defineAgent, jsonSchema } from '../../../agents/sdk/index.ts';
import { toAgentTool } from '../../../runtime/mcp/agent-tools.ts';
import { openQuickJsVm } from '../../../runtime/sandbox/quickjs-vm.ts';
import { bundleSource, openScripted, prepareFolder, runScripted, toManaged } from '../../support/sdk-agents.ts';
import { temporaryFolder } from '../../support/temporary.ts';

let vm: Awaited<ReturnType<typeof openQuickJsVm>>;
beforeAll(async () => {
  vm = await openQuickJsVm();
});
afterAll(() => vm.close());

const AGENT = `
  import { z } from 'zod';
  import { defineAgent } from 'tracebond';
  export default defineAgent({
    name: 'agent',
    model: 'toy',
    description: 'Doubles a number.',
    inputSchema: z.object({ n: z.int().min(1), by: z.int().default(2) }),
    outputSchema: z.object({ doubled: z.int().max(100) }),
    run: (_ctx, { n, by }) => ({ doubled: n * by, secret: 'dropped' }),
  });
`;

it('an agent is held to the schemas of its input and its result, and says them in its manifest', async () => {
  const folder = temporaryFolder();
  await prepareFolder(folder);
  const bundle = await bundleSource(vm, folder, 'agent', AGENT);
  const { manifest } = bundle.agent;
  expect(manifest.description).toBe('Doubles a number.');
  expect(JSON.parse(manifest.inputSchema ?? '')).toMatchObject({ properties: { n: { minimum: 1 } }, required: ['n'] });
  expect(JSON.parse(manifest.outputSchema ?? '')).toMatchObject({ required: ['doubled'], additionalProperties: false });
  const agents = toManaged(bundle);
  expect(agents.map(toAgentTool)).toMatchObject([{ name: 'agent', description: 'Doubles a number.' }]);
  const manager = await openScripted(vm, folder, agents, () => '');
  expect((await runScripted(manager, 'agent', { n: 21 })).output).toEqual({ doubled: 42 });
  const refused = await runScripted(manager, 'agent', { n: 0 });
  expect(refused.error).toMatchObject({ code: 'INPUT_INVALID', message: expect.stringContaining('$.n: ') });
  const wrong = await runScripted(manager, 'agent', { n: 60 });
  expect(wrong.error).toMatchObject({ code: 'OUTPUT_INVALID', message: expect.stringContaining('$.doubled: ') });
  await manager.close();
});

it('an agent without them says nothing of them, and a description is a text', () => {
  const agent = defineAgent({ name: 'agent', model: 'toy', run: () => null });
  expect(Object.keys(agent)).not.toContain('inputSchema');
  expect(() => defineAgent({ name: 'agent', model: 'toy', description: 7 as never, run: () => null })).toThrow(
    TypeError,
  );
});

it('a schema of an input that cannot be evaluated is refused when the tool is made', () => {
  const inputSchema = jsonSchema({ type: 'object', properties: { a: { $ref: '#/$defs/none' } } });
  const text = JSON.stringify(inputSchema['~standard'].jsonSchema?.input({ target: 'draft-2020-12' }));
  const code = { language: 'javascript', limits: { fuel: '1', memoryMb: 1, outputBytes: 1024 }, source: '' } as const;
  const agent = { ...code, manifest: { inputSchema: text } };
  expect(() => toAgentTool({ name: 'broken', agent })).toThrow(
    expect.objectContaining({ code: 'UNUSABLE_SCHEMA', at: { agent: 'broken' } }),
  );
});
