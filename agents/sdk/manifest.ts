/**
 * Manifests: what of an agent or tool is data. With the script they make its digest.
 *
 * @module
 */

import type { AnyAgent } from './agent.ts';
import type { CapabilitySet } from './capabilities.ts';
import type { Limits } from './limits.ts';
import { type StandardSchema, toJsonSchemaText } from './schema.ts';
import type { AnyTool, WasmSource } from './tool.ts';

/** A tool as data. */
export type ToolManifest = {
  readonly name: string;
  readonly description: string;
  readonly language: 'javascript' | 'wasm';
  /** JSON Schema of the input as JSON text, as models are shown it; null if there is none or its library makes none. */
  readonly inputSchema: string | null;
  readonly capabilities: CapabilitySet;
  readonly limits: Limits;
};

/** An agent as data. */
export type AgentManifest = {
  readonly name: string;
  readonly model: string;
  /** Whether it has a function of its own, or runs the built-in loop. */
  readonly run: 'own' | 'tool-loop';
  readonly tools: readonly ToolManifest[];
  /** Names of the agents that it may run. */
  readonly agents: readonly string[];
  /** JSON Schemas of `schemas`, as texts; of a loop's `outputSchema` after them. */
  readonly schemas: readonly (string | null)[];
  readonly limits: Limits;
  /** What the agent does, for whoever calls it; left out where the developer says nothing, as are the schemas. */
  readonly description?: string;
  /** JSON Schema of the input, as text. */
  readonly inputSchema?: string;
  /** JSON Schema of the result, as text; of a loop's `object`. */
  readonly outputSchema?: string;
};

/** What the bundler reads of a module. */
export type AgentDescription = {
  readonly manifest: AgentManifest;
  /** Programs of the tools that are WebAssembly, by tool. */
  readonly modules: Readonly<Record<string, WasmSource>>;
  readonly agents: readonly AgentDescription[];
};

/** The manifest of a tool. */
export function toolManifest(tool: AnyTool): ToolManifest {
  const { name, description, language, inputSchema, capabilities, limits } = tool;
  return { name, description, language, inputSchema: toJsonSchemaText(inputSchema), capabilities, limits };
}

/** The manifest of an agent and its tools. */
export function agentManifest(agent: AnyAgent): AgentManifest {
  const { name, model, run, tools, agents, limits, description } = agent;
  const outputSchema = agent.run === undefined ? agent.loop.outputSchema : agent.outputSchema;
  return {
    name,
    model,
    run: run === undefined ? 'tool-loop' : 'own',
    tools: tools.map(toolManifest),
    agents: agents.map((child) => child.name),
    schemas: listSchemas(agent).map((schema) => toJsonSchemaText(schema)),
    limits,
    ...(description === undefined ? {} : { description }),
    ...textOf('inputSchema', toJsonSchemaText(agent.inputSchema)),
    ...textOf('outputSchema', toJsonSchemaText(outputSchema, 'output')),
  };
}

function textOf(field: 'inputSchema' | 'outputSchema', text: string | null) {
  return text === null ? {} : { [field]: text };
}

/** Schemas that an agent's model is asked for, in the order of `AgentManifest.schemas`. */
export function listSchemas({ loop, schemas }: AnyAgent): readonly StandardSchema[] {
  return loop?.outputSchema === undefined ? schemas : [...schemas, loop.outputSchema];
}

/** All that the bundler needs to know, of the agents that an agent may run too. */
export function describeAgent(agent: AnyAgent): AgentDescription {
  const programs = agent.tools.flatMap((tool) =>
    tool.language === 'wasm' ? [[tool.name, tool.module()] as const] : [],
  );
  return {
    manifest: agentManifest(agent),
    modules: Object.fromEntries(programs),
    agents: agent.agents.map(describeAgent),
  };
}
