/**
 * An exact decoder as sequences for decoding: prompts go in as many rows at once as the engine takes, and between them the event loop
 * gets its turn.
 *
 * @module
 */

import { throwIfCancelled } from '../decode.ts';
import type { Sequence, Sequences } from '../sequences.ts';
import type { ExactDecoder } from './exact-decoder.ts';

/** Sequences over a decoder; owns it. */
export function exactSequences(decoder: ExactDecoder): Sequences {
  return {
    contextLength: decoder.shape.context,
    open: (capacity) => openSequence(decoder, capacity),
    close: () => decoder.close(),
  };
}

function openSequence(decoder: ExactDecoder, capacity: number): Sequence {
  const sequence = decoder.openSequence(capacity);
  return {
    async feed(ids, signal) {
      if (ids.length === 0) throw new TypeError('expected at least one id');
      let logits = new Float32Array(0);
      for (let at = 0; at < ids.length; at += decoder.maxRows) {
        // The kernels block this thread: a cancellation that came meanwhile is waiting in the queue.
        await turn();
        throwIfCancelled(signal);
        const rows = ids.slice(at, at + decoder.maxRows).map((token) => ({ sequence, token }));
        const isLast = at + rows.length === ids.length;
        logits = decoder.forward(rows, isLast ? [rows.length - 1] : []) as Float32Array<ArrayBuffer>;
      }
      return logits;
    },
    close: () => decoder.closeSequence(sequence),
  };
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
