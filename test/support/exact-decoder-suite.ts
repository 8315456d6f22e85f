/**
 * What every exact engine must do, run for each of them: results that depend on the sequence alone, and refusals before
 * anything is changed. Equality of two engines is `transcriptOf` of both.
 *
 * @module
 */

import { afterEach, describe, expect, it } from 'vitest';
import { InferenceError, type InferenceErrorCode } from '../../inference/errors.ts';
import type { CacheView, ExactDecoder, Row } from '../../inference/exact/exact-decoder.ts';
import type { ExactModel } from '../../inference/exact/exact-model.ts';
import { loudModel } from './loud-model.ts';
import { seededRandom } from './random.ts';
import { EXACT_FAMILIES, randomExactModel, randomTokens } from './random-exact-model.ts';

/** Opens the engine under test. */
export type OpenDecoder = (model: ExactModel, options: { readonly maxRows?: number }) => Promise<ExactDecoder>;

/** Everything that an engine computed of one sequence. */
export type Transcript = {
  /** `[positions, vocabulary]` */
  readonly logits: Float32Array;
  /** `[positions, embedding]`, of the embedding and of each layer. */
  readonly hidden: readonly Float32Array[];
  /** Of each layer. */
  readonly caches: readonly CacheView[];
};

/** Runs tokens through a new sequence, `chunk` rows at a time, and closes it. */
export function transcriptOf(
  decoder: ExactDecoder,
  tokens: readonly number[],
  chunk: number,
  capacity = decoder.shape.context,
): Transcript {
  const { layers, embedding, vocabulary } = decoder.shape;
  const logits = new Float32Array(tokens.length * vocabulary);
  const hidden = Array.from({ length: layers + 1 }, () => new Float32Array(tokens.length * embedding));
  const sequence = decoder.openSequence(capacity);
  for (let at = 0; at < tokens.length; at += chunk) {
    const rows = tokens.slice(at, at + chunk).map((token) => ({ sequence, token }));
    const all = rows.map((_, i) => i);
    const answer = decoder.forward(rows, all, (layer, values) => {
      expect(values.length).toBe(rows.length * embedding);
      hidden[layer + 1]?.set(values, at * embedding);
    });
    logits.set(answer, at * vocabulary);
  }
  const caches = Array.from({ length: layers }, (_, layer) => decoder.readCache(sequence, layer));
  decoder.closeSequence(sequence);
  return { logits, hidden, caches };
}

/** Fails unless two transcripts have the same bits, zeros' signs included. */
export function expectSameBits(actual: Transcript, expected: Transcript): void {
  expect(actual.hidden.length).toBe(expected.hidden.length);
  actual.hidden.forEach((rows, i) => {
    sameBits(rows, expected.hidden[i], `hidden state after layer ${i - 1}`);
  });
  actual.caches.forEach((cache, layer) => {
    for (const part of ['keys', 'keyScales', 'values', 'valueScales'] as const) {
      sameBits(cache[part], expected.caches[layer]?.[part], `${part} of layer ${layer}`);
    }
  });
  sameBits(actual.logits, expected.logits, 'logits');
}

