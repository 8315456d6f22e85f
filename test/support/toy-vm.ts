/**
 * A toy sandbox: guests are host functions named by their source text. It keeps the host protocol (run to idle, one
 * delivery at a time) and counts one unit of fuel for each activation and call.
 */

import { toHex } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import type { Delivery, HostCall, Vm, VmOptions, VmSession, VmState } from '../../runtime/sandbox/vm.ts';

export type ToyCtx = { call(method: string, args: Json): Promise<Json>; readonly input: Json };
export type ToyGuest = (ctx: ToyCtx) => Promise<Json>;

/** A guest's refusal with a code of its own. */
export class ToyError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** A toy sandbox over named guests; `source` of a guest is its name. */
export function toyVm(guests: Readonly<Record<string, ToyGuest>>): Vm {
  return {
    engine: toHex(sha256(new TextEncoder().encode('toy engine'))),
    async open(options: VmOptions): Promise<VmSession> {
      const guest = guests[options.source];
      if (guest === undefined) throw new TypeError(`no toy guest ${options.source}`);
      return toySession(guest, options);
    },
    close: async () => {},
  } as Vm;
}

function toySession(guest: ToyGuest, options: VmOptions): VmSession {
  const waiting = new Map<number, { resolve(value: Json): void; reject(error: unknown): void }>();
  let calls: HostCall[] = [];
  let nextId = 0;
  let fuel = 0n;
  let ending: VmState | undefined;
  const idle = async (): Promise<VmState> => {
    for (let i = 0; i < 20; i++) await Promise.resolve();
    fuel += 1n + BigInt(calls.length);
    const made = calls;
    calls = [];
    if (ending !== undefined) return { ...ending, calls: made, fuelUsed: fuel };
    return { status: 'waiting', calls: made, fuelUsed: fuel };
  };
  return {
    log: [],
    async start() {
      const ctx: ToyCtx = {
        input: options.input,
        call: (method, args) =>
          new Promise((resolve, reject) => {
            const id = nextId++;
            waiting.set(id, { resolve, reject });
            calls.push({ id, method, args });
          }),
      };
      guest(ctx).then(
        (value) => {
          ending = { status: 'done', value, calls: [], fuelUsed: 0n };
        },
        (error: Error) => {
          const code = error instanceof ToyError ? error.code : 'TOOL_ERROR';
          ending = {
            status: 'failed',
            error: { code: code as 'TOOL_ERROR', message: error.message },
            calls: [],
            fuelUsed: 0n,
          };
        },
      );
      return idle();
    },
    async deliver(delivery: Delivery) {
      const call = waiting.get(delivery.id);
      waiting.delete(delivery.id);
      if (delivery.ok) call?.resolve(delivery.value);
      else call?.reject(new ToyError(delivery.error.code, delivery.error.message));
      return idle();
    },
    close: async () => {},
  } as VmSession;
}
