/**
 * `tracebond run`: one's own agent, once.
 *
 * Exit codes: 0 done, 1 called wrongly or not begun, 5 put aside (it waits for a person, or was interrupted), 6 ended otherwise.
 *
 * @module
 */

import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import type { Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { type Json, parseJson } from '../../attest/encoding/canonical-json.ts';
import { ControlError } from '../../runtime/control.ts';
import type { RunManager } from '../../runtime/manager-types.ts';
import type { RunStatus, WaitingStatus } from '../../runtime/run-status.ts';
import { readInput } from './at-hand.ts';
import { readEnvironment } from './environment.ts';
import { addRuntimeOptions, type RuntimeOptions, RuntimeUsageError } from './runtime-options.ts';

/** Exit code of a run that is put aside. */
export const SUSPENDED = 5;
/** Exit code of a run that ended otherwise than `done`. */
export const NOT_DONE = 6;

/** Largest input, in bytes. */
const MAX_INPUT = 16 << 20;

type Options = RuntimeOptions & {
  readonly out?: string;
  readonly input?: string;
  readonly resume?: string;
  readonly json?: true;
};

/** Adds the command. `exit` receives the exit code. */
export function registerRun(program: Command, exit: (code: number) => void): void {
  const command = program
    .command('run')
    .description('run an agent once, every step recorded; approvals are asked for on the terminal')
    .argument('<file>', 'module of the agent')
    .option('--input <json>', 'input as JSON; @FILE, or - for standard input', 'null')
    .option('--resume <run>', 'go on with a run that was put aside')
    .option('--json', 'one JSON object on standard output');
  addRuntimeOptions(command, '--out').action(async (file: string, options: Options) => {
    exit(await runOnce(file, options));
  });
}

async function runOnce(file: string, options: Options): Promise<number> {
  const resumed = options.resume === undefined ? undefined : readRun(options.resume);
  const input = resumed === undefined ? await readJsonInput(options.input ?? 'null') : null;
  const { openRuntime } = await import('./open-runtime.ts');
  const folder = options.out === undefined ? {} : { folder: options.out };
  const runtime = await openRuntime([file], { ...options, ...folder }, readEnvironment(), (line) =>
    console.error(line),
  );
  const { manager, agents } = runtime;
  let interrupted = false;
  const stop = () => {
    interrupted = true;
    void runtime.close();
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  try {
    const run = resumed ?? (await manager.create({ agent: agents[0]?.name ?? '', input })).run;
    if (resumed !== undefined && manager.get(run).reason === 'paused') await manager.resume(run);
    const status = await untilSettled(manager, run, process.stdin.isTTY === true && options.input !== '-');
    print(status, manager, options);
    if (status.status === 'done') return 0;
    return status.status === 'suspended' || interrupted ? SUSPENDED : NOT_DONE;
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
    await runtime.close();
  }
}

/** Waits for the end of a run, or until it waits for somebody who cannot be asked here. */
async function untilSettled(manager: RunManager, run: Hex, canAsk: boolean): Promise<RunStatus> {
  for (;;) {
    const status = await manager.settled(run);
    if (status.status !== 'suspended' || !canAsk) return status;
    const open = openQuestions(manager, status);
    if (open.length === 0) return status;
    for (const [of, waiting] of open) await decide(manager, of, waiting);
  }
}

/** What a run and the runs that it asked for wait for. */
function openQuestions(manager: RunManager, { run, waiting }: RunStatus): readonly (readonly [Hex, WaitingStatus])[] {
  const own = waiting.filter((one) => one.for !== 'child').map((one) => [run, one] as const);
  const children = manager.list().filter(({ parent, status }) => parent?.run === run && status === 'suspended');
  return [...own, ...children.flatMap((child) => openQuestions(manager, child))];
}

async function decide(manager: RunManager, run: Hex, waiting: WaitingStatus): Promise<void> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const index = BigInt(waiting.index);
    process.stderr.write(`\n${waiting.capability} of record ${waiting.index}: ${JSON.stringify(waiting.request)}\n`);
    if (waiting.for === 'reconciliation') {
      const word = await terminal.question(
        'It may have been sent before a crash. Send it again, or give it up? [send/lost] ',
      );
      if (word === 'send' || word === 'lost') await manager.reconcile(run, index, word);
      return;
    }
    const approved = /^y(?:es)?$/i.test((await terminal.question('Approve? [y/N] ')).trim());
    const note = (await terminal.question('Note (may be empty): ')).slice(0, 2000);
    await manager.approve(run, index, { approved, note, approver: null, signature: null });
  } catch (error) {
    // One that needs a signature is not decided here.
    if (!(error instanceof ControlError)) throw error;
    process.stderr.write(`${error.message}\n`);
    throw error;
  } finally {
    terminal.close();
  }
}

function print(status: RunStatus, manager: RunManager, { json }: Options): void {
  const bundle = manager.bundle(status.run);
  const verify = `tracebond verify ${bundle} --signer ${manager.operator}`;
  if (json === true) {
    const { run, status: state, reason, waiting, output, error, records } = status;
    console.log(
      JSON.stringify({
        run,
        status: state,
        reason,
        waiting,
        output,
        error,
        records,
        bundle,
        operator: manager.operator,
        verify,
      }),
    );
    return;
  }
  console.log(`${status.status}  ${status.run}`);
  if (status.reason !== null) console.log(`  waits for  ${status.reason}`);
  for (const one of status.waiting)
    console.log(`  record     ${one.index}: ${one.capability} ${JSON.stringify(one.request)}`);
  if (status.error !== null) console.log(`  error      ${status.error.code}: ${status.error.message}`);
  if (status.output !== null) console.log(`  output     ${JSON.stringify(status.output)}`);
  console.log(`  records    ${status.records}`);
  console.log(`  bundle     ${bundle}`);
  console.log(
    `  ${status.status === 'suspended' || status.status === 'running' ? `go on      --resume ${status.run}` : `verify     ${verify}`}`,
  );
}

function readRun(text: string): Hex {
  if (!/^0x[0-9a-f]{64}$/.test(text))
    throw new RuntimeUsageError('BAD_RUN', `--resume: expected a run id, got ${text}`);
  return text as Hex;
}

async function readJsonInput(text: string): Promise<Json> {
  const refuse = (message: string) => new RuntimeUsageError('BAD_INPUT', `--input: ${message}`);
  const isFile = text === '-' || text.startsWith('@');
  const bytes = isFile ? await readInput(text.replace(/^@/, ''), MAX_INPUT, refuse) : Buffer.from(text, 'utf8');
  try {
    return parseJson(bytes, { maxBytes: MAX_INPUT });
  } catch (error) {
    if (!RuntimeError.is(error)) throw error;
    throw refuse(error.message);
  }
}
