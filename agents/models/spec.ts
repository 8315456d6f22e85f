/**
 * What `tracebond models pull` takes: the text that names a source of a model.
 *
 * @module
 */

import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { SHIPPED_MODEL } from '../../inference/model-path.ts';
import { ModelPullError } from './errors.ts';

/** A source of a model. */
export type ModelSpec =
  | { readonly kind: 'shipped' }
  /** `revision` is a branch, a tag or a commit; `file` is null where none is named. */
  | { readonly kind: 'hub'; readonly repository: string; readonly revision: string; readonly file: string | null }
  | { readonly kind: 'url'; readonly url: string }
  | { readonly kind: 'path'; readonly path: string }
  | { readonly kind: 'wheel'; readonly package: string; readonly version: string; readonly entry: string };

const FORMS = `${SHIPPED_MODEL.id}, hf:OWNER/REPOSITORY[@REVISION][:FILE], https://…, wheel:PACKAGE==VERSION:ENTRY, or a path`;

const NAME = '[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}';
const HUB = new RegExp(`^(${NAME}/${NAME})(?:@([A-Za-z0-9_][A-Za-z0-9_./-]{0,127}))?(?::(.+))?$`);
/** Python's names and versions (PEP 508, PEP 440), and no option of pip. */
const WHEEL = /^([A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)==([0-9A-Za-z][0-9A-Za-z.!+_-]{0,63}):(.+)$/;

/**
 * Reads a source.
 *
 * @param text - untrusted
 * @throws {@link ModelPullError} `BAD_SPEC`
 */
export function parseModelSpec(text: string): ModelSpec {
  if (text === SHIPPED_MODEL.id) return { kind: 'shipped' };
  if (text.length > 4096) throw bad(text, 'too long');
  if (text.startsWith('hf:')) {
    const [, repository = '', revision = 'main', file = null] = HUB.exec(text.slice(3)) ?? [];
    if (repository === '') throw bad(text, 'expected hf:OWNER/REPOSITORY[@REVISION][:FILE]');
    for (const path of [repository, revision, file ?? 'file']) if (!isPlainPath(path)) throw bad(text, 'no plain path');
    return { kind: 'hub', repository, revision, file };
  }
  if (text.startsWith('wheel:')) {
    const [, name = '', version = '', entry = ''] = WHEEL.exec(text.slice(6)) ?? [];
    if (name === '' || !isPlainPath(entry)) throw bad(text, 'expected wheel:PACKAGE==VERSION:ENTRY');
    return { kind: 'wheel', package: name, version, entry };
  }
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return { kind: 'url', url: checkUrl(text) };
  // A lone word is more often a name with a slip than a folder.
  if (text === '' || text.includes('\0') || (!/[/]|\.gguf$/.test(text) && !existsSync(text))) throw bad(text, '');
  return { kind: 'path', path: resolve(text) };
}

/** The name that a model gets where none is given: the last part of where it comes from. */
export function defaultModelId(spec: Exclude<ModelSpec, { readonly kind: 'shipped' }>): string {
  const id = lastPart(spec)
    .replace(/\.gguf$/i, '')
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]+/g, '-')
    .slice(0, 64)
    .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, '');
  return id;
}

/**
 * Refuses addresses whose answers others can change on the way: all but https, and http on this computer alone.
 *
 * @throws {@link ModelPullError} `INSECURE_ADDRESS`
 */
export function checkAddress(target: URL): void {
  const isOwn = ['localhost', '127.0.0.1', '[::1]'].includes(target.hostname);
  if (target.protocol === 'https:' || (target.protocol === 'http:' && isOwn)) return;
  const shown = target.href.slice(0, 200);
  throw new ModelPullError('INSECURE_ADDRESS', `${shown}: expected https (http on this computer alone)`);
}

function lastPart(spec: Exclude<ModelSpec, { readonly kind: 'shipped' }>): string {
  const last = (path: string) => path.split('/').filter(Boolean).at(-1) ?? '';
  switch (spec.kind) {
    case 'hub':
      return last(spec.file ?? spec.repository);
    case 'url':
      return last(decodeURIComponent(new URL(spec.url).pathname));
    case 'path':
      return last(spec.path);
    case 'wheel':
      return last(spec.entry);
  }
}

function checkUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined) throw bad(text, 'no URL');
  if (url.username !== '' || url.password !== '') throw bad(text, 'it holds a password, which would be written down');
  checkAddress(url);
  try {
    decodeURIComponent(url.pathname);
  } catch {
    throw bad(text, 'no URL');
  }
  url.hash = '';
  return url.href;
}

/** A relative path that does not leave where it starts. */
function isPlainPath(path: string): boolean {
  return (
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
    !/[\u0000-\u001f\\]/.test(path) && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
  );
}

function bad(text: string, why: string): ModelPullError {
  const shown = JSON.stringify(text.slice(0, 200));
  return new ModelPullError('BAD_SPEC', `${shown} names no model${why === '' ? '' : ` (${why})`}: expected ${FORMS}`);
}
