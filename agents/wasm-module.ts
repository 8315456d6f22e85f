/**
 * Programs of WebAssembly tools, read when an agent is bundled.
 *
 * @module
 */

import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { BundleError } from './bundle-error.ts';
import type { WasmSource } from './sdk/tool.ts';

/** What every module begins with: `\\0asm`, version 1. */
const HEAD = '0061736d01000000';

/** Bytes that fit into guest code as base64. */
const MOST_BYTES = 12 * 1024 * 1024;

/**
 * A program in base64. What it may do and whether it is valid is judged by the engine when it runs.
 *
 * @param folder - what paths are relative to
 * @throws {@link BundleError} `BUILD_FAILED` for a file that is not there, is too large, or is no WebAssembly module
 */
export async function readWasmModule(source: WasmSource | undefined, folder: string, tool: string): Promise<string> {
  const fail = (what: string, cause?: unknown) =>
    new BundleError('BUILD_FAILED', `module of tool ${tool}: ${what}`, { at: { tool }, cause });
  if (source === undefined) throw fail('there is none');
  let bytes: Buffer;
  if ('base64' in source) bytes = Buffer.from(source.base64, 'base64');
  else {
    try {
      bytes = await readFile(resolve(folder, source.path));
    } catch (error) {
      throw fail(`cannot read ${source.path}`, error);
    }
  }
  if (bytes.length > MOST_BYTES) throw fail(`more than ${MOST_BYTES} bytes`);
  if (bytes.subarray(0, 8).toString('hex') !== HEAD) throw fail('no WebAssembly module of version 1');
  return bytes.toString('base64');
}
