/**
 * The tarball as `npm pack` makes it, and what is looked at in it: contents, size, publint, attw.
 *
 * @module
 */

import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, posix, relative } from 'node:path';
import { promisify } from 'node:util';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { contentFaults } from './contents.ts';
import { must, StepFailed } from './steps.ts';

const execute = promisify(execFile);

/** Bounds in bytes: measured were 0.94 and 3.3 million. A model, a map or a folder too many goes beyond them. */
const MAX_PACKED = 1_500_000;
const MAX_UNPACKED = 5_000_000;

/**
 * Rules of attw that do not count. A CommonJS program that asks for this package gets an ES module, which every Node that the
 * package allows (20.19 and newer) can `require`; the fresh project does it.
 */
const IGNORED = ['CJSResolvesToESM'];

/** Packs the checkout, `prepack` included, into a folder. */
export async function packTarball(root: string, folder: string): Promise<string> {
  const { stdout } = await execute('npm', ['pack', '--json', '--pack-destination', folder, '--loglevel=error'], {
    cwd: root,
    maxBuffer: 64 << 20,
  }).catch((error: { readonly stdout?: string; readonly stderr?: string }) => {
    throw new StepFailed(`${error.stdout ?? ''}${error.stderr ?? String(error)}`);
  });
  // The scripts of the build write before the report does.
  const [{ filename }] = JSON.parse(stdout.slice(stdout.search(/^\[/m))) as [{ readonly filename: string }];
  return join(folder, filename);
}

/** Unpacks it, and holds its files to what the package must have, its size to the bounds, its text to this machine's paths. */
export async function checkContents(root: string, tarball: string, folder: string): Promise<string> {
  await execute('tar', ['-xzf', tarball, '-C', folder]);
  const top = join(folder, 'package');
  const files = readdirSync(top, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(top, join(entry.parentPath, entry.name)));
  const faults = contentFaults(files, root);
  must(faults.length === 0, `\n  ${faults.join('\n  ')}`);
  must((statSync(join(top, 'agents/cli/tracebond.mjs')).mode & 0o111) !== 0, 'the command cannot be executed');
  const places = [root.replace(/\/$/, ''), homedir()].filter((place) => place.split('/').length > 2);
  const told = files.filter((file) => {
    const content = readFileSync(join(top, file), 'latin1');
    return places.some((place) => content.includes(place)) || /-----BEGIN [A-Z ]*PRIVATE KEY/.test(content);
  });
  must(told.length === 0, `these hold a path of this machine, or a key: ${told.join(', ')}`);
  const packed = statSync(tarball).size;
  const unpacked = files.reduce((sum, file) => sum + statSync(join(top, file)).size, 0);
  must(packed <= MAX_PACKED && unpacked <= MAX_UNPACKED, `${packed} bytes packed, ${unpacked} unpacked: too large`);
  return `${files.length} files, ${packed} bytes packed (at most ${MAX_PACKED}), ${unpacked} unpacked (at most ${MAX_UNPACKED})`;
}

/** publint, whose warnings and suggestions count like errors. */
export async function runPublint(tarball: string): Promise<string> {
  const bytes = readFileSync(tarball);
  const data = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const { messages, pkg } = await publint({ pack: { tarball: data }, strict: true });
  must(messages.length === 0, messages.map((message) => formatMessage(message, pkg) ?? message.code).join('; '));
  return '0 messages';
}

/** attw: the types that each way to import the package finds are those of what it runs. */
export async function runAttw(tarball: string): Promise<string> {
  const result = await checkPackage(createPackageFromTarballData(new Uint8Array(readFileSync(tarball))));
  must(result.types !== false, 'the package has no types');
  const problems = result.problems.filter(({ kind }) => !IGNORED.includes(kind));
  must(problems.length === 0, JSON.stringify(problems));
  const seen = Object.keys(result.entrypoints['.']?.resolutions ?? {});
  must(seen.length === 4, `seen by ${seen.join(', ')} alone`);
  return `0 problems by ${seen.join(', ')}; not counted: ${IGNORED.join(', ')}`;
}

/** Which of README's relative links lead to a file of the package; a registry's page follows none of them. */
export function countLinks(folder: string): string {
  const top = join(folder, 'package');
  const text = readFileSync(join(top, 'README.md'), 'utf8');
  const links = [...text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)]
    .map(([, target = '']) => target)
    .filter((target) => !/^[a-z]+:/.test(target));
  const files = readdirSync(top, { recursive: true, encoding: 'utf8' });
  const gone = [...new Set(links.filter((target) => !files.includes(posix.normalize(target).replace(/\/$/, ''))))];
  return `${links.length} relative links, ${gone.length} of them to what the package leaves out${gone.length > 0 ? ` (${gone.join(', ')})` : ''}`;
}

/** Bytes of a folder, as they are allocated, in MiB. */
export async function mebibytes(folder: string): Promise<number> {
  const { stdout } = await execute('du', ['-sm', folder], { cwd: dirname(folder) });
  return Number(/^\d+/.exec(stdout)?.[0]);
}
