/**
 * The ports to the bond contract on an EVM chain by JSON-RPC, through ethers.
 *
 * @module
 */

import { Contract, type JsonRpcProvider, type Result, type Wallet } from 'ethers';
import { type Hex, toHex } from '../core/bytes.ts';
import type { SignedCheckpoint } from '../trace/checkpoint.ts';
import {
  type BondAccount,
  type BondReader,
  type Divergence,
  EQUIVOCATION_RULES,
  type EquivocationRule,
  HEAD_RULES,
  type HeadProof,
  type HeadRule,
  type Move,
  OUTCOMES,
  RUN_STATUSES,
  type RunStatus,
  type Slash,
} from './chain.ts';
import { BondError } from './errors.ts';
import {
  bondInterface,
  connect,
  type Sent,
  sendTransaction,
  toBondError,
  tokenInterface,
  toWallet,
} from './ethers-provider.ts';

/** Where a bond contract is. */
export type BondLocation = {
  readonly rpcUrl: string;
  readonly contract: Hex;
  /** Refuse any other chain. */
  readonly chainId?: bigint;
};

/**
 * Opens a bond contract for reading.
 *
 * @throws {@link BondError} `MALFORMED_ARGUMENT`, `CHAIN_UNREACHABLE`, `CHAIN_REFUSED`, `WRONG_CHAIN`, `NO_CONTRACT`, `NOT_A_BOND`
 */
export async function openBondReader(location: BondLocation): Promise<BondReader> {
  const { provider, chainId } = await connect(location.rpcUrl, location.chainId);
  try {
    return toReader(provider, chainId, await findContract(provider, location.contract));
  } catch (error) {
    provider.destroy();
    throw error;
  }
}

/**
 * Opens a bond contract for one account.
 *
 * @param privateKey - 32 bytes; kept in memory until `close`
 * @throws {@link BondError} as {@link openBondReader}
 */
export async function openBondAccount(location: BondLocation, privateKey: Uint8Array): Promise<BondAccount> {
  const { provider, chainId } = await connect(location.rpcUrl, location.chainId);
  try {
    const wallet = toWallet(privateKey, provider);
    const found = await findContract(provider, location.contract);
    return { ...toReader(provider, chainId, found), ...toAccount(wallet, found) };
  } catch (error) {
    provider.destroy();
    throw error;
  }
}

type Found = { readonly contract: Hex; readonly token: Hex };
type Moves = Omit<BondAccount, keyof BondReader>;

async function findContract(provider: JsonRpcProvider, address: Hex): Promise<Found> {
  if (!/^0x[0-9a-fA-F]{40}$/.test(address)) {
    throw new BondError('MALFORMED_ARGUMENT', 'contract is no address of 20 bytes in 0x hexadecimal');
  }
  const contract = address.toLowerCase() as Hex;
  const code = await provider.getCode(contract).catch((error) => Promise.reject(toBondError(error)));
  if (code === '0x') throw new BondError('NO_CONTRACT', `no contract at ${contract}`, { at: { contract } });
  try {
    const bond = new Contract(contract, bondInterface, provider);
    const token = (await bond.getFunction('token').staticCall()) as string;
    await bond.getFunction('salt').staticCall();
    return { contract, token: token.toLowerCase() as Hex };
  } catch (cause) {
    const error = toBondErrorOrSelf(cause);
    if (error instanceof BondError && error.code === 'CHAIN_UNREACHABLE') throw error;
    throw new BondError('NOT_A_BOND', `the contract at ${contract} is no bond contract`, { at: { contract }, cause });
  }
}