/** Registers the suite for one engine. */
export function exactDecoderSuite(name: string, open: OpenDecoder): void {
  describe(`${name}: port of the exact engines`, () => {
    const opened: ExactDecoder[] = [];
    const openFor = async (model: ExactModel, options: { readonly maxRows?: number } = {}) => {
      const decoder = await open(model, options);
      opened.push(decoder);
      return decoder;
    };
    afterEach(async () => {
      for (const decoder of opened.splice(0)) await decoder.close();
    });

    describe.each(EXACT_FAMILIES)('$name', ({ options }) => {
      const model = randomExactModel(options);
      const { context, vocabulary } = model.shape;
      const tokens = randomTokens(seededRandom(7), vocabulary, (options.embedding ?? 0) > 1000 ? 10 : 72);

      it('gives the same bits in one piece, in chunks of 64, 7 and 1, and with less room', async () => {
        const decoder = await openFor(model);
        const expected = transcriptOf(decoder, tokens, tokens.length);
        for (const value of expected.logits) if (!Number.isFinite(value)) expect.fail(`a logit is ${value}`);
        for (const chunk of [64, 7]) expectSameBits(transcriptOf(decoder, tokens, chunk), expected);
        expectSameBits(transcriptOf(decoder, tokens, 1, tokens.length), expected);
        expect(tokens.length).toBeLessThan(context);
      });
    });

    it('gives each of 8 sequences in one batch what it gets alone', async () => {
      const model = randomExactModel({ biases: true, headNorms: true });
      const { vocabulary } = model.shape;
      const decoder = await openFor(model);
      const random = seededRandom(11);
      const texts = Array.from({ length: 8 }, (_, i) => randomTokens(random, vocabulary, 9 + 2 * i));
      const alone = texts.map((tokens) => transcriptOf(decoder, tokens, tokens.length));
      const sequences = texts.map(() => decoder.openSequence(32));

      const logits = texts.map((tokens) => new Float32Array(tokens.length * vocabulary));
      const done = texts.map(() => 0);
      // each call takes 0 to 3 further tokens of every sequence, their rows mixed
      while (texts.some((tokens, i) => done[i] !== tokens.length)) {
        const rows: Row[] = [];
        const places: { readonly text: number; readonly position: number }[] = [];
        for (let turn = 0; turn < 3; turn++) {
          texts.forEach((tokens, text) => {
            const position = done[text] ?? 0;
            const token = tokens[position];
            if (token === undefined || random.chance(30)) return;
            rows.push({ sequence: sequences[text] ?? -1, token });
            places.push({ text, position });
            done[text] = position + 1;
          });
        }
        if (rows.length === 0) continue;
        // wanted in another order than the rows'
        const wanted = rows.map((_, i) => rows.length - 1 - i);
        const answer = decoder.forward(rows, wanted);
        wanted.forEach((row, i) => {
          const { text, position } = places[row] ?? { text: -1, position: -1 };
          logits[text]?.set(answer.subarray(i * vocabulary, (i + 1) * vocabulary), position * vocabulary);
        });
      }
      texts.forEach((tokens, i) => {
        sameBits(logits[i] ?? new Float32Array(), alone[i]?.logits, `logits of sequence ${i}`);
        const sequence = sequences[i] ?? -1;
        expect(decoder.lengthOf(sequence)).toBe(tokens.length);
        sameBits(decoder.readCache(sequence, 1).values, alone[i]?.caches[1]?.values, `values of sequence ${i}`);
      });
    });

    it('keeps the bits of the first half whatever the second half is: causal sets', async () => {
      const { model, quiet, loud } = loudModel();
      const { vocabulary, embedding, kvHeads } = model.shape;
      const decoder = await openFor(model);
      const random = seededRandom(13);
      const some = (set: readonly number[], count: number) =>
        randomTokens(random, set.length, count).map((i) => set[i] ?? 0);
      const first = some(quiet, 24);
      const expected = transcriptOf(decoder, first, 1);
      for (const chunk of [48, 7, 1]) {
        const whole = transcriptOf(decoder, [...first, ...some(loud, 24)], chunk);
        for (const scales of [whole.caches[0]?.keyScales, whole.caches[0]?.valueScales]) {
          for (let head = 0; head < kvHeads; head++) {
            const ofHead = Array.from(scales?.subarray(head * 48, (head + 1) * 48) ?? []);
            expect(Math.min(...ofHead.slice(24))).toBeGreaterThan(1000 * Math.max(...ofHead.slice(0, 24)));
          }
        }
        sameBits(whole.logits.slice(0, 24 * vocabulary), expected.logits, 'logits of the first half');
        whole.hidden.forEach((rows, i) => {
          sameBits(rows.slice(0, 24 * embedding), expected.hidden[i], `hidden state after layer ${i - 1}`);
        });
      }
    });

    it('forgets what was truncated', async () => {
      const { model, quiet, loud } = loudModel();
      const decoder = await openFor(model);
      const tokens = [...quiet.slice(0, 12), ...quiet.slice(2, 9)];
      const expected = transcriptOf(decoder, tokens, tokens.length);
      const sequence = decoder.openSequence(64);
      const feed = (part: readonly number[]) =>
        decoder.forward(
          part.map((token) => ({ sequence, token })),
          part.map((_, i) => i),
        );
      feed(tokens.slice(0, 12));
      feed(loud.slice(0, 10));
      expect(decoder.lengthOf(sequence)).toBe(22);
      decoder.truncate(sequence, 22);
      decoder.truncate(sequence, 12);
      expect(decoder.lengthOf(sequence)).toBe(12);
      expect(decoder.readCache(sequence, 0).keyScales.length).toBe(12 * model.shape.kvHeads);
      const rest = feed(tokens.slice(12)).slice();
      sameBits(rest, expected.logits.slice(12 * model.shape.vocabulary), 'logits after the cut');
      decoder.truncate(sequence, 0);
      sameBits(feed(tokens), expected.logits, 'logits from the start');
    });

    it.each(
      [
        {},
        { headSize: 20, heads: 3, kvHeads: 3, embedding: 57, feedForward: 101 },
        { heads: 6, kvHeads: 1, headSize: 16 },
      ].flatMap((options) => [0, 1, 7, 8, 17].map((length) => ({ options, length }))),
    )('copies $length positions with their bits: $options', async ({ options, length }) => {
      const model = randomExactModel({ ...options, layers: 3 });
      const { vocabulary, layers } = model.shape;
      const random = seededRandom(19);
      const [first, second, third] = [17, 9, 9].map((count) => randomTokens(random, vocabulary, count));
      if (first === undefined || second === undefined || third === undefined) throw new TypeError('no tokens');
      const decoder = await openFor(model);
      const run = (sequence: number, tokens: readonly number[]) =>
        decoder
          .forward(
            tokens.map((token) => ({ sequence, token })),
            tokens.map((_, i) => i),
          )
          .slice();
      const logitsOf = (tokens: readonly number[]) => transcriptOf(decoder, tokens, tokens.length).logits;
      const beginning = first.slice(0, length);
      const expected = [logitsOf([...first, ...second]), logitsOf([...beginning, ...third])] as const;
      // room smaller, equal and larger than that of the copied sequence; the last is full afterwards
      for (const capacity of [length + 9, 40, 61, 25 + ((length + 1) % 8)].filter((room) => room >= length + 9)) {
        const from = decoder.openSequence(40);
        const between = decoder.openSequence(16);
        const to = decoder.openSequence(capacity);
        const behind = decoder.openSequence(16);
        for (const other of [between, behind]) run(other, first.slice(0, 9));
        const neighbours = () =>
          [between, behind].flatMap((other) =>
            Array.from({ length: layers }, (_, layer) => decoder.readCache(other, layer)),
          );
        const before = neighbours();
        // the rest of a longer text lies where the copy will not reach
        run(to, [...third, ...third].slice(0, length + 9));
        decoder.truncate(to, 0);
        run(from, first);
        decoder.copy(from, to, length);
        expect([decoder.lengthOf(from), decoder.lengthOf(to)]).toEqual([17, length]);
        const fresh = decoder.openSequence(length + 1);
        if (length > 0) run(fresh, beginning);
        for (let layer = 0; layer < layers; layer++) {
          const [copied, own] = [decoder.readCache(to, layer), decoder.readCache(fresh, layer)];
          for (const part of ['keys', 'keyScales', 'values', 'valueScales'] as const) {
            sameBits(copied[part], own[part], `${part} of layer ${layer}`);
          }
        }
        // both go on, and neither sees the other
        const continued = run(to, third);
        sameBits(run(from, second), expected[0].slice(17 * vocabulary), 'logits of the copied sequence');
        sameBits(continued, expected[1].slice(length * vocabulary), 'logits of the copy');
        decoder.closeSequence(from);
        decoder.truncate(to, length);
        sameBits(run(to, third), expected[1].slice(length * vocabulary), 'logits of the copy on its own');
        neighbours().forEach((cache, i) => {
          for (const part of ['keys', 'keyScales', 'values', 'valueScales'] as const) {
            sameBits(cache[part], before[i]?.[part], `${part} of a neighbour`);
          }
        });
        for (const other of [between, to, behind, fresh]) decoder.closeSequence(other);
      }
    });

    it('fills the whole context with extremes: no NaN, no infinity', async () => {
      const model = randomExactModel({ extreme: true, biases: true, context: 300, seed: 3 });
      const decoder = await openFor(model);
      const tokens = randomTokens(seededRandom(17), model.shape.vocabulary, 300);
      const { logits, hidden } = transcriptOf(decoder, tokens, 100);
      for (const rows of [logits, ...hidden]) {
        for (const value of rows) if (!Number.isFinite(value)) expect.fail(`a result is ${value}`);
      }
      expect(new Set(logits).size).toBeGreaterThan(1000);
    });

    it('copies of the cache and hidden rows do not change afterwards', async () => {
      const model = randomExactModel();
      const decoder = await openFor(model);
      const sequence = decoder.openSequence(8);
      decoder.forward([{ sequence, token: 1 }], []);
      const cache = decoder.readCache(sequence, 0);
      const keys = cache.keys.slice();
      decoder.truncate(sequence, 0);
      decoder.forward([{ sequence, token: 2 }], []);
      sameBits(cache.keys, keys, 'keys');
      expect(Buffer.from(decoder.readCache(sequence, 0).keys.buffer)).not.toEqual(Buffer.from(keys.buffer));
    });

    it('says what it is', async () => {
      const model = randomExactModel();
      const decoder = await openFor(model, { maxRows: 5 });
      expect(decoder.shape).toEqual(model.shape);
      expect(decoder.maxRows).toBe(5);
      expect(decoder.name).toBe(name);
    });

    it('gives no logits where none are wanted', async () => {
      const decoder = await openFor(randomExactModel());
      const sequence = decoder.openSequence(4);
      expect(decoder.forward([{ sequence, token: 0 }], []).length).toBe(0);
      expect(decoder.lengthOf(sequence)).toBe(1);
    });

    describe('refuses', () => {
      const model = randomExactModel();
      const { context, vocabulary } = model.shape;

      it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])('room for %d positions', async (capacity) => {
        const decoder = await openFor(model);
        expectCode(() => decoder.openSequence(capacity), 'REQUEST_MALFORMED');
      });

      it('more room than the context', async () => {
        const decoder = await openFor(model);
        expectCode(() => decoder.openSequence(context + 1), 'CONTEXT_EXCEEDED');
        expect(decoder.lengthOf(decoder.openSequence(context))).toBe(0);
      });

      it('a sequence that is not open', async () => {
        const decoder = await openFor(model);
        const sequence = decoder.openSequence(4);
        const other = decoder.openSequence(4);
        decoder.closeSequence(sequence);
        for (const handle of [sequence, 99, -1, 0.5, Number.NaN]) {
          expectCode(() => decoder.lengthOf(handle), 'REQUEST_MALFORMED');
          expectCode(() => decoder.truncate(handle, 0), 'REQUEST_MALFORMED');
          expectCode(() => decoder.readCache(handle, 0), 'REQUEST_MALFORMED');
          expectCode(() => decoder.closeSequence(handle), 'REQUEST_MALFORMED');
          expectCode(() => decoder.forward([{ sequence: handle, token: 0 }], [0]), 'REQUEST_MALFORMED');
        }
        expect(decoder.lengthOf(other)).toBe(0);
      });

      it('rows that are not rows, and changes nothing', async () => {
        const decoder = await openFor(model, { maxRows: 6 });
        const tokens = [3, 1, 4, 1];
        const expected = transcriptOf(decoder, tokens, 4);
        const sequence = decoder.openSequence(4);
        const other = decoder.openSequence(4);
        const row = { sequence, token: 1 };
        decoder.forward(
          [3, 1].map((token) => ({ sequence, token })),
          [],
        );
        const malformed: readonly (readonly [readonly Row[], readonly number[]])[] = [
          [[], []],
          [Array.from({ length: 7 }, (_, i) => ({ sequence: i % 2 ? sequence : other, token: 1 })), []],
          [[row, { sequence: 99, token: 1 }], []],
          [[row, { sequence, token: vocabulary }], []],
          [[row, { sequence, token: -1 }], []],
          [[row, { sequence, token: 0.5 }], []],
          [[row, { sequence, token: Number.NaN }], []],
          [[row], [1]],
          [[row], [-1]],
          [[row], [0.5]],
          [[row], [0, 0]],
        ];
        for (const [rows, wanted] of malformed) expectCode(() => decoder.forward(rows, wanted), 'REQUEST_MALFORMED');
        const tooMany = [row, row, { sequence: other, token: 1 }, row];
        expectCode(() => decoder.forward(tooMany, [0]), 'CONTEXT_EXCEEDED');
        expect([decoder.lengthOf(sequence), decoder.lengthOf(other)]).toEqual([2, 0]);

        const rest = decoder.forward(
          [4, 1].map((token) => ({ sequence, token })),
          [0, 1],
        );
        sameBits(rest.slice(), expected.logits.slice(2 * vocabulary), 'logits after refusals');
        expectCode(() => decoder.forward([row], [0]), 'CONTEXT_EXCEEDED');
        expect(decoder.lengthOf(sequence)).toBe(4);
      });

      it.each([-1, 3, 0.5, Number.NaN])('to truncate 2 positions to %d', async (length) => {
        const decoder = await openFor(model);
        const sequence = decoder.openSequence(4);
        decoder.forward(
          [3, 1].map((token) => ({ sequence, token })),
          [],
        );
        expectCode(() => decoder.truncate(sequence, length), 'REQUEST_MALFORMED');
        expect(decoder.lengthOf(sequence)).toBe(2);
      });

      it('copies that are none, and changes nothing', async () => {
        const decoder = await openFor(model);
        const [from, full, small, empty, closed] = [8, 8, 4, 8, 8].map((room) => decoder.openSequence(room));
        if (
          from === undefined ||
          full === undefined ||
          small === undefined ||
          empty === undefined ||
          closed === undefined
        )
          throw new TypeError('no sequences');
        decoder.closeSequence(closed);
        const run = (sequence: number, tokens: readonly number[]) =>
          decoder.forward(
            tokens.map((token) => ({ sequence, token })),
            [tokens.length - 1],
          );
        run(from, [3, 1, 4, 1, 5]);
        run(full, [9]);
        const before = [from, full].map((sequence) => decoder.readCache(sequence, 1));
        for (const length of [-1, 6, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
          expectCode(() => decoder.copy(from, empty, length), 'REQUEST_MALFORMED');
        }
        expectCode(() => decoder.copy(from, full, 1), 'REQUEST_MALFORMED');
        expectCode(() => decoder.copy(from, from, 0), 'REQUEST_MALFORMED');
        expectCode(() => decoder.copy(empty, empty, 0), 'REQUEST_MALFORMED');
        expectCode(() => decoder.copy(from, small, 5), 'CONTEXT_EXCEEDED');
        for (const unknown of [closed, 99, -1, 0.5, Number.NaN]) {
          expectCode(() => decoder.copy(unknown, empty, 0), 'REQUEST_MALFORMED');
          expectCode(() => decoder.copy(from, unknown, 0), 'REQUEST_MALFORMED');
        }
        expect([from, full, small, empty].map((sequence) => decoder.lengthOf(sequence))).toEqual([5, 1, 0, 0]);
        [from, full].forEach((sequence, i) => {
          sameBits(decoder.readCache(sequence, 1).keys, before[i]?.keys, 'keys after refusals');
          sameBits(decoder.readCache(sequence, 1).values, before[i]?.values, 'values after refusals');
        });
        decoder.copy(from, small, 4);
        decoder.copy(from, empty, 5);
        expect([decoder.lengthOf(small), decoder.lengthOf(empty)]).toEqual([4, 5]);
      });

      it.each([-1, 2, 0.5])('to read the cache of layer %d of 2', async (layer) => {
        const decoder = await openFor(model);
        const sequence = decoder.openSequence(4);
        expectCode(() => decoder.readCache(sequence, layer), 'REQUEST_MALFORMED');
      });

      it('everything once it is closed', async () => {
        const decoder = await openFor(model);
        const sequence = decoder.openSequence(4);
        await decoder.close();
        await decoder.close();
        expectCode(() => decoder.openSequence(4), 'ENGINE_CLOSED');
        expectCode(() => decoder.lengthOf(sequence), 'ENGINE_CLOSED');
        expectCode(() => decoder.truncate(sequence, 0), 'ENGINE_CLOSED');
        expectCode(() => decoder.copy(sequence, sequence, 0), 'ENGINE_CLOSED');
        expectCode(() => decoder.forward([{ sequence, token: 0 }], [0]), 'ENGINE_CLOSED');
        expectCode(() => decoder.readCache(sequence, 0), 'ENGINE_CLOSED');
        expectCode(() => decoder.closeSequence(sequence), 'ENGINE_CLOSED');
      });
    });
  });
}

function expectCode(call: () => unknown, code: InferenceErrorCode): void {
  expect(call).toThrow(InferenceError);
  expect(call).toThrow(expect.objectContaining({ code }));
}

/** Bytes, not numbers: 0 and -0 differ, and a failure says where. */
function sameBits(actual: Float32Array | Int16Array, expected: typeof actual | undefined, what: string): void {
  if (expected === undefined) expect.fail(`${what}: nothing to compare with`);
  expect(actual.length, what).toBe(expected.length);
  if (Buffer.from(bytesOf(actual)).equals(bytesOf(expected))) return;
  const at = actual.findIndex((value, i) => !Object.is(value, expected[i]));
  expect.fail(`${what}: element ${at} is ${actual[at]}, not ${expected[at]}`);
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array | Int16Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
