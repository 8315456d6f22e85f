/**
 * The bundler: from a module that a developer wrote to one script per agent and per tool, equal wherever it is made.
 *
 * The scripts are evaluated in the sandbox only, also to read their manifests.
 *
 * @module
 */

import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildFailure, build } from 'esbuild';
import { RuntimeError } from '../attest/core/error.ts';
import type { Json } from '../attest/encoding/canonical-json.ts';
import { openQuickJsVm } from '../runtime/sandbox/quickjs-vm.ts';
import type { Vm, VmOptions } from '../runtime/sandbox/vm.ts';
import type { AgentManifest, ToolManifest } from './sdk/manifest.ts';
import { zodNamespacePlugin } from './zod-namespace.ts';

export type BundleErrorCode = 'BUILD_FAILED' | 'MANIFEST_FAILED' | 'MANIFEST_INVALID';

/** A module that makes no bundle. */
export class BundleError extends RuntimeError<BundleErrorCode> {
  override readonly name = 'BundleError';
}

/** Script and manifest of one agent or tool; their digest is that of the guest code made of them (`guest-code.ts`). */
export type Bundle<Manifest> = {
  /** Script that sets `globalThis.__tracebond`. */
  readonly source: string;
  readonly manifest: Manifest;
};

/** An agent and its tools, ready to run. */
export type BundledAgent = {
  readonly agent: Bundle<AgentManifest>;
  readonly tools: readonly (Bundle<ToolManifest> & { readonly name: string })[];
};

/** What reading a manifest may use; a module that needs more to be loaded is no agent. */
const MANIFEST_LIMITS = { fuel: 5_000_000_000n, memoryBytes: 128 << 20, wallMs: 30_000, outputBytes: 4 << 20 } as const;

/**
 * Bundles the agent that is the default export of a module.
 *
 * @param entryFile - path or file URL of a TypeScript or JavaScript module
 * @param options.vm - sandbox to read the manifests in; one of its own is opened and closed otherwise
 * @throws {@link BundleError} `BUILD_FAILED` for a missing file, a syntax error or an import that does not resolve (Node's
 *   own modules do not exist in the sandbox); `MANIFEST_FAILED` if the module fails when loaded; `MANIFEST_INVALID`
 */
export async function bundleAgent(entryFile: string | URL, options: bundleAgent.Options = {}): Promise<BundledAgent> {
  const vm = options.vm ?? (await openQuickJsVm());
  try {
    const file = typeof entryFile === 'string' ? resolve(entryFile) : fileURLToPath(entryFile);
    const source = await buildScript(file, `installAgent(definition);`);
    const manifest = await readManifest(vm, source);
    if (!isAgentManifest(manifest)) throw new BundleError('MANIFEST_INVALID', 'the agent describes itself oddly');
    const tools: (Bundle<ToolManifest> & { name: string })[] = [];
    for (const { name } of manifest.tools) {
      const script = await buildScript(file, `installTool(definition, ${JSON.stringify(name)});`);
      const described = await readManifest(vm, script);
      if (!isToolManifest(described) || described.name !== name) {
        throw new BundleError('MANIFEST_INVALID', `tool ${name} describes itself oddly`, { at: { tool: name } });
      }
      tools.push({ name, source: script, manifest: described });
    }
    return { agent: { source, manifest }, tools };
  } finally {
    if (options.vm === undefined) await vm.close();
  }
}

export declare namespace bundleAgent {
  type Options = { readonly vm?: Vm };
}

/**
 * Folder of the SDK's source. It is bundled from there also when this module runs from `dist`: minified names follow the
 * frequency of letters in the source, so that compiled files would give another script.
 */
const SDK = new URL(import.meta.url.endsWith('.ts') ? './sdk/' : '../../agents/sdk/', import.meta.url);
const SDK_INDEX = fileURLToPath(new URL('index.ts', SDK));
const SDK_GUEST = fileURLToPath(new URL('guest.ts', SDK));

/** Builds one script: the developer's module, then a statement that installs what of it is asked for. */
async function buildScript(file: string, statement: string): Promise<string> {
  const directory = dirname(file);
  try {
    const result = await build({
      stdin: {
        contents: `import definition from ${JSON.stringify(file)};
import { installAgent, installTool } from ${JSON.stringify(SDK_GUEST)};
${statement}`,
        resolveDir: directory,
        sourcefile: 'entry.js',
        loader: 'js',
      },
      absWorkingDir: directory,
      bundle: true,
      write: false,
      format: 'iife',
      target: 'es2023',
      platform: 'neutral',
      mainFields: ['module', 'main'],
      conditions: ['import', 'default'],
      alias: { tracebond: SDK_INDEX },
      define: { 'process.env.NODE_ENV': '"production"' },
      // Names of files are kept in what is not minified, and they would differ from one checkout to the next.
      minify: true,
      legalComments: 'none',
      charset: 'utf8',
      sourcemap: false,
      plugins: [zodNamespacePlugin()],
      treeShaking: true,
      logLevel: 'silent',
      // The developer's compiler settings must not change the script.
      tsconfigRaw: { compilerOptions: { useDefineForClassFields: true } },
    });
    return result.outputFiles[0]?.text ?? '';
  } catch (error) {
    throw new BundleError('BUILD_FAILED', describeBuildFailure(error), { cause: error });
  }
}

function describeBuildFailure(error: unknown): string {
  const [first, ...rest] = (error as Partial<BuildFailure>).errors ?? [];
  if (first === undefined) return error instanceof Error ? error.message : 'build failed';
  const place = first.location === null ? '' : `${first.location.file}:${first.location.line}: `;
  return `${place}${first.text}${rest.length > 0 ? `, and ${rest.length} more` : ''}`;
}

async function readManifest(vm: Vm, source: string): Promise<Json> {
  const options: VmOptions = {
    ...MANIFEST_LIMITS,
    source,
    entry: 'manifest',
    input: null,
    seed: new Uint8Array(32),
    startTimeMs: 0,
  };
  const session = await vm.open(options);
  try {
    const state = await session.start();
    if (state.status === 'done') return state.value;
    const why = state.status === 'failed' ? `${state.error.code}: ${state.error.message}` : 'it acts when it is loaded';
    throw new BundleError('MANIFEST_FAILED', `the module cannot be loaded in the sandbox: ${why}`);
  } finally {
    await session.close();
  }
}

function isAgentManifest(value: unknown): value is AgentManifest {
  return (
    isObject(value) &&
    typeof value['name'] === 'string' &&
    typeof value['model'] === 'string' &&
    isLimits(value['limits']) &&
    Array.isArray(value['tools']) &&
    value['tools'].every(isToolManifest)
  );
}

function isToolManifest(value: unknown): value is ToolManifest {
  return (
    isObject(value) &&
    typeof value['name'] === 'string' &&
    typeof value['description'] === 'string' &&
    (value['inputSchema'] === null || isObject(value['inputSchema'])) &&
    isObject(value['capabilities']) &&
    isLimits(value['limits'])
  );
}

function isLimits(value: unknown): boolean {
  return isObject(value) && Number.isSafeInteger(value['fuel']) && Number.isSafeInteger(value['memoryMb']);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
