import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BundledAgent } from '../../../agents/bundle.ts';
import type { OperatorGrants } from '../../../agents/guest-policy.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { openQuickJsVm } from '../../../runtime/sandbox/quickjs-vm.ts';
import type { Vm } from '../../../runtime/sandbox/vm.ts';
import {
  bundleSource,
  callsText,
  openScripted,
  prepareFolder,
  runScripted,
  type Script,
  SDK_LIMITS,
  toManaged,
  verifyScripted,
} from '../../support/sdk-agents.ts';

let vm: Vm;
let folder: string;
let server: Server;
let origin: string;
const asked: { method: string; url: string; headers: IncomingMessage['headers']; body: string }[] = [];
beforeAll(async () => {
  vm = await openQuickJsVm();
  folder = await realpath(await mkdtemp(join(tmpdir(), 'tracebond-sdk-')));
  await prepareFolder(folder);
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (part) => {
      body += part;
    });
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      asked.push({ method, url, headers, body });
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ seat: body === '' ? '1A' : JSON.parse(body).seat, token: headers.authorization }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.close();
  await vm.close();
  await rm(folder, { recursive: true });
});

const bundles = new Map<string, BundledAgent>();

/** Bundles a module, runs its agent, verifies the run. */
async function runSource(
  name: string,
  source: string,
  input: Json,
  model: Script,
  options: { readonly grants?: Partial<OperatorGrants>; readonly approve?: boolean } = {},
) {
  const bundle = await (bundles.get(source) ?? bundleSource(vm, folder, name, source));
  bundles.set(source, bundle);
  const agents = toManaged(bundle, options.grants);
  const manager = await openScripted(vm, join(folder, `${name}-runs`), agents, model, {
    secrets: { get: (secret) => (secret === 'DESK_TOKEN' ? 'open-sesame-123' : undefined) },
  });
  try {
    let status = await runScripted(manager, bundle.agent.manifest.name, input);
    const waiting = status.waiting;
    for (const { index } of waiting) {
      const note = options.approve === true ? 'fine' : 'no';
      const decision = { approved: options.approve === true, approver: null, note, signature: null };
      await manager.approve(status.run, BigInt(index), decision);
      status = await manager.settled(status.run);
    }
    const report = await verifyScripted(vm, manager, status.run, model);
    const worse = report.steps.filter(({ verdict }) => verdict !== undefined && verdict !== 'MATCH');
    return { status, waiting, report, worse, bundle };
  } finally {
    await manager.close();
  }
}

const lastOf = (request: Parameters<Script>[0]) => request.messages.at(-1);

const TOOLS = `
import { defineAgent, defineTool } from 'tracebond';
import { z } from 'zod';
const add = defineTool({
  name: 'add', description: 'Adds.',
  inputSchema: z.object({ a: z.number().int(), b: z.number().int() }),
  async execute({ a, b }) { return { sum: a + b }; },
});
const fail = defineTool({ name: 'fail', description: 'Fails.', async execute() { throw new Error('out of paper'); } });
`;

