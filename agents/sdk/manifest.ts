/**
 * Manifests: what of an agent or tool is data. With the script they make its digest.
 *
 * @module
 */

import type { JsonObject } from '../../attest/encoding/canonical-json.ts';
import type { Agent } from './agent.ts';
import type { Limits } from './limits.ts';
import { toJsonSchema } from './schema.ts';
import type { AnyTool, Capabilities } from './tool.ts';

/** A tool as data. */
export type ToolManifest = {
  readonly name: string;
  readonly description: string;
  /** JSON Schema (draft 2020-12) of the input, for the model; null if the schema's library makes none. */
  readonly inputSchema: JsonObject | null;
  readonly capabilities: Required<Capabilities>;
  readonly limits: Limits;
};

/** An agent as data. */
export type AgentManifest = {
  readonly name: string;
  readonly model: string;
  readonly tools: readonly ToolManifest[];
  readonly limits: Limits;
};

/** The manifest of a tool. */
export function toolManifest(tool: AnyTool): ToolManifest {
  const { name, description, inputSchema, capabilities, limits } = tool;
  return { name, description, inputSchema: toJsonSchema(inputSchema), capabilities, limits };
}

/** The manifest of an agent and its tools. */
export function agentManifest(agent: Agent): AgentManifest {
  const { name, model, tools, limits } = agent;
  return { name, model, tools: tools.map(toolManifest), limits };
}
