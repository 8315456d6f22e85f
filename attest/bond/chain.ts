/**
 * Ports to the bond contract: what anyone can read of it, and what one account can do there. Amounts are in the token's
 * smallest unit, times in unix seconds, addresses and digests lower-case hexadecimal.
 *
 * Spec: `attest/spec/bond.md`.
 *
 * @module
 */

import type { Hex } from '../core/bytes.ts';
import type { Digest } from '../core/hash.ts';
import type { SignedCheckpoint } from '../trace/checkpoint.ts';
import type { RequestStruct } from './run-id.ts';

/** State of a run, in the contract's order of codes. */
export const RUN_STATUSES = ['none', 'open', 'closed', 'abandoned', 'settled', 'slashed'] as const;
export type RunStatus = Exclude<(typeof RUN_STATUSES)[number], 'none'>;

/** End of a challenge, in the contract's order of codes. */
export const OUTCOMES = ['open', 'guilty', 'not-guilty', 'undecided', 'overtaken'] as const;
export type ChallengeOutcome = (typeof OUTCOMES)[number];

/** Why two checkpoints contradict each other, in the contract's order of codes. */
export const EQUIVOCATION_RULES = ['none', 'same-size', 'beyond-closed', 'divergent'] as const;
export type EquivocationRule = Exclude<(typeof EQUIVOCATION_RULES)[number], 'none'>;

/** Which rule a head breaks, in the contract's order of codes. */
export const HEAD_RULES = [
  'none',
  'layout',
  'run',
  'index',
  'of',
  'class',
  'open',
  'first-prev',
  'open-body',
  'closed',
  'state',
  'prev',
  'pre',
] as const;
export type HeadRule = Exclude<(typeof HEAD_RULES)[number], 'none'>;

/** Fixed at the deployment, for ever. */
export type BondTerms = {
  /** 32 random bytes. */
  readonly salt: Hex;
  /** ERC-20 of stake and bonds. */
  readonly token: Hex;
  /** Least stake locked by a run. */
  readonly minimumLock: bigint;
  /** Assumed probability of detection, in 1/10,000. */
  readonly detectionBps: bigint;
  readonly challengeBond: bigint;
  readonly minimumReexecutorStake: bigint;
  /** Share of the eligible weight that must vote, in 1/10,000. */
  readonly quorumBps: bigint;
  readonly withdrawDelay: bigint;
  readonly challengeWindow: bigint;
  readonly votingPeriod: bigint;
  readonly maxDuration: bigint;
};

export type OperatorStanding = {
  /** Whether any stake stands behind this operator. */
  readonly bonded: boolean;
  /** Backing stake, locked part included, leaving part not. */
  readonly stake: bigint;
  readonly locked: bigint;
  /** Sum of the exposures of runs that are not over. */
  readonly exposure: bigint;
  /** On its way out; backs nothing. */
  readonly leaving: bigint;
  readonly leavingAt: bigint;
};

export type RunOnChain = {
  readonly operator: Hex;
  readonly requestDigest: Hex;
  readonly attempt: bigint;
  readonly status: RunStatus;
  readonly openedBlock: bigint;
  readonly openedAt: bigint;
  readonly deadline: bigint;
  /** End of the challenge window; undefined while the run is open. */
  readonly windowEnd: bigint | undefined;
  readonly exposure: bigint;
  readonly lock: bigint;
  /** Body digest that record 0 must have. */
  readonly body: Hex;
  readonly openChallenges: number;
  /** Newest checkpoint stored on the chain. */
  readonly checkpoint: { readonly size: bigint; readonly root: Hex; readonly state: Hex } | undefined;
};

export type ChallengeOnChain = {
  readonly run: Hex;
  readonly challenger: Hex;
  readonly outcome: ChallengeOutcome;
  readonly index: bigint;
  readonly votingEnd: bigint;
  readonly bond: bigint;
  readonly eligible: bigint;
  readonly guilty: bigint;
  readonly notGuilty: bigint;
  /** Body digest of the operator's record. */
  readonly recorded: Hex;
  /** Body digest that the challenger computed. */
  readonly answer: Hex;
};

