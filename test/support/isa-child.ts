/**
 * The program whose digest must be the same on every CPU: `node PROGRAM kernels|ort|library [small]`. Runs from a bundle beside
 * `kernels.wasm`, so that an emulated Node needs no loader.
 *
 * `kernels` gives the digest of the reference and of the kernels, which must agree; `ort` that of the engine all of whose products are
 * ONNX Runtime's, of one row and of many; `library` only loads ONNX Runtime and says how it adds.
 *
 * @module
 */

import { createHash, type Hash } from 'node:crypto';
import type { ExactDecoder } from '../../inference/exact/exact-decoder.ts';
import { exactModelFrom } from '../../inference/exact/exact-file.ts';
import type { ExactModel } from '../../inference/exact/exact-model.ts';
import { loadableModel } from '../../inference/exact/model-bytes.ts';
import type { OpenProduct } from '../../inference/exact/ort/products.ts';
import { openReference } from '../../inference/exact/reference/reference-decoder.ts';
import { selfTest } from '../../inference/exact/self-test.ts';
import { exponentialTable, rotaryTables, sigmoidTable } from '../../inference/exact/tables.ts';
import { loadKernels, startNodeThread } from '../../inference/exact/wasm/threads.ts';
import { type LoadableModel, openWasmDecoder } from '../../inference/exact/wasm/wasm-decoder.ts';
import { seededRandom } from './random.ts';
import { EXACT_FAMILIES, randomExactModel, randomTokens } from './random-exact-model.ts';
import { randomSource } from './random-source.ts';

/** What is run: two engines against each other, the third, or only the start of its library. */
export type IsaPart = 'kernels' | 'ort' | 'library';

/** What the program prints, as JSON. */
export type IsaReport = {
  readonly arch: string;
  readonly node: string;
  /**
   * SHA-256 over the logits of a random model of every family (tables as the specification has them), and the commitments of a random
   * source of every family of files. Of `library`: nothing.
   */
  readonly digest: string;
  /** Of `library`: how sums of two products are held here, which tells the instructions it computes with. */
  readonly adds?: string;
};

const FEW = ['plain', 'biases and head norms', 'heads of 64', 'extreme with everything'];
const POSITIONS = 24;
const FEW_POSITIONS = 10;

const [part = 'kernels', size] = process.argv.slice(2);
const isSmall = size === 'small';
const about = { arch: process.arch, node: process.versions.node };
if (part === 'library') {
  const { loadNodeProducts } = await import('../../inference/exact/ort/node-products.ts');
  print({ ...about, digest: '', adds: await howItAdds(loadNodeProducts()) });
} else if (part === 'kernels' || part === 'ort') print({ ...about, digest: await golden(part) });
else throw new TypeError(`no part ${part}`);

/** Digest of everything, by the engines of a part. */
async function golden(part: 'kernels' | 'ort'): Promise<string> {
  const curves = { exponential: exponentialTable(), sigmoid: sigmoidTable() };
  const open = part === 'kernels' ? await openerOfKernels() : await openerWithProducts();
  const hash = createHash('sha256');
  const families = EXACT_FAMILIES.filter(({ name }) => !isSmall || FEW.includes(name));
  for (const [index, { name, options }] of families.entries()) {
    const noise = randomExactModel(options);
    const { context, headSize, embedding, vocabulary } = noise.shape;
    // the tables of the tests are made by the library's functions, which are not the same everywhere
    const config = { headSize, rotaryBase: 10_000, rotaryScaling: { kind: 'none' } } as const;
    const model: ExactModel = { ...noise, tables: { ...curves, ...rotaryTables(config, context) } };
    const isWide = embedding > 1000;
    const tokens = randomTokens(seededRandom(7), vocabulary, isWide ? 3 : isSmall ? FEW_POSITIONS : POSITIONS);
    const decoder = await open(loadableModel(model), index % 2 === 0 ? 1 : 2);
    const whole = logitsOf(decoder, tokens, tokens.length);
    for (const chunk of [7, 1]) {
      if (!same(logitsOf(decoder, tokens, chunk), whole)) throw new Error(`${name}: differs in chunks of ${chunk}`);
    }
    await decoder.close();
    if (part === 'kernels' && !same(logitsOf(openReference(model), tokens, tokens.length), whole)) {
      throw new Error(`${name}: the kernels differ from the reference`);
    }
    update(hash, whole);
  }
  await selfTest((model) => open(model, 1));
  const sources = isSmall ? (['llama'] as const) : (['llama', 'qwen2', 'qwen3'] as const);
  for (const family of sources) hash.update(exactModelFrom(randomSource({ family, contextLength: 64 })).commitment);
  return `0x${hash.digest('hex')}`;
}

type Open = (model: LoadableModel, threads: number) => Promise<ExactDecoder>;

async function openerOfKernels(): Promise<Open> {
  const module = await loadKernels();
  return (model, threads) => openWasmDecoder(model, { module, startThread: startNodeThread, threads });
}

/** Loaded here alone, so that the kernels are tested where ONNX Runtime is not to be had; proves its products first, as serving does. */
async function openerWithProducts(): Promise<Open> {
  const { loadNodeProducts } = await import('../../inference/exact/ort/node-products.ts');
  const { startOrtThread } = await import('../../inference/exact/ort/node-thread.ts');
  const { testProducts } = await import('../../inference/exact/ort/product-test.ts');
  const module = await loadKernels();
  const open = loadNodeProducts();
  testProducts(open);
  return (model, threads) =>
    openWasmDecoder(model, { module, startThread: startOrtThread, threads, products: { from: 1, open } });
}

/** By two products of bytes whose sum needs more than 16 bits with a sign: of unsigned by signed ones (255 * 127), and of signed ones (-128 * -128). */
async function howItAdds(open: OpenProduct): Promise<string> {
  const { productGraph, ZERO_POINT } = await import('../../inference/exact/ort/product-graph.ts');
  const [columns, outputs, rows] = [32, 32, 8];
  const isWrong = (activation: number, weight: number) => {
    const weights = new Int8Array(columns * outputs).fill(weight);
    const session = open(productGraph(columns, outputs, weights), { columns, outputs });
    const sums = new Int32Array(rows * outputs);
    session.run(new Uint8Array(rows * columns).fill(activation), rows, sums);
    session.close();
    return sums.some((sum) => sum !== columns * (activation - ZERO_POINT) * weight);
  };
  if (isWrong(255, 127)) return 'adds unsigned by signed bytes in 16 bits';
  return isWrong(0, -128) ? 'adds signed bytes in 16 bits' : 'adds in 32 bits';
}

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

function print(report: IsaReport): void {
  process.stdout.write(`${JSON.stringify(report)}\n`);
}
