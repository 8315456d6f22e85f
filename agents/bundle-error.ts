/**
 * What is wrong with a module that makes no bundle.
 *
 * @module
 */

import type { BuildFailure } from 'esbuild';
import { RuntimeError } from '../attest/core/error.ts';

export type BundleErrorCode = 'BUILD_FAILED' | 'MANIFEST_FAILED' | 'MANIFEST_INVALID';

/** A module that makes no bundle. */
export class BundleError extends RuntimeError<BundleErrorCode> {
  override readonly name = 'BundleError';
}

/** A failure of esbuild in one line: its first error with its place. */
export function describeBuildFailure(error: unknown): string {
  const [first, ...rest] = (error as Partial<BuildFailure>).errors ?? [];
  if (first === undefined) return error instanceof Error ? error.message : 'build failed';
  const place = first.location === null ? '' : `${first.location.file}:${first.location.line}: `;
  return `${place}${first.text}${rest.length > 0 ? `, and ${rest.length} more` : ''}`;
}
