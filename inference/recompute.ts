/**
 * Answers a recorded request again, without HTTP: what a verifier with the model at hand needs.
 *
 * @module
 */

import { RuntimeError } from '../attest/core/error.ts';
import type { Digest } from '../attest/core/hash.ts';
import type { InferenceRequest } from '../attest/trace/inference-request.ts';
import type { PartialAnswer } from '../attest/verify/executor.ts';
import { toCompletionRequest } from './completion-request.ts';
import type { CheckingEngine, Completion, ModelIdentity } from './engine.ts';

/** A model of one's own that answers a recorded request again. `seed` is that of the inference, 32 bytes, of `computeInferenceSeed`. */
export type Recomputer = {
  readonly identity: ModelIdentity;
  /** Computes the answer; refuses a request for other digests than its own. */
  complete(request: InferenceRequest, seed: Digest, signal?: AbortSignal): Promise<Completion>;
  /** Computes it along an output that somebody claims (untrusted), up to the first id that differs. */
  check(
    request: InferenceRequest,
    seed: Digest,
    claim: readonly number[],
    signal?: AbortSignal,
  ): Promise<Completion | PartialAnswer>;
};

export type RecomputeErrorCode = 'MODEL_MISMATCH' | 'PROFILE_MISMATCH' | 'ENGINE_MISMATCH';

/** A request for another model, numerics profile or engine than the one at hand; it says nothing about the record. */
export class RecomputeError extends RuntimeError<RecomputeErrorCode> {
  override readonly name = 'RecomputeError';
}

const CODES = { model: 'MODEL_MISMATCH', profile: 'PROFILE_MISMATCH', engine: 'ENGINE_MISMATCH' } as const;

/**
 * A recomputer over an engine, in this process or in a child; closing the engine stays with the caller.
 *
 * Its methods throw {@link RecomputeError} before any work if a digest of the request is not the engine's own, and otherwise
 * what the engine throws.
 */
export function openRecomputer(engine: Pick<CheckingEngine, 'identity' | 'complete' | 'check'>): Recomputer {
  const { identity } = engine;
  const askable = (request: InferenceRequest, seed: Digest) => {
    for (const field of ['model', 'profile', 'engine'] as const) {
      const own = identity[field];
      if (request[field] !== own) {
        throw new RecomputeError(CODES[field], `${field}: expected ${request[field]}, this engine has ${own}`, {
          at: { field: `request.${field}` },
        });
      }
    }
    return toCompletionRequest(request, seed);
  };
  return {
    identity,
    complete: async (request, seed, signal) => engine.complete(askable(request, seed), signal),
    check: async (request, seed, claim, signal) => engine.check(askable(request, seed), claim, signal),
  };
}
