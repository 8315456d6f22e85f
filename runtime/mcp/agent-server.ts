/**
 * The agents of a runtime as an MCP server: each agent a tool, each run a resource. The SDK speaks the protocol, of both revisions.
 *
 * M1. Nothing is kept between requests: what a client has to come back for is a run, and is found by its id.
 * M2. A caller is shown the runs that the other routes would show it.
 * M3. A call that is given up cancels its run, where the protocol tells which call that is: not that of 2025-11-25 over HTTP.
 *
 * Spec: `runtime/spec/mcp.md#agents-as-an-mcp-server`.
 *
 * @module
 */

import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import {
  type CallToolResult,
  McpServer,
  ResourceNotFoundError,
  ResourceTemplate,
  type ServerContext,
} from '@modelcontextprotocol/server';
import type { Hex } from '../../attest/core/bytes.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import type { SignedCheckpoint } from '../../attest/trace/checkpoint.ts';
import { toRunBody } from '../api/bodies.ts';
import { findRun, isOf, type RunContext } from '../api/context.ts';
import { createCreator } from '../api/create.ts';
import { toRunErrorReply } from '../api/errors.ts';
import { ManagerError } from '../manager-types.ts';
import { readJournal } from '../recovery.ts';
import type { RunStatus } from '../run-status.ts';
import { assertValue, ValueError } from '../sandbox/values.ts';
import { type AgentTool, RUN_META, runMeta, toAgentTool, toFailure } from './agent-tools.ts';

/** What the server works with. */
export type AgentServerPorts = Pick<RunContext, 'manager' | 'book' | 'deployment' | 'now' | 'random'> & {
  /** Told of faults that callers see as a bare refusal. */
  readonly onFault?: (error: unknown) => void;
};

/** Who asks. */
export type McpCaller = {
  /** Id of the access key; null where none is asked for. */
  readonly id: string | null;
  /** Counts a call. @throws {@link ServerError} `RATE_LIMITED` */
  count(): void;
};

/** Key of a request's `_meta` that makes a call once: the same key with the same arguments is the same run. */
export const IDEMPOTENCY_META = 'tracebond/idempotency-key';

/** Runs of a list. */
const LISTED = 20;
/** Most bytes of a bundle that is read as a resource. */
const MAX_BUNDLE = 16 << 20;

/**
 * Makes the function that makes servers, one for each connection or request; the tools are the same.
 *
 * @throws {@link McpError} `UNUSABLE_SCHEMA`
 */
export function createAgentServers(ports: AgentServerPorts): (caller: McpCaller) => McpServer {
  const tools = ports.manager.agents.map(toAgentTool);
  const create = createCreator(ports);
  return (caller) => {
    const server = new McpServer(
      { name: 'tracebond', version: '0.1.0' },
      { capabilities: { tools: { listChanged: false } } },
    );
    for (const tool of tools) {
      const { name, description, inputSchema, outputSchema } = tool;
      server.registerTool(
        name,
        { description, inputSchema, ...(outputSchema === undefined ? {} : { outputSchema }) },
        (args, ctx) => call(ports, create, caller, tool, args, ctx),
      );
    }
    addResources(server, ports, caller);
    return server;
  };
}

async function call(
  { manager, onFault = () => {} }: AgentServerPorts,
  create: ReturnType<typeof createCreator>,
  caller: McpCaller,
  tool: AgentTool,
  args: unknown,
  { mcpReq }: ServerContext,
): Promise<CallToolResult> {
  let begun: RunStatus;
  try {
    const input = tool.toInput(args ?? {});
    assertValue(input);
    caller.count();
    const idempotencyKey = readKey(mcpReq._meta?.[IDEMPOTENCY_META]);
    begun = (await create({ agent: tool.name, input }, { owner: caller.id ?? '', idempotencyKey })).status;
  } catch (error) {
    if (error instanceof ValueError) return refusal('INPUT_INVALID', error.message);
    const { status, body } = toRunErrorReply(error);
    if (status === 500) onFault(error);
    return refusal(body.error.code ?? 'error', body.error.message);
  }
  const { run } = begun;
  const cancel = () => {
    manager.cancel(run).catch((error) => {
      // It was over before.
      if (!(error instanceof ManagerError)) onFault(error);
    });
  };
  if (mcpReq.signal.aborted) cancel();
  mcpReq.signal.addEventListener('abort', cancel);
  const settled = new AbortController();
  try {
    const token = mcpReq._meta?.progressToken;
    const told = token === undefined ? undefined : tell(manager, run, token, mcpReq, settled.signal);
    const status = await manager.settled(run);
    if (status.status === 'suspended') settled.abort();
    await told;
    const checkpoint = await lastCheckpoint(manager.bundle(run));
    const result = status.status === 'done' ? tool.toResult(status.output) : toFailure(status);
    return { ...result, _meta: { [RUN_META]: runMeta(status, manager.operator, checkpoint) } };
  } finally {
    settled.abort();
    mcpReq.signal.removeEventListener('abort', cancel);
  }
}

