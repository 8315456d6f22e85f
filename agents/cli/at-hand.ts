/**
 * What the commands that check something need: the file that holds it, and a model of one's own.
 *
 * @module
 */

import { createReadStream } from 'node:fs';
import { ModelError } from '../../inference/errors.ts';
import { ModelPathError, resolveModelPath } from '../../inference/model-path.ts';
import type { Environment } from './environment.ts';

/** Why there is no model to check with, as a report says it. */
export type NotAtHand = {
  readonly verdict: 'CANNOT_RECOMPUTE';
  readonly code: 'HOST_FAULT' | 'MODEL_NOT_AT_HAND';
  readonly message: string;
};

/** Codes with which this computer has the model and not the engine. */
const ENGINE_FAULTS: ReadonlySet<string> = new Set(['ENGINE_ABSENT', 'SELF_TEST_FAILED']);

/**
 * Opens a model by its name.
 *
 * @param open - gets its id, its path and the folder of what is made from it
 */
export async function openAtHand<T>(
  name: string,
  { env, home, cache }: Environment,
  open: (model: { readonly id: string; readonly path: string; readonly cacheDir: string }) => Promise<T>,
): Promise<T | NotAtHand> {
  try {
    return await open({ ...resolveModelPath(name, env, home), cacheDir: cache });
  } catch (error) {
    if (!(error instanceof ModelPathError) && !(error instanceof ModelError)) throw error;
    const code = ENGINE_FAULTS.has(error.code) ? 'HOST_FAULT' : 'MODEL_NOT_AT_HAND';
    return { verdict: 'CANNOT_RECOMPUTE', code, message: error.message };
  }
}

/** Whether {@link openAtHand} found none. */
export function isNotAtHand(opened: object): opened is NotAtHand {
  return 'verdict' in opened;
}

/**
 * Reads a file.
 *
 * @param file - untrusted; `-` is standard input
 * @param maxBytes - of a longer one so much and a little more is read, so that its reader refuses it by its length
 * @param refuse - makes the command's own error of a file that cannot be read
 */
export async function readInput(
  file: string,
  maxBytes: number,
  refuse: (message: string, details: { readonly at: { readonly file: string }; readonly cause: unknown }) => Error,
): Promise<Uint8Array> {
  const source = file === '-' ? process.stdin : createReadStream(file);
  const parts: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const part of source as AsyncIterable<Uint8Array>) {
      parts.push(part);
      length += part.length;
      if (length > maxBytes) break;
    }
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw refuse(`${file} cannot be read (${code})`, { at: { file }, cause });
  }
  return Buffer.concat(parts);
}
