/**
 * A root that stands in for the base image, which cannot be had without a registry: Debian bookworm by `debootstrap`, without the
 * documents that Debian's slim images leave out, and in it what node's images add: Node and npm (those of this computer), the user `node`.
 *
 * @module
 */

import { cpSync, mkdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Box, run } from './box.ts';
import { must } from './must.ts';

const DEBOOTSTRAP_MS = 300_000;

/** As Debian's slim images are made. */
const SLIM = ['doc', 'groff', 'info', 'linda', 'lintian', 'locale', 'man']
  .map((folder) => `path-exclude /usr/share/${folder}/*\n`)
  .join('')
  .concat('path-include /usr/share/doc/*/copyright\n');

/** What every image of Node has in its environment. */
export const BASE_ENV = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root' };

/** Makes it in an empty folder. @returns in a line, what it is */
export async function makeBaseRoot(root: string): Promise<string> {
  await must('debootstrap', ['--variant=minbase', 'bookworm', root], DEBOOTSTRAP_MS);
  writeFileSync(join(root, 'etc/dpkg/dpkg.cfg.d/docker'), SLIM);
  for (const folder of ['doc', 'info', 'locale', 'man']) {
    rmSync(join(root, 'usr/share', folder), { recursive: true, force: true });
  }
  for (const folder of ['var/cache/apt/archives', 'var/lib/apt/lists']) {
    rmSync(join(root, folder), { recursive: true, force: true });
  }
  // debootstrap copies this computer's. A builder mounts its own over them.
  rmSync(join(root, 'etc/hostname'), { force: true });
  for (const file of ['etc/resolv.conf', 'etc/hosts']) {
    rmSync(join(root, file), { force: true });
    writeFileSync(join(root, file), '');
  }
  const npm = dirname(dirname(realpathSync((await must('which', ['npm'], 10_000)).trim())));
  cpSync(process.execPath, join(root, 'usr/local/bin/node'));
  mkdirSync(join(root, 'usr/local/lib/node_modules'), { recursive: true });
  cpSync(npm, join(root, 'usr/local/lib/node_modules/npm'), { recursive: true, verbatimSymlinks: true });
  symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm'));
  symlinkSync('../lib/node_modules/npm/bin/npx-cli.js', join(root, 'usr/local/bin/npx'));
  const box: Box = { root, env: BASE_ENV, folder: '/', user: '0:0', binds: [], network: false, readOnly: false };
  const addUser = 'groupadd --gid 1000 node && useradd --uid 1000 --gid node --shell /bin/bash --create-home node';
  const { code, output } = await run(
    box,
    ['sh', '-c', `${addUser} && . /etc/os-release && echo $VERSION && npm -v`],
    60_000,
  );
  const [version, npmVersion] = output.trim().split('\n').slice(-2);
  if (code !== 0 || npmVersion === undefined) throw new Error(`the base root: ${output}`);
  return `Debian ${version} (minbase) with this computer's Node ${process.version} and npm ${npmVersion}`;
}
