/**
 * Executes recorded steps again: the verifier's port over the sandbox and a model of one's own.
 *
 * @module
 */

import { RuntimeError } from '../attest/core/error.ts';
import type { Digest } from '../attest/core/hash.ts';
import type { AnsweredCompletion } from '../attest/sign/receipt.ts';
import type { InferenceIdentity } from '../attest/trace/bodies.ts';
import type { InferenceRequest } from '../attest/trace/inference-request.ts';
import {
  type Executor,
  ExecutorFault,
  type GuestState,
  type InferenceObstacle,
  type PartialAnswer,
} from '../attest/verify/executor.ts';
import { HostFault, type Vm, VmUsageError } from './sandbox/vm.ts';

/** Codes with which a model refuses a request for what the request says, every time. */
const REFUSALS: ReadonlySet<string> = new Set([
  'REQUEST_MALFORMED',
  'MALFORMED_BODY',
  'PROMPT_EMPTY',
  'PROMPT_TOO_LONG',
  'CONTEXT_EXCEEDED',
  'CHOICE_EMPTY',
  'CHOICE_DUPLICATE',
  'CHOICE_TOO_LONG',
  'TOO_MANY_CHOICES',
  'STOP_EMPTY',
  'SAMPLING_REFUSED',
  'SCHEMA_REFUSED',
  'BUDGET_TOO_SMALL',
  'TEMPLATE_REFUSED',
  'CONTROL_TOKEN_IN_TEXT',
]);

/** A model of the verifier's own, with the digests of all that decides its answers. */
export type Recomputer = {
  readonly identity: Pick<InferenceIdentity, 'model' | 'tokenizer' | 'operations' | 'profile' | 'engine'>;
  /** The answer, or its beginning up to the first id that `claim` does not have. */
  check(request: InferenceRequest, seed: Digest, claim: readonly number[]): Promise<AnsweredCompletion | PartialAnswer>;
};

/**
 * An executor over a sandbox and, if one is at hand, a model.
 *
 * @param recomputer - undefined: inferences are `MODEL_NOT_AT_HAND`
 */
export function createExecutor(vm: Vm, recomputer: Recomputer | undefined): Executor {
  return {
    sandbox: vm.engine,
    async openGuest(start) {
      const session = await guarded(() => vm.open(start));
      return {
        start: () => guarded<GuestState>(() => session.start()),
        deliver: (delivery, timeMs) => guarded<GuestState>(() => session.deliver(delivery, timeMs)),
        close: () => session.close(),
      };
    },
    obstacle: (identity) => obstacleOf(identity, recomputer),
    async infer(request, seed, claim) {
      if (recomputer === undefined) throw new TypeError('no model at hand');
      try {
        return await recomputer.check(request, seed, claim);
      } catch (error) {
        if (!RuntimeError.is(error)) throw error;
        if (REFUSALS.has(error.code)) return { refused: error.code };
        throw new ExecutorFault(error.message, { cause: error });
      }
    },
  };
}

function obstacleOf(claimed: InferenceIdentity, recomputer: Recomputer | undefined): InferenceObstacle | undefined {
  if (recomputer === undefined) return 'MODEL_NOT_AT_HAND';
  const own = recomputer.identity;
  if (claimed.model !== own.model || claimed.tokenizer !== own.tokenizer) return 'MODEL_NOT_AT_HAND';
  if (claimed.profile !== own.profile) return 'OTHER_NUMERICS';
  if (claimed.engine !== own.engine || claimed.operations !== own.operations) return 'ENGINE_MISMATCH';
  return undefined;
}

async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    // A usage error here means that the records ask the sandbox for something that it never takes: not checked, never MATCH.
    if (error instanceof HostFault || error instanceof VmUsageError)
      throw new ExecutorFault(error.message, { cause: error });
    throw error;
  }
}
