import { cp, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BundleError, bundleAgent } from '../../agents/bundle.ts';
import { toAgentCode } from '../../agents/guest-code.ts';
import { ensureBuild } from '../../agents/setup/build.mjs';
import { hashGuestCode } from '../../attest/trace/guest.ts';
import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import type { Vm, VmOptions, VmState } from '../../runtime/sandbox/vm.ts';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));

let vm: Vm;
let folder: string;
beforeAll(async () => {
  vm = await openQuickJsVm();
  folder = await realpath(await mkdtemp(join(tmpdir(), 'tracebond-bundle-')));
  await symlink(join(REPOSITORY, 'node_modules'), join(folder, 'node_modules'));
});
afterAll(async () => {
  await vm.close();
  await rm(folder, { recursive: true });
});

async function write(name: string, source: string): Promise<string> {
  const path = join(folder, name);
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(path, source);
  return path;
}

const ADDER = `
import { defineAgent, defineTool } from 'tracebond';
import { z } from 'zod';
import { double } from './double.ts';
/** A comment that names nothing. */
const add = defineTool({
  name: 'add',
  description: 'Adds two integers.',
  inputSchema: z.object({ a: z.number().int(), b: z.coerce.number().int().default(1) }),
  outputSchema: z.object({ sum: z.number().int().max(100).transform(String) }),
  capabilities: { fetch: ['https://books.test/*'], clock: true },
  limits: { fuel: 900_000_000 },
  async execute(input: { a: number; b: number }) { return { sum: input.a + double(input.b) }; },
});
const broken = defineTool({ name: 'broken', description: 'Throws.', async execute() { throw new Error('no such row'); } });
export default defineAgent({
  name: 'adder', model: 'tiny', tools: [add, broken], limits: { memoryMb: 32 },
  async run(ctx, input: { a: number }) { return (await ctx.tool(add, { a: input.a, b: '2' })).sum; },
});`;
const DOUBLE = 'export const double = (n: number): number => 2 * n;\n';

async function run(source: string, entry: VmOptions['entry'], input: VmOptions['input']): Promise<VmState> {
  const session = await vm.open({
    source,
    entry,
    input,
    fuel: 3_000_000_000n,
    memoryBytes: 64 << 20,
    wallMs: 30_000,
    seed: new Uint8Array(32),
    startTimeMs: 0,
    outputBytes: 65_536,
  });
  try {
    return await session.start();
  } finally {
    await session.close();
  }
}

