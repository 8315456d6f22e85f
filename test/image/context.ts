/**
 * What a builder gets of a folder: all that `.dockerignore` lets through.
 *
 * @module
 */

import { cpSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import dockerignore from '@balena/dockerignore';

/** Whether a path, relative to the context and with slashes, is kept from the builder. */
export type Ignores = (path: string) => boolean;

/** Reads the rules of a `.dockerignore`. */
export function readDockerignore(text: string): Ignores {
  const rules = dockerignore.default().add(text.split(/\r?\n/));
  return (path) => rules.ignores(path);
}

/** Files of a context, relative to `folder`, sorted. */
export function listContext(folder: string, ignores: Ignores): string[] {
  const walk = (path: string): string[] =>
    readdirSync(join(folder, path), { withFileTypes: true }).flatMap((entry) => {
      const below = path === '' ? entry.name : `${path}/${entry.name}`;
      // No rule of ours lets anything through below an ignored folder but the first, which names top folders.
      if (ignores(below)) return [];
      return entry.isDirectory() ? walk(below) : [below];
    });
  return walk('').sort();
}

/** Copies a context. @returns its files */
export function copyContext(folder: string, target: string, ignores: Ignores): string[] {
  const files = listContext(folder, ignores);
  for (const path of files) {
    mkdirSync(dirname(join(target, path)), { recursive: true });
    cpSync(join(folder, path), join(target, path), { verbatimSymlinks: true });
  }
  return files;
}
