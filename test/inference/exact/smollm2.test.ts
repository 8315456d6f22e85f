import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readEnvironment } from '../../../agents/cli/environment.ts';
import type { ExactDecoder, Row } from '../../../inference/exact/exact-decoder.ts';
import { type ExactFile, ensureExactFile, readExactModel } from '../../../inference/exact/exact-file.ts';
import { loadNodeProducts } from '../../../inference/exact/ort/node-products.ts';
import { startOrtThread } from '../../../inference/exact/ort/node-thread.ts';
import { openReference } from '../../../inference/exact/reference/reference-decoder.ts';
import { loadKernels, startNodeThread } from '../../../inference/exact/wasm/threads.ts';
import { openWasmDecoder } from '../../../inference/exact/wasm/wasm-decoder.ts';
import { openGgufSource } from '../../../inference/gguf/gguf-source.ts';
import { openTokenizer } from '../../../inference/tokenizer.ts';
import { expectSameBits, type Transcript, transcriptOf } from '../../support/exact-decoder-suite.ts';
import { qualityText } from '../../support/quality.ts';
import { seededRandom } from '../../support/random.ts';
import { answerAlone, answerTogether, mixedRequests } from '../../support/request-batch.ts';
import { describeSmolLM2 } from '../../support/smollm2.ts';

const POSITIONS = 64;

/** Positions that the reference, which is slow, computes here; the golden digests of these and of all are its. */
const REFERENCED = 12;

/** Positions of each of 8 sequences in one batch. */
const SHARED = 6;

/** Requests of one batch, and the longest of their prompts; `request-batch.test.ts` has longer ones with smaller models. */
const REQUESTS = 32;
const LONGEST = 8;

/** With `from`, products of as many rows and more by ONNX Runtime: all of them, or as it serves. */
const ENGINES: readonly { readonly name: string; readonly threads: number; readonly from?: number }[] = [
  { name: 'wasm on 1 thread', threads: 1 },
  { name: 'wasm on 2 threads', threads: 2 },
  { name: 'wasm on 4 threads', threads: 4 },
  { name: 'ort from 1 row on 1 thread', threads: 1, from: 1 },
  { name: 'ort from 2 rows on 2 threads', threads: 2, from: 2 },
];

const openOrt = loadNodeProducts();

/** SHA-256 over the logits of the first 12 positions of the text, `[12, 49152]` binary32, little-endian; of the reference. */
const GOLDEN_REFERENCED = '76b4619f8f4043e3337557e400628b60472c0e99a765049954b7aa5898152658';

/** The same of the first 64 positions. */
const GOLDEN = '216b5b33cf14ce48869b3c1fdbf525da51b90c963bf601fec04980e3cf593bd3';

describeSmolLM2('SmolLM2 in the exact form', (path) => {
  let file: ExactFile;
  let tokens: readonly number[];
  let expected: Transcript;
  /** What engines gave 32 requests, each alone. */
  const aloneByEngine = new Map<string, string>();

  beforeAll(async () => {
    const source = openGgufSource(path);
    file = await ensureExactFile(source, readEnvironment().cache);
    tokens = openTokenizer(source.tokenizer).encodeText(qualityText()).slice(0, POSITIONS);
    source.close();
    expected = transcriptOf(openReference(readExactModel(file)), tokens.slice(0, REFERENCED), REFERENCED, REFERENCED);
  }, 240_000);
  afterAll(() => file.close());

  it('gives the golden logits by the reference', () => {
    expect(tokens.length).toBe(POSITIONS);
    expect(createHash('sha256').update(expected.logits).digest('hex')).toBe(GOLDEN_REFERENCED);
  });

  describe.each(ENGINES)('$name', ({ name, threads, from }) => {
    let decoder: ExactDecoder;
    beforeAll(async () => {
      const module = await loadKernels();
      const products = from === undefined ? {} : { startThread: startOrtThread, products: { from, open: openOrt } };
      const options = { module, startThread: startNodeThread, threads, maxRows: REQUESTS * LONGEST, ...products };
      decoder = await openWasmDecoder(file, options);
    });
    afterAll(() => decoder.close());

    it('gives the same hidden states, caches and logits', () => {
      expect(decoder.name).toBe(from === undefined ? 'wasm' : 'ort');
      for (const chunk of [REFERENCED, 7, 1]) {
        expectSameBits(transcriptOf(decoder, tokens.slice(0, REFERENCED), chunk, REFERENCED), expected);
      }
    });

    it('gives the golden logits with nobody looking between the layers', () => {
      const hash = createHash('sha256');
      const sequence = decoder.openSequence(POSITIONS);
      const rows = tokens.map((token) => ({ sequence, token }));
      decoder.forwardEach(rows, [...rows.keys()], (logits) => {
        hash.update(logits);
        return true;
      });
      decoder.closeSequence(sequence);
      expect(hash.digest('hex')).toBe(GOLDEN);
    });

    it('gives each of 8 sequences in one batch what it gets alone', () => {
      const { vocabulary } = decoder.shape;
      const sequences = Array.from({ length: 8 }, () => decoder.openSequence(POSITIONS));
      // the first is the reference's text, the others have the same in another order
      const textOf = (i: number, count: number) =>
        Array.from({ length: count }, (_, t) => tokens[(t * (i + 1)) % 61] ?? 0);
      const texts = sequences.map((_, i) => (i === 0 ? tokens.slice(0, SHARED) : textOf(i, SHARED)));
      const logits = texts.map(() => new Float32Array(SHARED * vocabulary));
      for (let t = 0; t < SHARED; t++) {
        const rows: Row[] = sequences.map((sequence, i) => ({ sequence, token: texts[i]?.[t] ?? 0 }));
        const answer = decoder.forward(rows, [...rows.keys()]);
        logits.forEach((all, i) => {
          all.set(answer.subarray(i * vocabulary, (i + 1) * vocabulary), t * vocabulary);
        });
      }
      const caches = sequences.map((sequence) => decoder.readCache(sequence, decoder.shape.layers - 1));
      for (const sequence of sequences) decoder.closeSequence(sequence);
      texts.forEach((text, i) => {
        const alone = transcriptOf(decoder, text, SHARED, SHARED);
        expect(same(logits[i], alone.logits), `logits of sequence ${i}`).toBe(true);
        expect(same(caches[i]?.values, alone.caches.at(-1)?.values), `values of sequence ${i}`).toBe(true);
      });
      expect(same(logits[0], expected.logits.subarray(0, SHARED * vocabulary))).toBe(true);
    });

    // One thread: in `request-batch.test.ts`, with smaller models.
    if (threads !== 2) return;
    it('gives each of 32 requests of mixed lengths in one batch what it gets alone, padded or not', {
      timeout: 120_000,
    }, () => {
      const random = seededRandom(31);
      const { vocabulary } = decoder.shape;
      const requests = mixedRequests(random, { count: REQUESTS, longest: LONGEST, vocabulary });
      const alone = requests.map((request) => answerAlone(decoder, request));
      expect(new Set(alone.flatMap(({ logits }) => logits)).size).toBeGreaterThan(150);
      expect(answerTogether(decoder, requests, { random, order: 'interleaved' })).toEqual(alone);
      expect(answerTogether(decoder, requests, { random, order: 'mixed', padTo: LONGEST })).toEqual(alone);
      aloneByEngine.set(name, JSON.stringify(alone));
      expect(new Set(aloneByEngine.values()).size).toBe(1);
    });
  });
});

function same(a: Float32Array | Int16Array | undefined, b: Float32Array | Int16Array | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  return Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength));
}
