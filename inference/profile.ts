/**
 * The determinism profile `float-same-isa`: all that must be equal for equal bits of the binary32 engine.
 *
 * **It holds on one class of CPU only.** The runtime picks its kernels by instruction set, and kernels of different
 * width add in different order; a verifier with another class gets other bits and must answer CANNOT_RECOMPUTE, never
 * DIVERGED. Within one class, with this number of threads and these versions, runs repeat bit for bit; that is observed
 * and tested, it is not proved by any specification.
 *
 * @module
 */

import type { JsonObject } from '../attest/encoding/canonical-json.ts';
import { CACHE_STEP, PREFILL_CHUNK } from './float/decoder.ts';
import { FLOAT_GRAPH_VERSION } from './float/llama-graph.ts';
import { ONNX_VERSIONS } from './onnx/graph.ts';
import { SESSION_SETTINGS } from './session.ts';

/** What of a CPU decides which kernels run. */
export type CpuClass = {
  /** `process.arch`. */
  readonly arch: string;
  /** `process.platform`: each has its own build of the runtime. */
  readonly platform: string;
  /** Instruction set extensions that binary32 kernels look at, sorted. */
  readonly features: readonly string[];
  /** arm64 only: `implementer:part` of each kind of core, sorted; kernels there differ by core. */
  readonly cores: readonly string[];
};

/** Versions of the packages whose code decides bits or tokens. */
export type EngineVersions = {
  readonly onnxruntime: string;
  readonly transformers: string;
  readonly tokenizers: string;
  readonly jinja: string;
  /** Unicode version of the JavaScript engine. */
  readonly unicode: string;
};

/** The profile as JSON; its digest is the SHA-256 of the canonical form. */
export type Profile = JsonObject & { readonly name: 'float-same-isa' };

const X64_FEATURES = ['avx', 'avx2', 'avx512bw', 'avx512dq', 'avx512f', 'avx512vl', 'f16c', 'fma', 'sse4_1'];
const ARM64_FEATURES = ['asimd', 'asimddp', 'asimdhp', 'bf16', 'i8mm', 'sme', 'sme2', 'sve', 'sve2'];

/**
 * Reads the class out of Linux's `/proc/cpuinfo`.
 *
 * @param cpuInfo - text of that file; where there is none (macOS) the CPU's name
 */
export function readCpuClass(cpuInfo: string, platform: string, arch: string): CpuClass {
  const fields = (name: string) =>
    [...cpuInfo.matchAll(new RegExp(`^${name}\\s*:\\s*(.*)$`, 'gm'))].map((match) => match[1] ?? '');
  const listed = [...fields('flags'), ...fields('Features')].map((line) => new Set(line.split(/\s+/)));
  // A feature counts if every core has it: threads may run anywhere.
  const features = [...X64_FEATURES, ...ARM64_FEATURES]
    .filter((feature) => listed.length > 0 && listed.every((flags) => flags.has(feature)))
    .sort();
  const parts = fields('CPU part');
  const cores = fields('CPU implementer').map((implementer, i) => `${implementer}:${parts[i] ?? ''}`);
  const named = listed.length === 0 ? [cpuInfo.trim()] : cores;
  return { arch, platform, features, cores: [...new Set(named)].sort() };
}

/** The profile of this engine on a class of CPU. */
export function describeProfile(cpu: CpuClass, versions: EngineVersions): Profile {
  return {
    name: 'float-same-isa',
    scope: 'reproducible on one CPU class only',
    graph: FLOAT_GRAPH_VERSION,
    onnx: ONNX_VERSIONS,
    prefillChunk: PREFILL_CHUNK,
    cacheStep: CACHE_STEP,
    session: SESSION_SETTINGS,
    versions,
    cpu,
  };
}
