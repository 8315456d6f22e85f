/**
 * The files of a model, of either kind.
 *
 * @module
 */

import { statSync } from 'node:fs';
import { openGgufSource } from './gguf/gguf-source.ts';
import type { ModelSource } from './model-source.ts';
import { openSafetensorsSource } from './safetensors/safetensors-source.ts';

/**
 * Opens the files of a model: a GGUF file, or a folder of safetensors.
 *
 * @param path - untrusted
 * @throws {@link ModelError} with the reason why they cannot be read
 */
export function openSource(path: string): ModelSource {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ? openSafetensorsSource(path) : openGgufSource(path);
}
