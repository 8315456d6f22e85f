/**
 * What lies in the root of a finished image, and what must not.
 *
 * @module
 */

import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type Box, run } from './box.ts';
import type { Image } from './build.ts';
import type { Ignores } from './context.ts';

/** A check; it gives what is wrong, and nothing where all is as it should be. */
export type Check = { readonly name: string; run(): Promise<readonly string[]> };

type Lock = { readonly packages: Readonly<Record<string, { readonly dev?: true; readonly optional?: true }>> };

const APP = 'app';
const SECRET_FILE = /(?:^|\/)(?:\.env(?:\..*)?|[^/]*\.(?:pem|key)|id_[a-z0-9]+)$/;
const SHOWN = 10;

/** Packages that `agents/setup/prune-packages.mjs` takes out. */
const PRUNED = /^node_modules\/onnxruntime-web(?:\/|$)/;

/**
 * The checks of a root.
 *
 * @param canary - what the names of files that were laid into the context hold, and no other does
 */
export function listContentChecks(image: Image, ignores: Ignores, lock: Lock, canary: string): Check[] {
  const { root } = image;
  const app = (path: string) => join(root, APP, path);
  const check = (name: string, find: () => readonly string[] | Promise<readonly string[]>): Check => ({
    name,
    run: async () => (await find()).slice(0, SHOWN),
  });
  return [
    check('nothing of what .dockerignore keeps out', () => {
      const own = filesBelow(join(root, APP)).filter((path) => !/^(?:node_modules|dist)\//.test(path));
      const all = filesBelow(root);
      return [...own.filter(ignores), ...all.filter((path) => path.includes(canary))];
    }),
    check('no key, no environment file, no log and no trace of the builder', () => {
      const left = ['root/.npm', 'root/.npmrc', 'run/outside', 'var/lib/apt/lists', 'var/cache/apt'];
      const full = left.filter((path) => existsSync(join(root, path)) && !isEmpty(join(root, path)));
      const secrets = [APP, 'root', 'home'].flatMap((folder) =>
        filesBelow(join(root, folder))
          .filter((path) => SECRET_FILE.test(path) && !path.startsWith('node_modules/'))
          .map((path) => `${folder}/${path}`),
      );
      return [...full, ...secrets];
    }),
    check('each package that runs, and none for development', () =>
      Object.entries(lock.packages).flatMap(([path, { dev, optional }]) => {
        const isThere = existsSync(app(path));
        const isWanted = path === '' || (dev !== true && !PRUNED.test(path));
        if (isThere && !isWanted) return [`${path} is there`];
        return isWanted && optional !== true && !isThere ? [`${path} is missing`] : [];
      }),
    ),
    check(`ONNX Runtime for ${process.platform}/${process.arch} alone`, () => {
      const bin = app('node_modules/onnxruntime-node/bin');
      const platforms = new Set(filesBelow(bin).map((path) => path.split('/').slice(1, 3).join('/')));
      const wanted = `${process.platform}/${process.arch}`;
      return [...platforms].join() === wanted ? [] : [`platforms: ${[...platforms].join(', ')}`];
    }),
    check('the compiled program, the page of the inspector and the licence', () =>
      ['dist/agents/cli/main.js', 'dist/attest/inspector/page/index.html', 'LICENSE', 'package.json'].filter(
        (path) => !existsSync(app(path)),
      ),
    ),
    check('no test and no source beside what is compiled', () =>
      filesBelow(join(root, APP)).filter(
        (path) => /\.tsx?$/.test(path) && !/\.d\.ts$|^agents\/sdk\/|^node_modules\//.test(path),
      ),
    ),
    check('links that lead somewhere', () => linksBelow(join(root, APP)).filter((path) => !existsSync(app(path)))),
    check('all of it is root’s; the user may write in the volumes, in /home/node and where everybody may', async () => {
      const [uid, gid] = image.user.split(':').map(Number);
      const owned = image.volumes.filter((path) => {
        const status = lstatSync(join(root, path));
        return status.uid !== uid || status.gid !== gid;
      });
      const home = lstatSync(join(root, image.env['TRACEBOND_HOME'] ?? '/')).mode & 0o777;
      const box: Box = { ...image, binds: [], network: false, readOnly: false };
      const places = '/ -xdev ( -path /proc -o -path /dev -o -path /home/node ) -prune -o -writable ! -type l -print';
      const { code, output } = await run(box, ['find', ...places.split(' ')], 60_000);
      const open = output.split('\n').filter((path) => path !== '' && !/^\/(?:tmp|var\/tmp|run\/lock)$/.test(path));
      return [
        ...owned.map((path) => `${path} is not the user's`),
        ...(home === 0o700 ? [] : [`the folder of keys has mode ${home.toString(8)}`]),
        ...open.filter((line) => !line.startsWith('find: ')).map((path) => `the user may write ${path}`),
        ...(code === 0 || output.includes('Permission denied') ? [] : [`find ended with ${code}: ${output}`]),
      ];
    }),
  ];
}

/** Kibibytes that folders of a root take up. */
export function readSizes(
  root: string,
  folders: readonly string[],
): { readonly folder: string; readonly kib: number }[] {
  return folders
    .filter((folder) => existsSync(join(root, folder)))
    .map((folder) => ({ folder, kib: sizeOf(join(root, folder)) }));
}

function sizeOf(folder: string): number {
  const seen = new Set<number>();
  let blocks = 0;
  for (const path of [...filesBelow(folder), ...linksBelow(folder)]) {
    const { ino, nlink, blocks: own } = lstatSync(join(folder, path));
    if (nlink > 1 && seen.has(ino)) continue;
    seen.add(ino);
    blocks += own;
  }
  return Math.round(blocks / 2);
}

export function readLock(path: string): Lock {
  return JSON.parse(readFileSync(path, 'utf8'));
}

function filesBelow(folder: string): string[] {
  return entriesBelow(folder, (entry) => entry.isFile());
}

function linksBelow(folder: string): string[] {
  return entriesBelow(folder, (entry) => entry.isSymbolicLink()).filter(
    // What leads elsewhere in the image is not told from what leads elsewhere here.
    (path) => !readlinkSync(join(folder, path)).startsWith('/'),
  );
}

function entriesBelow(
  folder: string,
  isWanted: (entry: { isFile(): boolean; isSymbolicLink(): boolean }) => boolean,
): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(isWanted)
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
}

function isEmpty(path: string): boolean {
  return lstatSync(path).isDirectory() && readdirSync(path).length === 0;
}
