/**
 * What host and sandbox process say to each other: commands and answers as JSON texts.
 *
 * What comes out of the process is untrusted, although it was checked inside: code that has broken out of WebAssembly
 * writes what it likes.
 *
 * @module
 */

import { fromHex, type Hex, toHex, utf8 } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { isJsonObject, type Json, parseJson } from '../../attest/encoding/canonical-json.ts';
import { assertValue, MAX_COMPLETION_DEPTH } from './values.ts';
import {
  type Delivery,
  type GuestError,
  type GuestErrorCode,
  type HostCall,
  HostFault,
  type HostFaultCode,
  type VmOptions,
  type VmState,
} from './vm.ts';

/** What the host asks of a sandbox process; each is answered once. */
export type SandboxCommand =
  | { readonly type: 'start'; readonly options: VmOptions }
  | { readonly type: 'deliver'; readonly delivery: Delivery; readonly timeMs: number | undefined };

/** An answer; `ready` comes unasked, once. */
export type SandboxAnswer =
  | { readonly type: 'ready' }
  | { readonly type: 'state'; readonly state: VmState; readonly lines: readonly string[] }
  | { readonly type: 'fault'; readonly code: HostFaultCode; readonly message: string };

/** Longest message of a guest error, in UTF-8 bytes. */
export const MAX_MESSAGE_BYTES = 2048;
/** Name of a host call. */
export const METHOD_NAME = /^[a-z][a-z0-9._]{0,63}$/;
/** Longest console line, in UTF-16 units. */
const MAX_LINE_UNITS = 4096;
/** Room for the names around what the guest says, and for a message. */
const ENVELOPE_BYTES = 65_536;

const GUEST_CODES = new Set(
  Object.keys({
    OUT_OF_FUEL: true,
    STACK_EXHAUSTED: true,
    TRAP: true,
    DEADLOCK: true,
    OUTPUT_TOO_LARGE: true,
    MEMORY_LIMIT: true,
    TOOL_ERROR: true,
    OUTPUT_INVALID: true,
    INPUT_INVALID: true,
  } satisfies Record<GuestErrorCode, true>),
);
const FAULT_CODES = new Set(
  Object.keys({
    WALL_TIME: true,
    HOST_OUT_OF_MEMORY: true,
    HOST_STACK: true,
    WORKER_LOST: true,
    HOST_INTERNAL: true,
  } satisfies Record<HostFaultCode, true>),
);

/** Longest answer to a session of these options: what may leave, each piece with its names. */
export function maxAnswerBytes({ outputBytes }: Pick<VmOptions, 'outputBytes'>): number {
  return 4 * outputBytes + ENVELOPE_BYTES;
}

export function encodeCommand(command: SandboxCommand): Uint8Array {
  if (command.type !== 'start') return utf8(JSON.stringify(command));
  const { fuel, seed, ...options } = command.options;
  return utf8(JSON.stringify({ type: 'start', options: { ...options, fuel: String(fuel), seed: toHex(seed) } }));
}

/** Reads a command inside the sandbox process: the host is trusted there. */
export function decodeCommand(bytes: Uint8Array): SandboxCommand {
  const command = JSON.parse(new TextDecoder().decode(bytes)) as
    | { type: 'start'; options: Omit<VmOptions, 'fuel' | 'seed'> & { fuel: string; seed: Hex } }
    | { type: 'deliver'; delivery: Delivery; timeMs?: number };
  if (command.type === 'deliver') return { ...command, timeMs: command.timeMs };
  const { fuel, seed, ...options } = command.options;
  return { type: 'start', options: { ...options, fuel: BigInt(fuel), seed: fromHex(seed) } };
}

export function encodeAnswer(answer: SandboxAnswer): Uint8Array {
  return utf8(JSON.stringify(answer, (_key, value) => (typeof value === 'bigint' ? String(value) : value)));
}

