/**
 * The whole product once: an agent runs on a real model, a verifier reproduces it, a cheating operator is found at the
 * right step, and its bond is taken.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openEmbeddedChain } from '../../attest/bond/embedded.ts';
import { computeRunId, hashRequest } from '../../attest/bond/run-id.ts';
import { fromHex, type Hex, toHex } from '../../attest/core/bytes.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import type { RunOpenBody } from '../../attest/trace/bodies.ts';
import { parseTrustFile, trustOperators } from '../../attest/verify/trust.ts';
import type { StepReport, VerifyReport } from '../../attest/verify/verdict.ts';
import { verifyBundle } from '../../attest/verify/verifier.ts';
import { serveInference } from '../../inference/main.ts';
import { resolveModelPath, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import { wallWarning } from '../../runtime/sandbox/wall.ts';
import { deploymentPath } from '../cli/chain-trust.ts';
import { chainFolder, type Environment, trustPath } from '../cli/environment.ts';
import { type OpenExecutor, openExecutor } from '../cli/executor.ts';
import { addTrust } from '../cli/trust-store.ts';
import { type AuditedRun, openOnChain, runAudit } from './audit.ts';
import { disputeStep } from './dispute.ts';
import { DemoError } from './errors.ts';
import { type Entry, type Forgery, readEntries, rebuildTrace } from './forge.ts';
import { asOperator, changeOutputToken, changeToolResult, dropRecord, type Lie } from './lies.ts';
import { gatherParties, type Parties, TOKEN } from './parties.ts';

/** What the demo shows, as `demo --json` prints it. */
export type DemoReport = {
  readonly bundle: string;
  readonly signer: Hex;
  readonly contract: Hex;
  readonly chainId: number;
  readonly honest: {
    readonly verdict: string;
    readonly records: number;
    readonly checked: number;
    /** Of the run, and of executing it again. */
    readonly runMs: number;
    readonly verifyMs: number;
  };
  readonly classified: { readonly right: number; readonly of: number };
  readonly lies: readonly {
    readonly name: string;
    readonly verdict: string;
    readonly step: number | undefined;
    readonly field: string | undefined;
    readonly expectedStep: number;
    readonly bundle: string;
  }[];
  readonly equivocation: { readonly size: number; readonly decidedBy: 'contract'; readonly rule: string };
  readonly slash: { readonly before: string; readonly after: string; readonly burned: string; readonly paid: string };
  readonly simulated: readonly string[];
  readonly files: { readonly trust: string; readonly chain: string };
};

/** Where the demo speaks and whether anything failed to hold. */
export type DemoOptions = { readonly environment: Environment; readonly say: (line: string) => void };

/** Plays the demo. Throws when anything does not come out as it must. */
export async function playDemo({ environment, say }: DemoOptions): Promise<DemoReport> {
  const runs = join(environment.tracebondHome, 'runs');
  const model = resolveModelPath(SHIPPED_MODEL.id, environment.env, environment.home);
  say(
    'Keys, coins, tokens and the passing of time on the chain are SIMULATED: throw-away keys on a local anvil chain.',
  );
  await mkdir(chainFolder(environment), { recursive: true, mode: 0o700 });
  const receiptKey = Uint8Array.from(randomBytes(32));
  const chain = await openEmbeddedChain({ dir: chainFolder(environment), onProgress: say });
  let parties: Parties | undefined;
  let server: Awaited<ReturnType<typeof serveInference>> | undefined;
  let opened: OpenExecutor | undefined;
  const vm = await openQuickJsVm();
  const wall = wallWarning(vm);
  if (wall !== undefined) say(wall);
  try {
    say(`1. chain ${chain.chainId} and model ${model.id}`);
    parties = await gatherParties(chain.rpcUrl);
    await writeFile(deploymentPath(environment), `${JSON.stringify({ contract: parties.contract })}\n`);
    server = await serveInference({
      port: 0,
      models: [model],
      cacheDir: environment.cache,
      privateKey: receiptKey,
      onProgress: say,
    });
    say(`   inference server ${server.url}, profile ${server.identity.profileName}: equal bits on every computer`);
    say('2. an operator with a bond runs the expense auditor');
    const audited = await runAudit({ vm, server, parties, folder: runs, say: (line) => say(`   ${line}`) });
    tellAudit(audited, say);
    await recordTrust(environment, parties, toHex(audited.result.checkpoint.run));
    await server.close();

    say('3. a verifier, who trusts only what was read on the chain, executes it again');
    opened = await openExecutor(environment, model.id, say);
    const verify = await verifierOf(environment, opened);
    const bytes = await readFile(audited.path);
    const honest = await verify(bytes);
    say(
      `   ${honest.verdict}: ${honest.checked} of ${honest.classes.recomputable} recomputable records equal, ${honest.timing.totalMs} ms (the run took ${audited.runMs} ms)`,
    );
    if (honest.verdict !== 'MATCH')
      throw new DemoError('DEMO_FAILED', `the honest run came out as ${honest.verdict} ${honest.code ?? ''}`);

    say('4. a cheating operator rewrites the run, and makes index, prev, states, tree and signatures fit again');
    const entries = await readEntries(bytes);
    const stage = await playLies({ parties, entries, receiptKey, folder: runs, verify, say });

    say('5. the token lie goes to the chain');
    const slash = await playDispute({ parties, rpcUrl: chain.rpcUrl, lie: stage.token, verify, say });

    say('6. the same operator signs two histories of one run');
    const equivocation = await playEquivocation({ parties, entries, receiptKey, say });

    tellEnd(audited, environment, parties.contract, say);
    return {
      bundle: audited.path,
      signer: parties.honest.address,
      contract: parties.contract,
      chainId: Number(parties.chainId),
      honest: {
        verdict: honest.verdict,
        records: honest.size,
        checked: honest.checked,
        runMs: audited.runMs,
        verifyMs: honest.timing.totalMs,
      },
      classified: audited.classified,
      lies: stage.lies,
      equivocation,
      slash,
      simulated: ['keys', 'coins', 'tokens', 'time on the chain', 're-executors run on one computer'],
      files: { trust: trustPath(environment), chain: chainFolder(environment) },
    };
  } finally {
    await opened?.close();
    await server?.close();
    parties?.close();
    await vm.close();
    await chain.close();
  }
}

