/**
 * Logarithms of probabilities for clients that ask for them: of the softmax of the logits as the model gives them, before temperature,
 * masks and top-p. They decide nothing and are not signed; binary64 logarithms may differ in their last digit between computers.
 *
 * @module
 */

import type { TokenLogprobs, TokenProbability } from './engine.ts';

/** Names a token. */
export type DescribeToken = (id: number) => Pick<TokenProbability, 'text' | 'bytes'>;

/**
 * The chosen token and the most probable ones.
 *
 * @param logits - `[vocabulary]`
 * @param top - how many, at least 0; ties to the lower id
 */
export function computeLogprobs(logits: Float32Array, id: number, top: number, describe: DescribeToken): TokenLogprobs {
  let most = Number.NEGATIVE_INFINITY;
  for (const logit of logits) if (logit > most) most = logit;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - most);
  const whole = most + Math.log(sum);
  const probability = (token: number): TokenProbability => ({
    id: token,
    ...describe(token),
    // -9999 as in OpenAI's API for what is too improbable to be a number.
    logprob: Math.max(-9999, (logits[token] as number) - whole),
  });
  return { ...probability(id), top: greatest(logits, top).map(probability) };
}

/** Indices of the greatest logits, the greatest first. */
function greatest(logits: Float32Array, count: number): readonly number[] {
  const best: number[] = [];
  for (let id = 0; id < logits.length && count > 0; id++) {
    const logit = logits[id] as number;
    if (best.length === count && !(logit > (logits[best[count - 1] as number] as number))) continue;
    let at = best.length;
    while (at > 0 && logit > (logits[best[at - 1] as number] as number)) at--;
    best.splice(at, 0, id);
    best.length = Math.min(best.length, count);
  }
  return best;
}
