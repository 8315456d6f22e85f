/**
 * Opens a model under the profile `exact`: finds or makes its exact form, starts the engine, and lets it prove itself before it
 * serves anything.
 *
 * @module
 */

import { availableParallelism } from 'node:os';
import type { JsonObject } from '../../attest/encoding/canonical-json.ts';
import type { LoadedModel, ModelIdentity } from '../engine.ts';
import { installedVersion } from '../installed-version.ts';
import { jsonDigest } from '../json-digest.ts';
import type { ModelSource } from '../model-source.ts';
import { type ExactEngineName, provedEngine } from './engines.ts';
import { type ExactFile, ensureExactFile } from './exact-file.ts';
import { EXACT_VERSION } from './exact-model.ts';
import { exactSequences } from './exact-sequences.ts';
import { embeddingsOf } from './mean-hidden.ts';
import { operationList } from './operations.ts';

/** More threads than this wait for each other more than they compute. */
const MOST_DEFAULT_THREADS = 8;

/**
 * Opens a model.
 *
 * @param options.threads - all that the computer has by default, at most 8; the reference has one
 * @throws {@link ModelError} why the model cannot be served; `SELF_TEST_FAILED` if this computer's engine computes wrongly
 * @throws {@link InferenceError} `OUT_OF_MEMORY`
 */
export async function openExact(source: ModelSource, options: openExact.Options): Promise<LoadedModel> {
  const { id, cacheDir, onProgress = () => {} } = options;
  const file = await ensureExactFile(source, cacheDir, onProgress);
  try {
    const threads = options.threads ?? Math.min(availableParallelism(), MOST_DEFAULT_THREADS);
    const engine = await provedEngine(options.engine, {
      threads,
      onWarning: (message) => onProgress(`warning: ${message}`),
    });
    onProgress('loading the exact form');
    const { file: loading, gain } = withFinalGain(file);
    const decoder = await engine.open(loading);
    return {
      identity: exactIdentity(id, file),
      engineName: engine.name,
      threads: engine.threads,
      commitment: file.commitment,
      sequences: { ...exactSequences(decoder, options), ...embeddingsOf(decoder, gain) },
    };
  } finally {
    file.close();
  }
}

export declare namespace openExact {
  type Options = {
    readonly id: string;
    /** Folder for the exact form. */
    readonly cacheDir: string;
    /** By default the fastest that computes right here. */
    readonly engine?: ExactEngineName;
    readonly threads?: number;
    /** As in {@link exactSequences}. */
    readonly prefixCache?: boolean;
    readonly onProgress?: (message: string) => void;
  };
}

/** The file, which puts the gain of the last norm aside when it is loaded: from the very bytes whose digest was checked. */
function withFinalGain(file: ExactFile): { readonly file: ExactFile; readonly gain: Float32Array } {
  const place = operationList(file.shape).vectors.find(({ tensor }) => tensor === 'outputNorm');
  const part = place === undefined ? undefined : file.layout.vectors[place.id];
  if (part === undefined) throw new TypeError('expected a norm of the output');
  const gain = new Float32Array(part.bytes / 4);
  const load = (into: Uint8Array, offset: number) => {
    file.load(into, offset);
    new Uint8Array(gain.buffer).set(into.subarray(offset + part.offset, offset + part.offset + part.bytes));
  };
  return { file: { ...file, load }, gain };
}

/** The digests of a model in the exact form. */
export function exactIdentity(
  id: string,
  { commitment, tokenizerDigest, shape }: Pick<ExactFile, 'commitment' | 'tokenizerDigest' | 'shape'>,
): ModelIdentity {
  return {
    id,
    model: commitment,
    tokenizer: tokenizerDigest,
    operations: jsonDigest({
      version: EXACT_VERSION,
      shape: shape as unknown as JsonObject,
      operations: operationList(shape).operations.length,
    }),
    profile: jsonDigest(exactProfile()),
    profileName: 'exact',
    // Every engine of the profile gives the same bits, so none of them is named.
    engine: jsonDigest({ arithmetic: EXACT_VERSION }),
    contextLength: shape.context,
    vocabularySize: shape.vocabulary,
  };
}

/**
 * The profile as JSON: the arithmetic, which no CPU decides, and the packages that turn messages into ids. Its digest is in
 * every identity.
 */
export function exactProfile(): JsonObject {
  return {
    name: 'exact',
    arithmetic: EXACT_VERSION,
    versions: {
      tokenizers: installedVersion(['@huggingface/tokenizers']),
      jinja: installedVersion(['@huggingface/jinja']),
    },
  };
}
