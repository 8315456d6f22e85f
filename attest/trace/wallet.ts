/**
 * What a run may spend: the amount that a `wallet.send` counts for, and the book that the policy decides by. The runtime and the
 * verifier keep the same book.
 *
 * W1. A send counts with value + tokens (as the grant converts them) + the whole bound of its fee, from its start on, whatever comes of it.
 * W2. An approval is an earlier `human.approve` of the same guest, answered with yes, whose details are `{"wallet": ARGS}`, ARGS being the
 *     arguments of the send to the letter. It serves one send.
 *
 * Spec: `attest/spec/trace.md#wallets`.
 *
 * @module
 * @see ERC-20
 */

import { fromHex, type Hex, toHex } from '../core/bytes.ts';
import { sha256 } from '../core/hash.ts';
import { canonicalBytes, type Json } from '../encoding/canonical-json.ts';
import { fieldError } from './errors.ts';
import { address, decimal64, decimal256, object, type Shape, type ShapeOf } from './shape.ts';

/** Most bytes of the data of one call. */
export const MAX_CALL_DATA = 4096;

const callData: Shape<Hex> = (value, path, code = 'MALFORMED_BODY') => {
  const isSound = typeof value === 'string' && /^0x(?:[0-9a-f]{2})*$/.test(value);
  if (!isSound || value.length > 2 + 2 * MAX_CALL_DATA) {
    throw fieldError(code, path, `expected at most ${MAX_CALL_DATA} bytes as lower-case 0x hexadecimal`);
  }
  return value as Hex;
};

/** Shape of {@link WalletArgs}. */
export const walletArgs = object({ chain: decimal64, data: callData, to: address, value: decimal256 });

/** Arguments of `wallet.send`: chain id, call data, who is called, wei. */
export type WalletArgs = ShapeOf<typeof walletArgs>;

/** A grant to spend, as far as its limits go. Amounts in wei. */
export type SpendingGrant = {
  readonly approvalAbove: string | null;
  readonly calls: readonly {
    /** Null: any account. */
    readonly contract: Hex | null;
    /** Four bytes each; `0x` for a plain payment. */
    readonly selectors: readonly string[];
    /** What `units` of the token's smallest unit count for; null where the call moves no token. */
    readonly token: { readonly units: string; readonly wei: string } | null;
  }[];
  readonly chain: string;
  readonly fee: string;
  readonly perCall: string;
  readonly perRun: string;
};

/** What the policy sees of a send: `CHAIN TO SELECTOR VALUE UNITS DIGEST`. */
export type WalletTarget = {
  readonly chain: string;
  readonly to: string;
  readonly selector: string;
  readonly value: bigint;
  /** Amount of an ERC-20 transfer or allowance, in the token's smallest unit; else 0. */
  readonly units: bigint;
  /** Of the arguments. */
  readonly digest: string;
};

/** Bytes of call data after the selector at which the amount of an ERC-20 method stands. */
const AMOUNT_AT: Readonly<Record<string, number>> = {
  /** transfer(address,uint256) */
  '0xa9059cbb': 32,
  /** approve(address,uint256) */
  '0x095ea7b3': 32,
  /** increaseAllowance(address,uint256) */
  '0x39509351': 32,
  /** transferFrom(address,address,uint256) */
  '0x23b872dd': 64,
};

/** Digest of the arguments of a send: SHA-256 of their canonical JSON. */
export function hashWalletArgs(args: WalletArgs): Hex {
  return toHex(sha256(canonicalBytes(args as unknown as Json)));
}

/** The target that policy sees. */
export function walletTargetOf(args: WalletArgs): string {
  const { chain, to, data, value } = args;
  return `${chain} ${to} ${selectorOf(data)} ${value} ${unitsOf(data)} ${hashWalletArgs(args)}`;
}

/** Reads a target; undefined where it is none. */
export function parseWalletTarget(target: string): WalletTarget | undefined {
  const [chain = '', to = '', selector = '', value = '', units = '', digest = '', ...rest] = target.split(' ');
  if (digest === '' || rest.length > 0 || !isAmount(value) || !isAmount(units)) return undefined;
  return { chain, to, selector, value: BigInt(value), units: BigInt(units), digest };
}

/** Digest of the send that a person is asked about, by the details of the `human.approve`; undefined where they ask about none. */
export function approvedSend(details: Json | undefined): Hex | undefined {
  if (typeof details !== 'object' || details === null || Array.isArray(details)) return undefined;
  const { wallet, ...rest } = details as { readonly [key: string]: Json };
  if (wallet === undefined || Object.keys(rest).length > 0) return undefined;
  return toHex(sha256(canonicalBytes(wallet)));
}

/**
 * What a send counts for under a grant, in wei; undefined where the grant does not cover the call.
 *
 * A token counts rounded up.
 */
export function amountOf(
  grant: SpendingGrant,
  { chain, to, selector, value, units }: WalletTarget,
): bigint | undefined {
  if (grant.chain !== chain) return undefined;
  const entry = grant.calls.find(
    ({ contract, selectors }) => (contract === null || contract === to) && selectors.includes(selector),
  );
  if (entry === undefined) return undefined;
  return value + BigInt(grant.fee) + (entry.token === null ? 0n : tokenValue(entry.token, units));
}

/** What was spent so far, and what people have approved and nobody has used. */
export class WalletBook {
  /** All that was spent, in wei. */
  spent = 0n;
  /** Whether approvals may have been given that are withheld here. */
  hidden = false;
  readonly #byRule = new Map<string, bigint>();
  readonly #approvals = new Map<string, number>();

  /** What was spent under one rule of the policy, in wei. */
  spentUnder(rule: string): bigint {
    return this.#byRule.get(rule) ?? 0n;
  }

  /** Whether a person has approved this send of this guest, and it was not made yet. */
  isApproved(tool: string | null, digest: string): boolean {
    return (this.#approvals.get(approvalKey(tool, digest)) ?? 0) > 0;
  }

  /** Takes an approval (W2). */
  approve(tool: string | null, digest: string): void {
    const key = approvalKey(tool, digest);
    this.#approvals.set(key, (this.#approvals.get(key) ?? 0) + 1);
  }

  /** Takes a send that was started (W1); `needsApproval` uses an approval up. */
  spend(rule: string, tool: string | null, digest: string, amount: bigint, needsApproval: boolean): void {
    this.spent += amount;
    this.#byRule.set(rule, this.spentUnder(rule) + amount);
    if (!needsApproval) return;
    const key = approvalKey(tool, digest);
    this.#approvals.set(key, (this.#approvals.get(key) ?? 0) - 1);
  }
}

function approvalKey(tool: string | null, digest: string): string {
  return `${tool === null ? 'agent' : `tools.${tool}`} ${digest}`;
}

function tokenValue({ units, wei }: { readonly units: string; readonly wei: string }, amount: bigint): bigint {
  const [per, worth] = [BigInt(units), BigInt(wei)];
  return (amount * worth + per - 1n) / per;
}

function selectorOf(data: string): string {
  return data.length < 10 ? data : data.slice(0, 10);
}

/** The amount of an ERC-20 method; call data that ends early counts as followed by zeros, as contracts read it. */
function unitsOf(data: Hex): bigint {
  const at = AMOUNT_AT[selectorOf(data)];
  if (at === undefined) return 0n;
  const word = new Uint8Array(32);
  word.set(fromHex(data).subarray(4 + at, 4 + at + 32));
  return BigInt(toHex(word));
}

function isAmount(value: string): boolean {
  return /^(?:0|[1-9][0-9]{0,77})$/.test(value);
}
