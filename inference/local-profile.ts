/**
 * The profile of this computer: its CPU class and the versions of the installed packages.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { installedVersion } from './installed-version.ts';
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
