/**
 * What stands beside the files of a model that was pulled: where it came from and what it consists of.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Hex } from '../../attest/core/bytes.ts';
import { ModelStoreError } from './errors.ts';

/** Name of the file. */
export const MANIFEST_FILE = 'tracebond-model.json';

/** Ids of models: names of folders on every file system, also where upper and lower case are one. */
const MODEL_ID = /^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/;

/** Plain name of a file of a model. */
export const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}$/;

const MAX_MANIFEST_BYTES = 1 << 20;

const digest = z.string().regex(/^0x[0-9a-f]{64}$/) as z.ZodType<Hex>;

/** Where a model came from. A hub's `revision` is the full commit; `file` is null for a folder of safetensors. */
const origin = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('hub'), repository: z.string(), revision: z.string(), file: z.string().nullable() }),
  z.strictObject({ kind: z.literal('url'), url: z.string() }),
  // Used where it lies: nothing of it is in the store.
  z.strictObject({ kind: z.literal('path'), path: z.string().startsWith('/') }),
  z.strictObject({ kind: z.literal('wheel'), package: z.string(), version: z.string(), entry: z.string() }),
]);

const manifest = z.strictObject({
  version: z.literal(1),
  id: z.string().regex(MODEL_ID),
  origin,
  format: z.enum(['gguf', 'safetensors']),
  files: z
    .array(
      z.strictObject({
        name: z.string().regex(FILE_NAME),
        sizeBytes: z.int().nonnegative(),
        // Lower-case hexadecimal.
        sha256: z.string().regex(/^[0-9a-f]{64}$/),
      }),
    )
    .min(1)
    .max(1024),
  /** Of all files, by which what is made from the model is named. */
  digest,
  /** Under the profile `exact`; null until `tracebond models commit` has computed it. */
  commitment: digest.nullable(),
  pulledAt: z.iso.datetime(),
});

export type ModelOrigin = z.infer<typeof origin>;
export type ModelManifest = z.infer<typeof manifest>;

/**
 * Checks a name for a model.
 *
 * @param id - untrusted
 * @throws {@link ModelStoreError} `BAD_MODEL_ID`
 */
export function checkModelId(id: string): string {
  if (isModelId(id)) return id;
  const shown = JSON.stringify(id.slice(0, 100));
  throw new ModelStoreError(
    'BAD_MODEL_ID',
    `${shown} is no name for a model: expected up to 64 of a-z, 0-9, ".", "_", "-", that start and end with a letter or digit, not ending in .gguf`,
  );
}

/** Whether a text may be the id of a model. A text that ends in `.gguf` is a path. */
export function isModelId(id: string): boolean {
  return MODEL_ID.test(id) && !id.endsWith('.gguf');
}

/** The text that pulls the model again, as `tracebond models pull` takes it. */
export function originText(from: ModelOrigin): string {
  switch (from.kind) {
    case 'hub':
      return `hf:${from.repository}@${from.revision}${from.file === null ? '' : `:${from.file}`}`;
    case 'url':
      return from.url;
    case 'path':
      return from.path;
    case 'wheel':
      return `wheel:${from.package}==${from.version}:${from.entry}`;
  }
}

/**
 * Reads the manifest of a folder; undefined if it has none.
 *
 * @throws {@link ModelStoreError} `MALFORMED_MANIFEST`
 */
export function readModelManifest(folder: string): ModelManifest | undefined {
  const path = join(folder, MANIFEST_FILE);
  const malformed = (why: string, cause?: unknown) =>
    new ModelStoreError('MALFORMED_MANIFEST', `${path}: ${why}`, { at: { path }, cause });
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw malformed(`cannot be read (${code})`, error);
  }
  if (bytes.length > MAX_MANIFEST_BYTES) throw malformed(`has ${bytes.length} bytes, at most ${MAX_MANIFEST_BYTES}`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw malformed('is no JSON', error);
  }
  const parsed = manifest.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw malformed(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'malformed'}`, parsed.error);
}

/** Writes the manifest of a folder aside and puts it in its place. */
export async function writeModelManifest(folder: string, value: ModelManifest): Promise<void> {
  const aside = join(folder, `${MANIFEST_FILE}.${process.pid}`);
  try {
    {
      await using file = await open(aside, 'w');
      await file.writeFile(`${JSON.stringify(manifest.parse(value), null, 2)}\n`);
      await file.sync();
    }
    await rename(aside, join(folder, MANIFEST_FILE));
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
}
