import { randomBytes } from 'node:crypto';
import { Contract, ContractFactory, type InterfaceAbi, JsonRpcProvider, Wallet } from 'ethers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HeadRule } from '../../../../attest/bond/chain.ts';
import { type DeployTerms, deployBond } from '../../../../attest/bond/deploy.ts';
import { computeDivergence, proveSubtree } from '../../../../attest/bond/divergence.ts';
import { openBondAccount } from '../../../../attest/bond/ethers-chain.ts';
import { bondInterface } from '../../../../attest/bond/ethers-provider.ts';
import { computeRunId, hashRequest } from '../../../../attest/bond/run-id.ts';
import { fromHex, type Hex, toHex } from '../../../../attest/core/bytes.ts';
import { type Digest, sha256 } from '../../../../attest/core/hash.ts';
import { MerkleTree } from '../../../../attest/merkle/tree.ts';
import { hashCheckpoint, type SignedCheckpoint, signCheckpoint } from '../../../../attest/trace/checkpoint.ts';
import { encodeHead, type Head } from '../../../../attest/trace/head.ts';
import type { Kind } from '../../../../attest/trace/kinds.ts';
import { signRequest } from '../../../../attest/trace/request.ts';
import {
  type BondFixture,
  kindsOf,
  type Mutation,
  newRequest,
  openBondFixture,
  openNewRun,
  type Person,
  refusalOf as readRefusal,
  TERMS,
  writeHistory,
} from '../../../support/bond-fixture.ts';
import { compileContract } from '../../../support/compile-bond.ts';
import { seededRandom } from '../../../support/random.ts';

/** Refusals that a test of this file has seen; the last test holds them against the ABI. */
const seen = new Set<string>();
const refusalOf = async (move: Promise<unknown>): Promise<string> => {
  const name = await readRefusal(move);
  seen.add(name);
  return name;
};

const DEAD: Hex = '0x000000000000000000000000000000000000dead';
const digest = (): Digest => Uint8Array.from(randomBytes(32));
let fixture: BondFixture;
let operator: Person;
let challenger: Person;

beforeAll(async () => {
  fixture = await openBondFixture();
  operator = await fixture.person(9_000n);
  challenger = await fixture.person();
});
afterAll(() => fixture.close());

const sign = (history: ReturnType<typeof writeHistory>, size?: number, change?: Partial<SignedCheckpoint>) =>
  history.sign(operator.key, fixture.deployment, size, change);

describe('deployment', () => {
  it.each([
    ['salt', { salt: `0x${'00'.repeat(32)}` }],
    ['token', { token: '0x00000000000000000000000000000000000000ff' }],
    ['minimumLock', { minimumLock: 0n }],
    ['minimumLock', { minimumLock: 2n ** 128n }],
    ['challengeWindow', { challengeWindow: 0n }],
    ['maxDuration', { maxDuration: 0n }],
    ['detectionBps', { detectionBps: 0n }],
    ['detectionBps', { detectionBps: 10_001n }],
    ['challengeBond', { challengeBond: 0n }],
    ['minimumReexecutorStake', { minimumReexecutorStake: 0n }],
    ['quorumBps', { quorumBps: 10_001n }],
    ['votingPeriod', { votingPeriod: 0n }],
  ] as const)('refuses a wrong %s', async (name, change) => {
    const terms = { ...TERMS, token: fixture.token, ...change } as DeployTerms;
    const error = await deployBond(fixture.chain.rpcUrl, fixture.deployer.key, terms).catch((reason) => reason);
    expect(error.at).toMatchObject({ name: 'BadParameter', 'args.name': name });
    seen.add('BadParameter');
  });

  it('keeps its terms', async () => {
    expect(await operator.account.readTerms()).toEqual({ ...TERMS, token: fixture.token, salt: fixture.salt });
  });
});

