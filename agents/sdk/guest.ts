/**
 * The end of a bundle that the engine calls: `globalThis.__tracebond.run(entry, input, call)`. The bundler appends it to the
 * developer's module.
 *
 * @module
 */

import type { Agent } from './agent.ts';
import { type HostCaller, toAgentContext, toToolContext } from './context.ts';
import { agentManifest, toolManifest } from './manifest.ts';
import { validate } from './schema.ts';
import type { AnyTool } from './tool.ts';

/** What the engine may ask of a bundle. */
type Entry = 'agent' | 'manifest' | { readonly tool: string };

/**
 * Makes an agent's bundle: it runs the agent, or tells its manifest.
 *
 * @param definition - default export of the developer's module; anything
 * @throws TypeError unless it is of `defineAgent`
 */
export function installAgent(definition: unknown): void {
  const agent = definition as Agent | undefined;
  if (agent?.kind !== 'agent') throw new TypeError('the module has no defineAgent as its default export');
  install((entry, input, call) => {
    if (entry === 'manifest') return agentManifest(agent);
    if (entry === 'agent') return agent.run(toAgentContext(call), input);
    throw new TypeError('this script runs an agent');
  });
}

/**
 * Makes a tool's bundle: it runs that one tool of the agent, or tells its manifest.
 *
 * @throws TypeError unless the agent has a tool of that name
 */
export function installTool(definition: unknown, name: string): void {
  const tool = (definition as Agent | undefined)?.tools?.find((candidate) => candidate.name === name);
  if (tool === undefined) throw new TypeError(`the agent has no tool ${name}`);
  install((entry, input, call) => {
    if (entry === 'manifest') return toolManifest(tool);
    if (typeof entry === 'object' && entry.tool === name) return runTool(tool, input, call);
    throw new TypeError(`this script runs the tool ${name}`);
  });
}

async function runTool(tool: AnyTool, input: unknown, call: HostCaller): Promise<unknown> {
  const read = await validate(tool.inputSchema, input, 'INPUT_INVALID');
  const result = await tool.execute(read, toToolContext(call));
  return validate(tool.outputSchema, result, 'OUTPUT_INVALID');
}

function install(run: (entry: Entry, input: unknown, call: HostCaller) => unknown): void {
  Object.defineProperty(globalThis, '__tracebond', { configurable: true, value: { run } });
}
