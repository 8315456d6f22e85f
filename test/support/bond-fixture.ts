/**
 * A bond contract on an embedded chain of the test's own, people with stake, and histories of records to be right or
 * wrong about.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BondAccount, HeadProof } from '../../attest/bond/chain.ts';
import { type DeployTerms, deployBond, deployTestToken, fundSimulated } from '../../attest/bond/deploy.ts';
import { type EmbeddedChain, openEmbeddedChain } from '../../attest/bond/embedded.ts';
import { BondError } from '../../attest/bond/errors.ts';
import { openBondAccount } from '../../attest/bond/ethers-chain.ts';
import { hashRequest, type RequestStruct } from '../../attest/bond/run-id.ts';
import { fromHex, type Hex, toHex } from '../../attest/core/bytes.ts';
import { type Digest, sha256, taggedHash } from '../../attest/core/hash.ts';
import { MerkleTree } from '../../attest/merkle/tree.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import { type Deployment, type SignedCheckpoint, signCheckpoint } from '../../attest/trace/checkpoint.ts';
import { encodeHead, type Head } from '../../attest/trace/head.ts';
import { classOf, type Kind } from '../../attest/trace/kinds.ts';

export const ZERO_ADDRESS: Hex = `0x${'00'.repeat(20)}`;

/** Terms of the contract under test: small round numbers. */
export const TERMS = {
  minimumLock: 100n,
  detectionBps: 5_000n,
  challengeBond: 21n,
  minimumReexecutorStake: 10n,
  quorumBps: 5_000n,
  withdrawDelay: 1_000n,
  challengeWindow: 10_000n,
  votingPeriod: 600n,
  maxDuration: 5_000n,
} as const satisfies Omit<DeployTerms, 'token'>;

export type Person = { readonly key: Uint8Array; readonly address: Hex; readonly account: BondAccount };

export type BondFixture = {
  readonly chain: EmbeddedChain;
  readonly deployment: Deployment;
  readonly salt: Hex;
  readonly token: Hex;
  readonly deployer: Person;
  /** A new person with coins, tokens, and some of them as stake. */
  person(stake?: bigint): Promise<Person>;
  /** Moves the chain's clock on and mines a block there. */
  skip(seconds: bigint): Promise<void>;
  rpc(method: string, params: readonly unknown[]): Promise<unknown>;
  close(): Promise<void>;
};

