/**
 * A model in the exact form as a file in a cache folder, made once for each model. A folder is complete or absent (written
 * aside, then renamed), and its file is hashed again at each start and once more where it is loaded, so that a damaged one is
 * made anew. The cache guards against accident, not against its owner: whoever wants to know recomputes the commitment.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Hex, toHex } from '../../attest/core/bytes.ts';
import { makeAside, putInPlace } from '../aside-folder.ts';
import { ModelError } from '../errors.ts';
import type { ModelSource } from '../model-source.ts';
import type { TokenizerDescription } from '../tokenizer-json.ts';
import { tokenizerDigest } from './commitment.ts';
import { type Converted, convertModel } from './convert.ts';
import { EXACT_VERSION, type ExactModel, type ExactShape } from './exact-model.ts';
import { exactShape } from './exact-shape.ts';
import { type FileLayout, fileLayout, type Part } from './file-layout.ts';
import { operationList } from './operations.ts';
import type { OperationRange } from './ranges.ts';

/** An open file; the caller closes it. */
export type ExactFile = {
  readonly shape: ExactShape;
  readonly layout: FileLayout;
  /** Root over all that decides the model's results. */
  readonly commitment: Hex;
  /** One for each operation. */
  readonly ranges: readonly OperationRange[];
  readonly tokenizer: TokenizerDescription;
  /** Of the description. */
  readonly tokenizerDigest: Hex;
  /** Path of the weights. */
  readonly path: string;
  /**
   * Copies the whole file to `into`, from `offset` on, and checks its digest.
   *
   * @param into - may lie in shared memory
   * @throws {@link ModelError} `CACHE_DAMAGED` if the file has changed since it was opened, `FILE_UNREADABLE`
   */
  load(into: Uint8Array, offset: number): void;
  close(): void;
};

/** A model in memory with what was found out about it. */
export type CommittedExactModel = ExactModel & {
  readonly commitment: Hex;
  readonly ranges: readonly OperationRange[];
};

const WEIGHT_FILE = 'weights.bin';
const MANIFEST_FILE = 'manifest.json';

/** Counts changes of the converter that change its bytes or bounds while the profile stays the same. */
const CONVERTER_VERSION = 1;

/** Bytes read at a time; garbage of this size would stay in memory for long. */
const READ_BYTES = 1 << 18;

/**
 * Finds the file of a model, or makes it.
 *
 * @param cacheDir - made if absent
 * @throws {@link ModelError} as `convertModel`; `CACHE_UNWRITABLE` if the folder cannot be written
 */
export async function ensureExactFile(
  source: ModelSource,
  cacheDir: string,
  onProgress: (message: string) => void = () => {},
): Promise<ExactFile> {
  const shape = exactShape(source.config);
  const { tokenizer } = source;
  const wanted = { shape, layout: fileLayout(shape), tokenizer, tokenizerDigest: tokenizerDigest(tokenizer) };
  const folder = exactFolder(cacheDir, await source.digest(onProgress));
  const found = openFolder(folder, wanted);
  if (found !== undefined) return found;
  onProgress('converting the model to the exact form (once for each model)');
  try {
    const aside = await makeAside(folder);
    try {
      await writeFolder(aside, source, wanted.layout, onProgress);
      await putInPlace(aside, folder, () => {
        const theirs = openFolder(folder, wanted);
        theirs?.close();
        return theirs !== undefined;
      });
    } catch (fault) {
      await rm(aside, { recursive: true, force: true });
      throw fault;
    }
  } catch (cause) {
    if (cause instanceof ModelError) throw cause;
    const at = { folder: cacheDir };
    throw new ModelError('CACHE_UNWRITABLE', `cannot write the cache folder ${cacheDir}`, { at, cause });
  }
  const made = openFolder(folder, wanted);
  if (made === undefined) {
    throw new ModelError('CACHE_DAMAGED', `${folder} changed right after it was made`, { at: { folder } });
  }
  return made;
}

