import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HeadRule } from '../../../../attest/bond/chain.ts';
import { computeDivergence, proveSubtree } from '../../../../attest/bond/divergence.ts';
import { bondInterface } from '../../../../attest/bond/ethers-provider.ts';
import { type Hex, toHex } from '../../../../attest/core/bytes.ts';
import { type Digest, sha256 } from '../../../../attest/core/hash.ts';
import { MerkleTree } from '../../../../attest/merkle/tree.ts';
import { type SignedCheckpoint, signCheckpoint } from '../../../../attest/trace/checkpoint.ts';
import { encodeHead, type Head } from '../../../../attest/trace/head.ts';
import type { Kind } from '../../../../attest/trace/kinds.ts';
import {
  type BondFixture,
  kindsOf,
  type Mutation,
  newRequest,
  openBondFixture,
  openNewRun,
  type Person,
  refusalOf,
  writeHistory,
} from '../../../support/bond-fixture.ts';
import { seededRandom } from '../../../support/random.ts';

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
    expect(await callOutcome('proveEquivocation', [empty(sign(history, 6)), empty(sign(history, 4)), none])).toBe(
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
});

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
