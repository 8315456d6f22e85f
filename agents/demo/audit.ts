/**
 * Runs the expense auditor for a bonded operator: the request is signed, the run opened on the chain, the trace written
 * ahead, the closed checkpoint posted.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BondAccount } from '../../attest/bond/chain.ts';
import { hashRequest } from '../../attest/bond/run-id.ts';
import { fromHex, type Hex, toHex } from '../../attest/core/bytes.ts';
import { childEntry } from '../../attest/core/entry.ts';
import type { RunOpenBody } from '../../attest/trace/bodies.ts';
import { listSubjects } from '../../attest/trace/facts.ts';
import { hashGuestCode } from '../../attest/trace/guest.ts';
import { hashBody } from '../../attest/trace/state.ts';
import { TraceWriter } from '../../attest/trace/writer.ts';
import { openInferenceClient } from '../../inference/client.ts';
import type { InferenceServer } from '../../inference/main.ts';
import { openJournal } from '../../runtime/journal.ts';
import { createRequest, planRun } from '../../runtime/plan.ts';
import { runAgent } from '../../runtime/run.ts';
import type { RunResult, Suspension } from '../../runtime/run-types.ts';
import type { Vm } from '../../runtime/sandbox/vm.ts';
import { bundleAgent } from '../bundle.ts';
import { toAgentCode } from '../guest-code.ts';
import { createPolicy } from '../guest-policy.ts';
import { serveBooks } from './books-server.ts';
import { DemoError } from './errors.ts';
import { EXPOSURE, type Parties } from './parties.ts';

/** Folder of the example. */
const EXAMPLE = new URL('../examples/expense-auditor/', import.meta.url);

/** Its agent. */
const AGENT = findAgent();

const LIMITS = { bytes: '8000000', fuel: '5000000000', steps: '200', tokens: '20000', wallMs: '120000' } as const;

/** The report of the auditor, as its run gives it. */
export type AuditReport = {
  readonly classified: readonly { readonly id: string; readonly description: string; readonly category: string }[];
  readonly audit: {
    readonly totals: readonly { readonly category: string; readonly cents: number }[];
    readonly flags: readonly { readonly id: string; readonly reason: string }[];
  };
  readonly text: string;
};

/** What one audited run left behind. */
export type AuditedRun = {
  readonly path: string;
  readonly result: RunResult;
  readonly report: AuditReport;
  /** How many of the rows the model sorted as a person did. */
  readonly classified: { readonly right: number; readonly of: number };
  /** Milliseconds that the agent ran, its inferences included. */
  readonly runMs: number;
};

/** Runs the auditor once and closes its run on the chain. */
export async function runAudit(options: {
  readonly vm: Vm;
  readonly server: InferenceServer;
  readonly parties: Parties;
  readonly folder: string;
  readonly say: (line: string) => void;
}): Promise<AuditedRun> {
  const { vm, server, parties, say } = options;
  const { honest, chainId, contract } = parties;
  const code = toAgentCode(await bundleAgent(AGENT));
  const books = await serveBooks(EXAMPLE);
  try {
    const random = () => Uint8Array.from(randomBytes(32));
    const deployment = { chainId, contract, salt: fromHex(parties.salt) };
    const now = await honest.account.readTime();
    const caller = createRequest({
      agent: hashGuestCode(code.agent),
      input: { ledgerUrl: `${books.origin}/ledger.csv`, policyUrl: `${books.origin}/policy.txt` },
      limits: LIMITS,
      expiry: now + 3_600n,
      callerKey: random(),
      deployment,
      random,
    });
    const { identity } = server;
    const { run, plan } = planRun({
      caller,
      agent: code.agent,
      tools: code.tools,
      policy: createPolicy(code.capabilities, {
        origins: [books.origin],
        maxBytes: 65_536,
        addresses: ['127.0.0.1/32'],
      }),
      operator: honest.address,
      deployment,
      attempt: 0n,
      deadline: now + 3_600n,
      exposure: EXPOSURE,
      engine: vm.engine,
      inference: {
        engine: identity.engine,
        id: identity.id,
        model: identity.model,
        operations: identity.operations,
        profile: identity.profile,
        profileName: identity.profileName,
        signer: server.signer,
        tokenizer: identity.tokenizer,
      },
      random,
    });
    await openOnChain(honest.account, plan.openBody);
    say(`run ${toHex(run)} opened on the chain`);
    await mkdir(options.folder, { recursive: true });
    const path = join(options.folder, `expense-auditor-${toHex(run).slice(2, 10)}.trace`);
    const journal = await openJournal(path);
    let result: RunResult | Suspension;
    const startedAt = performance.now();
    try {
      const writer = new TraceWriter({ sink: journal, now: Date.now, salt: random }, run, deployment, honest.key);
      const inference = openInferenceClient({ url: server.url, signer: server.signer });
      result = await runAgent({ vm, inference, writer, now: Date.now }, plan);
    } finally {
      await journal.close();
    }
    const runMs = Math.round(performance.now() - startedAt);
    if (result.status !== 'done') {
      const why = result.status === 'suspended' ? result.reason : result.error?.message;
      throw new DemoError('DEMO_FAILED', `the run ended as ${result.status}: ${why}`);
    }
    await honest.account.closeRun(result.checkpoint);
    const report = result.output as unknown as AuditReport;
    return { path, result, report, classified: await countRight(report), runMs };
  } finally {
    await books.close();
  }
}

/** Registers everything that `run.open` names, then opens the run for the account's own operator. */
export async function openOnChain(account: BondAccount, open: RunOpenBody): Promise<Hex> {
  const request = hashRequest(open.request);
  const codes = listSubjects(open, request)
    .filter((digest) => digest !== toHex(request))
    .map((digest) => fromHex(digest));
  for (const digest of codes) await account.registerCode(digest, 'payload of record 0, or the model file of that hash');
  const opened = await account.openRun({
    request: open.request,
    signature: open.signature === null ? null : fromHex(open.signature),
    attempt: BigInt(open.attempt),
    deadline: BigInt(open.deadline),
    exposure: BigInt(open.exposure),
    body: hashBody(open),
    codes,
  });
  return opened.run;
}

async function countRight(report: AuditReport): Promise<{ right: number; of: number }> {
  const text = await readFile(new URL('expected.json', EXAMPLE), 'utf8');
  const expected = JSON.parse(text) as Readonly<Record<string, string>>;
  const right = report.classified.filter((row) => expected[row.id] === row.category).length;
  return { right, of: Object.keys(expected).length };
}

/**
 * The agent's source, also beside a compiled program: minified names follow the frequency of letters in the source, so that
 * compiled files give a script of another digest. An installed package has the compiled files only.
 */
function findAgent(): URL {
  const beside = childEntry(import.meta.url, '../examples/expense-auditor/agent.ts').url;
  if (beside.pathname.endsWith('.ts')) return beside;
  const source = new URL('../../../agents/examples/expense-auditor/agent.ts', import.meta.url);
  return existsSync(source) ? source : beside;
}