export async function openBondFixture(): Promise<BondFixture> {
  const dir = mkdtempSync(join(tmpdir(), 'tracebond-bond-'));
  const chain = await openEmbeddedChain({ dir });
  const { rpcUrl } = chain;
  const accounts: BondAccount[] = [];
  const deployerKey = Uint8Array.from(randomBytes(32));
  await fundSimulated(rpcUrl, addressOf(deployerKey), 10n ** 21n);
  const { token } = await deployTestToken(rpcUrl, deployerKey, 10n ** 30n);
  const { contract, salt, chainId } = await deployBond(rpcUrl, deployerKey, { ...TERMS, token });
  const open = async (key: Uint8Array): Promise<Person> => {
    const account = await openBondAccount({ rpcUrl, contract, chainId }, key);
    accounts.push(account);
    return { key, address: addressOf(key), account };
  };
  const deployer = await open(deployerKey);
  const rpc = async (method: string, params: readonly unknown[]): Promise<unknown> => {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
    const response = await fetch(rpcUrl, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    const { result, error } = (await response.json()) as { result?: unknown; error?: { message: string } };
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result;
  };
  return {
    chain,
    deployment: { chainId, contract },
    salt,
    token,
    deployer,
    rpc,
    async person(stake = 0n) {
      const person = await open(Uint8Array.from(randomBytes(32)));
      await fundSimulated(rpcUrl, person.address, 10n ** 18n);
      await deployer.account.transferToken(person.address, 10_000n);
      if (stake > 0n) await person.account.deposit(stake);
      return person;
    },
    async skip(seconds) {
      await rpc('evm_increaseTime', [Number(seconds)]);
      await rpc('evm_mine', []);
    },
    async close() {
      for (const account of accounts) account.close();
      await chain.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** The name of the custom error with which the contract refuses; fails the test for anything else. */
export async function refusalOf(move: Promise<unknown>): Promise<string> {
  const error = await move.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error === undefined) throw new Error('the contract did not refuse');
  if (!(error instanceof BondError) || error.code !== 'CONTRACT_REVERT') throw error;
  return String(error.at['name']);
}

/** A request nobody else makes. */
export function newRequest(caller: Hex = ZERO_ADDRESS, expiry = 2n ** 40n): RequestStruct {
  const digest = () => toHex(randomBytes(32));
  return { agent: digest(), input: digest(), limits: digest(), nonce: digest(), caller, expiry: expiry.toString() };
}

/** Opens a run of a new request, without caller, that lasts 4,000 s. */
export async function openNewRun(
  operator: Person,
  options: { readonly exposure?: bigint; readonly request?: RequestStruct; readonly attempt?: bigint } = {},
): Promise<{ readonly run: Digest; readonly body: Digest; readonly requestDigest: Hex; readonly deadline: bigint }> {
  const body = sha256(randomBytes(8));
  const request = options.request ?? newRequest();
  const deadline = (await operator.account.readTime()) + 4_000n;
  const { run } = await operator.account.openRun({
    request,
    signature: null,
    attempt: options.attempt ?? 0n,
    deadline,
    exposure: options.exposure ?? 0n,
    body,
    codes: [],
  });
  return { run: fromHex(run), body, requestDigest: toHex(hashRequest(request)), deadline };
}

/** Changes one head of a history while it is written; later heads follow from what it became. */
export type Mutation = { readonly index: number; readonly change: (head: Head) => Head | Uint8Array };

/** Records of a run in order, as bytes, with their tree. */
export type History = {
  readonly heads: readonly Uint8Array[];
  readonly leaves: readonly Digest[];
  readonly states: readonly Digest[];
  readonly tree: MerkleTree;
  /** A checkpoint of the first `size` records. */
  sign(key: Uint8Array, deployment: Deployment, size?: number, change?: Partial<SignedCheckpoint>): SignedCheckpoint;
  /** A head in its place under the checkpoint of `size` records. */
  prove(index: number, size?: number): HeadProof;
};

/** run.open, then as many policy and tool records as it takes, the last one run.close if `closed`. */
export function kindsOf(size: number, closed: boolean): Kind[] {
  const cycle: readonly Kind[] = ['agent', 'policy', 'tool.start', 'tool.end'];
  return Array.from({ length: size }, (_, i) => {
    if (i === 0) return 'run.open';
    return closed && i === size - 1 ? 'run.close' : (cycle[(i - 1) % 4] as Kind);
  });
}

/** Writes a history; `seed` makes states and bodies different from those of another one. */
export function writeHistory(
  run: { readonly run: Digest; readonly body: Digest },
  kinds: readonly Kind[],
  seed: string,
  mutation?: Mutation,
): History {
  const heads: Uint8Array[] = [];
  const leaves: Digest[] = [];
  const states: Digest[] = [];
  const of = (text: string) => sha256(new TextEncoder().encode(`${seed}/${text}`));
  kinds.forEach((kind, i) => {
    const head: Head = {
      kind,
      class: classOf(kind),
      index: BigInt(i),
      at: 1_000n + BigInt(i),
      of: BigInt(kind.endsWith('.end') || kind.endsWith('.lost') ? i - 1 : i),
      run: run.run,
      prev: leaves[i - 1] ?? run.run,
      pre: states[i - 1] ?? of('first'),
      post: of(`state ${i}`),
      subject: of('subject'),
      body: i === 0 ? run.body : of(`body ${i}`),
      facts: new Uint8Array(32),
    };
    const changed = mutation?.index === i ? mutation.change(head) : head;
    const bytes = changed instanceof Uint8Array ? changed : encodeHead(changed);
    heads.push(bytes);
    leaves.push(taggedHash('record', bytes));
    states.push(changed instanceof Uint8Array ? head.post : changed.post);
  });
  const tree = MerkleTree.from(leaves);
  return {
    heads,
    leaves,
    states,
    tree,
    sign: (key, deployment, size = kinds.length, change = {}) =>
      signCheckpoint(
        {
          run: run.run,
          size: BigInt(size),
          root: tree.root(size),
          state: states[size - 1] ?? of('first'),
          closed: kinds[size - 1] === 'run.close',
          ...change,
        },
        deployment,
        key,
      ),
    prove: (index, size = kinds.length) => ({
      index: BigInt(index),
      head: heads[index] as Uint8Array,
      path: tree.inclusion(index, size),
    }),
  };
}