describe('the built-in loop', () => {
  const agent = `${TOOLS}
export default defineAgent({
  name: 'adder', model: 'toy', tools: [add, fail], instructions: 'Be exact.', maxSteps: 3,
});`;

  it('calls tools side by side, tells the model what came of them, and ends with its answer', async () => {
    const model: Script = (request) =>
      lastOf(request)?.role === 'tool'
        ? `told: ${request.messages.flatMap(({ role, content }) => (role === 'tool' ? [content] : [])).join(' ')}`
        : callsText(
            ['add', { a: 1, b: 2 }],
            ['fail', {}],
            ['sub', {}],
            ['add', '{"a": 1,'],
            ['add', { a: 'x', b: 1 }],
            ['add', { a: 0.5, b: 1 }],
          );
    const { status, report, worse } = await runSource('loop', agent, { prompt: 'What is 1 + 2?' }, model);
    expect(status.error).toBeNull();
    const output = status.output as { text: string; finishReason: string; steps: { calls: unknown[] }[] };
    expect(output.text.startsWith('told: {"sum":3} ')).toBe(true);
    const error = (code: string, message: unknown) => ({
      ok: false,
      result: expect.stringContaining(`{"error":{"code":"${code}","message":"${message}`),
    });
    expect(output.steps).toHaveLength(2);
    expect(output.steps[0]).toMatchObject({ finishReason: 'tool_calls' });
    expect(output.steps[0]?.calls).toMatchObject([
      { id: 'call_0', name: 'add', arguments: '{"a":1,"b":2}', ok: true, result: '{"sum":3}' },
      { id: 'call_1', name: 'fail', ...error('TOOL_ERROR', 'out of paper') },
      { id: 'call_2', name: 'sub', ...error('UNKNOWN_TOOL', 'there is no such tool; there are: add, fail') },
      { id: 'call_3', name: 'add', ...error('ARGUMENTS_INVALID', 'the arguments are no JSON') },
      { id: 'call_4', name: 'add', ...error('INPUT_INVALID', '$.a: Invalid input') },
      { id: 'call_5', name: 'add', ...error('INPUT_INVALID', '$.input.a is 0.5, not a safe integer') },
    ]);
    expect(output.steps[1]).toEqual({ text: output.text, finishReason: 'stop', calls: [] });
    expect(worse).toEqual([]);
    expect(report.verdict).toBe('MATCH');
  });

  it('gives the conversation of its caller after its instructions, and the tools as made at build time', async () => {
    const seen: Parameters<Script>[0][] = [];
    const model: Script = (request) => {
      seen.push(request);
      return 'done';
    };
    const input = {
      messages: [
        { role: 'user', content: 'hi' },
        { role: 'assistant', content: 'yes?' },
        { role: 'user', content: 'go' },
      ],
    };
    const { status, report } = await runSource('loop', agent, input, model);
    expect(status.output).toEqual({
      text: 'done',
      finishReason: 'stop',
      steps: [{ text: 'done', finishReason: 'stop', calls: [] }],
    });
    expect(seen[0]?.messages.map(({ role, content }) => [role, content])).toEqual([
      ['system', 'Be exact.'],
      ['user', 'hi'],
      ['assistant', 'yes?'],
      ['user', 'go'],
    ]);
    expect(seen[0]?.tools.map(({ name }) => name)).toEqual(['add', 'fail']);
    expect(JSON.parse(seen[0]?.tools[0]?.parameters ?? '')).toMatchObject({ type: 'object', required: ['a', 'b'] });
    expect(seen[0]?.tools[1]?.parameters).toBe('{"type":"object"}');
    expect(seen[0]).toMatchObject({ toolChoice: { type: 'auto' }, parallelToolCalls: true });
    expect(report.verdict).toBe('MATCH');
  });

  it('gives up after its steps without making the last calls', async () => {
    const endless = await runSource('loop', agent, 'again', () => callsText(['add', { a: 1, b: 1 }]));
    expect(endless.status).toMatchObject({
      status: 'failed',
      error: { code: 'TOOL_ERROR', message: 'MAX_STEPS: the model still calls tools after 3 answers' },
    });
    expect(endless.report.verdict).toBe('MATCH');
    expect(endless.report.steps.filter(({ kind }) => kind === 'tool.start')).toHaveLength(2);
  });

  it('begins with the choice of its settings only, and ends with an object of its schema', async () => {
    const source = `${TOOLS}
export default defineAgent({
  name: 'adder', model: 'toy', tools: [add], toolChoice: 'required', parallelToolCalls: false, temperature: 0.7, seed: 3,
  outputSchema: z.object({ sum: z.number().int(), why: z.string() }),
});`;
    const seen: Parameters<Script>[0][] = [];
    const model: Script = (request) => {
      seen.push(request);
      return lastOf(request)?.role === 'tool' ? '{"sum": 3, "why": "told"}' : callsText(['add', { a: 1, b: 2 }]);
    };
    const { status, report } = await runSource('loop-object', source, '1 + 2?', model);
    expect(status.output).toMatchObject({ object: { sum: 3, why: 'told' } });
    expect(seen[0]).toMatchObject({
      toolChoice: { type: 'required' },
      parallelToolCalls: false,
      seed: '3',
      sampling: { temperature: 7000 },
      responseFormat: { type: 'json_schema' },
    });
    expect(seen[1]).toMatchObject({ toolChoice: { type: 'auto' } });
    expect(seen[1]?.messages.slice(1)).toMatchObject([
      { role: 'assistant', toolCalls: [{ id: 'call_0', name: 'add', arguments: '{"a":1,"b":2}' }] },
      { role: 'tool', toolCallId: 'call_0', content: '{"sum":3}' },
    ]);
    expect(report.verdict).toBe('MATCH');
  });
});

