/** Agents over a toy sandbox behind `/mcp`, by the names that the conformance package asks for. */

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import type { GuestCode } from '../../attest/trace/guest.ts';
import { addMcp } from '../../runtime/api/mcp-route.ts';
import { openRequestBook } from '../../runtime/api/requests.ts';
import { buildRuntimeServer } from '../../runtime/api/server.ts';
import type { ManagedAgent, ManagerPorts } from '../../runtime/manager-types.ts';
import { OFF_CHAIN } from '../../runtime/plan.ts';
import { openManaged } from './managed.ts';
import { temporaryFolder } from './temporary.ts';
import { infer, TOY_LIMITS } from './toy-run.ts';
import { ToyError, type ToyGuest, toyVm } from './toy-vm.ts';

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==';
const WAV = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=';
const IMAGE = { type: 'image', data: PNG, mimeType: 'image/png' };
const answer =
  (...content: readonly Json[]): ToyGuest =>
  async () => ({ mcp: { content } });
const resource = (uri: string, mimeType: string, text: string) => ({
  type: 'resource',
  resource: { uri, mimeType, text },
});

/** What agents do, by name. */
export const MCP_GUESTS: Readonly<Record<string, ToyGuest>> = {
  test_simple_text: async () => 'This is a simple text response for testing.',
  test_image_content: answer(IMAGE),
  test_audio_content: answer({ type: 'audio', data: WAV, mimeType: 'audio/wav' }),
  test_embedded_resource: answer(
    resource('test://embedded-resource', 'text/plain', 'This is an embedded resource content.'),
  ),
  test_multiple_content_types: answer(
    { type: 'text', text: 'Multiple content types test:' },
    IMAGE,
    resource('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}'),
  ),
  test_error_handling: async () => {
    throw new ToyError('TOOL_ERROR', 'This tool intentionally returns an error for testing');
  },
  test_tool_with_progress: async (ctx) => {
    for (let i = 0; i < 3; i++) await ctx.call('kv.put', { key: `k${i}`, value: 'v' });
    return 'done';
  },
  json_schema_2020_12_tool: async (ctx) => ctx.input,
  structured: async (ctx) => ({ doubled: 2 * (ctx.input as { readonly n: number }).n }),
  listed: async (ctx) => [ctx.input],
  approve: async (ctx) => ctx.call('human.approve', { details: null, summary: 'pay?', timeoutMs: 0 }),
  endless: async (ctx) => ctx.call('inference', infer('how long?')),
  looped: async () => ({ text: 'the last answer', finishReason: 'stop', steps: [], object: { n: 1 } }),
};

const ADDRESS = {
  type: 'object',
  properties: { street: { type: 'string' }, city: { type: 'string' } },
} as const;

/** What manifests say besides names. */
const MANIFESTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  json_schema_2020_12_tool: {
    description: 'Tool with JSON Schema 2020-12 features',
    inputSchema: JSON.stringify({
      type: 'object',
      $defs: { address: ADDRESS },
      properties: { name: { type: 'string' }, address: { $ref: '#/$defs/address' } },
      additionalProperties: false,
    }),
  },
  structured: {
    inputSchema: JSON.stringify({ type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] }),
    outputSchema: JSON.stringify({ type: 'object', properties: { doubled: { type: 'integer' } } }),
  },
  listed: { inputSchema: JSON.stringify({ type: 'string' }) },
  looped: { run: 'tool-loop', outputSchema: JSON.stringify({ type: 'object' }) },
};

function code(name: string): GuestCode {
  return {
    language: 'javascript',
    limits: { fuel: '100000', memoryMb: 16, outputBytes: 65_536 },
    manifest: { name, ...MANIFESTS[name] },
    source: name,
  };
}

function agents(): ManagedAgent[] {
  const policy = {
    version: 1,
    agent: [{ capability: 'inference' }, { capability: 'kv.put' }, { capability: 'human.approve', approvers: [] }],
    tools: [],
  } as const;
  const limits = { ...TOY_LIMITS, wallMs: '600000' };
  return Object.keys(MCP_GUESTS).map((name) => ({ name, agent: code(name), tools: new Map(), policy, limits }));
}

type ServerOptions = Partial<Parameters<typeof buildRuntimeServer>[1]>;

/** Opens a server over a folder and has it listen; it is closed with the test. */
export async function openMcpApi(
  options: { readonly ports?: Partial<ManagerPorts>; readonly server?: ServerOptions } = {},
) {
  const folder = temporaryFolder();
  const manager = await openManaged(toyVm(MCP_GUESTS), folder, agents(), options.ports);
  const book = await openRequestBook(join(folder, 'requests'));
  const faults: unknown[] = [];
  const onFault = (error: unknown) => faults.push(error);
  const allowedHosts = ['127.0.0.1', 'localhost'];
  const app = buildRuntimeServer(manager, {
    book,
    deployment: OFF_CHAIN,
    now: Date.now,
    random: () => Uint8Array.from(randomBytes(32)),
    allowedHosts,
    onFault,
    mcp: (routes, context) => addMcp(routes, context, { allowedHosts, onFault }),
    ...options.server,
  });
  onTestFinished(async () => {
    await manager.close();
    app.server.closeAllConnections();
    await app.close();
  });
  const url = `${await app.listen({ host: '127.0.0.1', port: 0 })}/mcp`;
  return { app, manager, book, url, faults };
}
