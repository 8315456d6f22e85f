/**
 * `npm run readme [-- --without-tests] [PAGE...]`: does what `README.md` and the pages it leads to say, command by command, as a reader
 * with a fresh clone and an empty home would: what is committed is cloned. Needs git, curl, redis-server, network and the ports that the
 * pages name. `--without-tests` leaves the line `npm test` out, for whoever has just run it. Exit code 1 on a failure, 2 on wrong use.
 *
 * @module
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Command, PAGES, readPage, type Step } from './pages.ts';
import { openReader, type Reader } from './reader.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  const options = readOptions(args);
  if (options === undefined) {
    console.error('usage: npm run readme [-- --without-tests] [PAGE...]');
    console.error(`pages: ${PAGES.join(', ')}`);
    return 2;
  }
  const folder = mkdtempSync(join(tmpdir(), 'tracebond-readme-'));
  const reader = openReader(folder, ROOT);
  const interrupt = () => void reader.endServers().finally(() => process.exit(130));
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  try {
    return await follow(reader, options.steps, options.left);
  } finally {
    await reader.endServers();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function follow(reader: Reader, steps: readonly Step[], left: (command: Command) => boolean): Promise<number> {
  const startedAt = performance.now();
  const counts = { done: 0, failed: 0, left: 0 };
  for (const step of steps) {
    const place = `${step.page}:${step.line}`;
    if (step.kind === 'file') {
      reader.write(step);
      continue;
    }
    if (left(step)) {
      counts.left += 1;
      console.log(`left out ${place}  ${step.text}`);
      continue;
    }
    const { failure, seconds } = await reader.run(step);
    counts[failure === undefined ? 'done' : 'failed'] += 1;
    console.log(`${failure === undefined ? 'ok      ' : 'FAILED  '} ${place}  ${step.text}  (${seconds.toFixed(1)} s)`);
    if (failure !== undefined) console.error(failure);
    // Without the clone nothing that follows can be done.
    if (failure !== undefined && /^git clone /.test(step.text)) break;
  }
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(0);
  console.log(`readme: ${counts.done} commands done, ${counts.failed} failed, ${counts.left} left out, ${seconds} s`);
  return counts.failed === 0 && counts.done > 0 ? 0 : 1;
}

type Options = { readonly steps: readonly Step[]; readonly left: (command: Command) => boolean };

function readOptions(args: string[]): Options | undefined {
  try {
    const options = { 'without-tests': { type: 'boolean', default: false } } as const;
    const { values, positionals } = parseArgs({ args, allowPositionals: true, options });
    const pages = PAGES.filter((page) => positionals.length === 0 || positionals.includes(page));
    if (positionals.some((page) => !(PAGES as readonly string[]).includes(page))) return undefined;
    const steps = pages.flatMap((page) => readPage(ROOT, page));
    const clone = readPage(ROOT, PAGES[0])
      .filter((step) => step.kind === 'command')
      .slice(0, 1);
    return {
      steps: pages.includes(PAGES[0]) ? steps : [...clone, ...steps],
      left: ({ text }) => values['without-tests'] && text === 'npm test',
    };
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}