/**
 * Reads an answer, held to the options of its session.
 *
 * @param bytes - untrusted
 * @throws {@link HostFault} `HOST_INTERNAL` for anything a sandbox does not say
 */
export function parseAnswer(bytes: Uint8Array, options: Pick<VmOptions, 'entry' | 'fuel'>): SandboxAnswer {
  try {
    // The values of an answer lie up to three levels below it.
    const answer = parseJson(bytes, { maxBytes: bytes.length, maxDepth: MAX_COMPLETION_DEPTH + 4 });
    if (isJsonObject(answer)) {
      if (answer['type'] === 'ready') return { type: 'ready' };
      if (answer['type'] === 'fault') return parseFault(answer);
      if (answer['type'] === 'state') {
        return { type: 'state', state: parseState(answer['state'], options), lines: parseLines(answer['lines']) };
      }
    }
  } catch (error) {
    if (error instanceof HostFault) throw error;
    if (RuntimeError.is(error)) throw malformed(error.message);
    throw error;
  }
  throw malformed('no known type');
}

type Fields = { readonly [field: string]: Json };

function parseFault(fields: Fields): SandboxAnswer {
  const { code, message } = fields;
  if (typeof code !== 'string' || !FAULT_CODES.has(code) || typeof message !== 'string') throw malformed('fault');
  return { type: 'fault', code: code as HostFaultCode, message: message.slice(0, MAX_MESSAGE_BYTES) };
}

function parseState(state: Json | undefined, options: Pick<VmOptions, 'entry' | 'fuel'>): VmState {
  if (!isFields(state)) throw malformed('state');
  const seen = { calls: parseCalls(state['calls']), fuelUsed: parseFuel(state['fuelUsed'], options.fuel) };
  if (state['status'] === 'waiting') return { status: 'waiting', ...seen };
  if (state['status'] === 'failed') return { status: 'failed', error: parseError(state['error']), ...seen };
  const value = state['value'];
  if (state['status'] !== 'done' || value === undefined) throw malformed('status');
  // Whatever parseJson takes is a completion value; everything else has to fit into a record.
  if (options.entry !== 'completion') assertValue(value);
  return { status: 'done', value, ...seen };
}

function parseFuel(text: Json | undefined, most: bigint): bigint {
  if (typeof text !== 'string' || !/^(?:0|[1-9][0-9]{0,15})$/.test(text)) throw malformed('fuelUsed');
  const fuel = BigInt(text);
  if (fuel > most) throw malformed('more fuel used than given');
  return fuel;
}

function parseCalls(calls: Json | undefined): HostCall[] {
  if (!Array.isArray(calls)) throw malformed('calls');
  return calls.map((call: Json) => {
    if (!isFields(call)) throw malformed('call');
    const { id, method, args } = call;
    if (!Number.isSafeInteger(id) || typeof method !== 'string' || !METHOD_NAME.test(method) || args === undefined) {
      throw malformed('call');
    }
    assertValue(args);
    return { id: id as number, method, args };
  });
}

function parseError(error: Json | undefined): GuestError {
  if (!isFields(error)) throw malformed('error');
  const { code, message } = error;
  if (typeof code !== 'string' || !GUEST_CODES.has(code)) throw malformed('code of an error');
  if (typeof message !== 'string' || Buffer.byteLength(message) > MAX_MESSAGE_BYTES) throw malformed('message');
  return { code: code as GuestErrorCode, message };
}

function parseLines(lines: Json | undefined): string[] {
  if (!Array.isArray(lines)) throw malformed('lines');
  return lines.map((line: Json) => {
    if (typeof line !== 'string' || line.length > MAX_LINE_UNITS) throw malformed('line');
    return line;
  });
}

function isFields(value: Json | undefined): value is Fields {
  return value !== undefined && isJsonObject(value);
}

function malformed(what: string): HostFault {
  return new HostFault('HOST_INTERNAL', `sandbox answers out of form: ${what}`);
}
