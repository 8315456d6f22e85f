/**
 * The file of MCP servers that commands use: of an option, or of the environment.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type McpConfig, parseMcpConfig } from '../../runtime/mcp/config.ts';
import { McpError } from '../../runtime/mcp/errors.ts';
import type { Environment } from './environment.ts';

/**
 * The servers of a file; of `$TRACEBOND_MCP_CONFIG` if no option names one, else none.
 *
 * @throws {@link McpError} `MALFORMED_CONFIG`, which names the file
 */
export function readMcpConfig(option: string | undefined, { env }: Pick<Environment, 'env'>): McpConfig {
  const given = option ?? env['TRACEBOND_MCP_CONFIG'];
  if (given === undefined || given === '') return new Map();
  const path = resolve(given);
  try {
    return parseMcpConfig(readFileSync(path));
  } catch (error) {
    const isRefused = error instanceof McpError;
    if (!isRefused && (error as NodeJS.ErrnoException).code === undefined) throw error;
    const reason = isRefused ? error.message : `cannot be read (${(error as NodeJS.ErrnoException).code})`;
    const at = isRefused ? { ...error.at, file: path } : { file: path };
    throw new McpError('MALFORMED_CONFIG', `${path}: ${reason}`, { at, cause: error });
  }
}