describe('stake', () => {
  it('is deposited, requested and withdrawn after the delay', async () => {
    const person = await fixture.person(700n);
    await person.account.requestWithdraw(300n);
    const leaving = await person.account.readOperator(person.address);
    expect(leaving).toMatchObject({ bonded: true, stake: 400n, locked: 0n, leaving: 300n });
    expect(leaving.leavingAt).toBe((await person.account.readTime()) + TERMS.withdrawDelay);
    expect(await refusalOf(person.account.withdraw())).toBe('WithdrawTooEarly');
    await fixture.skip(TERMS.withdrawDelay);
    await person.account.withdraw();
    expect(await person.account.readBalances(person.address)).toMatchObject({ token: 9_600n, stake: 400n });
    expect(await refusalOf(person.account.withdraw())).toBe('NothingLeaving');
  });

  it('does not leave while runs are open, nor while their windows are, nor backs anything while it leaves', async () => {
    const person = await fixture.person(250n);
    const { run, body } = await openNewRun(person);
    await openNewRun(person);
    expect(await refusalOf(person.account.requestWithdraw(51n))).toBe('StakeLocked');
    await person.account.requestWithdraw(50n);
    await person.account.deposit(99n);
    expect(await refusalOf(openNewRun(person))).toBe('ExposureTooHigh');
    const history = writeHistory({ run, body }, kindsOf(3, true), 'a');
    await person.account.closeRun(history.sign(person.key, fixture.deployment));
    expect(await refusalOf(person.account.requestWithdraw(100n))).toBe('StakeLocked');
    expect(await refusalOf(person.account.settle(toHex(run)))).toBe('WindowOpen');
    await fixture.skip(TERMS.challengeWindow + 1n);
    await person.account.settle(toHex(run));
    expect(await person.account.readRun(toHex(run))).toMatchObject({ status: 'settled' });
    await person.account.requestWithdraw(199n);
    expect(await person.account.readOperator(person.address)).toMatchObject({ stake: 100n, locked: 100n });
  });

  it('refuses nothing, and what is not there', async () => {
    expect(await refusalOf(operator.account.deposit(0n))).toBe('ZeroAmount');
    expect(await refusalOf(operator.account.requestWithdraw(0n))).toBe('ZeroAmount');
    expect(await refusalOf(operator.account.collect())).toBe('NothingToCollect');
    expect(await refusalOf(challenger.account.deposit(10n ** 20n))).toBe('ERC20InsufficientBalance');
  });

  it('refuses a token that takes a fee', async () => {
    const { abi, bytecode } = compileContract(
      'FeeToken',
      `// SPDX-License-Identifier: Apache-2.0
       pragma solidity 0.8.37;
       import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
       contract FeeToken is ERC20 {
         constructor() ERC20("Fee", "FEE") { _mint(msg.sender, 1000); }
         function _update(address from, address to, uint256 amount) internal override {
           if (from != address(0)) { super._update(from, address(1), 1); amount -= 1; }
           super._update(from, to, amount);
         }
       }`,
    );
    const provider = new JsonRpcProvider(fixture.chain.rpcUrl, Number(fixture.chain.chainId), { staticNetwork: true });
    const wallet = new Wallet(toHex(fixture.deployer.key), provider);
    const deployed = await new ContractFactory(abi as InterfaceAbi, bytecode, wallet).deploy();
    const token = (await deployed.getAddress()).toLowerCase() as Hex;
    provider.destroy();
    const { contract } = await deployBond(fixture.chain.rpcUrl, fixture.deployer.key, { ...TERMS, token });
    const account = await openBondAccount({ rpcUrl: fixture.chain.rpcUrl, contract }, fixture.deployer.key);
    expect(await refusalOf(account.deposit(100n))).toBe('TransferMismatch');
    account.close();
  });
});

describe('openRun', () => {
  const opening = async (change: object = {}) => ({
    request: newRequest(),
    signature: null,
    attempt: 0n,
    deadline: (await operator.account.readTime()) + 1_000n,
    exposure: 0n,
    body: digest(),
    codes: [],
    ...change,
  });

  it('gives the run id that TypeScript computes, for a signed request and one of its own', async () => {
    const caller = await fixture.person();
    for (const isSigned of [true, false]) {
      const request = newRequest(isSigned ? caller.address : undefined);
      const signature = isSigned ? signRequest(request, fixture.deployment, caller.key) : null;
      const { run } = await operator.account.openRun(await opening({ request, signature }));
      const expected = computeRunId({
        ...fixture.deployment,
        salt: fromHex(fixture.salt),
        operator: operator.address,
        requestDigest: hashRequest(request),
        attempt: 0n,
      });
      expect(run).toBe(toHex(expected));
    }
  });

  it('computes run ids, request digests and checkpoint digests as TypeScript does, on random values', async () => {
    const provider = new JsonRpcProvider(fixture.chain.rpcUrl, Number(fixture.chain.chainId), { staticNetwork: true });
    const bond = new Contract(fixture.deployment.contract, bondInterface, provider);
    const random = seededRandom(712);
    for (let i = 0; i < 20; i++) {
      const requestDigest = random.bytes(32);
      const address = toHex(random.bytes(20));
      const attempt = BigInt(toHex(random.bytes(8)));
      const salt = fromHex(fixture.salt);
      expect(await bond.getFunction('computeRunId').staticCall(address, requestDigest, attempt)).toBe(
        toHex(computeRunId({ ...fixture.deployment, salt, operator: address, requestDigest, attempt })),
      );
      const request = { ...newRequest(address), expiry: attempt.toString() };
      expect(await bond.getFunction('hashRequest').staticCall(request)).toBe(toHex(hashRequest(request)));
      const checkpoint = {
        run: random.bytes(32),
        size: attempt,
        root: random.bytes(32),
        state: random.bytes(32),
        closed: random.chance(50),
      };
      expect(await bond.getFunction('hashCheckpoint').staticCall(checkpoint)).toBe(
        toHex(hashCheckpoint(checkpoint, fixture.deployment)),
      );
    }
    provider.destroy();
  });

  it('records what it was given', async () => {
    const { run, body, requestDigest, deadline } = await openNewRun(operator, { exposure: 40n });
    const entry = await operator.account.readRun(toHex(run));
    expect(entry).toMatchObject({ operator: operator.address, requestDigest, attempt: 0n, status: 'open', deadline });
    expect(entry).toMatchObject({
      windowEnd: undefined,
      exposure: 40n,
      lock: 160n,
      body: toHex(body),
      openChallenges: 0,
    });
    expect(entry?.checkpoint).toBeUndefined();
    expect(await operator.account.readRun(toHex(digest()))).toBeUndefined();
    expect(await operator.account.readAttempts(requestDigest)).toEqual({ next: 1n, last: toHex(run) });
  });

  it('takes only a request that its caller signed', async () => {
    const caller = await fixture.person();
    const request = newRequest(caller.address);
    const signature = signRequest(request, fixture.deployment, caller.key);
    const refuse = async (change: object) => refusalOf(operator.account.openRun(await opening({ request, ...change })));
    expect(await refuse({ signature: null })).toBe('CallerSignatureInvalid');
    expect(await refuse({ signature: signRequest(request, fixture.deployment, operator.key) })).toBe(
      'CallerSignatureInvalid',
    );
    expect(await refuse({ signature: signature.map((byte, i) => (i === 5 ? byte ^ 1 : byte)) })).toBe(
      'CallerSignatureInvalid',
    );
    expect(await refuse({ signature: highS(signature) })).toBe('CallerSignatureInvalid');
    expect(await refuse({ signature, request: { ...request, input: request.agent } })).toBe('CallerSignatureInvalid');
    expect(await refuse({ signature, request: newRequest() })).toBe('CallerSignatureInvalid');
    const elsewhere = { ...fixture.deployment, chainId: 1n };
    expect(await refuse({ signature: signRequest(request, elsewhere, caller.key) })).toBe('CallerSignatureInvalid');
    await operator.account.openRun(await opening({ request, signature }));
  });

  it('counts the attempts of a request, one at a time', async () => {
    const request = newRequest();
    expect(await refusalOf(openNewRun(operator, { request, attempt: 1n }))).toBe('WrongAttempt');
    const first = await openNewRun(operator, { request });
    expect(await refusalOf(openNewRun(operator, { request }))).toBe('WrongAttempt');
    expect(await refusalOf(openNewRun(operator, { request, attempt: 1n }))).toBe('PreviousAttemptOpen');
    await operator.account.closeRun(sign(writeHistory(first, kindsOf(2, true), 'a')));
    const second = await openNewRun(operator, { request, attempt: 1n });
    expect(second.run).not.toEqual(first.run);
    await fixture.skip(4_001n);
    expect(await refusalOf(openNewRun(operator, { request, attempt: 2n }))).toBe('PreviousAttemptOpen');
    await operator.account.expire(toHex(second.run));
    await openNewRun(operator, { request, attempt: 2n });
  });

  it('holds the sum of exposures against the stake: exposure <= detection * burned share * stake', async () => {
    const person = await fixture.person(1_000n);
    // 0.5 * 0.5 * 1,000 = 250.
    expect(await refusalOf(openNewRun(person, { exposure: 251n }))).toBe('ExposureTooHigh');
    await openNewRun(person, { exposure: 150n });
    expect(await refusalOf(openNewRun(person, { exposure: 101n }))).toBe('ExposureTooHigh');
    await openNewRun(person, { exposure: 100n });
    expect(await person.account.readOperator(person.address)).toMatchObject({ locked: 1_000n, exposure: 250n });
    expect(await refusalOf(openNewRun(person))).toBe('ExposureTooHigh');
    expect(await refusalOf(openNewRun(challenger))).toBe('ExposureTooHigh');
  });

  it('refuses times, bodies and codes that it cannot take', async () => {
    const refuse = async (change: object) => refusalOf(operator.account.openRun(await opening(change)));
    const now = await operator.account.readTime();
    expect(await refuse({ request: newRequest(undefined, now - 1n) })).toBe('RequestExpired');
    expect(await refuse({ deadline: now })).toBe('DeadlineOutOfRange');
    expect(await refuse({ deadline: now + TERMS.maxDuration + 60n })).toBe('DeadlineOutOfRange');
    expect(await refuse({ body: new Uint8Array(32) })).toBe('BadParameter');
    const code = digest();
    expect(await refuse({ codes: [code] })).toBe('CodeUnknown');
    expect(await refuse({ codes: Array.from({ length: 97 }, () => code) })).toBe('TooManyCodes');
    expect(await refusalOf(challenger.account.registerCode(code, 'x'.repeat(1025)))).toBe('LocatorTooLong');
    await challenger.account.registerCode(code, 'https://example.org/agent.js');
    await operator.account.openRun(await opening({ codes: [code] }));
  });
});

