/**
 * The random bytes of a WASM tool: xoshiro128** (Blackman, Vigna), the generator of `Math.random` in JavaScript guests,
 * seeded alike. Not for secrets: who knows the seed knows the bytes.
 *
 * Spec: `runtime/spec/sandbox.md#wasm-tools`.
 *
 * @module
 */

import { utf8 } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';

/** Gives the next `length` bytes; a request begins with a new word, so what is left of the last one is dropped. */
export type GuestRandom = (length: number) => Uint8Array;

/**
 * Opens the stream of a session.
 *
 * @param seed - 32 bytes; the state is the first four big-endian words of SHA-256("tracebond/guest-random/1" || seed)
 */
export function openGuestRandom(seed: Uint8Array): GuestRandom {
  const digest = sha256(utf8('tracebond/guest-random/1'), seed);
  const view = new DataView(digest.buffer, digest.byteOffset);
  const state = Uint32Array.from([0, 4, 8, 12], (offset) => view.getUint32(offset));
  return (length) => {
    const padded = new DataView(new ArrayBuffer(Math.ceil(length / 4) * 4));
    for (let at = 0; at < length; at += 4) padded.setUint32(at, next(state), true);
    return new Uint8Array(padded.buffer, 0, length);
  };
}

function next(state: Uint32Array): number {
  const [s0 = 0, s1 = 0, s2 = 0, s3 = 0] = state;
  const product = Math.imul(s1, 5);
  const word = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
  const a = s2 ^ s0;
  const b = s3 ^ s1;
  state[0] = s0 ^ b;
  state[1] = s1 ^ a;
  state[2] = a ^ (s1 << 9);
  state[3] = (b << 11) | (b >>> 21);
  return word;
}