/** The folder for the exact form of a model. @param digest - of the files that it is made from */
export function exactFolder(cacheDir: string, digest: Hex): string {
  return join(cacheDir, `${digest.slice(2)}-${EXACT_VERSION.replaceAll('/', '-')}`);
}

/**
 * What the folder of a model says of it, without a look at the weights: what was found out when it was made.
 *
 * @returns undefined if there is none of this version
 */
export function readExactFacts(
  cacheDir: string,
  digest: Hex,
): Pick<ExactFile, 'shape' | 'commitment' | 'tokenizerDigest'> | undefined {
  let manifest: Manifest;
  try {
    manifest = JSON.parse(readFileSync(join(exactFolder(cacheDir, digest), MANIFEST_FILE), 'utf8')) as Manifest;
  } catch {
    // Absent or damaged: it is made anew when the model is opened.
    return undefined;
  }
  const { version, converter, shape, tokenizer, commitment } = manifest;
  const isDigest = (text: unknown) => typeof text === 'string' && /^0x[0-9a-f]{64}$/.test(text);
  if (version !== EXACT_VERSION || converter !== CONVERTER_VERSION || !isDigest(tokenizer)) return undefined;
  return isDigest(commitment) ? { shape, commitment, tokenizerDigest: tokenizer as Hex } : undefined;
}

/** Reads a whole file into memory of its own. @throws {@link ModelError} as `load` */
export function readExactModel(file: Pick<ExactFile, 'shape' | 'layout' | 'load'>): ExactModel {
  const bytes = new Uint8Array(file.layout.bytes);
  file.load(bytes, 0);
  return viewExactModel(file.shape, file.layout, bytes.buffer, 0);
}

/** Converts a model in memory, without any file: for small ones. @throws {@link ModelError} as `convertModel` */
export function exactModelFrom(source: ModelSource): CommittedExactModel {
  const bytes = new Uint8Array(fileLayout(exactShape(source.config)).bytes);
  const { shape, layout, commitment, ranges } = convertModel(source, (offset, part) => bytes.set(part, offset));
  return { ...viewExactModel(shape, layout, bytes.buffer, 0), commitment, ranges };
}

/**
 * The parts of a file that lies in memory, without copies; for little-endian machines, as the file is.
 *
 * @param start - where the file starts, a multiple of 4
 */
export function viewExactModel(
  shape: ExactShape,
  layout: FileLayout,
  buffer: ArrayBufferLike,
  start: number,
): ExactModel {
  const bytes = ({ offset, bytes: length }: Part) => new Uint8Array(buffer, start + offset, length);
  const floats = (part: Part) => new Float32Array(buffer, start + part.offset, part.bytes / 4);
  const { exponential, sigmoid, cos, sin } = layout.tables;
  return {
    shape,
    matrices: layout.matrices.map(({ rows, columns, stride, scales, groupScales, weights }) => ({
      rows,
      columns,
      stride,
      weights: new Int8Array(buffer, start + weights.offset, weights.bytes),
      scales: floats(scales),
      groupScales: groupScales === null ? null : bytes(groupScales),
    })),
    vectors: layout.vectors.map(floats),
    tables: {
      exponential: new Uint16Array(buffer, start + exponential.offset, exponential.bytes / 2),
      sigmoid: floats(sigmoid),
      cos: floats(cos),
      sin: floats(sin),
    },
  };
}

type Wanted = Pick<ExactFile, 'shape' | 'layout' | 'tokenizer' | 'tokenizerDigest'>;

/** What stands beside the weights. */
type Manifest = {
  readonly version: string;
  readonly converter: number;
  readonly shape: ExactShape;
  /** Digest of the tokenizer's description. */
  readonly tokenizer: string;
  /** SHA-256 of the weights' file. */
  readonly weights: string;
  readonly commitment: Hex;
  /** `[integers, values]` of each operation. */
  readonly ranges: readonly (readonly [string, number])[];
};