describe('checkpoint, closeRun, expire, settle', () => {
  it('store what the operator signed, newer each time, until the run is closed', async () => {
    const run = await openNewRun(operator);
    const history = writeHistory(run, kindsOf(6, true), 'a');
    await challenger.account.checkpoint(sign(history, 3));
    expect((await operator.account.readRun(toHex(run.run)))?.checkpoint).toEqual({
      size: 3n,
      root: toHex(history.tree.root(3)),
      state: toHex(history.states[2] as Digest),
    });
    expect(await refusalOf(operator.account.checkpoint(sign(history, 3)))).toBe('CheckpointNotNewer');
    expect(await refusalOf(operator.account.checkpoint(sign(history, 2)))).toBe('CheckpointNotNewer');
    expect(await refusalOf(operator.account.checkpoint(sign(history, 6)))).toBe('CheckpointClosed');
    expect(await refusalOf(operator.account.closeRun(sign(history, 5)))).toBe('CheckpointNotClosed');
    const foreign = history.sign(challenger.key, fixture.deployment, 5);
    expect(await refusalOf(operator.account.checkpoint(foreign))).toBe('CheckpointNotByOperator');
    const good = sign(history, 5);
    expect(await refusalOf(operator.account.checkpoint({ ...good, signature: highS(good.signature) }))).toBe(
      'CheckpointSignatureMalformed',
    );
    expect(await refusalOf(operator.account.checkpoint({ ...good, signature: good.signature.slice(1) }))).toBe(
      'CheckpointSignatureMalformed',
    );
    expect(await refusalOf(operator.account.settle(toHex(run.run)))).toBe('RunStillOpen');
    await operator.account.closeRun(sign(history));
    const entry = await operator.account.readRun(toHex(run.run));
    expect(entry?.status).toBe('closed');
    expect(entry?.windowEnd).toBe((await operator.account.readTime()) + TERMS.challengeWindow);
    expect(await refusalOf(operator.account.closeRun(sign(history)))).toBe('RunNotOpen');
    expect(await refusalOf(operator.account.checkpoint(good))).toBe('RunNotOpen');
    expect(await refusalOf(operator.account.expire(toHex(run.run)))).toBe('RunNotOpen');
  });

  it('abandon a run past its deadline, which still has its window', async () => {
    const run = await openNewRun(operator);
    const history = writeHistory(run, kindsOf(4, true), 'a');
    expect(await refusalOf(challenger.account.expire(toHex(run.run)))).toBe('DeadlineAhead');
    await fixture.skip(4_001n);
    expect(await refusalOf(operator.account.closeRun(sign(history)))).toBe('DeadlinePassed');
    await challenger.account.expire(toHex(run.run));
    expect((await operator.account.readRun(toHex(run.run)))?.status).toBe('abandoned');
    expect(await refusalOf(operator.account.settle(toHex(run.run)))).toBe('WindowOpen');
    await fixture.skip(TERMS.challengeWindow + 1n);
    expect(await refusalOf(challenger.account.proveBrokenHead(sign(history), [history.prove(0)]))).toBe('WindowOver');
    await challenger.account.settle(toHex(run.run));
    expect(await refusalOf(challenger.account.settle(toHex(run.run)))).toBe('RunOver');
    expect(await refusalOf(challenger.account.proveBrokenHead(sign(history), [history.prove(0)]))).toBe('RunOver');
  });

  it('know only runs that were opened', async () => {
    const unknown = { run: digest(), body: digest() };
    const checkpoint = sign(writeHistory(unknown, kindsOf(3, false), 'a'));
    expect(await refusalOf(operator.account.checkpoint(checkpoint))).toBe('RunUnknown');
    expect(await refusalOf(operator.account.expire(toHex(unknown.run)))).toBe('RunUnknown');
    expect(await refusalOf(operator.account.settle(toHex(unknown.run)))).toBe('RunUnknown');
    expect(await refusalOf(operator.account.proveEquivocation(checkpoint, checkpoint))).toBe('RunUnknown');
  });
});

