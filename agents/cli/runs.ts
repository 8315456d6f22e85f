/**
 * `tracebond runs`: the runs of a server, over its HTTP API.
 *
 * @module
 */

import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { RuntimeError } from '../../attest/core/error.ts';
import { readEnvironment } from './environment.ts';

export type RunsErrorCode =
  /** No connection. */
  | 'UNREACHABLE'
  /** The server says no; `at.status`, `at.code` as it said. */
  | 'REFUSED'
  /** Not an answer of this API. */
  | 'MALFORMED_RESPONSE';

/** A command about runs that came to nothing. */
export class RunsError extends RuntimeError<RunsErrorCode> {
  override readonly name = 'RunsError';
}

/** What the commands need from outside. */
export type RunsIo = {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Writes one line to standard output. */
  print(line: string): void;
};

type Options = { readonly url: string; readonly json?: true };

type Run = {
  readonly id: string;
  readonly agent: string;
  readonly status: string;
  readonly reason: string | null;
  readonly createdAt: number;
  readonly waiting: readonly { readonly index: string; readonly for: string; readonly request?: unknown }[];
  readonly output: unknown;
  readonly error: { readonly code: string; readonly message: string } | null;
};

const DEFAULT_URL = 'http://127.0.0.1:8090';

/** Adds the commands. */
export function registerRuns(program: Command, io: RunsIo = terminal()): void {
  const runs = program
    .command('runs')
    .description('list and steer the runs of a server; its access key in TRACEBOND_API_KEY');
  const add = (name: string, description: string) =>
    runs
      .command(name)
      .description(description)
      .option('--url <url>', 'the server', DEFAULT_URL)
      .option('--json', 'what the server says, as JSON');

  add('list', 'the newest runs')
    .option('--limit <number>', 'how many, at most 100', '20')
    .option('--status <name>', 'of this state only')
    .action(async (options: Options & { limit: string; status?: string }) => {
      const query = new URLSearchParams({
        limit: options.limit,
        ...(options.status === undefined ? {} : { status: options.status }),
      });
      const page = await ask(io, options, 'GET', `/v1/runs?${query}`);
      if (options.json === true) return io.print(JSON.stringify(page));
      for (const run of (page as { data: readonly Run[] }).data) {
        io.print(`${run.id}  ${new Date(run.createdAt).toISOString()}  ${run.status}${why(run)}  ${run.agent}`);
      }
    });
  const one = (name: string, description: string) => add(name, description).argument('<run>', 'run id');
  const show = async (options: Options, answer: Promise<unknown>) => {
    const run = (await answer) as Run;
    if (options.json === true) return io.print(JSON.stringify(run));
    io.print(`${run.status}${why(run)}  ${run.id}  ${run.agent}`);
    for (const { index, for: what, request } of run.waiting)
      io.print(`  ${index} waits for ${what}: ${JSON.stringify(request ?? null)}`);
    if (run.error !== null) io.print(`  error ${run.error.code}: ${run.error.message}`);
    if (run.output !== null) io.print(`  output ${JSON.stringify(run.output)}`);
  };
  one('show', 'where a run stands').action((run: string, options: Options) =>
    show(options, ask(io, options, 'GET', pathOf(run))),
  );
  for (const [verb, description] of [
    ['cancel', 'end a run'],
    ['pause', 'put a run aside'],
    ['resume', 'go on with a run that was put aside'],
  ] as const) {
    one(verb, description).action((run: string, options: Options) =>
      show(options, ask(io, options, 'POST', `${pathOf(run)}/${verb}`)),
    );
  }
  one('approve', "give a person's decision")
    .argument('<index>', 'record that waits')
    .option('--deny', 'do not approve')
    .option('--note <text>', 'for the agent, and on record', '')
    .option('--approver <address>', 'who has signed')
    .option('--signature <hex>', 'signature of the decision, where the policy names approvers')
    .action(
      async (
        run: string,
        index: string,
        options: Options & { deny?: true; note: string; approver?: string; signature?: string },
      ) => {
        const { deny, note, approver = null, signature = null } = options;
        const body = { approved: deny !== true, note, approver, signature };
        await show(options, ask(io, options, 'POST', `${pathOf(run)}/approvals/${encodeURIComponent(index)}`, body));
      },
    );
  one('reconcile', 'say what became of a call that a crash left open')
    .argument('<index>', 'record that waits')
    .argument('<how>', 'send: make it again; lost: give it up')
    .action((run: string, index: string, how: string, options: Options) =>
      show(options, ask(io, options, 'POST', `${pathOf(run)}/reconciliations/${encodeURIComponent(index)}`, { how })),
    );
  one('bundle', 'fetch the trace, to verify')
    .requiredOption('--out <file>', 'a file that is not there yet')
    .action(async (run: string, options: Options & { out: string }) => {
      const response = await send(io, options, 'GET', `${pathOf(run)}/bundle`);
      if (!response.ok || response.body === null) throw await refusal(response);
      await pipeline(Readable.fromWeb(response.body), createWriteStream(options.out, { flags: 'wx' }));
      io.print(options.out);
    });
  one('forget', 'delete what was said in a run that is over; its trace still holds').action(
    (run: string, options: Options) => show(options, ask(io, options, 'DELETE', `${pathOf(run)}/payloads`)),
  );
}

function terminal(): RunsIo {
  return { env: readEnvironment().env, print: (line) => console.log(line) };
}

function pathOf(run: string): string {
  return `/v1/runs/${encodeURIComponent(run)}`;
}

function why({ reason }: Run): string {
  return reason === null ? '' : ` (${reason})`;
}

async function ask(io: RunsIo, options: Options, method: string, path: string, body?: unknown): Promise<unknown> {
  const response = await send(io, options, method, path, body);
  if (!response.ok) throw await refusal(response);
  return readJson(response);
}

async function send(
  { env }: RunsIo,
  { url }: Options,
  method: string,
  path: string,
  body?: unknown,
): Promise<Response> {
  const key = env['TRACEBOND_API_KEY'];
  try {
    return await fetch(`${url.replace(/\/+$/, '')}${path}`, {
      method,
      redirect: 'error',
      headers: {
        ...(key === undefined || key === '' ? {} : { authorization: `Bearer ${key}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch (cause) {
    const reason = ((cause as Error).cause as Error | undefined)?.message ?? (cause as Error).message;
    throw new RunsError('UNREACHABLE', `${url} does not answer: ${reason}`, { at: { url }, cause });
  }
}

async function refusal(response: Response): Promise<RunsError> {
  const { error } = (await readJson(response)) as {
    readonly error?: { readonly code?: unknown; readonly message?: unknown };
  };
  const { status } = response;
  if (typeof error?.code !== 'string' || typeof error.message !== 'string') {
    return new RunsError('MALFORMED_RESPONSE', `status ${status} without a reason: is this a runtime?`, {
      at: { status },
    });
  }
  return new RunsError('REFUSED', `${error.code}: ${error.message}`, { at: { status, code: error.code } });
}

async function readJson(response: Response): Promise<unknown> {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new RunsError('MALFORMED_RESPONSE', `status ${response.status}, and no JSON: is this a runtime?`, {
      at: { status: response.status },
      cause,
    });
  }
}