function toReader(provider: JsonRpcProvider, chainId: bigint, { contract, token }: Found): BondReader {
  const bond = new Contract(contract, bondInterface, provider);
  const coin = new Contract(token, tokenInterface, provider);
  const read = async (from: Contract, name: string, ...args: unknown[]): Promise<unknown> => {
    try {
      return await from.getFunction(name).staticCall(...args);
    } catch (error) {
      throw toBondError(error);
    }
  };
  const number = (name: string, ...args: unknown[]) => read(bond, name, ...args) as Promise<bigint>;
  return {
    chainId,
    contract,
    async readTerms() {
      return {
        salt: (await read(bond, 'salt')) as Hex,
        token,
        minimumLock: await number('minimumLock'),
        detectionBps: await number('detectionBps'),
        challengeBond: await number('challengeBond'),
        minimumReexecutorStake: await number('minimumReexecutorStake'),
        quorumBps: await number('quorumBps'),
        withdrawDelay: await number('withdrawDelay'),
        challengeWindow: await number('challengeWindow'),
        votingPeriod: await number('votingPeriod'),
        maxDuration: await number('maxDuration'),
      };
    },
    async readOperator(operator) {
      const account = (await read(bond, 'accounts', operator)) as Result;
      const field = (name: string) => account.getValue(name) as bigint;
      return {
        bonded: field('stake') > 0n,
        stake: field('stake'),
        locked: field('locked'),
        exposure: field('exposure'),
        leaving: field('leaving'),
        leavingAt: field('leavingAt'),
      };
    },
    async readRun(run) {
      const entry = (await read(bond, 'readRun', run)) as Result;
      const number = (name: string) => entry.getValue(name) as bigint;
      const status = RUN_STATUSES[Number(number('status'))] ?? 'none';
      if (status === 'none') return undefined;
      const size = number('size');
      return {
        operator: address(entry.getValue('operator')),
        requestDigest: entry.getValue('requestDigest') as Hex,
        attempt: number('attempt'),
        status: status satisfies RunStatus,
        openedBlock: number('openedBlock'),
        openedAt: number('openedAt'),
        deadline: number('deadline'),
        windowEnd: number('windowEnd') === 0n ? undefined : number('windowEnd'),
        exposure: number('exposure'),
        lock: number('lock'),
        body: entry.getValue('body') as Hex,
        openChallenges: Number(number('openChallenges')),
        checkpoint:
          size === 0n
            ? undefined
            : { size, root: entry.getValue('root') as Hex, state: entry.getValue('state') as Hex },
      };
    },
    async readChallenge(challengeId) {
      const entry = (await read(bond, 'readChallenge', challengeId)) as Result;
      const number = (name: string) => entry.getValue(name) as bigint;
      return {
        run: entry.getValue('run') as Hex,
        challenger: address(entry.getValue('challenger')),
        outcome: OUTCOMES[Number(number('outcome'))] ?? 'open',
        index: number('index'),
        votingEnd: number('votingEnd'),
        bond: number('bond'),
        eligible: number('eligible'),
        guilty: number('guilty'),
        notGuilty: number('notGuilty'),
        recorded: entry.getValue('recorded') as Hex,
        answer: entry.getValue('answer') as Hex,
      };
    },
    async readAttempts(requestDigest) {
      const entry = (await read(bond, 'attempts', requestDigest)) as Result;
      const next = entry.getValue('count') as bigint;
      return { next, last: next === 0n ? undefined : (entry.getValue('last') as Hex) };
    },
    async readBalances(owner) {
      const account = (await read(bond, 'accounts', owner)) as Result;
      return {
        gas: await provider.getBalance(owner).catch((error) => Promise.reject(toBondError(error))),
        token: (await read(coin, 'balanceOf', owner)) as bigint,
        stake: account.getValue('stake') as bigint,
        credit: await number('credits', owner),
        reexecutor: await number('weightOf', owner),
      };
    },
    async readTime() {
      const block = await provider.getBlock('latest').catch((error) => Promise.reject(toBondError(error)));
      if (block === null) throw new BondError('CHAIN_REFUSED', 'chain has no newest block');
      return BigInt(block.timestamp);
    },
    close() {
      provider.destroy();
    },
  };
}

