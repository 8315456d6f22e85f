/**
 * What an engine that computes along a claim may leave out of an answer, for engines that have it whole.
 *
 * @module
 */

import type { PartialAnswer } from '../../attest/verify/executor.ts';

/** The answer, or its beginning where the claimed ids are not its own or too few. */
export function alongClaim<A extends { readonly promptIds: readonly number[]; readonly outputIds: readonly number[] }>(
  answer: A,
  claim: readonly number[],
): A | PartialAnswer {
  const { promptIds, outputIds } = answer;
  const at = outputIds.findIndex((id, index) => id !== claim[index]);
  if (at < 0) return answer;
  return { promptIds, outputIds: outputIds.slice(0, at + 1), text: null, finishReason: null, masks: null };
}
