/**
 * What is wrong with a configuration or a pin of MCP servers, told before anything runs.
 *
 * @module
 */

import { RuntimeError } from '../../attest/core/error.ts';

export type McpErrorCode =
  /** The file of servers; `at.field` is the place. */
  | 'MALFORMED_CONFIG'
  /** The file of pinned tools; `at.field` is the place. */
  | 'MALFORMED_PIN'
  /** A pinned definition does not have its digest. */
  | 'PIN_MISMATCH'
  | 'UNKNOWN_SERVER'
  /** The schema of an agent's input cannot be evaluated. */
  | 'UNUSABLE_SCHEMA'
  /** The server cannot be started, reached or understood. */
  | 'SERVER_UNREACHABLE';

/** An MCP server cannot be used. */
export class McpError extends RuntimeError<McpErrorCode> {
  override readonly name = 'McpError';
}
