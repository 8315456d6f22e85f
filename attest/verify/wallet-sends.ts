/**
 * What a wallet signed, held against what was asked and granted.
 *
 * @module
 */

import type { Json } from '../encoding/canonical-json.ts';
import { parseTransaction, type SignedTransaction, TransactionError } from '../sign/transaction.ts';
import type { Bodies } from '../trace/bodies.ts';
import { coveredSend, type PolicyRules } from '../trace/policy.ts';
import { decimal64, decimal256, hex32, object, oneOf, text } from '../trace/shape.ts';
import type { OpenStart } from '../trace/state.ts';
import { hashWalletArgs } from '../trace/wallet.ts';
import { cannot, compare, diverged, MATCH, type Outcome } from './outcome.ts';

const sentTransaction = object({
  block: decimal64,
  blockHash: hex32,
  effectiveGasPrice: decimal256,
  gasUsed: decimal64,
  hash: hex32,
  nonce: decimal64,
  raw: text(16_386),
  status: oneOf('0', '1'),
});

/**
 * Holds the end of a `wallet.send` against its start: signed by the wallet of the policy, doing what was asked, for no more than the fee
 * of the grant. Whether a block holds it, and what came of it there, the host alone says.
 *
 * @throws {@link TraceError} `MALFORMED_PAYLOAD`
 */
export function checkSend(
  ended: {
    readonly start: OpenStart | undefined;
    /** Tool that called, or null for the agent. */
    readonly tool: string | null;
    readonly body: Bodies['host.end'];
    readonly response: Json | undefined;
  },
  policy: PolicyRules | undefined,
): Outcome {
  const { start, tool, body, response } = ended;
  if (body.error !== null) return MATCH;
  if (response === undefined || policy === undefined || start === undefined) return cannot('PAYLOAD_WITHHELD');
  const found = sentTransaction(response, 'body.response', 'MALFORMED_PAYLOAD');
  let sent: SignedTransaction;
  try {
    sent = parseTransaction(found.raw);
  } catch (error) {
    if (!(error instanceof TransactionError)) throw error;
    return diverged('body.response.raw', found.raw, 'a signed transaction');
  }
  const covered = coveredSend(policy, tool, start.policy?.request.target ?? '');
  if (covered === undefined) return diverged('body.response.raw', found.raw, 'nothing: no grant covers it');
  const { grant, target } = covered;
  const { chainId, data, from, hash, nonce, to, value } = sent;
  // The policy saw a digest of all arguments, so nothing needs to be disclosed for this.
  const digest = hashWalletArgs({ chain: chainId.toString(), data, to, value: value.toString() });
  const pairs: readonly (readonly [string, string, string])[] = [
    ['hash', found.hash, hash],
    ['nonce', found.nonce, nonce.toString()],
    ['raw.from', from, grant.address],
    ['raw.chain', chainId.toString(), target.chain],
    ['raw.to', to, target.to],
    ['raw.value', value.toString(), target.value.toString()],
    ['raw.arguments', digest, target.digest],
  ];
  for (const [field, claimed, expected] of pairs) {
    const outcome = compare(`body.response.${field}`, claimed, expected);
    if (outcome !== undefined) return outcome;
  }
  const bounds: readonly (readonly [string, bigint, bigint])[] = [
    ['raw.fee', sent.gasLimit * sent.maxFeePerGas, BigInt(grant.fee)],
    ['gasUsed', BigInt(found.gasUsed), sent.gasLimit],
    ['effectiveGasPrice', BigInt(found.effectiveGasPrice), sent.maxFeePerGas],
  ];
  for (const [field, claimed, most] of bounds) {
    if (claimed > most) return diverged(`body.response.${field}`, claimed.toString(), `at most ${most}`);
  }
  return MATCH;
}
