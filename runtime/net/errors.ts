/**
 * Faults of the network: one class for a grant that cannot be held to, one for a request that came to nothing.
 *
 * @module
 */

import { RuntimeError } from '../../attest/core/error.ts';

export type GrantErrorCode = 'MALFORMED_RANGE' | 'RANGE_NOT_GRANTABLE' | 'MALFORMED_HEADER';

/** A grant of `http.fetch` names an address range or a header that no grant may name. */
export class GrantError extends RuntimeError<GrantErrorCode> {
  override readonly name = 'GrantError';
}

export type ExchangeErrorCode =
  | 'UNREACHABLE'
  | 'TIMEOUT'
  | 'TOO_LARGE'
  | 'REDIRECT_DENIED'
  | 'ADDRESS_DENIED'
  | 'NOT_TEXT'
  | 'BAD_REQUEST';

/** A request that got no usable answer. The code is what records and guests see; the message stays with the host. */
export class ExchangeError extends RuntimeError<ExchangeErrorCode> {
  override readonly name = 'ExchangeError';
}
