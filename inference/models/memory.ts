/**
 * How much memory models may take together, and how much one takes.
 *
 * @module
 */

import { totalmem } from 'node:os';
import type { ProfileName } from '../engine.ts';
import { exactShape } from '../exact/exact-shape.ts';
import { fileLayout } from '../exact/file-layout.ts';
import { openSource } from '../model-files.ts';

/**
 * Resident memory of an engine's process: what it takes without weights, and how often it holds each byte of the exact form
 * (one byte a weight).
 *
 * Measured on x86-64 Linux, Node 20, from source: with a model of 0.1 million weights 195 MB (exact) and 310 MB
 * (float-same-isa), with SmolLM2-135M (exact form of 139 MB) 680 MB and 987 MB after a prompt of 600 tokens. A straight line
 * through both counts the vocabulary and the kept sequences as weights, so it overstates large models.
 */
const MEMORY: { readonly [P in ProfileName]: { readonly base: number; readonly perByte: number } } = {
  exact: { base: 195e6, perByte: 3.5 },
  'float-same-isa': { base: 310e6, perByte: 4.9 },
};

/**
 * Estimates the memory of an engine from the header of its model, without reading weights.
 *
 * @param path - GGUF file or folder of safetensors, untrusted
 * @returns bytes
 * @throws {@link ModelError} why the model cannot be served
 */
export function estimateMemory(path: string, profile: ProfileName = 'exact'): number {
  const source = openSource(path);
  try {
    const { base, perByte } = MEMORY[profile];
    return Math.ceil(base + perByte * fileLayout(exactShape(source.config)).bytes);
  } finally {
    source.close();
  }
}

/**
 * Half of this computer's memory, or of what the process may use of it, in bytes.
 *
 * @param total - bytes of memory
 * @param constrained - limit of the control group in bytes; 0 or more than `total` for none
 */
export function defaultMemoryBound(
  total: number = totalmem(),
  constrained: number = process.constrainedMemory(),
): number {
  return Math.floor((constrained > 0 ? Math.min(total, constrained) : total) / 2);
}
