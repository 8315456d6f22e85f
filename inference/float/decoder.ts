/**
 * Runs the binary32 graph over one sequence: feeds ids, keeps the key-value cache, returns logits.
 *
 * @module
 */

import { throwIfCancelled } from '../decode.ts';
import type { DecoderConfig } from '../decoder-config.ts';
import { InferenceError } from '../errors.ts';
import type { Sequence, Sequences } from '../sequences.ts';
import type { GraphSession, GraphTensor } from '../session.ts';

/**
 * Longest run of ids given to the graph at once. Longer prompts go in parts of exactly this length, because scores take
 * memory by the square. Part of the profile: another number may round differently.
 */
export const PREFILL_CHUNK = 256;

/** Places by which the key-value cache grows. Part of the graph's meaning for the same reason. */
export const CACHE_STEP = 256;

/** A loaded graph as {@link Sequences}; owns the session. */
export function floatSequences(session: GraphSession, config: DecoderConfig): Sequences {
  return {
    contextLength: config.contextLength,
    open: () => startSequence(session, config),
    close: () => session.close(),
  };
}

/** Starts an empty sequence on a session of the graph of `config`. */
export function startSequence(session: GraphSession, config: DecoderConfig): Sequence {
  const cache = new KeyValueCache(config);
  return {
    get length() {
      return cache.length;
    },
    async feed(ids, signal) {
      let logits = new Float32Array(0);
      for (let at = 0; at < ids.length; at += PREFILL_CHUNK) {
        throwIfCancelled(signal);
        const part = BigInt64Array.from(ids.slice(at, at + PREFILL_CHUNK), BigInt);
        const dims = [part.length];
        const positions = BigInt64Array.from(part, (_, i) => BigInt(cache.length + i));
        const outputs = await session.run({
          ids: { type: 'int64', dims, data: part },
          positions: { type: 'int64', dims, data: positions },
          ...cache.feeds(),
        });
        cache.append(outputs, part.length);
        logits = floats(outputs, 'logits');
      }
      return logits;
    },
    // The collector does it.
    close() {},
  };
}

/** Keys `[kvHeads, headSize, capacity]` and values `[kvHeads, capacity, headSize]` of every layer, `length` places in use. */
class KeyValueCache {
  length = 0;
  #capacity = 0;
  readonly #config: DecoderConfig;
  #keys: Float32Array[] = [];
  #values: Float32Array[] = [];

  constructor(config: DecoderConfig) {
    this.#config = config;
    this.#resize(0);
  }

  feeds(): Record<string, GraphTensor> {
    const { kvHeads, headSize } = this.#config;
    const feeds: Record<string, GraphTensor> = {};
    this.#keys.forEach((data, layer) => {
      feeds[`past_key_${layer}`] = { type: 'float32', dims: [kvHeads, headSize, this.#capacity], data };
    });
    this.#values.forEach((data, layer) => {
      feeds[`past_value_${layer}`] = { type: 'float32', dims: [kvHeads, this.#capacity, headSize], data };
    });
    return feeds;
  }

  append(outputs: Readonly<Record<string, GraphTensor>>, count: number): void {
    const needed = this.length + count;
    if (needed > this.#capacity) this.#resize(Math.ceil(needed / CACHE_STEP) * CACHE_STEP);
    const { kvHeads, headSize } = this.#config;
    const width = this.#capacity;
    this.#keys.forEach((keys, layer) => {
      copyRows(floats(outputs, `key_${layer}`), count, keys, width, this.length, kvHeads * headSize, count);
    });
    this.#values.forEach((values, layer) => {
      const [from, to] = [count * headSize, width * headSize];
      copyRows(floats(outputs, `value_${layer}`), from, values, to, this.length * headSize, kvHeads, from);
    });
    this.length = needed;
  }

  #resize(capacity: number): void {
    const { layers, kvHeads, headSize } = this.#config;
    const old = this.#capacity;
    const grow = (buffer: Float32Array | undefined, rows: number, unit: number) => {
      const grown = new Float32Array(rows * capacity * unit);
      if (buffer !== undefined) copyRows(buffer, old * unit, grown, capacity * unit, 0, rows, this.length * unit);
      return grown;
    };
    this.#keys = Array.from({ length: layers }, (_, layer) => grow(this.#keys[layer], kvHeads * headSize, 1));
    this.#values = Array.from({ length: layers }, (_, layer) => grow(this.#values[layer], kvHeads, headSize));
    this.#capacity = capacity;
  }
}

/** Copies the first `count` values of each of `rows` rows of `width` to place `at` of rows of `toWidth`. */
function copyRows(
  from: Float32Array,
  width: number,
  to: Float32Array,
  toWidth: number,
  at: number,
  rows: number,
  count: number,
): void {
  for (let row = 0; row < rows; row++) {
    if (count === 1) to[row * toWidth + at] = from[row * width] as number;
    else to.set(from.subarray(row * width, row * width + count), row * toWidth + at);
  }
}

function floats(outputs: Readonly<Record<string, GraphTensor>>, name: string): Float32Array<ArrayBuffer> {
  const tensor = outputs[name];
  if (tensor?.type !== 'float32') throw new InferenceError('GRAPH_FAILED', `the graph gave no ${name}`);
  return tensor.data as Float32Array<ArrayBuffer>;
}