/** What anyone can read. */
export type BondReader = {
  readonly chainId: bigint;
  readonly contract: Hex;
  readTerms(): Promise<BondTerms>;
  readOperator(operator: Hex): Promise<OperatorStanding>;
  /** Resolves undefined for a run that was never opened here. */
  readRun(run: Hex): Promise<RunOnChain | undefined>;
  /** @throws BondError `CONTRACT_REVERT` `ChallengeUnknown` */
  readChallenge(challengeId: bigint): Promise<ChallengeOnChain>;
  /** Next attempt number of a request and the run of the attempt before it. */
  readAttempts(requestDigest: Hex): Promise<{ readonly next: bigint; readonly last: Hex | undefined }>;
  readBalances(owner: Hex): Promise<Balances>;
  /** Timestamp of the newest block. */
  readTime(): Promise<bigint>;
  /** Lets go of the connection. */
  close(): void;
};

export type Balances = {
  /** Chain's own coin, wei. */
  readonly gas: bigint;
  /** Tokens in the owner's own hands. */
  readonly token: bigint;
  /** Stake as an operator, locked part included. */
  readonly stake: bigint;
  /** Won or given back, to be collected. */
  readonly credit: bigint;
  /** Stake as a re-executor. */
  readonly reexecutor: bigint;
};

/** A move that is in a block. */
export type Move = { readonly transaction: Hex; readonly block: bigint; readonly gasUsed: bigint };

/** What a slash did. */
export type Slash = { readonly operator: Hex; readonly winner: Hex; readonly burned: bigint; readonly paid: bigint };

export type RunOpening = {
  readonly request: RequestStruct;
  /** The caller's 65 bytes, or null when `request.caller` is zero. */
  readonly signature: Uint8Array | null;
  readonly attempt: bigint;
  readonly deadline: bigint;
  readonly exposure: bigint;
  /** Body digest of record 0. */
  readonly body: Digest;
  /** Digests of code and models that the run names; each must be registered. At most 96. */
  readonly codes: readonly Digest[];
};

/** One head in its place under a checkpoint. */
export type HeadProof = { readonly index: bigint; readonly head: Uint8Array; readonly path: readonly Digest[] };

/** Two hashes at one aligned position below both sizes: the leaves `[index * 2^level, (index + 1) * 2^level)`. */
export type Divergence = {
  readonly level: number;
  readonly index: bigint;
  readonly shorterNode: Digest;
  readonly shorterPath: readonly Digest[];
  readonly longerNode: Digest;
  readonly longerPath: readonly Digest[];
};

/**
 * What one account can do. Every move resolves when it is in a block, and rejects with {@link BondError}
 * `CONTRACT_REVERT` (`at.name`) when the contract refuses. Moves that pay tokens approve exactly what they pay.
 */
export type BondAccount = BondReader & {
  readonly address: Hex;

  deposit(amount: bigint): Promise<Move>;
  requestWithdraw(amount: bigint): Promise<Move>;
  withdraw(): Promise<Move>;
  collect(): Promise<Move>;
  transferToken(to: Hex, amount: bigint): Promise<Move>;

  registerCode(digest: Digest, locator: string): Promise<Move>;
  openRun(opening: RunOpening): Promise<Move & { readonly run: Hex }>;
  checkpoint(checkpoint: SignedCheckpoint): Promise<Move>;
  closeRun(checkpoint: SignedCheckpoint): Promise<Move>;
  expire(run: Hex): Promise<Move>;
  settle(run: Hex): Promise<Move>;

  /** Orders the two checkpoints by size; `divergence` names them by size too. */
  proveEquivocation(
    a: SignedCheckpoint,
    b: SignedCheckpoint,
    divergence?: Divergence,
  ): Promise<Move & Slash & { readonly rule: EquivocationRule }>;
  proveBrokenHead(
    checkpoint: SignedCheckpoint,
    heads: readonly HeadProof[],
  ): Promise<Move & Slash & { readonly rule: HeadRule; readonly index: bigint }>;

  register(amount: bigint): Promise<Move>;
  deregister(): Promise<Move>;
  challenge(
    checkpoint: SignedCheckpoint,
    step: HeadProof,
    answer: Digest,
  ): Promise<Move & { readonly challengeId: bigint; readonly votingEnd: bigint }>;
  vote(challengeId: bigint, guilty: boolean): Promise<Move>;
  resolve(
    challengeId: bigint,
  ): Promise<Move & { readonly outcome: ChallengeOutcome; readonly slash: Slash | undefined }>;
};