/** Opens a folder; undefined if it is absent, of other making or damaged. */
function openFolder(folder: string, wanted: Wanted): ExactFile | undefined {
  const { shape, layout } = wanted;
  const path = join(folder, WEIGHT_FILE);
  let descriptor: number | undefined;
  try {
    const manifest = JSON.parse(readFileSync(join(folder, MANIFEST_FILE), 'utf8')) as Manifest;
    const expected = { version: EXACT_VERSION, converter: CONVERTER_VERSION, shape, tokenizer: wanted.tokenizerDigest };
    const { version, converter, shape: shapeFound, tokenizer, weights, commitment } = manifest;
    const actual = { version, converter, shape: shapeFound, tokenizer };
    if (JSON.stringify(actual) !== JSON.stringify(expected) || !/^0x[0-9a-f]{64}$/.test(commitment)) return undefined;
    const ranges = manifest.ranges.map(([integers, values]) => ({ integers: BigInt(integers), values }));
    if (ranges.length !== operationList(shape).operations.length) return undefined;
    const open = openSync(path, 'r');
    descriptor = open;
    if (readWhole(open, layout.bytes, () => {}) !== weights) return undefined;
    const file: ExactFile = {
      ...wanted,
      commitment,
      ranges,
      path,
      load: (into, offset) => loadFile(open, path, layout.bytes, weights, into, offset),
      close: () => closeSync(open),
    };
    descriptor = undefined;
    return file;
  } catch {
    // Absent or unreadable in any way: made anew, which reports what stands in the way.
    return undefined;
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

function loadFile(
  descriptor: number,
  path: string,
  bytes: number,
  expected: string,
  into: Uint8Array,
  offset: number,
): void {
  if (into.length - offset < bytes) throw new RangeError(`${bytes} bytes into ${into.length - offset}`);
  let digest: Hex | undefined;
  try {
    digest = readWhole(descriptor, bytes, (chunk, at) => into.set(chunk, offset + at));
  } catch (cause) {
    throw new ModelError('FILE_UNREADABLE', `cannot read ${path}`, { at: { file: path }, cause });
  }
  if (digest !== expected) {
    throw new ModelError('CACHE_DAMAGED', `${path} changed while it was open: start again`, { at: { file: path } });
  }
}

/** Digest of a file that must have so many bytes; undefined for another length. */
function readWhole(descriptor: number, bytes: number, take: (chunk: Uint8Array, at: number) => void): Hex | undefined {
  if (fstatSync(descriptor).size !== bytes) return undefined;
  const hash = createHash('sha256');
  const buffer = new Uint8Array(Math.min(READ_BYTES, bytes));
  for (let at = 0; at < bytes; ) {
    const count = readSync(descriptor, buffer, 0, Math.min(buffer.length, bytes - at), at);
    if (count === 0) return undefined;
    const chunk = buffer.subarray(0, count);
    hash.update(chunk);
    take(chunk, at);
    at += count;
  }
  return toHex(hash.digest());
}

async function writeFolder(
  folder: string,
  source: ModelSource,
  layout: FileLayout,
  onProgress: (message: string) => void,
): Promise<void> {
  const descriptor = openSync(join(folder, WEIGHT_FILE), 'w+');
  let converted: Converted;
  let weights: Hex | undefined;
  try {
    ftruncateSync(descriptor, layout.bytes);
    converted = convertModel(source, (offset, bytes) => writeAll(descriptor, bytes, offset), onProgress);
    weights = readWhole(descriptor, layout.bytes, () => {});
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  const { shape, tokenizer, commitment, ranges } = converted;
  const manifest = {
    version: EXACT_VERSION,
    converter: CONVERTER_VERSION,
    shape,
    tokenizer,
    weights: weights ?? '',
    commitment,
    ranges: ranges.map(({ integers, values }) => [String(integers), values] as const),
  } satisfies Manifest;
  await writeFile(join(folder, MANIFEST_FILE), JSON.stringify(manifest));
}

function writeAll(descriptor: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(descriptor, bytes, done, bytes.length - done, position + done);
  }
}
