/**
 * The definition of a tool of an MCP server, and the digest by which a policy pins it: what a model was told of a tool must be what the
 * tool is when it is called.
 *
 * Spec: `runtime/spec/mcp.md#digest-of-a-definition`.
 *
 * @module
 */

import { type Hex, toHex, utf8 } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import { canonicalBytes, type Json, type JsonObject } from '../../attest/encoding/canonical-json.ts';

/** Members of a definition that are pinned; the others (`_meta`, `icons`, `execution`) say nothing of what the tool does. */
export const PINNED_MEMBERS = ['annotations', 'description', 'inputSchema', 'name', 'outputSchema', 'title'] as const;

const PREFIX = utf8('tracebond/mcp-tool/1');

/** What of a definition is pinned; members that are absent stay so. */
export function pinnedPart(definition: Readonly<Record<string, unknown>>): JsonObject {
  const entries = PINNED_MEMBERS.flatMap((member) => {
    const value = Object.hasOwn(definition, member) ? definition[member] : undefined;
    return value === undefined ? [] : [[member, value as Json] as const];
  });
  return Object.fromEntries(entries);
}

/**
 * Digest of a definition: SHA-256 of "tracebond/mcp-tool/1" and the canonical JSON (RFC 8785) of its pinned members. Fractions are
 * allowed.
 *
 * @param definition - untrusted
 * @throws {@link EncodingError} `NOT_JSON`, `LONE_SURROGATE`, `TOO_DEEP` for what has no canonical form
 */
export function hashToolDefinition(definition: Readonly<Record<string, unknown>>): Hex {
  return toHex(sha256(PREFIX, canonicalBytes(pinnedPart(definition))));
}
