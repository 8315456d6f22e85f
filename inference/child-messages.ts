/**
 * What the server and the process of its engine say to each other over Node's IPC channel, as JSON. Both ends are one
 * release of this package; the values are trusted.
 *
 * @module
 */

import { type ErrorPlace, RuntimeError } from '../attest/core/error.ts';
import type { PartialAnswer } from '../attest/verify/executor.ts';
import type { Completion, CompletionRequest, Delta, Embeddings, ModelIdentity, ProfileName } from './engine.ts';
import { InferenceError, type InferenceErrorCode, ModelError, type ModelErrorCode } from './errors.ts';

/** Which model to open. */
export type ModelLocation = {
  /** GGUF file. */
  readonly path: string;
  /** Name under which it is served. */
  readonly id: string;
  /** Folder for the files made from it. */
  readonly cacheDir: string;
  /** `exact` by default. */
  readonly profile?: ProfileName;
  /** Of the profile `exact`; all that the computer has by default. */
  readonly threads?: number;
};

/** From the server. `open` comes first and once. */
export type ToChild =
  | { readonly type: 'open'; readonly model: ModelLocation }
  | {
      readonly type: 'complete';
      readonly job: number;
      readonly request: CompletionRequest;
      /** Whether the answer is wanted piece by piece too. */
      readonly deltas: boolean;
    }
  | { readonly type: 'embed'; readonly job: number; readonly texts: readonly string[] }
  | {
      readonly type: 'check';
      readonly job: number;
      readonly request: CompletionRequest;
      readonly claim: readonly number[];
    }
  | { readonly type: 'cancel'; readonly job: number }
  | { readonly type: 'close' };

/** From the engine's process. `ready` or `failed` answers `open`; `done` or `refused` answers each `complete`, `check` and `embed`. */
export type FromChild =
  | { readonly type: 'progress'; readonly message: string }
  | { readonly type: 'ready'; readonly identity: ModelIdentity }
  | { readonly type: 'failed'; readonly error: WireError }
  | { readonly type: 'delta'; readonly job: number; readonly delta: Delta }
  | { readonly type: 'done'; readonly job: number; readonly answer: Completion | PartialAnswer | Embeddings }
  | { readonly type: 'refused'; readonly job: number; readonly error: WireError };

/** An error as it crosses the channel; `code` is null for one that is nobody's expected fault. */
export type WireError = {
  readonly name: string;
  readonly code: string | null;
  readonly message: string;
  readonly at: ErrorPlace;
};

/** An error for the channel. */
export function toWireError(error: unknown): WireError {
  if (RuntimeError.is(error)) return error.toJSON();
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  return { name, code: null, message, at: {} };
}

/** The error on the other side, of its own class. */
export function fromWireError({ name, code, message, at }: WireError): Error {
  if (code !== null && name === 'ModelError') return new ModelError(code as ModelErrorCode, message, { at });
  if (code !== null && name === 'InferenceError')
    return new InferenceError(code as InferenceErrorCode, message, { at });
  return new Error(`engine process: ${name}${code === null ? '' : ` ${code}`}: ${message}`);
}
