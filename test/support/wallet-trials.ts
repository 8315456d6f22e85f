/**
 * Runs that pay, in processes that are killed: at each place between the intent to send and its receipt, and at random moments. What is
 * then looked at is the chain itself, block by block, by a reader that shares nothing with the wallet.
 *
 * @module
 */

import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startAnvil } from '../../attest/bond/anvil.ts';
import { type Hex, toHex } from '../../attest/core/bytes.ts';
import { hashGuestCode } from '../../attest/trace/guest.ts';
import { trustSigner } from '../../attest/verify/trust.ts';
import { verifyBundle } from '../../attest/verify/verifier.ts';
import { createRequest, OFF_CHAIN } from '../../runtime/plan.ts';
import { createExecutor } from '../../runtime/replay.ts';
import { bundleInto } from './bundle.ts';
import { inThreadVm, meterEngine } from './kill-vm.ts';
import { type Random, seededRandom } from './random.ts';
import { CALLER_KEY, OPERATOR, toyRecomputer } from './toy-run.ts';
import { type AskedRun, TrialBook, type TrialWord } from './trial-book.ts';
import { startTrialProcess, type TrialProcess } from './trial-process.ts';
import {
  APPROVAL_ABOVE,
  PAYING_AGENTS,
  PAYMENT_APPROVER_KEY,
  PAYMENT_FEE,
  type Payment,
  PER_CALL,
  PER_RUN,
  payeeOf,
  payingAgents,
  walletOf,
} from './wallet-agents.ts';
import type { FromWalletChild, ToWalletChild, WalletSetup } from './wallet-child.ts';

/** One folder of runs. */
export type WalletGroup = { readonly seed: number; readonly kills: number; readonly runs: number };

/** What came of groups. */
export type WalletReport = {
  kills: number;
  runs: number;
  bundles: number;
  matches: number;
  /** Payments that had to be made, and those that must not be. */
  expected: number;
  forbidden: number;
  approvals: number;
  doubled: number;
  lost: number;
  /** Payments that no limit or person allowed, runs and calls that cost more than they may. */
  beyond: number;
  /** Kills by the place that was reached last. */
  readonly after: Map<string, number>;
  readonly failures: string[];
};

/** What groups share. */
export type WalletBench = {
  readonly program: string;
  readonly engine: WalletSetup['engine'];
  readonly rpcUrl: string;
  close(): Promise<void>;
};

/** An empty report. */
export function emptyWalletReport(): WalletReport {
  const counts = { kills: 0, runs: 0, bundles: 0, matches: 0, expected: 0, forbidden: 0 };
  return { ...counts, approvals: 0, doubled: 0, lost: 0, beyond: 0, after: new Map(), failures: [] };
}

