import { randomBytes } from 'node:crypto';
import { Contract, ContractFactory, type InterfaceAbi, JsonRpcProvider, Wallet } from 'ethers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DeployTerms, deployBond } from '../../../../attest/bond/deploy.ts';
import { openBondAccount } from '../../../../attest/bond/ethers-chain.ts';
import { bondInterface } from '../../../../attest/bond/ethers-provider.ts';
import { computeRunId, hashRequest } from '../../../../attest/bond/run-id.ts';
import { fromHex, type Hex, toHex } from '../../../../attest/core/bytes.ts';
import type { Digest } from '../../../../attest/core/hash.ts';
import { hashCheckpoint, type SignedCheckpoint } from '../../../../attest/trace/checkpoint.ts';
import { signRequest } from '../../../../attest/trace/request.ts';
import {
  type BondFixture,
  kindsOf,
  newRequest,
  openBondFixture,
  openNewRun,
  type Person,
  refusalOf,
  TERMS,
  writeHistory,
} from '../../../support/bond-fixture.ts';
import { compileContract } from '../../../support/compile-bond.ts';
import { seededRandom } from '../../../support/random.ts';

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

/** The same signature with the other s: valid for a careless verifier. */
function highS(signature: Uint8Array): Uint8Array {
  const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
  const s = order - BigInt(toHex(signature.slice(32, 64)));
  const flipped = signature[64] === 27 ? 28 : 27;
  return Uint8Array.from([...signature.slice(0, 32), ...fromHex(`0x${s.toString(16).padStart(64, '0')}`), flipped]);
}
