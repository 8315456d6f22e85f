/**
 * The profile of this computer: its CPU class and the versions of the installed packages.
 *
 * @module
 */

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { ModelError } from './errors.ts';
import { describeProfile, type Profile, readCpuClass } from './profile.ts';

/** The profile of the binary32 engine here, in full; its digest is in every `ModelIdentity`. */
export function localProfile(): Profile {
  const cpuInfo = process.platform === 'linux' ? readFileSync('/proc/cpuinfo', 'utf8') : (cpus()[0]?.model ?? '');
  return describeProfile(readCpuClass(cpuInfo, process.platform, process.arch), {
    onnxruntime: installedVersion(['onnxruntime-node']),
    transformers: installedVersion(['@xenova/transformers']),
    tokenizers: installedVersion(['@xenova/transformers', '@huggingface/tokenizers']),
    jinja: installedVersion(['@xenova/transformers', '@huggingface/jinja']),
    // Decides case and white space in chat templates; the classes of pre-tokenizers are the tokenizer's own.
    unicode: String(process.versions['unicode']),
  });
}

/**
 * Version of an installed package. The manifest is looked for in the folders where Node would look, because not every
 * package exports it.
 *
 * @param path - package names: each is looked for from the one before, the first from here
 * @throws {@link ModelError} `GRAPH_REFUSED` if one is not installed
 */
export function installedVersion(path: readonly string[]): string {
  let manifest = import.meta.url;
  for (const name of path) {
    const folders = createRequire(manifest).resolve.paths(name) ?? [];
    const found = folders.map((folder) => `${folder}/${name}/package.json`).find((file) => existsSync(file));
    if (found === undefined) throw new ModelError('GRAPH_REFUSED', `package ${name} is not installed`);
    manifest = found;
  }
  return String((JSON.parse(readFileSync(manifest, 'utf8')) as { version: unknown }).version);
}