function toAccount(wallet: Wallet, { contract, token }: Found): Moves {
  const coin = new Contract(token, tokenInterface, wallet);
  // One move at a time: two at once would take one nonce.
  let last: Promise<unknown> = Promise.resolve();
  const queue = <T>(work: () => Promise<T>): Promise<T> => {
    const next = last.then(work, work);
    last = next.catch(() => undefined);
    return next;
  };
  const send = async (name: string, args: readonly unknown[], approve?: bigint): Promise<Sent> => {
    const data = encode(name, args);
    return queue(async () => {
      if (approve !== undefined && approve > 0n) await allow(approve);
      return sendTransaction(wallet, { to: contract, data });
    });
  };
  const allow = async (amount: bigint): Promise<void> => {
    let allowed: bigint;
    try {
      allowed = (await coin.getFunction('allowance').staticCall(wallet.address, contract)) as bigint;
    } catch (error) {
      throw toBondError(error);
    }
    if (allowed >= amount) return;
    await sendTransaction(wallet, {
      to: token,
      data: tokenInterface.encodeFunctionData('approve', [contract, amount]),
    });
  };
  const move = async (name: string, args: readonly unknown[], approve?: bigint): Promise<Move> =>
    (await send(name, args, approve)).move;
  return {
    address: wallet.address.toLowerCase() as Hex,
    deposit: (amount) => move('deposit', [amount], amount),
    requestWithdraw: (amount) => move('requestWithdraw', [amount]),
    withdraw: () => move('withdraw', []),
    collect: () => move('collect', []),
    async transferToken(to, amount) {
      const data = tokenInterface.encodeFunctionData('transfer', [to, amount]);
      return (await queue(() => sendTransaction(wallet, { to: token, data }))).move;
    },
    registerCode: (digest, locator) => move('registerCode', [digest, locator]),
    async openRun(opening) {
      const { request, signature, codes, ...rest } = opening;
      const sent = await send('openRun', [{ ...rest, request, signature: signature ?? '0x', codes }]);
      return { ...sent.move, run: event(sent, contract, 'RunOpened').getValue('run') as Hex };
    },
    checkpoint: (checkpoint) => move('checkpoint', [signed(checkpoint)]),
    closeRun: (checkpoint) => move('closeRun', [signed(checkpoint)]),
    expire: (run) => move('expire', [run]),
    settle: (run) => move('settle', [run]),
    async proveEquivocation(a, b, divergence = NO_DIVERGENCE) {
      const [shorter, longer] = a.size <= b.size ? [a, b] : [b, a];
      const sent = await send('proveEquivocation', [signed(shorter), signed(longer), divergence]);
      const rule = Number(event(sent, contract, 'EquivocationProved').getValue('rule'));
      return { ...sent.move, ...slashOf(sent, contract), rule: EQUIVOCATION_RULES[rule] as EquivocationRule };
    },
    async proveBrokenHead(checkpoint, heads) {
      const sent = await send('proveBrokenHead', [signed(checkpoint), heads]);
      const proved = event(sent, contract, 'BrokenHeadProved');
      const rule = HEAD_RULES[Number(proved.getValue('rule'))] as HeadRule;
      return { ...sent.move, ...slashOf(sent, contract), rule, index: proved.getValue('index') as bigint };
    },
    register: (amount) => move('register', [amount], amount),
    deregister: () => move('deregister', []),
    async challenge(checkpoint, step, answer) {
      const bond = new Contract(contract, bondInterface, wallet);
      const price = (await bond
        .getFunction('challengeBond')
        .staticCall()
        .catch((error) => Promise.reject(toBondError(error)))) as bigint;
      const sent = await send('challenge', [signed(checkpoint), step satisfies HeadProof, answer], price);
      const opened = event(sent, contract, 'Challenged');
      return {
        ...sent.move,
        challengeId: opened.getValue('challengeId') as bigint,
        votingEnd: opened.getValue('votingEnd') as bigint,
      };
    },
    vote: (challengeId, guilty) => move('vote', [challengeId, guilty]),
    async resolve(challengeId) {
      const sent = await send('resolve', [challengeId]);
      const outcome = OUTCOMES[Number(event(sent, contract, 'Resolved').getValue('outcome'))] ?? 'open';
      return { ...sent.move, outcome, slash: outcome === 'guilty' ? slashOf(sent, contract) : undefined };
    },
  };
}

const ZERO: Uint8Array = new Uint8Array(32);
const NO_DIVERGENCE: Divergence = {
  level: 0,
  index: 0n,
  shorterNode: ZERO,
  shorterPath: [],
  longerNode: ZERO,
  longerPath: [],
};

function encode(name: string, args: readonly unknown[]): string {
  try {
    return bondInterface.encodeFunctionData(name, args);
  } catch (error) {
    throw toBondError(error);
  }
}

function signed(checkpoint: SignedCheckpoint): unknown {
  const { signature, ...rest } = checkpoint;
  return { checkpoint: rest, signature: toHex(signature) };
}

function slashOf(sent: Sent, contract: Hex): Slash {
  const slash = event(sent, contract, 'RunSlashed');
  return {
    operator: address(slash.getValue('operator')),
    winner: address(slash.getValue('winner')),
    burned: slash.getValue('burned') as bigint,
    paid: slash.getValue('paid') as bigint,
  };
}

/** The first event of a name that the contract itself wrote. */
function event(sent: Sent, contract: Hex, name: string): Result {
  for (const log of sent.events) {
    if (log.address.toLowerCase() !== contract) continue;
    const parsed = bondInterface.parseLog(log);
    if (parsed?.name === name) return parsed.args;
  }
  throw new BondError('NOT_A_BOND', `the contract at ${contract} wrote no ${name}`, { at: { contract } });
}

function address(value: unknown): Hex {
  return String(value).toLowerCase() as Hex;
}

function toBondErrorOrSelf(error: unknown): unknown {
  try {
    return toBondError(error);
  } catch {
    return error;
  }
}
