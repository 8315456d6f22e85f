/**
 * What a manager of runs is given, what it does, and what it refuses.
 *
 * @module
 */

import type { Hex } from '../attest/core/bytes.ts';
import { RuntimeError } from '../attest/core/error.ts';
import type { Json } from '../attest/encoding/canonical-json.ts';
import type { Approval } from '../attest/trace/approval.ts';
import type { InferenceIdentity, Limits } from '../attest/trace/bodies.ts';
import type { Deployment } from '../attest/trace/checkpoint.ts';
import type { GuestCode } from '../attest/trace/guest.ts';
import type { PolicyRules } from '../attest/trace/policy.ts';
import type { EffectPorts } from './effects.ts';
import type { RecordSeen } from './ledger.ts';
import type { CallerRequest } from './plan.ts';
import type { QueueCounts } from './queue/ports.ts';
import type { RecordView } from './record-feed.ts';
import type { RunStatus } from './run-status.ts';
import type { Vm } from './sandbox/vm.ts';
import type { Wallets } from './wallet/wallet.ts';

export type ManagerErrorCode =
  | 'UNKNOWN_AGENT'
  | 'UNKNOWN_RUN'
  /** The run is over, or not in a state for that. */
  | 'WRONG_STATE'
  /** As many runs as may be are at work. */
  | 'TOO_MANY_RUNS'
  /** The request's signature, limits or expiry do not stand. */
  | 'REQUEST_REFUSED'
  | 'MANAGER_CLOSED';

/** A run could not be begun, found or steered. */
export class ManagerError extends RuntimeError<ManagerErrorCode> {
  override readonly name = 'ManagerError';
}

/** An agent that may be run. */
export type ManagedAgent = {
  readonly name: string;
  readonly agent: GuestCode;
  readonly tools: ReadonlyMap<string, GuestCode>;
  readonly policy: PolicyRules;
  /** Greatest limits of one run. */
  readonly limits: Limits;
};

/** What a manager takes from outside. */
export type ManagerPorts = Omit<EffectPorts, 'children' | 'redactor' | 'wallet'> & {
  readonly vm: Vm;
  readonly now: () => number;
  /** 32 random bytes each. */
  readonly random: () => Uint8Array;
  /** The operator's key, 32 bytes. */
  readonly key: Uint8Array;
  /** The contract with its salt; `OFF_CHAIN` without a chain. */
  readonly deployment: Deployment & { readonly salt: Uint8Array };
  readonly identity: InferenceIdentity;
  /** The wallets of agents; without them a send is lost. */
  readonly wallets?: Wallets;
  /** Told of each record that becomes durable, for metrics and spans. */
  readonly onRecord?: (run: Hex, agent: string, seen: RecordSeen) => void;
  /** Told of faults of the manager's own that no caller hears of. */
  readonly onFault?: (run: Hex, error: unknown) => void;
};

/** What a caller asks for. */
export type CreateRun = {
  readonly agent: string;
  readonly input: Json;
  /** At most those of the agent; what is left out is the agent's. */
  readonly limits?: Partial<Limits>;
  /** A request that the caller made and signed itself, instead of `input` and `limits`. */
  readonly caller?: CallerRequest;
};

/** Runs of one operator. */
export type RunManager = {
  readonly agents: readonly ManagedAgent[];
  readonly operator: Hex;
  /** @throws {@link ManagerError}, {@link JournalError} */
  create(asked: CreateRun): Promise<RunStatus>;
  /** @throws {@link ManagerError} `UNKNOWN_RUN` */
  get(run: Hex): RunStatus;
  /** Newest first. */
  list(): readonly RunStatus[];
  /** Resolves when the run is over or put aside. */
  settled(run: Hex): Promise<RunStatus>;
  /** Records from an index on, and with `follow` as they come until the run is over. */
  records(
    run: Hex,
    from: bigint,
    options?: { readonly follow?: boolean; readonly signal?: AbortSignal },
  ): AsyncGenerator<RecordView>;
  /** Has a run close as `cancelled`; resolves when it is. */
  cancel(run: Hex): Promise<RunStatus>;
  pause(run: Hex): Promise<RunStatus>;
  resume(run: Hex): Promise<RunStatus>;
  /** A person's decision on the `human.approve` at `index`; resolves when it is on record. @throws {@link ControlError} */
  approve(run: Hex, index: bigint, approval: Approval): Promise<RunStatus>;
  /** What became of a start that a crash left open. @throws {@link ControlError} */
  reconcile(run: Hex, index: bigint, how: 'send' | 'lost'): Promise<RunStatus>;
  /** Path of the bundle on this machine, whether it is there or not; whole once the run is over. */
  bundle(run: Hex): string;
  /** Has what is there of the bundle on this machine, and resolves to its path. @throws {@link JournalError} `JOURNAL_MISSING` */
  fetchBundle(run: Hex): Promise<string>;
  /**
   * Deletes the payloads of a run that is over, and so is the run that asked for it; code and policy stay.
   *
   * @throws {@link ManagerError} `WRONG_STATE`
   * @throws {@link RetentionError}
   */
  withhold(run: Hex): Promise<RunStatus>;
  /** How the queue stands, over all machines. @throws {@link QueueError} */
  queueCounts(): Promise<QueueCounts>;
  /** Puts every run aside as it stands, and lets go of everything; runs go on when the folder is opened again. */
  close(): Promise<void>;
};
