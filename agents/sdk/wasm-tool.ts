/**
 * Tools in other languages: a WebAssembly program (WASI preview 1 command) that reads its input as JSON from stdin and writes
 * its result as JSON to stdout.
 *
 * @module
 */

import { toCapabilities } from './capabilities.ts';
import { type Limits, toLimits } from './limits.ts';
import type { StandardSchema } from './schema.ts';
import { assertDescribed, type Tool, type WasmSource } from './tool.ts';

/** What a developer writes. */
export type WasmToolOptions<Sent, Given> = {
  /** A lower-case letter, then letters, digits, `_` and `-`, at most 64. */
  readonly name: string;
  /** What the tool does, for the model. */
  readonly description: string;
  /**
   * What the tool takes and gives. For the model and for the compiler only: nothing runs beside the program that could check
   * it, so the program itself has to.
   */
  readonly inputSchema?: StandardSchema<unknown, Sent>;
  readonly outputSchema?: StandardSchema<unknown, Given>;
  /**
   * The program: a path relative to the agent's module, `new URL('./tool.wasm', import.meta.url)` written just so, which is
   * relative to the module it stands in, or its bytes, also as base64. The bundler reads the file; bytes are part of every script
   * of the agent, which pays fuel for them.
   */
  readonly module: string | Uint8Array | { readonly base64: string } | { readonly href: string };
  readonly limits?: Partial<Limits>;
};

/**
 * Defines a tool that is a WebAssembly program. It has no capabilities: its world is stdin, stdout, stderr (its log), random
 * bytes and a clock that stands still.
 *
 * @throws TypeError for a malformed name or limit, or a module that is none of these
 */
export function defineWasmTool<Sent = unknown, Given = unknown>(
  options: WasmToolOptions<Sent, Given>,
): Tool<Sent, Given> {
  const { name, description, inputSchema, outputSchema, module, limits } = options;
  assertDescribed(name, description);
  return {
    kind: 'tool',
    language: 'wasm',
    name,
    description,
    inputSchema,
    outputSchema,
    capabilities: toCapabilities({}, name),
    limits: toLimits(limits),
    module: toSource(module, name),
  };
}

function toSource(module: unknown, name: string): () => WasmSource {
  if (typeof module === 'string') return () => ({ path: module });
  // The bundler writes a path here in place of a URL.
  const { wasmPath: path, base64 } = (module ?? {}) as { readonly wasmPath?: unknown; readonly base64?: unknown };
  if (typeof path === 'string') return () => ({ path });
  if (typeof base64 === 'string') return () => ({ base64 });
  if (module instanceof Uint8Array) return () => ({ base64: toBase64(module) });
  throw new TypeError(`module of tool ${name} must be a path, new URL(path, import.meta.url), or bytes`);
}

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** Base64 by hand: the sandbox has no `btoa`. */
function toBase64(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let i = 0; i < bytes.length; i += 3) {
    const [a = 0, b, c] = bytes.subarray(i, i + 3);
    const bits = (a << 16) | ((b ?? 0) << 8) | (c ?? 0);
    const digit = (shift: number) => DIGITS.charAt((bits >> shift) & 63);
    parts.push(digit(18), digit(12), b === undefined ? '=' : digit(6), c === undefined ? '=' : digit(0));
  }
  return parts.join('');
}
