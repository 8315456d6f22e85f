/**
 * The program whose one line must be the same on every CPU: `node PROGRAM [small]`. Runs from a bundle beside `kernels.wasm`, so that
 * an emulated Node needs no loader.
 *
 * @module
 */

import { createHash, type Hash } from 'node:crypto';
import type { ExactDecoder } from '../../inference/exact/exact-decoder.ts';
import { exactModelFrom } from '../../inference/exact/exact-file.ts';
import type { ExactModel } from '../../inference/exact/exact-model.ts';
import { loadableModel } from '../../inference/exact/model-bytes.ts';
import { openReference } from '../../inference/exact/reference/reference-decoder.ts';
import { selfTest } from '../../inference/exact/self-test.ts';
import { exponentialTable, rotaryTables, sigmoidTable } from '../../inference/exact/tables.ts';
import { loadKernels, startNodeThread } from '../../inference/exact/wasm/threads.ts';
import { openWasmDecoder } from '../../inference/exact/wasm/wasm-decoder.ts';
import { seededRandom } from './random.ts';
import { EXACT_FAMILIES, randomExactModel, randomTokens } from './random-exact-model.ts';
import { randomSource } from './random-source.ts';

/** What the program prints, as JSON. */
export type IsaReport = {
  readonly arch: string;
  readonly node: string;
  /**
   * SHA-256 over the logits of a random model of every family (tables as the specification has them), and the commitments of a random
   * source of every family of files.
   */
  readonly digest: string;
};

const FEW = ['plain', 'biases and head norms', 'heads of 64', 'extreme with everything'];
const POSITIONS = 24;
const FEW_POSITIONS = 10;

const isSmall = process.argv[2] === 'small';
const curves = { exponential: exponentialTable(), sigmoid: sigmoidTable() };
const module = await loadKernels();
const openWasm = (model: ExactModel, threads: number) =>
  openWasmDecoder(loadableModel(model), { module, startThread: startNodeThread, threads });

const hash = createHash('sha256');
const families = EXACT_FAMILIES.filter(({ name }) => !isSmall || FEW.includes(name));
for (const [index, { name, options }] of families.entries()) {
  const noise = randomExactModel(options);
  const { context, headSize, embedding, vocabulary } = noise.shape;
  // the tables of the tests are made by the library's functions, which are not the same everywhere
  const config = { headSize, rotaryBase: 10_000, rotaryScaling: { kind: 'none' } } as const;
  const model = { ...noise, tables: { ...curves, ...rotaryTables(config, context) } };
  const isWide = embedding > 1000;
  const tokens = randomTokens(seededRandom(7), vocabulary, isWide ? 3 : isSmall ? FEW_POSITIONS : POSITIONS);
  const expected = logitsOf(openReference(model), tokens, tokens.length);
  const decoder = await openWasm(model, index % 2 === 0 ? 1 : 2);
  for (const chunk of [tokens.length, 7, 1]) {
    if (!same(logitsOf(decoder, tokens, chunk), expected)) {
      throw new Error(`${name}: the kernels differ from the reference in chunks of ${chunk}`);
    }
  }
  await decoder.close();
  update(hash, expected);
}
await selfTest((model) => openWasm(model, 1));

const sources = isSmall ? (['llama'] as const) : (['llama', 'qwen2', 'qwen3'] as const);
for (const family of sources) hash.update(exactModelFrom(randomSource({ family, contextLength: 64 })).commitment);
const report: IsaReport = {
  arch: process.arch,
  node: process.versions.node,
  digest: `0x${hash.digest('hex')}`,
};
process.stdout.write(`${JSON.stringify(report)}\n`);

/** Logits of all tokens, `chunk` at a time. */
function logitsOf(decoder: ExactDecoder, tokens: readonly number[], chunk: number): Float32Array {
  const { vocabulary } = decoder.shape;
  const logits = new Float32Array(tokens.length * vocabulary);
  const sequence = decoder.openSequence(tokens.length);
  for (let at = 0; at < tokens.length; at += chunk) {
    const rows = tokens.slice(at, at + chunk).map((token) => ({ sequence, token }));
    logits.set(decoder.forward(rows, [...rows.keys()]), at * vocabulary);
  }
  decoder.closeSequence(sequence);
  return logits;
}

function update(into: Hash, { buffer, byteOffset, byteLength }: Float32Array): void {
  into.update(new Uint8Array(buffer, byteOffset, byteLength));
}

function same(a: Float32Array, b: Float32Array): boolean {
  return Buffer.from(a.buffer).equals(Buffer.from(b.buffer));
}