describe('proveEquivocation', () => {
  /** Expects a slash of a lock of `lock`: half of it (rounded up) burned, the rest credited. */
  const expectSlash = async (
    proof: () => Promise<{ burned: bigint; paid: bigint; rule: string }>,
    rule: string,
    lock: bigint,
  ) => {
    const reader = challenger.account;
    const [before, dead, own] = [
      await reader.readOperator(operator.address),
      await reader.readBalances(DEAD),
      await reader.readBalances(challenger.address),
    ];
    const slash = await proof();
    expect(slash).toMatchObject({ rule, burned: (lock + 1n) / 2n, paid: lock / 2n, operator: operator.address });
    const after = await reader.readOperator(operator.address);
    expect([before.stake - after.stake, before.locked - after.locked]).toEqual([lock, lock]);
    expect((await reader.readBalances(DEAD)).token - dead.token).toBe((lock + 1n) / 2n);
    expect((await reader.readBalances(challenger.address)).credit - own.credit).toBe(lock / 2n);
  };

  it('slashes two checkpoints of one size, whichever field differs', async () => {
    for (const change of [{ root: digest() }, { state: digest() }, { closed: true }]) {
      const run = await openNewRun(operator);
      const history = writeHistory(run, kindsOf(5, false), 'a');
      await expectSlash(
        () => challenger.account.proveEquivocation(sign(history), sign(history, 5, change)),
        'same-size',
        100n,
      );
      expect((await operator.account.readRun(toHex(run.run)))?.status).toBe('slashed');
      expect(await refusalOf(challenger.account.proveEquivocation(sign(history), sign(history, 5, change)))).toBe(
        'RunOver',
      );
    }
    const before = await challenger.account.readBalances(challenger.address);
    await challenger.account.collect();
    expect(await challenger.account.readBalances(challenger.address)).toMatchObject({
      token: before.token + 150n,
      credit: 0n,
    });
  });

  it('slashes any size beyond a closed one, by the lock of the exposure', async () => {
    const run = await openNewRun(operator, { exposure: 33n });
    const history = writeHistory(run, kindsOf(9, false), 'a');
    const closed = sign(history, 4, { closed: true });
    await expectSlash(() => challenger.account.proveEquivocation(sign(history, 9), closed), 'beyond-closed', 132n);
  });

  it('slashes two histories at the leaf where they part', async () => {
    const run = await openNewRun(operator);
    const a = writeHistory(run, kindsOf(7, false), 'a');
    const b = writeHistory(run, kindsOf(11, false), 'b');
    const divergence = computeDivergence(b.leaves, a.leaves);
    await expectSlash(() => challenger.account.proveEquivocation(sign(b), sign(a), divergence), 'divergent', 100n);
  });

  it('refuses what is no contradiction', async () => {
    const run = await openNewRun(operator);
    const other = await openNewRun(operator);
    const history = writeHistory(run, kindsOf(8, true), 'a');
    const prove = (a: SignedCheckpoint, b: SignedCheckpoint, divergence?: ReturnType<typeof computeDivergence>) =>
      refusalOf(challenger.account.proveEquivocation(a, b, divergence));
    expect(await prove(sign(history), sign(history))).toBe('NotContradicting');
    expect(await prove(sign(history, 3), sign(history, 8))).toBe('NotContradicting');
    expect(await prove(sign(history), sign(writeHistory(other, kindsOf(8, true), 'b')))).toBe('RunsDiffer');
    const foreign = history.sign(challenger.key, fixture.deployment, 8, { state: digest() });
    expect(await prove(sign(history), foreign)).toBe('CheckpointNotByOperator');
    const torn = { ...sign(history, 8, { state: digest() }), signature: new Uint8Array(65) };
    expect(await prove(sign(history), torn)).toBe('CheckpointSignatureMalformed');
    const lie = writeHistory(run, kindsOf(8, true), 'b');
    const divergence = computeDivergence(history.leaves.slice(0, 5), lie.leaves);
    if (divergence === undefined) throw new Error('the histories do not part');
    const pair = [sign(history, 5), sign(lie, 8)] as const;
    expect(await prove(...pair, { ...divergence, shorterPath: divergence.shorterPath.slice(1) })).toBe('ProofInvalid');
    expect(await prove(...pair, { ...divergence, longerPath: divergence.shorterPath })).toBe('ProofInvalid');
    expect(await prove(...pair, { ...divergence, index: 1n })).toBe('ProofInvalid');
    expect(await prove(...pair, { ...divergence, level: 200 })).toBe('ProofInvalid');
    expect(await prove(...pair, { ...divergence, longerNode: digest() })).toBe('ProofInvalid');
    // A subtree that the shorter history does not fill yet is no contradiction, whatever stands there later.
    const partial = proveSubtree(lie.leaves, 2, 1);
    const top = history.tree.inclusion(4, 5).slice(0);
    expect(
      await prove(...pair, {
        level: 2,
        index: 1n,
        shorterNode: history.leaves[4] as Digest,
        shorterPath: top,
        longerNode: partial.node,
        longerPath: partial.path,
      }),
    ).toBe('ProofInvalid');
    const empty = (checkpoint: SignedCheckpoint) => ({
      checkpoint: { ...checkpoint, signature: undefined },
      signature: toHex(checkpoint.signature),
    });
    const zero = new Uint8Array(32);
    const none = { level: 0, index: 0n, shorterNode: zero, shorterPath: [], longerNode: zero, longerPath: [] };
    expect(await callRefusal('proveEquivocation', [empty(sign(history, 6)), empty(sign(history, 4)), none])).toBe(
      'CheckpointsNotOrdered',
    );
    expect((await operator.account.readRun(toHex(run.run)))?.status).toBe('open');
  });

  it('never slashes an honest pair and always a forked one: all pairs of sizes up to 24, every aligned subtree', async () => {
    const run = await openNewRun(operator);
    const random = seededRandom(24);
    const leaves = Array.from({ length: 24 }, () => random.bytes(32));
    const checkpointOf = (list: readonly Digest[]) =>
      signCheckpoint(
        { run: run.run, size: BigInt(list.length), root: MerkleTree.from(list).root(), state: sha256(), closed: false },
        fixture.deployment,
        operator.key,
      );
    const cast = (a: SignedCheckpoint, b: SignedCheckpoint, level: number, index: number, x: Digest[], y: Digest[]) => {
      const [left, right] = [proveSubtree(x, level, index), proveSubtree(y, level, index)];
      const { signature: s, ...shorter } = a;
      const { signature: t, ...longer } = b;
      return callOutcome('proveEquivocation', [
        { checkpoint: shorter, signature: toHex(s) },
        { checkpoint: longer, signature: toHex(t) },
        {
          level,
          index,
          shorterNode: left.node,
          shorterPath: left.path,
          longerNode: right.node,
          longerPath: right.path,
        },
      ]);
    };
    const outcomes: Promise<void>[] = [];
    for (let size = 1; size < 24; size++) {
      const shorter = leaves.slice(0, size);
      const a = checkpointOf(shorter);
      for (let more = size + 1; more <= 24; more++) {
        const longer = leaves.slice(0, more);
        const fork = random.below(size);
        const forked = longer.map((leaf, i) => (i >= fork ? sha256(leaf) : leaf));
        const level = random.below(Math.floor(Math.log2(size)) + 1);
        const index = random.below(Math.floor(size / 2 ** level));
        const isForked = (index + 1) * 2 ** level > fork;
        outcomes.push(
          cast(a, checkpointOf(longer), level, index, shorter, longer).then((outcome) =>
            expect(outcome, `${size} ${more} ${level} ${index}`).toBe('NotContradicting'),
          ),
          cast(a, checkpointOf(forked), level, index, shorter, forked).then((outcome) =>
            expect(outcome, `${size} ${more} ${level} ${index} from ${fork}`).toBe(
              isForked ? 'slashed' : 'NotContradicting',
            ),
          ),
        );
      }
      await Promise.all(outcomes.splice(0));
    }
  });
});