describe('ctx in a run', () => {
  it('asks with a schema of build time, runs tools side by side and other agents', async () => {
    const source = `${TOOLS}
const Place = z.object({ city: z.string(), code: z.string().regex(/^[A-Z]{3}$/) });
const looker = defineAgent({
  name: 'looker', model: 'toy', schemas: [Place],
  async run(ctx, input: { readonly city: string }) {
    const { object } = await ctx.infer({ messages: [{ role: 'user', content: input.city }], schema: Place, maxTokens: 20 });
    return object;
  },
});
export default defineAgent({
  name: 'planner', model: 'toy', tools: [add, fail], agents: [looker],
  async run(ctx) {
    const [three, failure, place, missing] = await Promise.all([
      ctx.tool(add, { a: 1, b: 2 }),
      ctx.tool(fail, {}).catch((error) => error.code + ': ' + error.message),
      ctx.run(looker, { city: 'Oslo' }),
      ctx.run(looker, { city: 'Nowhere' }).catch((error) => error.code),
    ]);
    return { three, failure, place, missing };
  },
});`;
    const model: Script = ({ messages }) =>
      messages[0]?.content === 'Oslo' ? '{"city": "Oslo", "code": "OSL"}' : '{"city": "Nowhere", "code": "?"}';
    const { status, report, worse, bundle } = await runSource('planner', source, {}, model, {
      grants: { agents: { looker: SDK_LIMITS } },
    });
    expect(status.error).toBeNull();
    expect(status.output).toEqual({
      three: { sum: 3 },
      failure: 'TOOL_ERROR: out of paper',
      place: { city: 'Oslo', code: 'OSL' },
      missing: 'OUTPUT_INVALID',
    });
    expect(worse).toEqual([]);
    expect(report.verdict).toBe('MATCH');
    expect(bundle.agents.map(({ name, agent }) => [name, agent.manifest.schemas.length])).toEqual([['looker', 1]]);
    const denied = await runSource('planner', source, {}, model);
    expect(denied.status.error).toMatchObject({ message: expect.stringContaining('CAPABILITY_DENIED') });
  });

  const desk = (capabilities: string) => `
import { defineAgent, defineTool } from 'tracebond';
const book = defineTool({
  name: 'book', description: 'Books a seat.', capabilities: ${capabilities},
  async execute(input: { readonly url: string; readonly seat: string }, ctx) {
    const { approved, note } = await ctx.approve({ summary: 'Book ' + input.seat + '?', details: input });
    if (!approved) throw new Error('refused: ' + note);
    const answer = await ctx.fetch(input.url, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ seat: input.seat }),
    });
    return { status: answer.status, type: answer.headers['content-type'], said: answer.json() };
  },
});
export default defineAgent({
  name: 'desk', model: 'toy', tools: [book],
  run: (ctx, input: { readonly url: string }) => ctx.tool(book, { ...input, seat: '7C' }),
});`;
  const rules = () =>
    `{ approve: true, fetch: [{ url: '${origin}/*', methods: ['POST'], headers: { Authorization: 'Bearer {{secret:DESK_TOKEN}}' } }] }`;
  const grants = (): Partial<OperatorGrants> => ({
    origins: [origin],
    methods: ['POST'],
    addresses: ['127.0.0.1/32'],
    secrets: { DESK_TOKEN: [origin] },
  });

  it('waits for a person, and sends what the operator granted, with a secret that no record holds', async () => {
    asked.length = 0;
    const { status, waiting, report } = await runSource('desk', desk(rules()), { url: `${origin}/seats` }, () => '', {
      grants: grants(),
      approve: true,
    });
    expect(waiting).toMatchObject([{ for: 'approval', request: { summary: 'Book 7C?' } }]);
    expect(status.error).toBeNull();
    expect(status.output).toEqual({
      status: 200,
      type: 'application/json',
      said: { seat: '7C', token: 'Bearer [redacted:DESK_TOKEN]' },
    });
    expect(asked).toMatchObject([
      { method: 'POST', url: '/seats', body: '{"seat":"7C"}', headers: { authorization: 'Bearer open-sesame-123' } },
    ]);
    // What a server answers and what the operator says of a person is reported, not recomputed.
    expect(report.verdict).not.toBe('INVALID');
    expect(report.verdict).not.toBe('DIVERGED');
  });

  it('does nothing where a person refuses', async () => {
    asked.length = 0;
    const { status } = await runSource('desk', desk(rules()), { url: `${origin}/seats` }, () => '', {
      grants: grants(),
    });
    expect(status.error).toMatchObject({ code: 'TOOL_ERROR', message: expect.stringContaining('refused: no') });
    expect(asked).toEqual([]);
  });

  it.each<readonly [string, string | undefined, Partial<OperatorGrants>]>([
    ['no method that changes', undefined, { methods: ['GET'] }],
    ['no methods but safe ones by default', undefined, { methods: ['GET', 'HEAD'] }],
    ['another origin', undefined, { origins: ['https://other.test'] }],
    ['a secret for another origin', undefined, { secrets: { DESK_TOKEN: ['https://other.test'] } }],
    ['no secret', undefined, { secrets: {} }],
    ['an undeclared approval', '{ fetch: [] }', {}],
  ])('denies: %s', async (_name, capabilities, less) => {
    asked.length = 0;
    const source = desk(capabilities ?? rules());
    const { status } = await runSource('desk', source, { url: `${origin}/seats` }, () => '', {
      grants: { ...grants(), ...less },
      approve: true,
    });
    expect(status.error).toMatchObject({ message: expect.stringContaining('CAPABILITY_DENIED') });
    expect(asked).toEqual([]);
  });
});
