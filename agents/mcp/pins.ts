/**
 * Pinned tools of MCP servers: the file that `tracebond mcp pin` writes and agents import, and the pins of a bundled agent.
 *
 * Spec: `runtime/spec/mcp.md#pins`.
 *
 * @module
 */

import { z } from 'zod';
import type { Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { type JsonObject, parseJson } from '../../attest/encoding/canonical-json.ts';
import { hashToolDefinition } from '../../runtime/mcp/definition.ts';
import { McpError } from '../../runtime/mcp/errors.ts';
import type { McpPin, PinnedTool } from '../../runtime/mcp/servers.ts';
import type { AgentCode } from '../guest-code.ts';

/** Most bytes of a file of pins. */
const MAX_BYTES = 16 << 20;

/** A server's tools as they were when they were pinned. */
export type PinFile = { readonly server: string; readonly tools: readonly PinnedTool[] };

const schema = z.strictObject({
  server: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, 'expected 1 to 64 of A-Z, a-z, 0-9, ".", "_", "-"'),
  tools: z
    .array(
      z.strictObject({
        definition: z.looseObject({
          name: z.string().min(1).max(128),
          inputSchema: z.looseObject({ type: z.literal('object') }),
        }),
        digest: z.string().regex(/^0x[0-9a-f]{64}$/, 'expected 32 bytes as 0x hexadecimal'),
      }),
    )
    .max(256),
});

/**
 * Reads a file of pins, each definition held to its digest.
 *
 * @param bytes - untrusted
 * @throws {@link McpError} `MALFORMED_PIN`, `PIN_MISMATCH` with the place as `at.field`
 */
export function parsePinFile(bytes: Uint8Array): PinFile {
  let value: unknown;
  try {
    value = parseJson(bytes, { maxBytes: MAX_BYTES });
  } catch (cause) {
    if (!RuntimeError.is(cause)) throw cause;
    throw new McpError('MALFORMED_PIN', `$: ${cause.message}`, { at: { field: '$' }, cause });
  }
  const read = schema.safeParse(value);
  if (!read.success) {
    const [issue] = read.error.issues;
    const field = ['$', ...(issue?.path ?? []).map(String)].join('.');
    throw new McpError('MALFORMED_PIN', `${field}: ${issue?.message ?? 'malformed'}`, { at: { field } });
  }
  const { server, tools } = read.data;
  return {
    server,
    tools: tools.map(({ definition, digest }, i) => {
      const field = `$.tools.${i}.digest`;
      const actual = hashToolDefinition(definition);
      if (actual !== digest) {
        const message = `${field}: the definition of ${definition.name} has the digest ${actual}`;
        throw new McpError('PIN_MISMATCH', message, { at: { field } });
      }
      return { definition: definition as JsonObject, digest: actual };
    }),
  };
}

/** The text of a file of pins. */
export function pinFileText(file: PinFile): string {
  return `${JSON.stringify(file, null, 2)}\n`;
}

/** What the tools of an agent, and of the agents that it may run, have pinned; each once. */
export function pinsOf(code: AgentCode): readonly McpPin[] {
  const own = [...code.capabilities.values()].flatMap(({ mcp = [] }) =>
    mcp.map(({ server, tool, definition }) => ({ server, tool, definition: definition as Hex })),
  );
  const all = [...own, ...[...code.agents.values()].flatMap(pinsOf)];
  return [...new Map(all.map((pin) => [JSON.stringify(pin), pin])).values()];
}
