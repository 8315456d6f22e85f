/**
 * How guest code and records correspond: with what a guest is started, which call becomes which start, and what an end
 * delivers. The runtime and the verifier share it, so that a replay sees what the run saw.
 *
 * Spec: `runtime/spec/sandbox.md#host-protocol`.
 *
 * @module
 */

import { concatBytes, type Hex, toHex, uintBytes, utf8 } from '../core/bytes.ts';
import { type Digest, sha256 } from '../core/hash.ts';
import { canonicalBytes, type Json } from '../encoding/canonical-json.ts';
import type { HostFailure, RunOpenBody } from './bodies.ts';
import { fieldError, TraceError } from './errors.ts';
import { type InferenceArgs, parseInferenceArgs } from './inference-call.ts';
import { integer, name, nullable, object, oneOf, type ShapeOf, text } from './shape.ts';
import { walletArgs, walletTargetOf } from './wallet.ts';

/** A call that guest code made. */
export type GuestCall = { readonly id: number; readonly method: string; readonly args: Json };

/** The one answer to a call. */
export type GuestDelivery =
  | { readonly id: number; readonly ok: true; readonly value: Json }
  | { readonly id: number; readonly ok: false; readonly error: { readonly code: string; readonly message: string } };

/** Guest code with the limits under which it runs; the bytes behind `agent.digest` and `tools[].digest`. */
export type GuestCode = {
  /** `javascript`: a script of the engine; `wasm`: a WASI module in base64. */
  readonly language: 'javascript' | 'wasm';
  readonly manifest: Json;
  readonly source: string;
  readonly limits: { readonly fuel: string; readonly memoryMb: number; readonly outputBytes: number };
};

/** Digest of guest code: SHA-256 of its canonical JSON, wrapped as its payload is. */
export function hashGuestCode(code: GuestCode): Hex {
  return toHex(sha256(canonicalBytes({ value: guestCodeJson(code) })));
}

/** Guest code as the JSON of its payload. */
export function guestCodeJson(code: GuestCode): Json {
  return { language: code.language, limits: { ...code.limits }, manifest: code.manifest, source: code.source };
}

const anyJson = (value: Json): Json => value;

const guestCode = object({
  language: oneOf('javascript', 'wasm'),
  limits: object({ fuel: text(16), memoryMb: integer(1, 1024), outputBytes: integer(1024, 16 * 1024 * 1024) }),
  manifest: anyJson,
  source: text(16 * 1024 * 1024),
});

/** Reads guest code from its payload. @throws {@link TraceError} `MALFORMED_PAYLOAD` */
export function parseGuestCode(value: Json, field: string): GuestCode {
  const code = guestCode(value, field, 'MALFORMED_PAYLOAD');
  if (!/^[1-9][0-9]{0,15}$/.test(code.limits.fuel) || Number(code.limits.fuel) > Number.MAX_SAFE_INTEGER) {
    throw fieldError('MALFORMED_PAYLOAD', `${field}.limits.fuel`, 'expected a decimal string in [1, 2^53)');
  }
  return code;
}

/** Seed of a guest's Math.random: SHA-256("tracebond/vm/1" || run seed || index of the record that started it). */
export function computeGuestSeed(runSeed: Digest, index: bigint): Digest {
  return sha256(utf8('tracebond/vm/1'), runSeed, uintBytes(index, 8));
}

/** Which guest is started where: `index` and `at` are those of the record that starts it, 0 and record 0's for the agent. */
export type GuestPlace = {
  readonly code: GuestCode;
  readonly entry: 'agent' | { readonly tool: string };
  readonly input: Json;
  readonly fuel: bigint;
  readonly index: bigint;
  readonly at: bigint;
};

/**
 * With what a guest is started. The run and whoever executes it again start it alike.
 *
 * @param wallMs - most milliseconds of its own work; no result depends on it
 */
export function guestStartOf({ code, entry, input, fuel, index, at }: GuestPlace, runSeed: Digest, wallMs: number) {
  return {
    language: code.language,
    source: code.source,
    entry,
    input,
    fuel,
    memoryBytes: code.limits.memoryMb * 2 ** 20,
    outputBytes: code.limits.outputBytes,
    wallMs,
    seed: computeGuestSeed(runSeed, index),
    startTimeMs: Number(at),
  };
}

/** Bytes of `random.bytes`: SHA-256("tracebond/random/1" || run seed || index of its start || block 4) …, cut to length. */
export function computeRandomBytes(runSeed: Digest, index: bigint, length: number): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (let i = 0; i * 32 < length; i++) {
    blocks.push(sha256(utf8('tracebond/random/1'), runSeed, uintBytes(index, 8), uintBytes(i, 4)));
  }
  return concatBytes(...blocks).subarray(0, length);
}

const toolArgs = object({ input: anyJson, name: text(64) });
const fetchArgs = object({
  body: nullable(text(4 * 1024 * 1024)),
  headers: anyJson,
  method: oneOf('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'),
  url: text(2000),
});
const kvGetArgs = object({ key: text(512) });
const kvPutArgs = object({ key: text(512), value: text(1024 * 1024) });
const nowArgs = object({});
const randomArgs = object({ length: integer(1, 65_536) });
const approveArgs = object({
  /** What is to be approved, for the person who decides. */
  details: anyJson,
  summary: text(1000),
  /** Milliseconds until the answer is TIMEOUT; 0 for none of its own. */
  timeoutMs: integer(0, 366 * 86_400_000),
});
const mcpArgs = object({
  /** JSON text of the arguments, an object: a record holds no fractions, and what a server is asked may. */
  arguments: text(1024 * 1024),
  server: name(64),
  tool: text(128),
});
const childArgs = object({ agent: text(64), input: anyJson });

