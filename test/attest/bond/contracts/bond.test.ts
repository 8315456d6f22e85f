import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bondInterface } from '../../../../attest/bond/ethers-provider.ts';
import { type Hex, toHex } from '../../../../attest/core/bytes.ts';
import type { Digest } from '../../../../attest/core/hash.ts';
import type { SignedCheckpoint } from '../../../../attest/trace/checkpoint.ts';
import type { Kind } from '../../../../attest/trace/kinds.ts';
import {
  type BondFixture,
  kindsOf,
  openBondFixture,
  openNewRun,
  type Person,
  refusalOf,
  TERMS,
  writeHistory,
} from '../../../support/bond-fixture.ts';

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

  it('counts no stake of the block of the challenge: nobody joins a committee because of it', async () => {
    const late = await fixture.person();
    const run = await openNewRun(operator);
    const history = writeHistory(run, kindsOf(6, false), 'a');
    await fixture.rpc('evm_setAutomine', [false]);
    const moves = Promise.all([
      late.account.register(500n),
      challenger.account.challenge(sign(history), history.prove(4), digest()),
    ]);
    // Both approve their tokens in one block, and move in the next.
    for (let block = 0; block < 2; block++) {
      for (let pending = 0; pending < 2; ) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        pending = Number(((await fixture.rpc('txpool_status', [])) as { pending: string }).pending);
      }
      await fixture.rpc('evm_mine', []);
    }
    const [registered, { challengeId, block }] = await moves;
    await fixture.rpc('evm_setAutomine', [true]);
    expect(registered.block).toBe(block);
    expect(await refusalOf(late.account.vote(challengeId, true))).toBe('NoWeight');
    await late.account.deregister();
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

describe('the tests of this folder', () => {
  it('show each refusal that the contract itself knows', () => {
    const inherited = /^(?:CheckpointUnorderedInsertion|InvalidShortString|StringTooLong|ReentrancyGuard.*|Safe.*)$/;
    const own: string[] = [];
    bondInterface.forEachError((error) => void (inherited.test(error.name) || own.push(error.name)));
    expect(own.length).toBeGreaterThan(45);
    const folder = new URL('.', import.meta.url);
    const text = readdirSync(folder)
      .map((file) => readFileSync(new URL(file, folder), 'utf8'))
      .join();
    expect(own.filter((name) => !text.includes(`'${name}'`))).toEqual([]);
  });
});
