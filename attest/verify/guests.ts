/**
 * The guests of one run while it is executed again: the agent and its open tools, each fed with the recorded deliveries.
 *
 * G1. A guest sees exactly what it saw in the run: same code, input, seed, times, and the same deliveries in the same order.
 * G2. A guest that lacks anything (code, input, a delivery) has an obstacle from there on and is executed no further.
 *
 * @module
 */

import type { Json } from '../encoding/canonical-json.ts';
import {
  type GuestCall,
  type GuestCode,
  type GuestDelivery,
  type GuestPlace,
  grantToolFuel,
  guestStartOf,
} from '../trace/guest.ts';
import type { OpenStart, RunState } from '../trace/state.ts';
import { type Executor, ExecutorFault, type GuestSession, type GuestState } from './executor.ts';
import type { CannotCode } from './verdict.ts';

/** Calls of one guest that wait for their decision, and the guest itself while it can be executed. */
export type Guest = {
  readonly calls: Map<number, GuestCall>;
  session: GuestSession | undefined;
  state: GuestState | undefined;
  /** Why it cannot be executed any more. */
  obstacle: CannotCode | undefined;
};

/** Longest time that one activation of a guest may take here; beyond it the step is not checked. */
const WALL_MS = 120_000;

/** The agent of a run and its open tools. Close it to free them. */
export class Guests {
  readonly agent: Guest = { calls: new Map(), session: undefined, state: undefined, obstacle: 'PAYLOAD_WITHHELD' };
  /** Code of the tools by name, as far as it is shown. */
  readonly code = new Map<string, GuestCode>();
  /** Fuel of the agent's code so far, as recorded. */
  agentFuel = 0n;
  /** Most fuel of the agent's code; undefined while it is withheld. */
  agentLimit: bigint | undefined;
  readonly #executor: Executor;
  readonly #tools = new Map<bigint, Guest>();
  readonly #names = new Map<bigint, string>();
  /** Fuel granted to each open tool; undefined where it is not known. */
  readonly #granted = new Map<bigint, bigint | undefined>();

  constructor(executor: Executor) {
    this.#executor = executor;
  }

  /** The guest that made a start or call: the agent, or the open tool `by`. */
  of(by: string | null): Guest | undefined {
    return by === null ? this.agent : this.#tools.get(BigInt(by));
  }

  /** Name of the open tool `by`, or null for the agent. */
  nameOf(by: string | null): string | null {
    return by === null ? null : (this.#names.get(BigInt(by)) ?? null);
  }

  /** Starts the agent. */
  async openAgent(code: GuestCode, input: Json, at: number, state: RunState): Promise<void> {
    const open = state.runOpen;
    if (open === undefined) return;
    if (open.engine !== this.#executor.sandbox) {
      this.agent.obstacle = 'ENGINE_MISMATCH';
      return;
    }
    this.agent.obstacle = 'HOST_FAULT';
    const session = await this.#open(
      { code, entry: 'agent', input, fuel: this.agentLimit ?? 0n, index: 0n, at: BigInt(at) },
      state,
    );
    this.agent.session = session;
    this.agent.obstacle = undefined;
    await this.#advance(this.agent, () => session.start());
  }

  /**
   * Starts a tool.
   *
   * @param input - undefined where it is withheld
   * @param used - fuel of the run before the start
   * @returns false when the run's fuel does not allow it
   */
  async openTool(
    name: string,
    input: Json | undefined,
    index: bigint,
    at: number,
    used: bigint,
    state: RunState,
  ): Promise<boolean> {
    const guest: Guest = { calls: new Map(), session: undefined, state: undefined, obstacle: undefined };
    const open = state.runOpen;
    if (open === undefined) return false;
    this.#tools.set(index, guest);
    this.#names.set(index, name);
    const code = this.code.get(name);
    const granted = this.#grantedFuel();
    // What a tool may use depends on the agent's limit and on what was granted to those that still run.
    if (code === undefined || this.agentLimit === undefined || granted === undefined) {
      this.#granted.set(index, undefined);
      guest.obstacle = 'PAYLOAD_WITHHELD';
      return true;
    }
    const fuel = grantToolFuel({
      tool: BigInt(code.limits.fuel),
      run: BigInt(open.limits.fuel),
      used,
      agent: this.agentLimit,
      agentUsed: this.agentFuel,
      granted,
    });
    if (fuel === 0n) return false;
    this.#granted.set(index, fuel);
    if (input === undefined) guest.obstacle = 'PAYLOAD_WITHHELD';
    else if (open.engine !== this.#executor.sandbox) guest.obstacle = 'ENGINE_MISMATCH';
    else {
      guest.obstacle = 'HOST_FAULT';
      const session = await this.#open({ code, entry: { tool: name }, input, fuel, index, at: BigInt(at) }, state);
      guest.session = session;
      guest.obstacle = undefined;
      await this.#advance(guest, () => session.start());
    }
    return true;
  }

  /** Ends a tool and lets go of it. */
  async endTool(index: bigint): Promise<Guest | undefined> {
    const guest = this.#tools.get(index);
    this.#tools.delete(index);
    this.#names.delete(index);
    this.#granted.delete(index);
    await guest?.session?.close();
    return guest;
  }

  /** Delivers what completes a start; undefined is a delivery that is withheld. */
  async deliver(
    start: OpenStart | undefined,
    make: (id: number) => GuestDelivery | undefined,
    at: number,
  ): Promise<void> {
    if (start === undefined) return;
    const guest = this.of(start.body.by);
    if (guest === undefined) return;
    const delivery = make(start.body.call);
    if (delivery === undefined) guest.obstacle ??= 'PAYLOAD_WITHHELD';
    else await this.give(guest, delivery, at);
  }

  /** Gives a guest one delivery and runs it to idle. */
  async give(guest: Guest, delivery: GuestDelivery, at: number): Promise<void> {
    const { session } = guest;
    if (session === undefined || guest.obstacle !== undefined || guest.state?.status !== 'waiting') return;
    await this.#advance(guest, () => session.deliver(delivery, at));
  }

  /** Ends all guests. */
  async close(): Promise<void> {
    await this.agent.session?.close();
    for (const index of [...this.#tools.keys()]) await this.endTool(index);
  }

  #grantedFuel(): bigint | undefined {
    let sum = 0n;
    for (const fuel of this.#granted.values()) {
      if (fuel === undefined) return undefined;
      sum += fuel;
    }
    return sum;
  }

  #open(place: GuestPlace, { runSeed }: RunState): Promise<GuestSession> {
    return this.#executor.openGuest(guestStartOf(place, runSeed, WALL_MS));
  }

  async #advance(guest: Guest, step: () => Promise<GuestState>): Promise<void> {
    try {
      guest.state = await step();
    } catch (error) {
      if (!(error instanceof ExecutorFault)) throw error;
      guest.obstacle = 'HOST_FAULT';
      return;
    }
    for (const call of guest.state.calls) guest.calls.set(call.id, call);
  }
}