describe('proveBrokenHead', () => {
  const kinds: readonly Kind[] = ['run.open', 'agent', 'policy', 'host.start', 'host.end', 'tool.start', 'tool.lost'];
  const broken: readonly (readonly [HeadRule, string, number, Mutation['change']])[] = [
    ['layout', 'version', 2, (head) => withByte(head, 0, 2)],
    ['layout', 'kind that does not exist', 2, (head) => withByte(head, 1, 5)],
    ['layout', 'kind between two groups', 2, (head) => withByte(head, 1, 19)],
    ['layout', 'flags', 2, (head) => withByte(head, 3, 1)],
    ['layout', 'too short', 2, (head) => encodeHead(head).slice(1)],
    ['layout', 'too long', 2, (head) => Uint8Array.from([...encodeHead(head), 0])],
    ['layout', 'empty', 2, () => new Uint8Array(0)],
    ['run', 'another run', 2, (head) => ({ ...head, run: digest() })],
    ['index', 'not its position', 3, (head) => ({ ...head, index: 4n, of: 4n })],
    ['of', 'start that completes another', 3, (head) => ({ ...head, of: 1n })],
    ['of', 'end that completes itself', 4, (head) => ({ ...head, of: 4n })],
    ['of', 'lost that completes a later record', 6, (head) => ({ ...head, of: 9n })],
    ['class', 'attested start', 3, (head) => ({ ...head, class: 'attested' })],
    ['class', 'opaque tool step', 5, (head) => ({ ...head, class: 'opaque' })],
    ['class', 'recomputable lost', 6, (head) => ({ ...head, class: 'recomputable' })],
    ['class', 'class that does not exist', 4, (head) => withByte(head, 2, 3)],
    ['open', 'begins with another kind', 0, (head) => ({ ...head, kind: 'agent' })],
    ['open', 'is opened twice', 2, (head) => ({ ...head, kind: 'run.open' })],
    ['first-prev', 'first prev is not the run id', 0, (head) => ({ ...head, prev: digest() })],
    ['open-body', 'body is not the one given to openRun', 0, (head) => ({ ...head, body: digest() })],
    ['closed', 'run.close in the middle', 2, (head) => ({ ...head, kind: 'run.close' })],
  ];

  it.each(broken)('slashes %s: %s', async (rule, _, index, change) => {
    const run = await openNewRun(operator);
    const history = writeHistory(run, kinds, 'a', { index, change });
    const proved = await challenger.account.proveBrokenHead(sign(history), [history.prove(index)]);
    expect(proved).toMatchObject({ rule, index: BigInt(index), burned: 50n, paid: 50n, operator: operator.address });
    expect((await operator.account.readRun(toHex(run.run)))?.status).toBe('slashed');
  });

  it.each([
    ['closed', 'closed without run.close', false, { closed: true }],
    ['closed', 'run.close under an open checkpoint', true, { closed: false }],
    ['state', 'state that is not the last post', false, { state: sha256() }],
  ] as const)('slashes %s: %s', async (rule, _, isClosed, change) => {
    const run = await openNewRun(operator);
    const history = writeHistory(run, kindsOf(6, isClosed), 'a');
    const proved = await challenger.account.proveBrokenHead(sign(history, 6, change), [history.prove(5)]);
    expect(proved).toMatchObject({ rule, index: 5n });
  });

  it.each([
    ['prev', (head: Head) => ({ ...head, prev: digest() })],
    ['pre', (head: Head) => ({ ...head, pre: digest() })],
  ] as const)('slashes %s that does not follow from the record before', async (rule, change) => {
    const run = await openNewRun(operator);
    const history = writeHistory(run, kinds, 'a', { index: 4, change });
    const prove = (...heads: number[]) =>
      challenger.account.proveBrokenHead(
        sign(history),
        heads.map((index) => history.prove(index)),
      );
    expect(await refusalOf(prove(4))).toBe('HeadsSound');
    expect(await refusalOf(prove(2, 3))).toBe('HeadsSound');
    expect(await prove(3, 4)).toMatchObject({ rule, index: 4n });
  });

  it('refuses every head and pair of honest histories of every length up to 9', async () => {
    const run = await openNewRun(operator);
    const history = writeHistory(run, kindsOf(9, true), 'a');
    for (let size = 1; size <= 9; size++) {
      const { signature, ...checkpoint } = sign(history, size);
      const signed = { checkpoint, signature: toHex(signature) };
      for (let i = 0; i < size; i++) {
        const pair = [history.prove(i, size), ...(i + 1 < size ? [history.prove(i + 1, size)] : [])];
        expect(await callOutcome('proveBrokenHead', [signed, pair])).toBe('HeadsSound');
        expect(await callOutcome('proveBrokenHead', [signed, pair.slice(0, 1)])).toBe('HeadsSound');
      }
    }
    seen.add('HeadsSound');
  });

  it('refuses proofs of nothing', async () => {
    const run = await openNewRun(operator);
    const history = writeHistory(run, kinds, 'a', { index: 2, change: (head) => ({ ...head, run: digest() }) });
    const prove = (...heads: { index: bigint; head: Uint8Array; path: readonly Digest[] }[]) =>
      refusalOf(challenger.account.proveBrokenHead(sign(history), heads));
    expect(await prove()).toBe('BadParameter');
    expect(await prove(history.prove(1), history.prove(2), history.prove(3))).toBe('BadParameter');
    expect(await prove(history.prove(2), history.prove(1))).toBe('HeadsNotAdjacent');
    expect(await prove(history.prove(2), history.prove(4))).toBe('HeadsNotAdjacent');
    expect(await prove(history.prove(2), history.prove(0))).toBe('HeadsNotAdjacent');
    const good = history.prove(2);
    expect(await prove({ ...good, index: 3n })).toBe('ProofInvalid');
    expect(await prove({ ...good, index: 99n })).toBe('ProofInvalid');
    expect(await prove({ ...good, path: [...good.path, digest()] })).toBe('ProofInvalid');
    expect(await prove({ ...good, head: good.head.slice(1) })).toBe('ProofInvalid');
    const foreign = history.sign(challenger.key, fixture.deployment);
    expect(await refusalOf(challenger.account.proveBrokenHead(foreign, [good]))).toBe('CheckpointNotByOperator');
  });
});

