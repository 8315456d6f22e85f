/**
 * WebAssembly text to bytes, by wabt, for tests.
 *
 * @module
 */

import loadWabt from 'wabt';

const wabt = await loadWabt();

/** What version 2.0 of the standard has, and nothing after it. */
const FEATURES = {
  mutable_globals: true,
  sat_float_to_int: true,
  sign_extension: true,
  multi_value: true,
  bulk_memory: true,
  reference_types: true,
  simd: true,
} as const;

/**
 * Assembles a module.
 *
 * @param text - a `(module ...)`
 * @throws Error of wabt's where it does not parse or, unless `check` is false, is not valid
 */
export function assembleText(text: string, check = true): Uint8Array {
  const module = wabt.parseWat('module.wat', new TextEncoder().encode(text), FEATURES);
  try {
    module.resolveNames();
    if (check) module.validate();
    return module.toBinary({}).buffer;
  } finally {
    module.destroy();
  }
}