/** Arguments of a call, checked, with the target that policy sees. */
export type ParsedCall =
  | { readonly method: 'inference'; readonly target: string; readonly args: InferenceArgs }
  | { readonly method: 'tool'; readonly target: string; readonly args: ShapeOf<typeof toolArgs> }
  | { readonly method: 'http.fetch'; readonly target: string; readonly args: ShapeOf<typeof fetchArgs> }
  | { readonly method: 'kv.get'; readonly target: string; readonly args: ShapeOf<typeof kvGetArgs> }
  | { readonly method: 'kv.put'; readonly target: string; readonly args: ShapeOf<typeof kvPutArgs> }
  | { readonly method: 'clock.now'; readonly target: string; readonly args: ShapeOf<typeof nowArgs> }
  | { readonly method: 'random.bytes'; readonly target: string; readonly args: ShapeOf<typeof randomArgs> }
  | { readonly method: 'human.approve'; readonly target: string; readonly args: ShapeOf<typeof approveArgs> }
  | { readonly method: 'mcp.call'; readonly target: string; readonly args: ShapeOf<typeof mcpArgs> }
  | { readonly method: 'wallet.send'; readonly target: string; readonly args: ShapeOf<typeof walletArgs> }
  | { readonly method: 'run.child'; readonly target: string; readonly args: ShapeOf<typeof childArgs> };

/** A call whose effect is a host call, `host.start` on record. */
export type ParsedHostCall = Exclude<ParsedCall, { method: 'inference' | 'tool' | 'run.child' }>;

/** A call that asks for nothing the host has; policy denies it by its method, arguments unseen. */
export type UnknownCall = { readonly method: 'unknown'; readonly target: string };

/**
 * Checks the arguments of a call. A call with an unknown method or wrong arguments becomes an {@link UnknownCall}, which
 * no grant names: it is denied, recorded as such, and the guest sees CAPABILITY_DENIED.
 *
 * @param tool - who calls: a tool by its name, or null for the agent; each has keys of its own in the store
 */
export function parseCall(call: GuestCall, tool: string | null, open: RunOpenBody): ParsedCall | UnknownCall {
  const storeKey = (key: string) => `${tool === null ? 'agent' : `tools.${tool}`}/${key}`;
  try {
    switch (call.method) {
      case 'inference':
        return { method: call.method, target: open.inference.id, args: parseInferenceArgs(call.args, open) };
      case 'tool': {
        const args = toolArgs(call.args, 'args');
        return { method: call.method, target: args.name, args };
      }
      case 'http.fetch': {
        const args = fetchArgs(call.args, 'args');
        return { method: call.method, target: `${args.method} ${args.url}`, args };
      }
      case 'kv.get': {
        const args = kvGetArgs(call.args, 'args');
        return { method: call.method, target: storeKey(args.key), args };
      }
      case 'kv.put': {
        const args = kvPutArgs(call.args, 'args');
        return { method: call.method, target: storeKey(args.key), args };
      }
      case 'clock.now':
        return { method: call.method, target: '', args: nowArgs(call.args, 'args') };
      case 'random.bytes':
        return { method: call.method, target: '', args: randomArgs(call.args, 'args') };
      case 'human.approve':
        return { method: call.method, target: '', args: approveArgs(call.args, 'args') };
      case 'mcp.call': {
        const args = mcpArgs(call.args, 'args');
        return { method: call.method, target: `${args.server} ${args.tool}`, args };
      }
      case 'wallet.send': {
        const args = walletArgs(call.args, 'args');
        return { method: call.method, target: walletTargetOf(args), args };
      }
      case 'run.child': {
        const args = childArgs(call.args, 'args');
        return { method: call.method, target: args.agent, args };
      }
      default:
        return { method: 'unknown', target: 'unknown method' };
    }
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    // A fixed text: it is recorded and recomputed, so it must not depend on the wording of an error.
    return { method: 'unknown', target: 'malformed arguments' };
  }
}

/**
 * Fuel that a tool may use: its own limit, or what is left of the run's limit after what was used, after what the agent's
 * code may still use, and after what was granted to tools that still run, so that the total never exceeds the run's limit.
 */
export function grantToolFuel(fuel: {
  readonly tool: bigint;
  readonly run: bigint;
  readonly used: bigint;
  readonly agent: bigint;
  readonly agentUsed: bigint;
  readonly granted: bigint;
}): bigint {
  const left = fuel.run - fuel.used - (fuel.agent - fuel.agentUsed) - fuel.granted;
  if (left <= 0n) return 0n;
  if (left > fuel.tool) return fuel.tool;
  return left;
}

/** What a denied call delivers. */
export function deniedDelivery(id: number, capability: string, rule: string): GuestDelivery {
  return { id, ok: false, error: { code: 'CAPABILITY_DENIED', message: `${capability} is denied by ${rule}` } };
}

/** What a failed or lost call delivers; `reason` is of a closed list, never the host's own message. */
export function failedDelivery(
  id: number,
  reason: HostFailure | 'CRASH' | 'CANCELLED' | 'DEADLINE' | 'HOST_FAULT',
): GuestDelivery {
  return { id, ok: false, error: { code: 'HOST_CALL_FAILED', message: reason } };
}

/** Bytes that a run's `random.bytes` answers with, as the guest sees them. */
export function randomValue(runSeed: Digest, index: bigint, length: number): Json {
  return toHex(computeRandomBytes(runSeed, index, length));
}