describe('the vote', () => {
  let voters: Person[];
  const STAKES = [40n, 30n, 20n, 10n];

  beforeAll(async () => {
    voters = [];
    for (const stake of STAKES) {
      const voter = await fixture.person();
      await voter.account.register(stake);
      voters.push(voter);
    }
  });

  const openChallenge = async (size = 6, index = 4) => {
    const run = await openNewRun(operator);
    const history = writeHistory(run, kindsOf(size, false), 'a');
    const opened = await challenger.account.challenge(sign(history), history.prove(index), digest());
    return { ...opened, run, history };
  };
  const castVotes = async (challengeId: bigint, votes: readonly (boolean | null)[]) => {
    for (const [i, guilty] of votes.entries())
      if (guilty !== null) await (voters[i] as Person).account.vote(challengeId, guilty);
    await fixture.skip(TERMS.votingPeriod + 1n);
  };

  it('slashes a step that a majority with a quorum finds false', async () => {
    const before = await challenger.account.readBalances(challenger.address);
    const { challengeId, run, history, votingEnd } = await openChallenge();
    expect(await challenger.account.readChallenge(challengeId)).toMatchObject({
      run: toHex(run.run),
      challenger: challenger.address,
      outcome: 'open',
      index: 4n,
      bond: 21n,
      eligible: 100n,
      votingEnd,
      recorded: toHex((history.heads[4] as Uint8Array).slice(188, 220)),
    });
    await castVotes(challengeId, [true, false, null, null]);
    const resolved = await voters[0]?.account.resolve(challengeId);
    expect(resolved).toMatchObject({
      outcome: 'guilty',
      slash: { burned: 50n, paid: 50n, winner: challenger.address },
    });
    const after = await challenger.account.readBalances(challenger.address);
    expect([after.token - before.token, after.credit - before.credit]).toEqual([-21n, 71n]);
    expect((await operator.account.readRun(toHex(run.run)))?.status).toBe('slashed');
    expect(await refusalOf(challenger.account.resolve(challengeId))).toBe('ChallengeResolved');
    expect(await refusalOf((voters[1] as Person).account.vote(challengeId, true))).toBe('ChallengeResolved');
  });

  it('takes the bond of a challenger who was wrong: half burned, half to the operator', async () => {
    const dead = await challenger.account.readBalances(DEAD);
    const before = await challenger.account.readBalances(operator.address);
    const { challengeId, run } = await openChallenge();
    await castVotes(challengeId, [false, true, null, null]);
    expect(await operator.account.resolve(challengeId)).toMatchObject({ outcome: 'not-guilty', slash: undefined });
    expect((await challenger.account.readBalances(DEAD)).token - dead.token).toBe(11n);
    expect((await challenger.account.readBalances(operator.address)).credit - before.credit).toBe(10n);
    expect(await operator.account.readRun(toHex(run.run))).toMatchObject({
      status: 'open',
      openChallenges: 0,
      lock: 100n,
    });
  });

  it.each([
    ['without a quorum', [null, true, null, true]],
    ['without votes', []],
    ['in a tie', [true, false, null, false]],
  ] as const)('gives the bond back %s', async (_, votes) => {
    const before = await challenger.account.readBalances(challenger.address);
    const { challengeId, run } = await openChallenge();
    await castVotes(challengeId, votes);
    expect(await challenger.account.resolve(challengeId)).toMatchObject({ outcome: 'undecided' });
    expect((await challenger.account.readBalances(challenger.address)).credit - before.credit).toBe(21n);
    expect((await operator.account.readRun(toHex(run.run)))?.status).toBe('open');
  });

  it('lets neither party vote, nobody twice, nobody without weight, nobody late', async () => {
    await operator.account.register(1_000n);
    await challenger.account.register(1_000n);
    const { challengeId } = await openChallenge();
    // Weight of the parties is not part of the quorum either.
    expect((await challenger.account.readChallenge(challengeId)).eligible).toBe(100n);
    expect(await refusalOf(operator.account.vote(challengeId, false))).toBe('PartyCannotVote');
    expect(await refusalOf(challenger.account.vote(challengeId, true))).toBe('PartyCannotVote');
    const late = await fixture.person();
    await late.account.register(10_000n);
    expect(await refusalOf(late.account.vote(challengeId, true))).toBe('NoWeight');
    expect(await refusalOf(fixture.deployer.account.vote(challengeId, true))).toBe('NoWeight');
    const [first] = voters as [Person];
    await first.account.vote(challengeId, true);
    expect(await refusalOf(first.account.vote(challengeId, false))).toBe('AlreadyVoted');
    expect(await refusalOf(first.account.resolve(challengeId))).toBe('VotingOpen');
    expect(await refusalOf(first.account.deregister())).toBe('StakeVoting');
    await fixture.skip(TERMS.votingPeriod + 1n);
    expect(await refusalOf((voters[1] as Person).account.vote(challengeId, true))).toBe('VotingOver');
    expect(await refusalOf(first.account.vote(99_999n, true))).toBe('ChallengeUnknown');
    expect(await refusalOf(first.account.readChallenge(99_999n))).toBe('ChallengeUnknown');
    await late.account.deregister();
    expect(await refusalOf(late.account.deregister())).toBe('NotRegistered');
    expect((await late.account.readBalances(late.address)).token).toBe(10_000n);
    await operator.account.deregister();
    await challenger.account.deregister();
  });

  it('counts no more stake than is still there', async () => {
    const leaver = await fixture.person();
    expect(await refusalOf(leaver.account.register(9n))).toBe('StakeTooSmall');
    expect(await refusalOf(leaver.account.register(0n))).toBe('ZeroAmount');
    await leaver.account.register(500n);
    const { challengeId } = await openChallenge();
    await leaver.account.deregister();
    expect(await refusalOf(leaver.account.vote(challengeId, false))).toBe('NoWeight');
    await leaver.account.register(15n);
    await leaver.account.vote(challengeId, false);
    expect((await leaver.account.readChallenge(challengeId)).notGuilty).toBe(15n);
    await fixture.skip(TERMS.votingPeriod + 1n);
    await leaver.account.deregister();
  });

  it('keeps the stake locked until it is resolved, and ends when the run is slashed for something else', async () => {
    const { challengeId, run, history } = await openChallenge();
    const closed = writeHistory(run, kindsOf(6, true), 'a');
    await operator.account.closeRun(sign(closed));
    await fixture.skip(TERMS.challengeWindow + 1n);
    expect(await refusalOf(operator.account.settle(toHex(run.run)))).toBe('ChallengesOpen');
    expect(await refusalOf(challenger.account.challenge(sign(history), history.prove(3), digest()))).toBe('WindowOver');
    await challenger.account.resolve(challengeId);
    await operator.account.settle(toHex(run.run));

    const other = await openChallenge();
    const before = await challenger.account.readBalances(challenger.address);
    await voters[0]?.account.proveEquivocation(sign(other.history), sign(other.history, 6, { state: digest() }));
    expect(await challenger.account.resolve(other.challengeId)).toMatchObject({ outcome: 'overtaken' });
    expect((await challenger.account.readBalances(challenger.address)).credit - before.credit).toBe(21n);
  });

  it('takes only recomputable records in their place, with another answer', async () => {
    const run = await openNewRun(operator);
    const kinds: readonly Kind[] = ['run.open', 'policy', 'host.start', 'host.end', 'tool.start', 'tool.end'];
    const history = writeHistory(run, kinds, 'a', { index: 5, change: () => new Uint8Array(3) });
    const challengeOf = (index: number, answer: Digest = digest()) =>
      refusalOf(challenger.account.challenge(sign(history), history.prove(index), answer));
    expect(await challengeOf(3)).toBe('StepNotRecomputable');
    expect(await challengeOf(5)).toBe('HeadMalformed');
    expect(await challengeOf(4, new Uint8Array(32))).toBe('AnswerNotDifferent');
    expect(await challengeOf(4, (history.heads[4] as Uint8Array).slice(188, 220))).toBe('AnswerNotDifferent');
    const moved = { ...history.prove(4), index: 3n };
    expect(await refusalOf(challenger.account.challenge(sign(history), moved, digest()))).toBe('ProofInvalid');
    const foreign = history.sign(challenger.key, fixture.deployment);
    expect(await refusalOf(challenger.account.challenge(foreign, history.prove(4), digest()))).toBe(
      'CheckpointNotByOperator',
    );
  });
});