/** Bundles the process that is killed, meters the engine, starts a chain and puts coins into the wallets. */
export async function openWalletBench(): Promise<WalletBench> {
  const folder = await mkdtemp(join(tmpdir(), 'tracebond-wallet-'));
  const program = bundleInto(folder, 'test/support/wallet-child.ts');
  const { digest, bytes } = await meterEngine();
  const path = join(folder, 'engine.wasm');
  await writeFile(path, bytes);
  const anvil = await startAnvil(join(folder, 'chain.json'), 31337n);
  const rpcUrl = `http://127.0.0.1:${anvil.port}`;
  for (const agent of PAYING_AGENTS) await askChain(rpcUrl, 'anvil_setBalance', [walletOf(agent), '0xde0b6b3a7640000']);
  return {
    program,
    engine: { digest, path },
    rpcUrl,
    close: async () => {
      await anvil.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** One question to the chain, in the plainest way there is. */
async function askChain(rpcUrl: string, method: string, params: readonly unknown[]): Promise<unknown> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
  const response = await fetch(rpcUrl, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  const { result, error } = (await response.json()) as { readonly result: unknown; readonly error?: unknown };
  if (error !== undefined) throw new Error(`${method}: ${JSON.stringify(error)}`);
  return result;
}

/** A payment as a block holds it. */
type Seen = { readonly value: bigint; readonly cost: bigint; readonly from: string };

/** Reads every block, and what each account was paid. */
async function readChain(rpcUrl: string): Promise<ReadonlyMap<string, readonly Seen[]>> {
  const seen = new Map<string, Seen[]>();
  const head = Number(await askChain(rpcUrl, 'eth_blockNumber', []));
  for (let number = 1; number <= head; number++) {
    const tag = `0x${number.toString(16)}`;
    const block = (await askChain(rpcUrl, 'eth_getBlockByNumber', [tag, true])) as {
      readonly transactions: readonly { readonly [field: string]: string }[];
    };
    for (const { hash, to = '', from = '', value = '0x0' } of block.transactions) {
      const receipt = (await askChain(rpcUrl, 'eth_getTransactionReceipt', [hash])) as {
        readonly [field: string]: string;
      };
      const fee = BigInt(receipt['gasUsed'] ?? 0) * BigInt(receipt['effectiveGasPrice'] ?? 0);
      const entry = { value: BigInt(value), cost: BigInt(value) + fee, from };
      seen.set(to, [...(seen.get(to) ?? []), entry]);
    }
  }
  return seen;
}

/** Runs one group, and adds what it came to. */
export async function runWalletGroup(bench: WalletBench, group: WalletGroup, report: WalletReport): Promise<void> {
  const folder = join(dirname(bench.program), `runs-${group.seed}`);
  await mkdir(folder);
  const trial = new Trial(bench, group, report, folder);
  try {
    await trial.run();
    await trial.verify();
    trial.count(await readChain(bench.rpcUrl));
  } catch (error) {
    report.failures.push(`seed ${group.seed}: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Payments that no group asked for. */
export async function findStrangers(bench: WalletBench, groups: readonly WalletGroup[]): Promise<readonly string[]> {
  const known = new Set(
    groups.flatMap(({ seed, runs }) =>
      Array.from({ length: runs * 8 }, (_, i) => payeeOf(seed, Math.floor(i / 8), i % 8)),
    ),
  );
  const paid = await readChain(bench.rpcUrl);
  return [...paid.keys()].filter((to) => !known.has(to as Hex)).map((to) => `somebody else was paid: ${to}`);
}

/** What a payment must come to; `asked`: what a person says decides. */
type Fate = 'paid' | 'denied' | 'asked';

class Trial {
  readonly #bench: WalletBench;
  readonly #group: WalletGroup;
  readonly #report: WalletReport;
  readonly #folder: string;
  readonly #random: Random;
  readonly #book: TrialBook<AskedRun & { readonly payments: readonly (Payment & { readonly fate: Fate })[] }>;
  /** Whether the person says yes to a run's requests; the same word however often they are asked. */
  readonly #words = new Map<Hex, boolean>();
  #kills = 0;

  constructor(bench: WalletBench, group: WalletGroup, report: WalletReport, folder: string) {
    this.#bench = bench;
    this.#group = group;
    this.#report = report;
    this.#folder = folder;
    this.#random = seededRandom(group.seed);
    this.#book = new TrialBook(
      PAYMENT_APPROVER_KEY,
      (run) => this.#decide(run),
      (what) => this.#fail(what),
    );
    for (let i = 0; i < group.runs; i++) this.#plan(i);
  }

  /** Kills processes until there were enough kills and all runs are over. */
  async run(): Promise<void> {
    while (!(await this.#once())) this.#kills += 1;
    this.#report.kills += this.#kills;
    this.#report.runs += this.#book.asked.length;
  }

  /** Holds every bundle of the folder against what it says. */
  async verify(): Promise<void> {
    const { digest, path } = this.#bench.engine;
    const vm = inThreadVm({ digest, bytes: await readFile(path) });
    const executor = createExecutor(vm, toyRecomputer);
    const ports = { executor, trust: trustSigner(OPERATOR), now: () => performance.now() };
    const names = (await readdir(this.#folder)).filter((name) => name.endsWith('.trace'));
    for (const name of names) {
      const bundle = createReadStream(join(this.#folder, name));
      const { verdict, code, step, field, status } = await verifyBundle(ports, bundle);
      this.#report.bundles += 1;
      if (verdict === 'MATCH' && status === 'done') this.#report.matches += 1;
      else this.#fail(`run ${name} is ${status}, and ${verdict} ${code ?? ''} at ${step ?? '?'} ${field ?? ''}`);
    }
    if (names.length !== this.#book.asked.length)
      this.#fail(`${names.length} journals of ${this.#book.asked.length} runs`);
  }

  /** Holds the chain against what every payment had to come to. */
  count(chain: ReadonlyMap<string, readonly Seen[]>): void {
    const report = this.#report;
    for (const { agent, payments, run } of this.#book.asked) {
      const allowed = run !== undefined && this.#words.get(run) === true;
      let spent = 0n;
      for (const { to, value, fate } of payments) {
        const found = chain.get(to) ?? [];
        const isDue = fate === 'paid' || (fate === 'asked' && allowed);
        if (isDue) report.expected += 1;
        else report.forbidden += 1;
        if (isDue && found.length === 0) report.lost += 1;
        if (isDue && found.length > 1) report.doubled += 1;
        if (!isDue && found.length > 0) report.beyond += 1;
        if (found.length !== (isDue ? 1 : 0)) this.#fail(`${agent} paid ${to} ${found.length} times: ${fate}`);
        for (const one of found) {
          spent += one.cost;
          if (one.cost > PER_CALL || one.cost > BigInt(value) + PAYMENT_FEE) report.beyond += 1;
          if (one.value !== BigInt(value) || one.from !== walletOf(agent))
            this.#fail(`${agent} paid ${to} something else`);
        }
      }
      if (spent > PER_RUN) {
        report.beyond += 1;
        this.#fail(`a run of ${agent} cost ${spent}, more than it may`);
      }
    }
  }

  #fail(what: string): void {
    this.#report.failures.push(`seed ${this.#group.seed}: ${what}`);
  }

  /** Plans one run; what is asked for is fixed, so that asking again is the same run. */
  #plan(i: number): void {
    const agent = PAYING_AGENTS[i % PAYING_AGENTS.length] ?? 'payer';
    const entry = payingAgents().find(({ name }) => name === agent);
    if (entry === undefined) throw new TypeError(`no agent ${agent}`);
    const random = this.#random;
    const pay = (at: number, value: bigint, fate: Fate) => ({
      to: payeeOf(this.#group.seed, i, at),
      value: `${value}`,
      fate,
    });
    const small = (at: number) => pay(at, BigInt(1 + random.below(900_000)), 'paid');
    const payments = [small(0), pay(1, PER_CALL, 'denied'), small(2)];
    if (agent === 'asker') {
      payments.push(pay(3, APPROVAL_ABOVE - PAYMENT_FEE + 1n + BigInt(random.below(1000)), 'asked'), small(4));
    } else {
      // Six fit the run, and no seventh.
      payments.push(small(3), small(4), small(5), small(6), pay(7, 1n, 'denied'));
    }
    const { inputPayload, ...request } = createRequest({
      agent: hashGuestCode(entry.agent),
      input: payments.map(({ to, value }) => ({ to, value })),
      limits: entry.limits,
      expiry: 4_000_000_000n,
      callerKey: CALLER_KEY,
      deployment: OFF_CHAIN,
      random: () => random.bytes(32),
    });
    this.#book.asked.push({ agent, request: { ...request, salt: toHex(inputPayload.salt) }, payments, run: undefined });
  }

  /** One process from its start to its end; whether all is over. */
  async #once(): Promise<boolean> {
    const random = this.#random;
    const isLast = this.#kills >= this.#group.kills;
    const bySelf = !isLast && random.chance(75);
    const stages = ['intent', 'checkpoint', 'log', 'send', 'receipt', 'end'] as const;
    // So many that the runs are not over before they were killed often enough.
    const most = Math.max(1, Math.floor((5 * this.#group.runs) / (this.#group.kills + 1)));
    const dies = bySelf
      ? { stage: random.pick(stages), after: random.below(most), delayMs: random.chance(60) ? 0 : random.below(6) }
      : undefined;
    const killAfter = isLast || bySelf ? undefined : 150 + random.below(400);
    let last = 'start';
    const trial = startTrialProcess<ToWalletChild, FromWalletChild>(this.#bench.program, (message) => {
      if (message.type === 'stage') last = message.stage;
      else this.#book.take(message, trial.say);
    });
    const { child, say } = trial;
    const { engine, rpcUrl } = this.#bench;
    say({ type: 'setup', setup: { folder: this.#folder, rpcUrl, engine, dies } });
    const timer = killAfter === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfter);
    while (child.exitCode === null && child.signalCode === null) {
      await sleep(10);
      if (this.#isStuck(trial)) child.kill('SIGKILL');
      else if (this.#book.open().length === 0) say({ type: 'stop' });
    }
    const [code, signal] = await trial.gone;
    clearTimeout(timer);
    if (this.#isStuck(trial)) {
      throw new Error(`nothing moves, or a run is broken: ${this.#book} ${trial.complaint()}`);
    }
    if (signal === 'SIGKILL') {
      this.#report.after.set(last, (this.#report.after.get(last) ?? 0) + 1);
      return false;
    }
    if (code !== 0) throw new Error(`the process ended with ${signal ?? code}: ${trial.complaint()}`);
    return true;
  }

  #isStuck({ isSilent }: TrialProcess<ToWalletChild>): boolean {
    return isSilent() || this.#book.isBroken();
  }

  /** The same word however often a run asks. */
  #decide(run: Hex): TrialWord {
    const known = this.#words.get(run);
    if (known === undefined) this.#report.approvals += 1;
    const approved = known ?? this.#random.chance(70);
    this.#words.set(run, approved);
    return { approved, note: '', afterMs: this.#random.below(60) };
  }
}
