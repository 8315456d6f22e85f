/**
 * Agents as tools of an MCP server: what a tool is called and takes, and what a run gives its caller.
 *
 * Spec: `runtime/spec/mcp.md#an-agent-as-a-tool`.
 *
 * @module
 */

import { type CallToolResult, type ContentBlock, fromJsonSchema, isSpecType } from '@modelcontextprotocol/server';
import type { Hex } from '../../attest/core/bytes.ts';
import { defined } from '../../attest/core/defined.ts';
import { isJsonObject, type Json, type JsonObject } from '../../attest/encoding/canonical-json.ts';
import { checkpointToJson, type SignedCheckpoint } from '../../attest/trace/checkpoint.ts';
import type { ManagedAgent } from '../manager-types.ts';
import { isOver, type RunStatus } from '../run-status.ts';
import { McpError } from './errors.ts';

/** Key of a result's `_meta` under which the run stands. */
export const RUN_META = 'tracebond/run';

/** Dialect of the schemas that agents have. */
const DIALECT = 'https://json-schema.org/draft/2020-12/schema';

/** An agent as a tool. */
export type AgentTool = {
  readonly name: string;
  readonly description: string;
  readonly inputSchema: ReturnType<typeof fromJsonSchema>;
  readonly outputSchema?: ReturnType<typeof fromJsonSchema>;
  /** The input of a run, of a call's arguments. */
  toInput(args: unknown): Json;
  /** What a run that is done gives. */
  toResult(output: Json): CallToolResult;
};

/**
 * Makes the tool of an agent.
 *
 * @throws {@link McpError} `UNUSABLE_SCHEMA` for a schema of its input that cannot be evaluated
 */
export function toAgentTool({ name, agent }: Pick<ManagedAgent, 'name' | 'agent'>): AgentTool {
  const manifest = readManifest(agent.manifest);
  const { isWrapped, schema } = inputSchemaOf(manifest);
  const { outputSchema } = manifest;
  return {
    name,
    description: manifest.description ?? `Runs the agent ${name}.`,
    inputSchema: compile(name, schema),
    // Checked in the sandbox already: a run that is done is not made a failure by another reader of the schema.
    ...(outputSchema === undefined
      ? {}
      : { outputSchema: fromJsonSchema({ $schema: DIALECT, ...outputSchema }, TRUSTING) }),
    toInput: (args) => (isWrapped ? (args as { readonly input: Json }).input : (args as Json)),
    toResult: (output) => toResult(output, manifest),
  };
}

/** What a tool's result says of its run, so that its caller can verify it. */
export function runMeta(
  { run, agent, status, records, seedFrom }: RunStatus,
  signer: Hex,
  checkpoint: SignedCheckpoint | undefined,
): JsonObject {
  return {
    id: run,
    agent,
    status,
    records,
    seedFrom,
    signer,
    checkpoint: checkpoint === undefined ? null : checkpointToJson(checkpoint),
    bundle: `tracebond://runs/${run}/bundle`,
  };
}

/** What a call gives whose run is not done. */
export function toFailure({ run, status, reason, error }: RunStatus): CallToolResult {
  const said = (() => {
    if (status === 'suspended' && reason !== null) {
      return `run ${run} waits (${reason}) and goes on once somebody has decided: read tracebond://runs/${run}`;
    }
    // Why a journal cannot be gone on with may name files of the host.
    if (status === 'broken') return `run ${run} cannot go on here`;
    if (!isOver({ status })) return `run ${run} is ${status}: read tracebond://runs/${run}`;
    return error === null ? `run ${run} was ended: ${status}` : `${error.code}: ${error.message}`;
  })();
  return { content: [{ type: 'text', text: said }], isError: true };
}

type Manifest = {
  readonly run: 'own' | 'tool-loop';
  readonly description?: string;
  readonly inputSchema?: JsonObject;
  readonly outputSchema?: JsonObject;
};

const TRUSTING = {
  getValidator: () => (data: unknown) => ({ valid: true, data: data as never, errorMessage: undefined }) as const,
};

/** The parts of an agent's manifest that a tool is made of; what is no text there says nothing. */
function readManifest(manifest: Json): Manifest {
  const fields = isJsonObject(manifest) ? manifest : {};
  const { run, description } = fields;
  const schemaOf = (field: string): JsonObject | undefined => {
    const text = fields[field];
    const schema: Json = typeof text === 'string' ? (JSON.parse(text) as Json) : null;
    return isJsonObject(schema) ? schema : undefined;
  };
  return {
    run: run === 'tool-loop' ? run : 'own',
    ...defined({
      description: typeof description === 'string' && description !== '' ? description : undefined,
      inputSchema: schemaOf('inputSchema'),
      outputSchema: schemaOf('outputSchema'),
    }),
  };
}

/** Arguments are an object: an input of another type is their member `input`. */
function inputSchemaOf({ run, inputSchema }: Manifest): { readonly isWrapped: boolean; readonly schema: JsonObject } {
  if (inputSchema === undefined) {
    if (run === 'own') return { isWrapped: false, schema: { type: 'object' } };
    const prompt = { type: 'string', description: 'What the agent is asked.' };
    return { isWrapped: false, schema: { type: 'object', properties: { prompt }, required: ['prompt'] } };
  }
  if (inputSchema['type'] === 'object') return { isWrapped: false, schema: inputSchema };
  const { $defs, definitions, ...input } = inputSchema;
  const schema = { type: 'object', properties: { input }, required: ['input'], ...defined({ $defs, definitions }) };
  return { isWrapped: true, schema };
}

function compile(name: string, schema: JsonObject): ReturnType<typeof fromJsonSchema> {
  try {
    return fromJsonSchema({ $schema: DIALECT, ...schema });
  } catch (cause) {
    const message = `the schema of the input of agent ${name} cannot be evaluated: ${(cause as Error).message}`;
    throw new McpError('UNUSABLE_SCHEMA', message, { at: { agent: name }, cause });
  }
}

/** Content blocks that an agent answers with itself: `{mcp: {content, structuredContent?}}`. */
function ownContent(output: Json): CallToolResult | undefined {
  const mcp = isJsonObject(output) ? output['mcp'] : undefined;
  if (mcp === undefined || !isJsonObject(mcp) || !Array.isArray(mcp['content'])) return undefined;
  const { content, structuredContent } = mcp;
  const isWhole = content.every((block) => isSpecType.ContentBlock(block));
  if (!isWhole) return undefined;
  return {
    content: content as unknown as ContentBlock[],
    ...(structuredContent !== undefined && isJsonObject(structuredContent)
      ? { structuredContent: { ...structuredContent } }
      : {}),
  };
}

function toResult(output: Json, { run, outputSchema }: Manifest): CallToolResult {
  const own = ownContent(output);
  if (own !== undefined) return own;
  const looped = run === 'tool-loop' && isJsonObject(output) ? output : undefined;
  const said = looped?.['text'] ?? output;
  const value = looped !== undefined && outputSchema !== undefined ? (looped['object'] ?? null) : output;
  const text = typeof said === 'string' ? said : JSON.stringify(said);
  const isStructured = outputSchema !== undefined || isJsonObject(value);
  return { content: [{ type: 'text', text }], ...(isStructured ? { structuredContent: value as never } : {}) };
}
