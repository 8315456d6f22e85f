/**
 * The port through which a verifier executes steps again. `attest` imports nothing from above: the sandbox and the model
 * come in here.
 *
 * @module
 */

import type { Hex } from '../core/bytes.ts';
import type { Digest } from '../core/hash.ts';
import type { Json } from '../encoding/canonical-json.ts';
import type { AnsweredCompletion } from '../sign/receipt.ts';
import type { InferenceIdentity } from '../trace/bodies.ts';
import type { GuestCall, GuestDelivery } from '../trace/guest.ts';
import type { InferenceRequest } from '../trace/inference-request.ts';

/** How guest code stands when it has nothing left to do until a delivery. */
export type GuestState = { readonly calls: readonly GuestCall[]; readonly fuelUsed: bigint } & (
  | { readonly status: 'waiting' }
  | { readonly status: 'done'; readonly value: Json }
  | { readonly status: 'failed'; readonly error: { readonly code: string; readonly message: string } }
);

/** With what guest code is started; everything here follows from the trace. */
export type GuestStart = {
  readonly language: 'javascript' | 'wasm';
  readonly source: string;
  readonly entry: 'agent' | { readonly tool: string };
  readonly input: Json;
  readonly fuel: bigint;
  readonly memoryBytes: number;
  readonly outputBytes: number;
  readonly wallMs: number;
  readonly seed: Digest;
  readonly startTimeMs: number;
};

/** Running guest code. */
export type GuestSession = {
  start(): Promise<GuestState>;
  deliver(delivery: GuestDelivery, timeMs: number): Promise<GuestState>;
  close(): Promise<void>;
};

/** Why an inference cannot be computed here, or undefined when it can. */
export type InferenceObstacle = 'MODEL_NOT_AT_HAND' | 'ENGINE_MISMATCH' | 'OTHER_NUMERICS';

/**
 * What is known of an answer whose claimed output is false: the right ids up to the first that the claim does not have, which is the
 * last one here.
 */
export type PartialAnswer = Pick<AnsweredCompletion, 'promptIds' | 'outputIds'> & {
  readonly text: null;
  readonly finishReason: null;
  readonly masks: null;
};

/** Executes steps again. */
export type Executor = {
  /** Identity of the sandbox engine; a run of another engine cannot be recomputed with this one. */
  readonly sandbox: Hex;
  openGuest(start: GuestStart): Promise<GuestSession>;
  /** Whether this executor has that model, engine and numerics. */
  obstacle(identity: InferenceIdentity): InferenceObstacle | undefined;
  /**
   * The answer, or the code with which this request is always refused.
   *
   * @param seed - of the inference, 32 bytes, from `computeInferenceSeed`: run, place and the request's own
   * @param claim - ids of the output that somebody claims, untrusted. Nothing of an answer depends on them, but that it may end early: with
   *   the first id that differs
   */
  infer(
    request: InferenceRequest,
    seed: Digest,
    claim: readonly number[],
  ): Promise<AnsweredCompletion | PartialAnswer | { readonly refused: string }>;
};

/** The host could not execute a step, for a reason that is none of the trace's: the step is not checked. */
export class ExecutorFault extends Error {
  override readonly name = 'ExecutorFault';
}
