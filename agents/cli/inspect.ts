/**
 * `tracebond inspect`: a page on this computer that shows what an agent did and checks it in the reader's browser.
 *
 * @module
 */

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { RuntimeError } from '../../attest/core/error.ts';
import { type BundlePath, openBundles } from '../../attest/inspector/bundles.ts';
import { parseReports, ReportError, type SourcedReport } from '../../attest/inspector/report.ts';
import { openInspector } from '../../attest/inspector/server.ts';
import { readEnvironment } from './environment.ts';
import { packageRoot } from './package-root.ts';

export type InspectCode =
  | 'BAD_PORT'
  /** The file of `--report` cannot be read, or is no verifier's report. */
  | 'BAD_REPORT'
  /** The page could not be built from its sources. */
  | 'PAGE_NOT_BUILT'
  /** The verifier gave no report. */
  | 'VERIFIER_FAILED';

/** The inspector was called wrongly, or a part of it could not do its work. */
export class InspectError extends RuntimeError<InspectCode> {
  override readonly name = 'InspectError';
}

type Options = {
  readonly port?: string;
  readonly report?: string;
  readonly open: boolean;
};

const MAX_REPORT_BYTES = 256 * 1024 * 1024;

/** Adds `inspect` to a program. */
export function registerInspect(program: Command): void {
  program
    .command('inspect')
    .description('show a run in the browser, checked there again; nothing leaves this computer')
    .argument('<bundle>', 'a .trace file, or a folder of them')
    .option('--port <port>', 'port on 127.0.0.1; any free one by default')
    .option('--report <file>', 'what `tracebond verify --json` printed, to be shown beside the records')
    .option('--no-open', 'print the address and do not open a browser')
    .action(inspect);
}

async function inspect(path: string, options: Options): Promise<void> {
  const port = readPort(options.port);
  const bundles = await openBundles(path);
  const given = options.report === undefined ? [] : await readReports(options.report);
  const isSingle = !(await stat(path)).isDirectory();
  const reportOf = (bundle: BundlePath): SourcedReport | undefined => {
    const found =
      given.find(({ file }) => resolve(file) === bundle.path) ??
      given.find(({ file }) => basename(file) === bundle.name) ??
      (isSingle && given.length === 1 ? given[0] : undefined);
    return found === undefined ? undefined : { source: 'file', report: found.report };
  };
  if (given.length > 0 && !(await bundles()).some((bundle) => reportOf(bundle) !== undefined)) {
    console.error('No report of --report names a bundle that is here: none is shown.');
  }
  const inspector = await openInspector(
    {
      bundles,
      page: await openPage(),
      reportOf,
      verify: executeAgain,
    },
    port,
  );
  console.log(inspector.url);
  console.error('The page is served to this computer alone. Ctrl-C ends it.');
  if (options.open) openBrowser(inspector.url);
  await new Promise<void>((ended) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ended());
  });
  await inspector.close();
}

function readPort(text: string | undefined): number {
  if (text === undefined) return 0;
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65_535) {
    throw new InspectError('BAD_PORT', `--port: expected a number up to 65535, got ${text}`);
  }
  return port;
}

async function readReports(path: string) {
  try {
    if ((await stat(path)).size > MAX_REPORT_BYTES) throw new InspectError('BAD_REPORT', `${path} is too large`);
    const reports = parseReports(await readFile(path, 'utf8'));
    if (reports.length === 0)
      throw new InspectError('BAD_REPORT', `--report ${path}: it holds no report`, { at: { path } });
    return reports;
  } catch (cause) {
    if (cause instanceof InspectError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    if (!(cause instanceof ReportError) && typeof code !== 'string') throw cause;
    throw new InspectError('BAD_REPORT', `--report ${path}: ${message}`, { at: { path }, cause });
  }
}

/** The folder of the built page; a checkout builds it first, where it is not fresh. */
async function openPage(): Promise<URL> {
  const root = packageRoot();
  if (existsSync(new URL('attest/inspector/page/main.tsx', root))) {
    const builder = fileURLToPath(new URL('agents/setup/build-page.mjs', root));
    const { code, errors } = await runNode([builder, fileURLToPath(root)], { limit: 1 << 20 });
    if (code !== 0) throw new InspectError('PAGE_NOT_BUILT', errors.trim() || `the build ended with ${code}`);
  }
  return new URL('dist/attest/inspector/page/', root);
}

/** Runs the verifier as anybody would, in a process of its own. */
async function executeAgain({ path }: BundlePath, signal: AbortSignal): Promise<SourcedReport> {
  const command = fileURLToPath(new URL('agents/cli/tracebond.mjs', packageRoot()));
  const { output, errors } = await runNode([command, 'verify', '--json', path], { limit: MAX_REPORT_BYTES, signal });
  try {
    const [found] = parseReports(output);
    if (found !== undefined) return { source: 'here', report: found.report };
  } catch (cause) {
    if (!(cause instanceof ReportError)) throw cause;
  }
  throw new InspectError('VERIFIER_FAILED', errors.trim().split('\n').at(-1) ?? 'the verifier gave no report');
}

type Ended = { readonly code: number | null; readonly output: string; readonly errors: string };

function runNode(
  args: readonly string[],
  { limit, signal }: { readonly limit: number; readonly signal?: AbortSignal },
): Promise<Ended> {
  return new Promise((done, failed) => {
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(signal === undefined ? {} : { signal, killSignal: 'SIGTERM' as const }),
    });
    const parts: Buffer[] = [];
    let bytes = 0;
    let errors = '';
    child.stdout.on('data', (part: Buffer) => {
      bytes += part.length;
      if (bytes <= limit) parts.push(part);
      else child.kill();
    });
    child.stderr.on('data', (part: Buffer) => {
      errors = (errors + part.toString()).slice(-8192);
    });
    child.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'ABORT_ERR') failed(cause);
      else failed(new InspectError('VERIFIER_FAILED', 'nobody waits for the report any more', { cause }));
    });
    child.once('close', (code) => done({ code, output: Buffer.concat(parts).toString(), errors }));
  });
}

/** Opens the reader's browser where there is a screen; the address was printed, so nothing is lost where there is none. */
function openBrowser(url: string): void {
  const isMac = process.platform === 'darwin';
  const { env } = readEnvironment();
  if (!isMac && !env['DISPLAY'] && !env['WAYLAND_DISPLAY']) return;
  const child = spawn(isMac ? 'open' : 'xdg-open', [url], { stdio: 'ignore', detached: true });
  child.once('error', () => console.error('No browser could be opened; the address is above.'));
  child.unref();
}
