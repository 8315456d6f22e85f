/**
 * A bundled agent as the runtime takes it: code with its limits, by digest.
 *
 * @module
 */

import type { Json } from '../attest/encoding/canonical-json.ts';
import type { GuestCode } from '../attest/trace/guest.ts';
import type { BundledAgent } from './bundle.ts';
import type { ToolManifest } from './sdk/index.ts';

/** Bytes that guest code may answer with at most. */
const OUTPUT_BYTES = 1024 * 1024;

/** An agent and its tools, ready to be planned. */
export type AgentCode = {
  readonly agent: GuestCode;
  readonly tools: ReadonlyMap<string, GuestCode>;
  /** What each tool declares that it needs. */
  readonly capabilities: ReadonlyMap<string, ToolManifest['capabilities']>;
};

/** Takes the parts of a bundle. */
export function toAgentCode(bundle: BundledAgent): AgentCode {
  return {
    agent: toGuestCode(bundle.agent.source, bundle.agent.manifest as Json, bundle.agent.manifest.limits),
    tools: new Map(
      bundle.tools.map((tool) => [tool.name, toGuestCode(tool.source, tool.manifest as Json, tool.manifest.limits)]),
    ),
    capabilities: new Map(bundle.tools.map((tool) => [tool.name, tool.manifest.capabilities])),
  };
}

function toGuestCode(
  source: string,
  manifest: Json,
  limits: { readonly fuel: number; readonly memoryMb: number },
): GuestCode {
  return {
    language: 'javascript',
    limits: { fuel: limits.fuel.toString(), memoryMb: limits.memoryMb, outputBytes: OUTPUT_BYTES },
    manifest,
    source,
  };
}
