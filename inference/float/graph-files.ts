/**
 * The graph and its dequantised weights as files in a cache folder, made once for each model and graph version. A folder
 * is complete or absent (written aside, then renamed), and its files are hashed again at each start, so that a damaged
 * one is made anew. The cache guards against accident, not against its owner.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { type FileHandle, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Hex, toHex } from '../../attest/core/bytes.ts';
import { makeAside, putInPlace } from '../aside-folder.ts';
import type { DecoderConfig } from '../decoder-config.ts';
import { ModelError } from '../errors.ts';
import { hashFile } from '../file-digest.ts';
import type { ByteSource } from '../gguf/source.ts';
import { TensorReader } from '../gguf/tensor-reader.ts';
import type { Gguf } from '../gguf/types.ts';
import { FLOAT_GRAPH_VERSION, type LlamaGraph, rotaryTable, WEIGHT_FILE, type WeightOrigin } from './llama-graph.ts';

const MODEL_FILE = 'model.onnx';
const MANIFEST_FILE = 'manifest.json';

/** Values converted at a time, a multiple of every block; bounds the memory of a conversion. */
const CHUNK_VALUES = 1 << 20;

/** What is converted. */
export type GraphSource = {
  readonly source: ByteSource;
  readonly gguf: Gguf;
  readonly config: DecoderConfig;
  readonly graph: LlamaGraph;
  /** SHA-256 of the model file; names the folder. */
  readonly model: Hex;
};

/**
 * Finds or makes the files.
 *
 * @returns path of the model file; the weights lie beside it
 * @throws {@link ModelError} `CACHE_UNWRITABLE` if the folder cannot be written
 */
export async function ensureGraphFiles(
  origin: GraphSource,
  cacheDir: string,
  onProgress: (message: string) => void = () => {},
): Promise<string> {
  const version = FLOAT_GRAPH_VERSION.replaceAll('/', '-');
  const folder = join(cacheDir, `${origin.model.slice(2)}-${version}`);
  const expected = toHex(createHash('sha256').update(origin.graph.model).digest());
  if (await isWhole(folder, expected, origin.graph.weightBytes)) return join(folder, MODEL_FILE);
  onProgress(
    `converting ${Math.round(origin.graph.weightBytes / 1e6)} MB of weights to binary32 (once for each model)`,
  );
  try {
    const aside = await makeAside(folder);
    try {
      await writeFiles(aside, origin, expected);
      await putInPlace(aside, folder, () => isWhole(folder, expected, origin.graph.weightBytes));
    } catch (fault) {
      await rm(aside, { recursive: true, force: true });
      throw fault;
    }
  } catch (cause) {
    if (cause instanceof ModelError) throw cause;
    throw new ModelError('CACHE_UNWRITABLE', `cannot write the cache folder ${cacheDir}`, {
      at: { folder: cacheDir },
      cause,
    });
  }
  return join(folder, MODEL_FILE);
}

async function isWhole(folder: string, model: Hex, weightBytes: number): Promise<boolean> {
  try {
    const manifest = JSON.parse(await readFile(join(folder, MANIFEST_FILE), 'utf8')) as {
      model?: unknown;
      weights?: unknown;
    };
    if (manifest.model !== model) return false;
    if ((await stat(join(folder, WEIGHT_FILE))).size !== weightBytes) return false;
    if ((await hashFile(join(folder, MODEL_FILE))) !== model) return false;
    return (await hashFile(join(folder, WEIGHT_FILE))) === manifest.weights;
  } catch {
    // Absent or unreadable in any way: made anew, which reports what stands in the way.
    return false;
  }
}

async function writeFiles(folder: string, origin: GraphSource, model: Hex): Promise<void> {
  const hash = createHash('sha256');
  const file = await open(join(folder, WEIGHT_FILE), 'w');
  try {
    let position = 0;
    const write = async (bytes: Uint8Array) => {
      hash.update(bytes);
      await writeAll(file, bytes, position);
      position += bytes.length;
    };
    for (const weight of origin.graph.weights) {
      if (weight.offset > position) await write(new Uint8Array(weight.offset - position));
      for (const values of valuesOf(weight.origin, origin)) {
        await write(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      }
    }
    await file.sync();
  } finally {
    await file.close();
  }
  await writeFile(join(folder, MODEL_FILE), origin.graph.model);
  await writeFile(
    join(folder, MANIFEST_FILE),
    JSON.stringify({ version: FLOAT_GRAPH_VERSION, model, weights: toHex(hash.digest()) }),
  );
}

/** Values of one weight in order, a chunk at a time; a chunk is overwritten by the next. */
function* valuesOf(origin: WeightOrigin, { source, gguf, config }: GraphSource): Generator<Float32Array> {
  if ('rotary' in origin) {
    yield rotaryTable(config, origin.rotary);
    return;
  }
  const buffer = new Float32Array(CHUNK_VALUES);
  const reader = new TensorReader(source);
  for (const name of origin.tensors) {
    const tensor = gguf.tensors.get(name);
    if (tensor === undefined)
      throw new ModelError('MISSING_TENSOR', `tensor ${name} is missing`, { at: { tensor: name } });
    for (let at = 0; at < tensor.elements; at += CHUNK_VALUES) {
      const values = buffer.subarray(0, Math.min(CHUNK_VALUES, tensor.elements - at));
      reader.read(tensor, at, values);
      yield values;
    }
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}
