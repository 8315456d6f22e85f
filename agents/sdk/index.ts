/**
 * The SDK of Tracebond: define agents and tools; everything they do goes through `ctx`.
 *
 * @module
 */

export { type Agent, type AgentOptions, defineAgent } from './agent.ts';
export type {
  AgentContext,
  BaseContext,
  FetchAnswer,
  InferAnswer,
  InferRequest,
  KeyValue,
  Message,
  ToolContext,
} from './context.ts';
export { DEFAULT_LIMITS, type Limits } from './limits.ts';
export { type AgentManifest, agentManifest, type ToolManifest, toolManifest } from './manifest.ts';
export type { StandardSchema } from './schema.ts';
export { type Capabilities, defineTool, type Tool, type ToolOptions } from './tool.ts';
