/**
 * Answers a recorded request again, without HTTP: what a verifier with the model at hand needs.
 *
 * @module
 */

import { RuntimeError } from '../attest/core/error.ts';
import type { InferenceRequest } from '../attest/trace/inference-request.ts';
import { toCompletionRequest } from './completion-request.ts';
import type { CheckingEngine } from './engine.ts';
import type { Recomputer } from './protocol.ts';

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
export function openRecomputer(engine: Omit<CheckingEngine, 'close'>): Recomputer {
  const { identity } = engine;
  const askable = (request: InferenceRequest) => {
    for (const field of ['model', 'profile', 'engine'] as const) {
      const own = identity[field];
      if (request[field] !== own) {
        throw new RecomputeError(CODES[field], `${field}: expected ${request[field]}, this engine has ${own}`, {
          at: { field: `request.${field}` },
        });
      }
    }
    return toCompletionRequest(request);
  };
  return {
    identity,
    complete: async (request, signal) => engine.complete(askable(request), signal),
    check: async (request, claim, signal) => engine.check(askable(request), claim, signal),
  };
}
