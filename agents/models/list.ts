/**
 * The models of this computer, for people and programs.
 *
 * @module
 */

import { megabytes } from '../../agents/setup/progress.mjs';
import type { Hex } from '../../attest/core/bytes.ts';
import { ModelPathError, modelFolder, resolveModelPath, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { cachedCommitment } from '../../inference/models/derived.ts';
import { originText } from '../../inference/models/manifest.ts';
import { listStore, type StoredModel } from '../../inference/models/store.ts';
import { usersOf } from '../../inference/models/use-marks.ts';

/** A line of `tracebond models list`. */
export type ListedModel = {
  readonly id: string;
  readonly state: 'ready' | 'absent' | 'damaged';
  /** What is wrong with it, or how to get it; null for a ready one. */
  readonly reason: string | null;
  /** What `tracebond models pull` takes. */
  readonly source: string;
  /** GGUF file or folder; null where it is damaged or absent. */
  readonly path: string | null;
  readonly sizeBytes: number | null;
  /** Digest of its files: of a GGUF file its SHA-256. */
  readonly digest: Hex | null;
  /** Under the profile `exact`; null where it was not computed yet. */
  readonly commitment: Hex | null;
  /** When it was pulled, in UTC; null for the shipped model. */
  readonly pulledAt: string | null;
  /** Process ids of the servers that offer it. */
  readonly servedBy: readonly number[];
};

/** The shipped model, then those of the store. */
export function listModels(options: {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  readonly cache: string;
}): ListedModel[] {
  const folder = modelFolder(options.env, options.home);
  const servedBy = (id: string) => usersOf(folder, id).map(({ pid }) => pid);
  const stored = listStore(folder).filter(({ id }) => id !== SHIPPED_MODEL.id);
  return [
    { ...listShipped(options), servedBy: servedBy(SHIPPED_MODEL.id) },
    ...stored.map((model) => ({ ...listStored(model, options.cache), servedBy: servedBy(model.id) })),
  ];
}

/** The list as a table. */
export function printModels(models: readonly ListedModel[]): string[] {
  const rows = models.map(({ id, sizeBytes, digest, commitment, source, state, reason }) => [
    id,
    sizeBytes === null ? '-' : megabytes(sizeBytes),
    digest?.slice(2, 14) ?? '-',
    commitment?.slice(0, 14) ?? '-',
    state === 'ready' ? source : `${source} (${state}: ${reason})`,
  ]);
  const table = [['ID', 'SIZE', 'SHA-256', 'COMMITMENT', 'SOURCE'], ...rows];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((row) => (row[column] ?? '').length)));
  return table.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '));
}

type Line = Omit<ListedModel, 'servedBy'>;

function listShipped({ env, home, cache }: Parameters<typeof listModels>[0]): Line {
  const { id, sha256, sizeBytes } = SHIPPED_MODEL;
  const digest: Hex = `0x${sha256}`;
  const commitment = cachedCommitment(cache, digest);
  const known = { id, source: id, sizeBytes, digest, commitment, pulledAt: null };
  try {
    return { ...known, state: 'ready', reason: null, path: resolveModelPath(id, env, home).path };
  } catch (error) {
    if (!(error instanceof ModelPathError)) throw error;
    const isAbsent = error.code === 'MODEL_MISSING';
    // `TRACEBOND_MODEL` names a file that no pull would mend.
    const reason = isAbsent && !env['TRACEBOND_MODEL'] ? `tracebond models pull ${id}` : error.message;
    return { ...known, state: isAbsent ? 'absent' : 'damaged', reason, path: null };
  }
}

function listStored({ id, manifest, path, fault }: StoredModel, cache: string): Line {
  const state = fault === null ? 'ready' : 'damaged';
  if (manifest === null) {
    const unknown = { sizeBytes: null, digest: null, commitment: null, pulledAt: null };
    return { id, state, reason: fault, source: 'unknown', path: null, ...unknown };
  }
  const { digest, files, origin, pulledAt } = manifest;
  return {
    id,
    state,
    reason: fault,
    source: originText(origin),
    path,
    sizeBytes: files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    digest,
    commitment: manifest.commitment ?? cachedCommitment(cache, digest),
    pulledAt,
  };
}
