/**
 * One guest of a run: a session of the sandbox that is made again, by replay, when its process is lost.
 *
 * A guest is a function of its options and its deliveries, so a lost session costs time and nothing else. A guest that ran out
 * of wall time is not tried again: it would again.
 *
 * @module
 */

import type { Delivery, HostFaultCode, VmOptions, VmState } from './sandbox/vm.ts';
import { HostFault, type Vm, type VmSession } from './sandbox/vm.ts';

/** Faults after which a guest is started again. */
const TRANSIENT: ReadonlySet<HostFaultCode> = new Set(['WORKER_LOST', 'HOST_OUT_OF_MEMORY']);
/** Sessions that one guest may lose. */
const MAX_LOSSES = 3;

/** A guest from its start to its end. */
export class GuestRun {
  readonly #vm: Vm;
  readonly #options: VmOptions;
  readonly #deliveries: { readonly delivery: Delivery; readonly timeMs: number }[] = [];
  #session: VmSession | undefined;
  #state: VmState | undefined;
  /** Settles when everything delivered so far was taken. */
  #tail: Promise<VmState> = Promise.reject(new TypeError('the guest was not started'));
  #losses = 0;
  #closed = false;

  constructor(vm: Vm, options: VmOptions) {
    this.#tail.catch(() => undefined);
    this.#vm = vm;
    this.#options = options;
  }

  /** The last state; undefined before the first. */
  get state(): VmState | undefined {
    return this.#state;
  }

  /** @throws {@link HostFault} */
  start(): Promise<VmState> {
    this.#tail = this.#survive(() => this.#begin());
    return this.#tail;
  }

  /**
   * Delivers after all that was delivered before; a guest that has ended meanwhile hears nothing and stays as it is.
   *
   * @throws {@link HostFault}
   */
  async deliver(delivery: Delivery, timeMs: number): Promise<VmState> {
    const before = this.#tail;
    const moved = before.then((state) => {
      if (state.status !== 'waiting') return { ...state, calls: [] };
      this.#deliveries.push({ delivery, timeMs });
      return this.#survive(async () => {
        const session = this.#session;
        return session === undefined ? this.#replay() : session.deliver(delivery, timeMs);
      });
    });
    this.#tail = moved;
    return moved;
  }

  /** Ends the session, in the middle of the guest's code too. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#session?.close();
    this.#session = undefined;
  }

  async #begin(): Promise<VmState> {
    if (this.#closed) throw new HostFault('WORKER_LOST', 'the guest was ended');
    this.#session = await this.#vm.open(this.#options);
    return this.#session.start();
  }

  async #replay(): Promise<VmState> {
    let state = await this.#begin();
    for (const { delivery, timeMs } of this.#deliveries) {
      // Only a session that came this far before is replayed, so it waits at each delivery again.
      state = await (this.#session as VmSession).deliver(delivery, timeMs);
    }
    return state;
  }

  async #survive(step: () => Promise<VmState>): Promise<VmState> {
    for (let work = step; ; work = () => this.#replay()) {
      try {
        this.#state = await work();
        return this.#state;
      } catch (error) {
        await this.#session?.close();
        this.#session = undefined;
        const again = error instanceof HostFault && TRANSIENT.has(error.code) && !this.#closed;
        if (!again || ++this.#losses > MAX_LOSSES) throw error;
      }
    }
  }
}