describe('a bundle', () => {
  it('has one script for the agent and one for each tool, with manifests and digests', async () => {
    await write('adder/double.ts', DOUBLE);
    const bundle = await bundleAgent(await write('adder/agent.ts', ADDER), { vm });
    const { agent, tools } = bundle;
    expect(agent.manifest).toMatchObject({
      name: 'adder',
      model: 'tiny',
      limits: { fuel: 2_000_000_000, memoryMb: 32 },
    });
    expect(tools.map(({ name }) => name)).toEqual(['add', 'broken']);
    expect(agent.manifest.tools).toEqual(tools.map(({ manifest }) => manifest));
    expect(tools[0]?.manifest).toEqual({
      name: 'add',
      description: 'Adds two integers.',
      language: 'javascript',
      capabilities: {
        fetch: [{ url: 'https://books.test/*', methods: ['GET'], headers: [], idempotent: false, maxBytes: null }],
        kv: false,
        clock: true,
        random: false,
        approve: false,
      },
      limits: { fuel: 900_000_000, memoryMb: 64 },
      inputSchema: expect.any(String),
    });
    expect(JSON.parse(tools[0]?.manifest.inputSchema ?? '')).toMatchObject({ type: 'object', required: ['a'] });
    expect(tools[1]?.manifest.inputSchema).toBeNull();
    const code = toAgentCode(bundle);
    const digests = [code.agent, ...code.tools.values()].map(hashGuestCode);
    expect(new Set(digests).size).toBe(3);
  });

  it('runs what it is for and nothing else', async () => {
    const { agent, tools } = await bundleAgent(join(folder, 'adder/agent.ts'), { vm });
    const [add, broken] = tools;
    if (add === undefined || broken === undefined) throw new Error('tools are missing');
    expect(await run(agent.source, 'agent', { a: 3 })).toMatchObject({
      status: 'waiting',
      calls: [{ id: 0, method: 'tool', args: { name: 'add', input: { a: 3, b: '2' } } }],
    });
    expect(await run(add.source, { tool: 'add' }, { a: 3, b: '2' })).toMatchObject({
      status: 'done',
      value: { sum: '7' },
    });
    const failed = (code: string, message: string) => ({ status: 'failed', error: { code, message } });
    expect(await run(add.source, { tool: 'add' }, { a: 'x' })).toMatchObject(
      failed('INPUT_INVALID', '$.a: Invalid input: expected number, received string'),
    );
    expect(await run(add.source, { tool: 'add' }, { a: 100 })).toMatchObject(
      failed('OUTPUT_INVALID', '$.sum: Too big: expected number to be <=100'),
    );
    expect(await run(broken.source, { tool: 'broken' }, null)).toMatchObject(failed('TOOL_ERROR', 'no such row'));
    expect(await run(add.source, { tool: 'broken' }, null)).toMatchObject({ error: { code: 'TOOL_ERROR' } });
    expect(await run(add.source, 'agent', null)).toMatchObject({ error: { code: 'TOOL_ERROR' } });
    expect(await run(agent.source, { tool: 'add' }, null)).toMatchObject({ error: { code: 'TOOL_ERROR' } });
  });

  it('is the same from another folder, another working directory and a file URL', async () => {
    const first = await bundleAgent(join(folder, 'adder/agent.ts'), { vm });
    const copy = join(folder, 'some/deeper place');
    await cp(join(folder, 'adder'), copy, { recursive: true });
    const before = process.cwd();
    process.chdir(folder);
    try {
      expect(await bundleAgent('some/deeper place/agent.ts', { vm })).toEqual(first);
      expect(await bundleAgent(pathToFileURL(join(copy, 'agent.ts')), { vm })).toEqual(first);
    } finally {
      process.chdir(before);
    }
    await writeFile(
      join(copy, 'tsconfig.json'),
      '{"compilerOptions":{"target":"es5","useDefineForClassFields":false}}',
    );
    expect(await bundleAgent(join(copy, 'agent.ts'), { vm })).toEqual(first);
    const all = [first.agent, ...first.tools].map(({ source }) => source).join();
    expect(all).not.toContain(folder);
    expect(all).not.toContain('node_modules');
    expect(all).not.toMatch(/\bagents\/|adder\/agent/);
  });

  it('is the same when the compiled bundler makes it', async () => {
    await ensureBuild(REPOSITORY);
    const compiled = (await import(join(REPOSITORY, 'dist/agents/bundle.js'))) as { bundleAgent: typeof bundleAgent };
    const loop = `import { defineAgent } from 'tracebond'; export default defineAgent({ name: 'a', model: 'm' });`;
    for (const file of [join(folder, 'adder/agent.ts'), await write('loop/agent.ts', loop)]) {
      expect(await compiled.bundleAgent(file, { vm })).toEqual(await bundleAgent(file, { vm }));
    }
  }, 60_000);

  it('holds what was made at build time, the loop only where it runs, and the agents that it may run', async () => {
    const source = `import { defineAgent, jsonSchema } from 'tracebond';
      const schema = jsonSchema({ type: 'object', properties: { half: { multipleOf: 0.5 }, a: {} } });
      const child = defineAgent({ name: 'child', model: 'm', outputSchema: schema });
      export default defineAgent({ name: 'a', model: 'm', agents: [child], schemas: [schema], run: () => 1 });`;
    const bundle = await bundleAgent(await write('children/agent.ts', source), { vm });
    const text = '{"type":"object","properties":{"half":{"multipleOf":0.5},"a":{}}}';
    expect(bundle.agent.manifest).toMatchObject({ run: 'own', agents: ['child'], schemas: [text] });
    const [child] = bundle.agents;
    expect(child).toMatchObject({
      name: 'child',
      agents: [],
      agent: { manifest: { run: 'tool-loop', schemas: [text] } },
    });
    const loopOnly = 'the model still calls tools';
    expect(bundle.agent.source).not.toContain(loopOnly);
    expect(child?.agent.source).toContain(loopOnly);
    expect(await run(bundle.agent.source, 'manifest', null)).toMatchObject({ value: bundle.agent.manifest });
    expect(await run(child?.agent.source ?? '', 'agent', 'hi')).toMatchObject({
      status: 'waiting',
      calls: [{ method: 'inference', args: { responseFormat: { type: 'json_schema', schema: text } } }],
    });
  });

  it('takes the program of a WebAssembly tool from a file, beside the agent or beside its module, and from bytes', async () => {
    const program = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0);
    await mkdir(join(folder, 'wasm/parts'), { recursive: true });
    await writeFile(join(folder, 'wasm/parts/tool.wasm'), program);
    await write(
      'wasm/parts/tool.ts',
      `import { defineWasmTool } from 'tracebond';
      export const beside = defineWasmTool({ name: 'beside', description: '', module: new URL('./tool.wasm', import.meta.url) });`,
    );
    const agent = (module: string) => `import { defineAgent, defineWasmTool } from 'tracebond';
      import { beside } from './parts/tool.ts';
      const own = defineWasmTool({ name: 'own', description: 'Nothing.', module: ${module}, limits: { memoryMb: 1 } });
      export default defineAgent({ name: 'a', model: 'm', tools: [beside, own], run: () => 1 });`;
    const bundle = await bundleAgent(await write('wasm/agent.ts', agent("'./parts/tool.wasm'")), { vm });
    const code = toAgentCode(bundle).tools.get('own');
    expect(code).toMatchObject({ language: 'wasm', source: 'AGFzbQEAAAA=', limits: { memoryMb: 1 } });
    expect(bundle.tools.map(({ source }) => source)).toEqual(['AGFzbQEAAAA=', 'AGFzbQEAAAA=']);
    expect(bundle.agent.source).not.toContain(folder);
    expect(bundle.agent.source).not.toContain('AGFzbQEAAAA');
    const bytes = `Uint8Array.of(${program.join()}, 0, 1, 0)`;
    const held = await bundleAgent(await write('wasm/agent.ts', agent(bytes)), { vm });
    expect(held.tools[1]?.source).toBe(Buffer.from([...program, 0, 1, 0]).toString('base64'));
    for (const module of ["'./nowhere.wasm'", "'./agent.ts'", 'new Uint8Array(7)', '{ base64: "AAAA" }']) {
      const path = await write('wasm/agent.ts', agent(module));
      await expect(bundleAgent(path, { vm }), module).rejects.toMatchObject({
        code: 'BUILD_FAILED',
        at: { tool: 'own' },
      });
    }
    for (const module of ['7', 'null', "{ base64: '?' }", 'new URL("./x.wasm", "file:///")']) {
      const path = await write('wasm/agent.ts', agent(module));
      await expect(bundleAgent(path, { vm }), module).rejects.toMatchObject({
        code: expect.stringMatching(/^MANIFEST_/),
      });
    }
  });

  it('changes its digest with its code', async () => {
    const first = await bundleAgent(join(folder, 'adder/agent.ts'), { vm });
    await write('other/double.ts', DOUBLE.replace('2 *', '3 *'));
    const other = await bundleAgent(await write('other/agent.ts', ADDER), { vm });
    const digestsOf = (bundle: typeof first) => {
      const code = toAgentCode(bundle);
      return [code.agent, ...code.tools.values()].map(hashGuestCode);
    };
    expect(digestsOf(first)).toEqual(digestsOf(await bundleAgent(join(folder, 'adder/agent.ts'), { vm })));
    expect(digestsOf(other)[0]).not.toBe(digestsOf(first)[0]);
    expect(digestsOf(other)[1]).not.toBe(digestsOf(first)[1]);
  });

  it('runs a tool of the AI SDK in the sandbox', async () => {
    const source = `import { defineAgent, fromAiTool } from 'tracebond';
      import { tool } from '@ai-sdk/provider-utils';
      import { z } from 'zod';
      const inputSchema = z.object({ a: z.number() });
      const add = tool({ description: 'Adds.', inputSchema, execute: async ({ a }) => ({ sum: a + 1 }) });
      export default defineAgent({ name: 'a', model: 'm', tools: [fromAiTool('add', add)] });`;
    const [tool] = (await bundleAgent(await write('ai/agent.ts', source), { vm })).tools;
    expect(await run(tool?.source ?? '', { tool: 'add' }, { a: 1 })).toMatchObject({
      status: 'done',
      value: { sum: 2 },
    });
    const refused = await run(tool?.source ?? '', { tool: 'add' }, { a: '1' });
    expect(refused).toMatchObject({ status: 'failed', error: { code: 'INPUT_INVALID' } });
  });

  it('takes a package in CommonJS without the path that it lies at', async () => {
    await write('cjs/lib.cjs', 'module.exports = { seven: 7 };');
    const agent = `import { defineAgent } from 'tracebond'; import lib from './lib.cjs';
      export default defineAgent({ name: 'a', model: 'm', async run() { return lib.seven; } });`;
    const { agent: bundle } = await bundleAgent(await write('cjs/agent.ts', agent), { vm });
    expect(await run(bundle.source, 'agent', null)).toMatchObject({ status: 'done', value: 7 });
    expect(bundle.source).not.toContain('lib.cjs');
  });
});