type Verify = (bytes: Uint8Array, onStep?: (step: StepReport) => void) => Promise<VerifyReport>;

async function verifierOf(environment: Environment, opened: OpenExecutor): Promise<Verify> {
  const trust = trustOperators(parseTrustFile(await readFile(trustPath(environment))));
  return (bytes) => verifyBundle({ executor: opened.executor, trust, now: () => performance.now() }, [bytes]);
}

async function recordTrust(environment: Environment, parties: Parties, run: Hex): Promise<void> {
  const { honest } = parties;
  const [entry, standing] = [await honest.account.readRun(run), await honest.account.readOperator(honest.address)];
  if (entry === undefined || !standing.bonded)
    throw new DemoError('DEMO_FAILED', 'the chain does not know the run or its bond');
  await addTrust(trustPath(environment), {
    signer: entry.operator,
    contract: parties.contract,
    chainId: parties.chainId,
    bond: standing.stake,
    runs: [run],
  });
}

type Told = { readonly lie: Lie; readonly forgery: Forgery; readonly report: VerifyReport };

async function playLies(scene: {
  readonly parties: Parties;
  readonly entries: readonly Entry[];
  readonly receiptKey: Uint8Array;
  readonly folder: string;
  readonly verify: Verify;
  readonly say: (line: string) => void;
}): Promise<{ readonly lies: DemoReport['lies']; readonly token: Told }> {
  const { parties, entries, folder, verify, say } = scene;
  const lies: DemoReport['lies'][number][] = [];
  const told: Told[] = [];
  for (const make of [changeOutputToken, changeToolResult, dropRecord]) {
    const lie = make(entries);
    const forgery = forgeFor(parties, lie.entries, scene.receiptKey, 1n);
    const report = await verify(forgery.bytes);
    const path = join(folder, 'lies', `${lie.name}-${toHex(forgery.checkpoint.run).slice(2, 10)}.trace`);
    await mkdir(join(folder, 'lies'), { recursive: true });
    await writeFile(path, forgery.bytes);
    say(`   ${lie.told}`);
    say(`     -> ${report.verdict} at record ${report.step}, ${report.field}${describe(report)}`);
    if (report.step !== lie.step)
      throw new DemoError('DEMO_FAILED', `the lie at record ${lie.step} was reported at ${report.step}`);
    lies.push({
      name: lie.name,
      verdict: report.verdict,
      step: report.step,
      field: report.field,
      expectedStep: lie.step,
      bundle: path,
    });
    told.push({ lie, forgery, report });
  }
  return { lies, token: told[0] as Told };
}