describe('every move', () => {
  it('stays below 5M gas, also with 96 codes, and at the depth of a tree of 2^40 records', async () => {
    const run = await openNewRun(operator);
    const history = writeHistory(run, kindsOf(5, false), 'a');
    const opened = await challenger.account.challenge(sign(history), history.prove(4), digest());
    expect(opened.gasUsed).toBeLessThan(500_000n);
    const codes = Array.from({ length: 96 }, () => digest());
    for (const code of codes) await operator.account.registerCode(code, 'x');
    const deadline = (await operator.account.readTime()) + 1_000n;
    const many = { request: newRequest(), signature: null, attempt: 0n, deadline, exposure: 0n, body: digest(), codes };
    expect((await operator.account.openRun(many)).gasUsed).toBeLessThan(1_000_000n);
    const { gasUsed } = await challenger.account.proveEquivocation(
      sign(history),
      sign(history, 5, { state: digest() }),
    );
    expect(gasUsed).toBeLessThan(500_000n);
    const live = await openNewRun(operator);
    const path = Array.from({ length: 40 }, () => digest());
    const deep = (size: bigint, root: Digest) =>
      signCheckpoint({ run: live.run, size, root, state: digest(), closed: false }, fixture.deployment, operator.key);
    const fold = (leaf: Digest) => path.reduce((hash, sibling) => sha256(Uint8Array.of(1), hash, sibling), leaf);
    const [x, y] = [digest(), digest()];
    const proof = { level: 0, index: 0n, shorterNode: x, shorterPath: path, longerNode: y, longerPath: path };
    const move = await challenger.account.proveEquivocation(
      deep(2n ** 40n - 1n, fold(x)),
      deep(2n ** 40n, fold(y)),
      proof,
    );
    expect(move.rule).toBe('divergent');
    expect(move.gasUsed).toBeLessThan(1_000_000n);
  });

  it('has a test of each refusal that the contract itself knows', () => {
    const inherited =
      /^(?:Checkpoint(?:UnorderedInsertion)|InvalidShortString|StringTooLong|ReentrancyGuard.*|SafeCast.*|SafeERC20.*|ECDSA.*)$/;
    const own: string[] = [];
    bondInterface.forEachError((error) => void (inherited.test(error.name) || own.push(error.name)));
    expect(own.length).toBeGreaterThan(45);
    expect(own.filter((name) => !seen.has(name))).toEqual([]);
  });
});

