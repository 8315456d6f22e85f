/**
 * Models that a server offers; each is opened when it is first asked for, and those that nobody uses make room for others.
 *
 * F1. A model that is leased is never closed before its last lease is released, except with the whole fleet.
 * F2. The models in memory pass the bound only where one alone is larger than it.
 * F3. Models that wait for room get it in the order in which they were first asked for. One that must give room gets no new
 *     lease until the other is open, so a busy model cannot keep a cold one out for ever.
 * F4. A model has the digests of its first opening, or is not served: receipts of one server never speak of two models.
 *
 * @module
 */

import { ApiError } from '../api-errors.ts';
import { isSameModel, type ModelIdentity } from '../engine.ts';
import { InferenceError } from '../errors.ts';
import { ServerError } from '../server-errors.ts';

/** What a fleet needs of an engine. */
export type FleetEngine = { readonly identity: ModelIdentity; close(): Promise<void> };

/** A model as a fleet is told of it. */
export type OfferedModel = {
  /** Name in the API. */
  readonly id: string;
  /** GGUF file or folder. */
  readonly path: string;
  /** Bytes that its engine takes; see `memory.ts`. */
  readonly memoryBytes: number;
  /** What is known of it before it is opened. */
  readonly identity?: ModelIdentity;
};

/** A model and what became of it. `failed` until the next attempt, which the next request after a pause makes. */
export type FleetModel = OfferedModel & { readonly state: 'cold' | 'loading' | 'ready' | 'failed' };

/** The right to use an engine, until it is released. */
export type Lease<E> = {
  readonly engine: E;
  readonly identity: ModelIdentity;
  /** Ends it; a second call does nothing. */
  release(): void;
};

/** The models of one server. */
export type Fleet<E extends FleetEngine> = {
  /** As they are now, in the order of the options. */
  readonly models: readonly FleetModel[];
  /** A model by its id, or by the digest in its identity where that is known. */
  find(idOrDigest: string): FleetModel | undefined;
  /** The engine of a model that is open, without a lease. */
  peek(idOrDigest: string): E | undefined;
  /**
   * Leases the engine of a model, which is opened if it is not; waits until there is room for it.
   *
   * @throws {@link ApiError} `MODEL_NOT_FOUND`
   * @throws {@link InferenceError} `CANCELLED` by `signal`
   * @throws {@link ServerError} `MODEL_UNAVAILABLE` if it cannot be opened, `ENGINE_CHANGED` if its files were exchanged,
   *   `QUEUE_FULL` if as many wait as may, `SERVER_CLOSED`
   */
  acquire(idOrDigest: string, signal?: AbortSignal): Promise<Lease<E>>;
  /** Refuses those that wait and closes every engine. */
  close(): Promise<void>;
};

/** Most requests that wait for models to be opened. */
const MAX_WAITING = 256;

const RETRY_PAUSE_MS = 10_000;

/**
 * Makes a fleet and opens its first model.
 *
 * @throws {@link ServerError} `DUPLICATE_MODEL`
 * @throws whatever the opening of the first model throws
 */
export async function openFleet<E extends FleetEngine>(options: openFleet.Options<E>): Promise<Fleet<E>> {
  const seen = new Set<string>();
  for (const { id, path } of options.models) {
    if (seen.has(id)) {
      throw new ServerError('DUPLICATE_MODEL', `two models are called ${JSON.stringify(id)}`, {
        at: { model: id, path },
      });
    }
    seen.add(id);
  }
  const fleet = new EngineFleet(options);
  await fleet.start();
  return fleet;
}

export declare namespace openFleet {
  type Options<E> = {
    /** At least one. */
    readonly models: readonly OfferedModel[];
    /** Most bytes of all engines together. */
    readonly maxBytes: number;
    /** Starts an engine; `signal` is aborted when the fleet is closed. */
    readonly open: (model: OfferedModel, signal: AbortSignal) => Promise<E>;
    /** 256 by default. */
    readonly maxWaiting?: number;
    /** Milliseconds after a failure in which the model is not tried again; 10,000 by default. */
    readonly retryPauseMs?: number;
    /** Milliseconds; monotonic. */
    readonly now?: () => number;
    /** Told why a model could not be opened or closed; clients learn no more than the code. */
    readonly onFault?: (model: string, error: unknown) => void;
  };
}

type Waiter<E> = { readonly grant: (lease: Lease<E>) => void; readonly refuse: (error: Error) => void };

type Slot<E> = {
  readonly model: OfferedModel;
  phase: 'cold' | 'loading' | 'ready' | 'closing';
  engine: E | undefined;
  /** Of the first opening. */
  identity: ModelIdentity | undefined;
  leases: number;
  /** Gives room as soon as it is idle; gets no new lease. */
  isDraining: boolean;
  /** Grows with every lease and release: the least is the one longest unused. */
  touched: number;
  waiters: Waiter<E>[];
  fault: { readonly error: ServerError; readonly until: number } | undefined;
};

