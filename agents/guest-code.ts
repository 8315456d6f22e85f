/**
 * A bundled agent as the runtime takes it: code with its limits, by digest.
 *
 * @module
 */

import type { Json } from '../attest/encoding/canonical-json.ts';
import type { GuestCode } from '../attest/trace/guest.ts';
import type { Bundle, BundledAgent } from './bundle.ts';
import type { CapabilitySet, Limits } from './sdk/index.ts';

/** Bytes that guest code may answer with at most. */
const OUTPUT_BYTES = 1024 * 1024;

/** An agent, its tools and the agents that it may run, ready to be planned. */
export type AgentCode = {
  readonly agent: GuestCode;
  readonly tools: ReadonlyMap<string, GuestCode>;
  /** What each tool declares that it needs. */
  readonly capabilities: ReadonlyMap<string, CapabilitySet>;
  readonly agents: ReadonlyMap<string, AgentCode>;
};

/** Takes the parts of a bundle. */
export function toAgentCode(bundle: BundledAgent): AgentCode {
  return {
    agent: toGuestCode(bundle.agent, 'javascript'),
    tools: new Map(bundle.tools.map((tool) => [tool.name, toGuestCode(tool, tool.manifest.language)])),
    capabilities: new Map(bundle.tools.map((tool) => [tool.name, tool.manifest.capabilities])),
    agents: new Map(bundle.agents.map((child) => [child.name, toAgentCode(child)])),
  };
}

function toGuestCode(
  { source, manifest }: Bundle<{ readonly limits: Limits }>,
  language: GuestCode['language'],
): GuestCode {
  const { fuel, memoryMb } = manifest.limits;
  return {
    language,
    limits: { fuel: fuel.toString(), memoryMb, outputBytes: OUTPUT_BYTES },
    manifest: manifest as unknown as Json,
    source,
  };
}