/** The same signature with the other s: valid for a careless verifier. */
function highS(signature: Uint8Array): Uint8Array {
  const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
  const s = order - BigInt(toHex(signature.slice(32, 64)));
  const flipped = signature[64] === 27 ? 28 : 27;
  return Uint8Array.from([...signature.slice(0, 32), ...fromHex(`0x${s.toString(16).padStart(64, '0')}`), flipped]);
}

function withByte(head: Head, offset: number, value: number): Uint8Array {
  const bytes = encodeHead(head);
  bytes[offset] = value;
  return bytes;
}

/** What a call would do, without a block: `slashed`, or the name of the refusal. */
async function callOutcome(name: string, args: readonly unknown[]): Promise<string> {
  const data = bondInterface.encodeFunctionData(name, args);
  const body = JSON.stringify({
    jsonrpc: '2.0',
    id: 1,
    method: 'eth_call',
    params: [{ from: challenger.address, to: fixture.deployment.contract, data }, 'latest'],
  });
  const response = await fetch(fixture.chain.rpcUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  const { error } = (await response.json()) as { error?: { data?: string; message: string } };
  if (error === undefined) return 'slashed';
  return bondInterface.parseError(error.data ?? '0x')?.name ?? error.message;
}

async function callRefusal(name: string, args: readonly unknown[]): Promise<string> {
  const outcome = await callOutcome(name, args);
  seen.add(outcome);
  return outcome;
}
