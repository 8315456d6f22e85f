/**
 * The end of a bundle that the engine calls: `globalThis.__tracebond.run(entry, input, call)`. The bundler appends one of these
 * to the developer's module.
 *
 * @module
 */

import type { AnyAgent } from './agent.ts';
import { type AgentContext, toAgentContext } from './agent-context.ts';
import { type HostCaller, toToolContext } from './context.ts';
import { MADE_AT_RUN_TIME, type SchemaTexts } from './infer.ts';
import { type AgentManifest, describeAgent, listSchemas, toolManifest } from './manifest.ts';
import { validate } from './schema.ts';
import { executeTool } from './tool.ts';

/** Runs agents without a function of their own; passed to `installAgent` where there is one, so that others do not hold it. */
export { runToolLoop } from './tool-loop.ts';

/** What the engine may ask of a bundle. */
type Entry = 'agent' | 'manifest' | { readonly tool: string };

/** Runs an agent that has no function of its own. */
type Loop = (agent: AnyAgent, ctx: AgentContext, input: unknown) => unknown;

/**
 * Makes the bundle that only describes: an agent, its tools, and the agents that it may run.
 *
 * @param definition - default export of the developer's module; anything
 * @throws TypeError unless it is of `defineAgent`
 */
export function installDescription(definition: unknown): void {
  const agent = findAgent(definition, []);
  install((entry) => {
    if (entry === 'manifest') return describeAgent(agent);
    throw new TypeError('this script only describes an agent');
  });
}

/**
 * Makes an agent's bundle: it runs the agent, or tells its manifest.
 *
 * @param path - names from an agent to one that it may run, and so on; empty for the module's own
 * @param manifest - of that agent, made at build time
 * @param loop - what runs an agent without a function
 * @throws TypeError if there is no such agent
 */
export function installAgent(definition: unknown, path: readonly string[], manifest: AgentManifest, loop?: Loop): void {
  const agent = findAgent(definition, path);
  install(async (entry, given, call) => {
    if (entry === 'manifest') return manifest;
    if (entry !== 'agent') throw new TypeError('this script runs an agent');
    const ctx = toAgentContext(call, textsOf(agent, manifest));
    const input = await validate(agent.inputSchema, given, 'INPUT_INVALID');
    if (agent.run !== undefined) return validate(agent.outputSchema, await agent.run(ctx, input), 'OUTPUT_INVALID');
    if (loop === undefined) throw new TypeError('this script holds no loop');
    return loop(agent, ctx, input);
  });
}

/**
 * Makes a tool's bundle: it runs that one tool of the agent, or tells its manifest.
 *
 * @throws TypeError unless the agent has a tool of that name
 */
export function installTool(definition: unknown, path: readonly string[], name: string): void {
  const tool = findAgent(definition, path).tools.find((candidate) => candidate.name === name);
  if (tool === undefined) throw new TypeError(`the agent has no tool ${name}`);
  install((entry, input, call) => {
    if (entry === 'manifest') return toolManifest(tool);
    if (typeof entry === 'object' && entry.tool === name)
      return executeTool(tool, input, toToolContext(call, tool.capabilities.wallet));
    throw new TypeError(`this script runs the tool ${name}`);
  });
}

function findAgent(definition: unknown, path: readonly string[]): AnyAgent {
  let agent = definition as AnyAgent | undefined;
  for (const name of path) agent = agent?.agents?.find((candidate) => candidate.name === name);
  if (agent?.kind !== 'agent') throw new TypeError('the module has no defineAgent as its default export');
  return agent;
}

/** The texts of the manifest, and for whatever it does not know those that are made when they are asked for. */
function textsOf(agent: AnyAgent, manifest: AgentManifest): SchemaTexts {
  const schemas = listSchemas(agent);
  return {
    toolText: (tool) => {
      const at = agent.tools.indexOf(tool);
      return at < 0 ? MADE_AT_RUN_TIME.toolText(tool) : (manifest.tools[at]?.inputSchema ?? null);
    },
    schemaText: (schema) => {
      const at = schemas.indexOf(schema);
      return at < 0 ? MADE_AT_RUN_TIME.schemaText(schema) : (manifest.schemas[at] ?? null);
    },
  };
}

function install(run: (entry: Entry, input: unknown, call: HostCaller) => unknown): void {
  Object.defineProperty(globalThis, '__tracebond', { configurable: true, value: { run } });
}