class EngineFleet<E extends FleetEngine> implements Fleet<E> {
  readonly #options: openFleet.Options<E>;
  readonly #now: () => number;
  readonly #onFault: (model: string, error: unknown) => void;
  readonly #slots: readonly Slot<E>[];
  readonly #closing = new AbortController();
  /** Slots with waiters that must be opened, in the order in which they were asked for. */
  #wanted: Slot<E>[] = [];
  /** Models are opened one after another. */
  #opening: Promise<void> | undefined;
  readonly #closings = new Set<Promise<void>>();
  #ticks = 0;

  constructor(options: openFleet.Options<E>) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#onFault = options.onFault ?? (() => {});
    this.#slots = options.models.map((model) => ({
      model,
      phase: 'cold',
      engine: undefined,
      identity: undefined,
      leases: 0,
      isDraining: false,
      touched: 0,
      waiters: [],
      fault: undefined,
    }));
  }

  get models(): readonly FleetModel[] {
    return this.#slots.map(describe);
  }

  find(idOrDigest: string): FleetModel | undefined {
    const slot = this.#slot(idOrDigest);
    return slot === undefined ? undefined : describe(slot);
  }

  peek(idOrDigest: string): E | undefined {
    return this.#slot(idOrDigest)?.engine;
  }

  /** Opens the first model; its fault is thrown as it is. */
  async start(): Promise<void> {
    const [first] = this.#slots;
    if (first === undefined) throw new RangeError('a fleet has at least one model');
    await this.#open(first);
  }

  async acquire(idOrDigest: string, signal?: AbortSignal): Promise<Lease<E>> {
    if (this.#closing.signal.aborted) throw closed();
    if (signal?.aborted) throw cancelled();
    const slot = this.#slot(idOrDigest);
    if (slot === undefined) {
      const name = JSON.stringify(idOrDigest.slice(0, 256));
      throw new ApiError('MODEL_NOT_FOUND', `model ${name} is not served here; GET /v1/models lists what is`, {
        at: { param: 'model' },
      });
    }
    if (slot.phase === 'ready' && !slot.isDraining) return this.#lease(slot);
    if (slot.phase === 'cold' && slot.fault !== undefined && this.#now() < slot.fault.until) throw slot.fault.error;
    const waiting = this.#slots.reduce((sum, { waiters }) => sum + waiters.length, 0);
    if (waiting >= (this.#options.maxWaiting ?? MAX_WAITING)) {
      throw new ServerError('QUEUE_FULL', `${waiting} requests wait for models to be opened`, {
        at: { retryAfterSeconds: 5 },
      });
    }
    return await this.#wait(slot, signal);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#wanted = [];
    for (const slot of this.#slots) refuseAll(slot, closed());
    await this.#opening;
    for (const slot of this.#slots) if (slot.phase === 'ready') this.#beginClose(slot);
    await Promise.all(this.#closings);
  }

  #slot(idOrDigest: string): Slot<E> | undefined {
    return (
      this.#slots.find(({ model }) => model.id === idOrDigest) ??
      this.#slots.find((slot) => describe(slot).identity?.model === idOrDigest)
    );
  }

  #wait(slot: Slot<E>, signal: AbortSignal | undefined): Promise<Lease<E>> {
    const { promise, resolve, reject } = withResolvers<Lease<E>>();
    const leave = () => {
      slot.waiters = slot.waiters.filter((other) => other !== waiter);
      reject(cancelled());
      this.#makeRoom();
    };
    const settle = <T>(act: (value: T) => void) => {
      return (value: T) => {
        signal?.removeEventListener('abort', leave);
        act(value);
      };
    };
    const waiter = { grant: settle(resolve), refuse: settle(reject) };
    signal?.addEventListener('abort', leave, { once: true });
    slot.waiters.push(waiter);
    if (slot.phase !== 'loading' && !this.#wanted.includes(slot)) this.#wanted.push(slot);
    this.#makeRoom();
    return promise;
  }

  #lease(slot: Slot<E>): Lease<E> {
    const { engine } = slot;
    if (engine === undefined) throw new TypeError(`${slot.model.id} is not open`);
    slot.leases += 1;
    slot.touched = ++this.#ticks;
    let isHeld = true;
    return {
      engine,
      identity: engine.identity,
      release: () => {
        if (!isHeld) return;
        isHeld = false;
        slot.leases -= 1;
        slot.touched = ++this.#ticks;
        this.#makeRoom();
      },
    };
  }

  /** Opens the first model that is waited for if there is room, else begins to make it. Runs after every change. */
  #makeRoom(): void {
    if (this.#closing.signal.aborted || this.#opening !== undefined) return;
    this.#wanted = this.#wanted.filter(({ waiters }) => waiters.length > 0);
    const target = this.#wanted[0];
    const victims = target === undefined || target.phase !== 'cold' ? [] : this.#victimsFor(target);
    for (const slot of this.#slots) slot.isDraining = victims.includes(slot);
    for (const slot of this.#slots) {
      // Spared, or never drained: its waiters go in.
      if (slot.phase !== 'ready' || slot.isDraining || slot.waiters.length === 0) continue;
      this.#grantAll(slot);
      this.#wanted = this.#wanted.filter((other) => other !== slot);
    }
    if (target !== undefined && target.phase === 'ready') {
      this.#makeRoom();
    } else if (target?.phase === 'cold') {
      for (const slot of victims) if (slot.leases === 0) this.#beginClose(slot);
      // A model alone is opened whatever its size.
      if (this.#bytesHeld() === 0 || this.#bytesHeld() + target.model.memoryBytes <= this.#options.maxBytes) {
        this.#wanted.shift();
        // Its fault has reached those who waited.
        void this.#open(target).catch(() => undefined);
      }
    }
  }

  /** The open models that give room to another: idle ones first, then those that already drain, the longest unused first. */
  #victimsFor(target: Slot<E>): Slot<E>[] {
    let excess = this.#bytesHeld() + target.model.memoryBytes - this.#options.maxBytes;
    for (const { phase, model } of this.#slots) if (phase === 'closing') excess -= model.memoryBytes;
    const rank = ({ leases, isDraining }: Slot<E>) => (leases === 0 ? 0 : isDraining ? 1 : 2);
    const candidates = this.#slots
      .filter(({ phase }) => phase === 'ready')
      .sort((a, b) => rank(a) - rank(b) || a.touched - b.touched);
    const victims: Slot<E>[] = [];
    for (const slot of candidates) {
      if (excess <= 0) break;
      victims.push(slot);
      excess -= slot.model.memoryBytes;
    }
    return victims;
  }

  #bytesHeld(): number {
    return this.#slots.reduce((sum, { phase, model }) => (phase === 'cold' ? sum : sum + model.memoryBytes), 0);
  }

  async #open(slot: Slot<E>): Promise<void> {
    const { promise, resolve } = withResolvers<void>();
    this.#opening = promise;
    slot.phase = 'loading';
    try {
      const engine = await this.#openSame(slot);
      slot.engine = engine;
      slot.identity ??= engine.identity;
      slot.fault = undefined;
      slot.touched = ++this.#ticks;
      slot.phase = 'ready';
      this.#grantAll(slot);
    } catch (error) {
      slot.phase = 'cold';
      const pause = this.#options.retryPauseMs ?? RETRY_PAUSE_MS;
      const fault = toServerError(slot.model.id, error, pause);
      slot.fault = { error: fault, until: this.#now() + pause };
      refuseAll(slot, fault);
      if (!this.#closing.signal.aborted) this.#onFault(slot.model.id, error);
      throw error;
    } finally {
      this.#opening = undefined;
      resolve();
      this.#makeRoom();
    }
  }

  /** Opens a model, which must be the one that it was the first time. */
  async #openSame({ model, identity }: Slot<E>): Promise<E> {
    const engine = await this.#options.open(model, this.#closing.signal);
    const isWanted = !this.#closing.signal.aborted;
    if (isWanted && (identity === undefined || isSameModel(engine.identity, identity))) return engine;
    await engine.close();
    if (!isWanted) throw closed();
    throw new ServerError('ENGINE_CHANGED', `the files of model ${model.id} are not those it was first opened from`, {
      at: { model: model.id },
    });
  }

  #grantAll(slot: Slot<E>): void {
    const { waiters } = slot;
    slot.waiters = [];
    for (const { grant } of waiters) grant(this.#lease(slot));
  }

  #beginClose(slot: Slot<E>): void {
    const { engine } = slot;
    slot.phase = 'closing';
    slot.engine = undefined;
    const closing = (engine?.close() ?? Promise.resolve())
      .catch((error: unknown) => this.#onFault(slot.model.id, error))
      .then(() => {
        this.#closings.delete(closing);
        slot.phase = 'cold';
        this.#makeRoom();
      });
    this.#closings.add(closing);
  }
}

function describe<E>({ model, phase, identity, fault }: Slot<E>): FleetModel {
  const state = phase === 'closing' ? 'cold' : phase === 'cold' && fault !== undefined ? 'failed' : phase;
  return { ...model, ...(identity === undefined ? {} : { identity }), state };
}

function refuseAll<E>(slot: Slot<E>, error: Error): void {
  const { waiters } = slot;
  slot.waiters = [];
  for (const { refuse } of waiters) refuse(error);
}

/** What clients are told: the message of a broken model file holds paths of this computer. */
function toServerError(id: string, error: unknown, pauseMs: number): ServerError {
  if (error instanceof ServerError && error.code !== 'ENGINE_UNAVAILABLE') return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
  return new ServerError('MODEL_UNAVAILABLE', `model ${id} cannot be opened (${code})`, {
    at: { model: id, retryAfterSeconds: Math.max(1, Math.ceil(pauseMs / 1000)) },
    cause: error,
  });
}

function closed(): ServerError {
  return new ServerError('SERVER_CLOSED', 'server is closing');
}

function cancelled(): InferenceError {
  return new InferenceError('CANCELLED', 'the request was cancelled');
}

/** `Promise.withResolvers` is newer than Node 20. */
function withResolvers<T>() {
  let resolve: (value: T) => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<T>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}