async function playDispute(scene: {
  readonly parties: Parties;
  readonly rpcUrl: string;
  readonly lie: Told;
  readonly verify: Verify;
  readonly say: (line: string) => void;
}): Promise<DemoReport['slash']> {
  const { parties, lie, verify, say } = scene;
  const { cheater } = parties;
  await openOnChain(cheater.account, openBodyOf(lie.forgery));
  await cheater.account.closeRun(lie.forgery.checkpoint);
  const before = (await cheater.account.readOperator(cheater.address)).stake;
  say(
    `   challenged at record ${lie.report.step}; ${parties.voters.length} registered re-executors execute it again and vote (SIMULATED parties)`,
  );
  const judged = await disputeStep(parties, scene.rpcUrl, lie.forgery, lie.report, () => verify(lie.forgery.bytes));
  if (judged.slash === undefined) throw new DemoError('DEMO_FAILED', `the vote ended as ${judged.outcome}`);
  const after = (await cheater.account.readOperator(cheater.address)).stake;
  say(
    `   ${judged.outcome}: bond ${tokens(before)} -> ${tokens(after)}, ${tokens(judged.slash.burned)} burned, ${tokens(judged.slash.paid)} to the challenger`,
  );
  return {
    before: before.toString(),
    after: after.toString(),
    burned: judged.slash.burned.toString(),
    paid: judged.slash.paid.toString(),
  };
}

async function playEquivocation(scene: {
  readonly parties: Parties;
  readonly entries: readonly Entry[];
  readonly receiptKey: Uint8Array;
  readonly say: (line: string) => void;
}): Promise<DemoReport['equivocation']> {
  const { parties, entries, say } = scene;
  const one = forgeFor(parties, entries, scene.receiptKey, 2n);
  const other = forgeFor(parties, changeToolResult(entries).entries, scene.receiptKey, 2n);
  await openOnChain(parties.cheater.account, openBodyOf(one));
  const proved = await parties.challenger.account.proveEquivocation(one.checkpoint, other.checkpoint);
  const size = Number(one.checkpoint.size);
  say(
    `   two checkpoints of ${size} records, one run, different roots: the contract alone decides (${proved.rule}), ${tokens(proved.burned)} burned`,
  );
  return { size, decidedBy: 'contract', rule: proved.rule };
}

/** Builds a trace of the cheating operator from entries, under its own run id. */
function forgeFor(parties: Parties, entries: readonly Entry[], receiptKey: Uint8Array, attempt: bigint): Forgery {
  const { cheater, chainId, contract } = parties;
  const own = asOperator(entries, {
    operator: cheater.address,
    attempt: attempt.toString(),
    signer: addressOf(receiptKey),
  });
  const open = own[0]?.record.body as RunOpenBody;
  const run = computeRunId({
    chainId,
    salt: fromHex(parties.salt),
    contract,
    operator: cheater.address,
    requestDigest: hashRequest(open.request),
    attempt,
  });
  return rebuildTrace(own, run, { chainId, contract }, { operator: cheater.key, receipts: receiptKey });
}

function openBodyOf(forgery: Forgery): RunOpenBody {
  const first = forgery.records[0];
  if (first?.kind !== 'run.open') throw new TypeError('a trace that does not begin with run.open');
  return first.body;
}

function tellAudit(audited: AuditedRun, say: (line: string) => void): void {
  const { classified, report, result } = audited;
  for (const line of report.text.split('\n')) say(`   | ${line}`);
  say(`   ${result.records} records in ${audited.path}`);
  say(
    `   the 135M model sorted ${classified.right} of ${classified.of} expenses as a person did; use a larger one, such as SmolLM2-1.7B-Instruct, for real work`,
  );
}

function tellEnd(audited: AuditedRun, environment: Environment, contract: Hex, say: (line: string) => void): void {
  say(
    'Proved: who signed the run, which code, model and policy ran, and that every recomputable record follows from the ones before.',
  );
  say(
    'Only reported: what the books server answered, the clock, and that nothing was asked twice before its start was recorded.',
  );
  say(`bundle      ${audited.path}`);
  say(`trust file  ${trustPath(environment)}`);
  say(`chain state ${chainFolder(environment)}`);
  say(`again       npx tracebond verify ${audited.path}`);
  say(`on chain    npx tracebond verify ${audited.path} --rpc embedded --contract ${contract}`);
}

function describe(report: VerifyReport): string {
  if (report.claimed === undefined) return report.message === undefined ? '' : ` (${report.message})`;
  const cut = (text: string | undefined) => ((text ?? '').length > 60 ? `${text?.slice(0, 60)}…` : text);
  return `: claimed ${cut(report.claimed)}, recomputed ${cut(report.recomputed)}`;
}

function tokens(amount: bigint): string {
  return `${amount / TOKEN} SIMBOND`;
}