/** Notifies of each record: how many there are, and of what kind the last is. */
async function tell(
  manager: AgentServerPorts['manager'],
  run: Hex,
  progressToken: string | number,
  { notify, signal }: Pick<ServerContext['mcpReq'], 'notify' | 'signal'>,
  settled: AbortSignal,
): Promise<void> {
  const until = AbortSignal.any([signal, settled]);
  for await (const { index, head } of manager.records(run, 0n, { follow: true, signal: until })) {
    if (until.aborted) return;
    const of = { _meta: { [RUN_META]: { id: run } } };
    const params = { progressToken, progress: Number(index) + 1, message: String(head['kind']), ...of };
    await notify({ method: 'notifications/progress', params });
  }
}

function refusal(code: string, message: string): CallToolResult {
  return { content: [{ type: 'text', text: `${code}: ${message}` }], isError: true };
}

/** A key as the header of the same name may be; anything else is none. */
function readKey(value: unknown): string | undefined {
  return typeof value === 'string' && /^[\x21-\x7e]{1,255}$/.test(value) ? value : undefined;
}

async function lastCheckpoint(bundle: string): Promise<SignedCheckpoint | undefined> {
  const { items } = await readJournal(createReadStream(bundle));
  const last = items.findLast((item) => item.type === 'checkpoint');
  return last?.type === 'checkpoint' ? last.checkpoint : undefined;
}

function addResources(server: McpServer, ports: AgentServerPorts, caller: McpCaller): void {
  const { manager } = ports;
  const find = (uri: URL, id: unknown): RunStatus => {
    try {
      return findRun(ports, caller.id, String(id));
    } catch (error) {
      if (error instanceof ManagerError) throw new ResourceNotFoundError(uri.href, error.message);
      throw error;
    }
  };
  const list = () => ({
    resources: manager
      .list()
      .filter((status) => isOf(ports, caller.id, status))
      .slice(0, LISTED)
      .map(({ run, agent, status }) => ({
        uri: `tracebond://runs/${run}`,
        name: run,
        description: `run of ${agent}: ${status}`,
        mimeType: 'application/json',
      })),
  });
  server.registerResource(
    'run',
    new ResourceTemplate('tracebond://runs/{id}', { list }),
    { description: 'Where a run stands.', mimeType: 'application/json' },
    (uri, { id }) => {
      const text = JSON.stringify(toRunBody(find(uri, id)) satisfies object as Json);
      return { contents: [{ uri: uri.href, mimeType: 'application/json', text }] };
    },
  );
  server.registerResource(
    'bundle',
    new ResourceTemplate('tracebond://runs/{id}/bundle', { list: undefined }),
    { description: 'The trace of a run, which `tracebond verify` reads.', mimeType: 'application/jsonl' },
    async (uri, { id }) => {
      const text = await readBundle(manager.bundle(find(uri, id).run));
      return { contents: [{ uri: uri.href, mimeType: 'application/jsonl', text }] };
    },
  );
}

/** The whole lines of a journal. */
async function readBundle(path: string): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    if (size > MAX_BUNDLE) throw new Error(`the bundle has ${size} bytes, above ${MAX_BUNDLE}: fetch it over HTTP`);
    const text = await file.readFile('utf8');
    return text.slice(0, text.lastIndexOf('\n') + 1);
  } finally {
    await file.close();
  }
}
