/**
 * What an engine must compute right before it may serve: models made for what goes wrong on a bad CPU, compiler or library
 * (extremes, subnormals, both zeros, ties, sums at 2^24 +- 1), one digest over everything that comes out.
 *
 * Spec: `inference/spec/exact.md`.
 *
 * @module
 */

import { createHash, type Hash } from 'node:crypto';
import { type Hex, toHex } from '../../attest/core/bytes.ts';
import { ModelError } from '../errors.ts';
import type { ExactDecoder, Row } from './exact-decoder.ts';
import type { ExactModel } from './exact-model.ts';
import { loadableModel } from './model-bytes.ts';
import { type SelfTestModel, selfTestModels } from './self-test-models.ts';
import type { LoadableModel } from './wasm/wasm-decoder.ts';

/** What every engine gives; the test computes it with the reference. */
export const SELF_TEST_DIGEST: Hex = '0xc7a5b8343ae723ddc5ba9bd56ca5749e26c5c9edeb9b4fc782ecc4dd2e795e49';

/** Opens the engine that is to serve, in the same way (module, threads), with another model. */
export type OpenForSelfTest = (model: ExactModel & LoadableModel) => Promise<ExactDecoder>;

/** Rows of the calls, by turns; no call has more than the engine takes. */
const CHUNKS = [1, 7, 1, 64, 3, 64];

/** Positions of the second pass, in which two sequences share every call. */
const SHARED = 24;

/**
 * Runs the models and compares; returns only if every bit is right. Takes about 0.1 s.
 *
 * @throws {@link ModelError} `SELF_TEST_FAILED` if the digest is another, or the engine fails; what `open` throws goes through
 */
export async function selfTest(open: OpenForSelfTest): Promise<void> {
  const got = await selfTestDigest(open);
  if (got !== SELF_TEST_DIGEST) {
    throw new ModelError('SELF_TEST_FAILED', `expected the digest ${SELF_TEST_DIGEST} of the self-test, got ${got}`, {
      at: { expected: SELF_TEST_DIGEST, got },
    });
  }
}

/**
 * SHA-256 over hidden states, caches and logits of all models: the bytes of their arrays, little-endian, in the order of the models.
 *
 * @throws {@link ModelError} `SELF_TEST_FAILED` if the engine fails
 */
export async function selfTestDigest(open: OpenForSelfTest): Promise<Hex> {
  const hash = createHash('sha256');
  for (const { name, model, tokens } of selfTestModels()) {
    const decoder = await open({ ...model, load: loadableModel(model).load });
    try {
      hashSteps(hash, decoder, tokens);
      hashShared(hash, decoder, tokens);
    } catch (cause) {
      throw new ModelError(
        'SELF_TEST_FAILED',
        `the engine failed on the model ${JSON.stringify(name)} of the self-test`,
        {
          at: { model: name },
          cause,
        },
      );
    } finally {
      await decoder.close();
    }
  }
  return toHex(hash.digest());
}

/** Chunks of a sequence: logits of all rows, hidden states after each layer, caches at the end. */
function hashSteps(hash: Hash, decoder: ExactDecoder, tokens: SelfTestModel['tokens']): void {
  const { layers, embedding, context } = decoder.shape;
  const hidden = Array.from({ length: layers + 1 }, () => new Float32Array(tokens.length * embedding));
  const sequence = decoder.openSequence(context);
  for (let at = 0, turn = 0; at < tokens.length; turn++) {
    const count = Math.min(CHUNKS[turn % CHUNKS.length] ?? 1, decoder.maxRows);
    const rows = tokens.slice(at, at + count).map((token) => ({ sequence, token }));
    const all = rows.map((_, i) => i);
    const logits = decoder.forward(rows, all, (layer, values) => hidden[layer + 1]?.set(values, at * embedding));
    update(hash, logits);
    at += rows.length;
  }
  for (const rows of hidden) update(hash, rows);
  for (let layer = 0; layer < layers; layer++) {
    const { keys, keyScales, values, valueScales } = decoder.readCache(sequence, layer);
    for (const part of [keys, keyScales, values, valueScales]) update(hash, part);
  }
  decoder.closeSequence(sequence);
}

/** Two sequences in each call, nobody looking between the layers, of which one is cut back and fed again. */
function hashShared(hash: Hash, decoder: ExactDecoder, tokens: SelfTestModel['tokens']): void {
  const first = decoder.openSequence(tokens.length);
  const second = decoder.openSequence(tokens.length);
  const start = tokens.slice(0, SHARED);
  const end = tokens.slice(-SHARED);
  const rows = start.flatMap((token, i): Row[] => [
    { sequence: first, token },
    { sequence: second, token: end[i] ?? token },
  ]);
  const feed = (part: readonly Row[]) => {
    for (let at = 0; at < part.length; at += decoder.maxRows) {
      const chunk = part.slice(at, at + decoder.maxRows);
      const all = chunk.map((_, i) => i);
      update(hash, decoder.forward(chunk, all));
    }
  };
  feed(rows);
  decoder.truncate(second, 1);
  feed(end.slice(1).map((token) => ({ sequence: second, token })));
  decoder.closeSequence(first);
  decoder.closeSequence(second);
}

function update(hash: Hash, { buffer, byteOffset, byteLength }: Float32Array | Int16Array): void {
  hash.update(new Uint8Array(buffer, byteOffset, byteLength));
}