describe('what is refused', () => {
  const agent = (body: string): string => `import { defineAgent, defineTool } from 'tracebond'; ${body}`;
  const tool = "defineTool({ name: 'a', description: '', execute: () => 1 })";
  const cases: readonly (readonly [string, string, string])[] = [
    ['syntax error', 'BUILD_FAILED', 'export default {'],
    ['module of Node', 'BUILD_FAILED', agent("import fs from 'node:fs'; export default fs;")],
    ['missing file', 'BUILD_FAILED', agent("import './nowhere.ts'; export default 1;")],
    ['missing package', 'BUILD_FAILED', agent("import 'no-such-package'; export default 1;")],
    ['no default export', 'BUILD_FAILED', agent('export const a = 1;')],
    ['no agent', 'MANIFEST_FAILED', agent('export default { name: "a" };')],
    ['global of the host', 'MANIFEST_FAILED', agent('process.cwd(); export default 1;')],
    ['bad name', 'MANIFEST_FAILED', agent("export default defineAgent({ name: 'A b', model: 'm', run: () => 1 });")],
    ['no model', 'MANIFEST_FAILED', agent("export default defineAgent({ name: 'a', run: () => 1 });")],
    ['run of no kind', 'MANIFEST_FAILED', agent("export default defineAgent({ name: 'a', model: 'm', run: 1 });")],
    [
      'too many steps',
      'MANIFEST_FAILED',
      agent("export default defineAgent({ name: 'a', model: 'm', maxSteps: 101 });"),
    ],
    [
      'bad limit',
      'MANIFEST_FAILED',
      agent("export default defineAgent({ name: 'a', model: 'm', limits: { fuel: 1.5 }, run: () => 1 });"),
    ],
    [
      'two tools of one name',
      'MANIFEST_FAILED',
      agent(`export default defineAgent({ name: 'a', model: 'm', tools: [${tool}, ${tool}], run: () => 1 });`),
    ],
    [
      'tool of no kind',
      'MANIFEST_FAILED',
      agent("export default defineAgent({ name: 'a', model: 'm', tools: [{ name: 'a' }], run: () => 1 });"),
    ],
    [
      'bad capability',
      'MANIFEST_FAILED',
      agent(
        "export default defineAgent({ name: 'a', model: 'm', tools: [defineTool({ name: 'a', description: '', capabilities: { fetch: 'x' }, execute: () => 1 })], run: () => 1 });",
      ),
    ],
    ['endless load', 'MANIFEST_FAILED', agent('for (;;); export default 1;')],
    [
      'manifest of its own making',
      'MANIFEST_INVALID',
      agent(
        "globalThis.__tracebond = { run: () => ({ name: 1 }) }; Object.freeze(globalThis.__tracebond); Object.defineProperty = () => {}; export default defineAgent({ name: 'a', model: 'm', run: () => 1 });",
      ),
    ],
  ];

  it.each(cases)('%s: %s', async (name, code, source) => {
    const path = await write(`refused/${name}.ts`, source);
    const error = await bundleAgent(path, { vm }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(BundleError);
    expect(error).toMatchObject({ code });
  });

  it('a file that does not exist', async () => {
    await expect(bundleAgent(join(folder, 'nothing.ts'), { vm })).rejects.toMatchObject({ code: 'BUILD_FAILED' });
  });
});
