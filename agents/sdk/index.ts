/**
 * The SDK of Tracebond: define agents and tools; everything they do goes through `ctx`.
 *
 * @module
 */

export {
  type ForeignToolOptions,
  fromAiTool,
  fromMastraTool,
  fromMcpTool,
  fromOpenAiTool,
  toAiTool,
  toMcpTool,
  toOpenAiTool,
} from './adapters.ts';
export { type Agent, type AgentOptions, type AnyAgent, defineAgent, type LoopAgentOptions } from './agent.ts';
export type { AgentContext, AgentHandle } from './agent-context.ts';
export type { ToolCall } from './answer.ts';
export type {
  Capabilities,
  CapabilitySet,
  FetchCapability,
  FetchMethod,
  FetchRule,
  McpCapability,
} from './capabilities.ts';
export type {
  ApprovalAnswer,
  ApprovalRequest,
  BaseContext,
  FetchAnswer,
  FetchOptions,
  KeyValue,
  ToolContext,
  ToolHandle,
} from './context.ts';
export type { InferAnswer, InferRequest, InferSettings, Message, ResponseFormat, ToolChoice } from './infer.ts';
export { DEFAULT_LIMITS, type Limits } from './limits.ts';
export type { LoopCall, LoopInput, LoopResult, LoopStep } from './loop.ts';
export { type AgentManifest, agentManifest, type ToolManifest, toolManifest } from './manifest.ts';
export {
  type McpDefinition,
  type McpInput,
  type McpToolOptions,
  type McpToolsOptions,
  mcpTool,
  mcpTools,
  type PinnedMcpServer,
} from './mcp.ts';
export { type JsonSchema, jsonSchema, type SchemaResult, type StandardSchema } from './schema.ts';
export { type AnyTool, defineTool, type Tool, type ToolOptions } from './tool.ts';
export type {
  WalletCall,
  WalletCapability,
  WalletContext,
  WalletOptions,
  WalletReceipt,
  WalletRequest,
  WalletRule,
} from './wallet.ts';
export { defineWasmTool, type WasmToolOptions } from './wasm-tool.ts';
