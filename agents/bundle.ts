/**
 * The bundler: from a module that a developer wrote to one script per agent and per tool, equal wherever it is made.
 *
 * The scripts are evaluated in the sandbox only. First a script that only describes is: what it tells is made a constant of the
 * agents' scripts, so that a run pays no fuel for JSON Schemas.
 *
 * @module
 */

import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { Json } from '../attest/encoding/canonical-json.ts';
import { openQuickJsVm } from '../runtime/sandbox/quickjs-vm.ts';
import type { Vm, VmOptions } from '../runtime/sandbox/vm.ts';
import { BundleError, describeBuildFailure } from './bundle-error.ts';
import { parseDescription } from './description.ts';
import type { AgentDescription, AgentManifest, ToolManifest } from './sdk/manifest.ts';
import { sourcePlugin } from './source-plugin.ts';
import { readWasmModule } from './wasm-module.ts';

export { BundleError } from './bundle-error.ts';

/** Code and manifest of one agent or tool; their digest is that of the guest code made of them (`guest-code.ts`). */
export type Bundle<Manifest> = {
  /** Script that sets `globalThis.__tracebond`; of a WebAssembly tool its module in base64. */
  readonly source: string;
  readonly manifest: Manifest;
};

/** An agent, its tools and the agents that it may run, ready to run. */
export type BundledAgent = {
  readonly agent: Bundle<AgentManifest>;
  readonly tools: readonly (Bundle<ToolManifest> & { readonly name: string })[];
  readonly agents: readonly (BundledAgent & { readonly name: string })[];
};

/** What reading a manifest may use; a module that needs more to be loaded is no agent. */
const MANIFEST_LIMITS = {
  fuel: 5_000_000_000n,
  memoryBytes: 128 << 20,
  wallMs: 30_000,
  outputBytes: 16 << 20,
} as const;

/**
 * Bundles the agent that is the default export of a module.
 *
 * @param entryFile - path or file URL of a TypeScript or JavaScript module
 * @param options.vm - sandbox to read the manifests in; one of its own is opened and closed otherwise
 * @throws {@link BundleError} `BUILD_FAILED` for a missing file, a syntax error, an import that does not resolve (Node's
 *   own modules do not exist in the sandbox) or a file that is no WebAssembly module; `MANIFEST_FAILED` if the module fails when
 *   loaded; `MANIFEST_INVALID`
 */
export async function bundleAgent(entryFile: string | URL, options: bundleAgent.Options = {}): Promise<BundledAgent> {
  const vm = options.vm ?? (await openQuickJsVm());
  try {
    const file = typeof entryFile === 'string' ? resolve(entryFile) : fileURLToPath(entryFile);
    const script = await buildScript(file, ['installDescription'], 'installDescription(definition);');
    return await bundleDescribed(file, parseDescription(await readManifest(vm, script)), []);
  } finally {
    if (options.vm === undefined) await vm.close();
  }
}

export declare namespace bundleAgent {
  type Options = { readonly vm?: Vm };
}

/** Makes the scripts of an agent; `path` leads to it from the agent of the module. */
async function bundleDescribed(
  file: string,
  { manifest, modules, agents }: AgentDescription,
  path: readonly string[],
): Promise<BundledAgent> {
  const text = (value: unknown) => JSON.stringify(value);
  const isLoop = manifest.run === 'tool-loop';
  const agent = await buildScript(
    file,
    isLoop ? ['installAgent', 'runToolLoop'] : ['installAgent'],
    `installAgent(definition, ${text(path)}, ${text(manifest)}${isLoop ? ', runToolLoop' : ''});`,
  );
  const tools: (Bundle<ToolManifest> & { name: string })[] = [];
  for (const tool of manifest.tools) {
    const { name } = tool;
    const source =
      tool.language === 'wasm'
        ? await readWasmModule(modules[name], dirname(file), name)
        : await buildScript(file, ['installTool'], `installTool(definition, ${text(path)}, ${text(name)});`);
    tools.push({ name, source, manifest: tool });
  }
  const children: (BundledAgent & { name: string })[] = [];
  for (const child of agents) {
    const { name } = child.manifest;
    children.push({ name, ...(await bundleDescribed(file, child, [...path, name])) });
  }
  return { agent: { source: agent, manifest }, tools, agents: children };
}

/**
 * Folder of the SDK's source. It is bundled from there also when this module runs from `dist`: minified names follow the
 * frequency of letters in the source, so that compiled files would give another script.
 */
const SDK = new URL(import.meta.url.endsWith('.ts') ? './sdk/' : '../../agents/sdk/', import.meta.url);
const SDK_INDEX = fileURLToPath(new URL('index.ts', SDK));
const SDK_GUEST = fileURLToPath(new URL('guest.ts', SDK));

/** Builds one script: the developer's module, then a statement that installs what of it is asked for. */
async function buildScript(file: string, parts: readonly string[], statement: string): Promise<string> {
  const directory = dirname(file);
  try {
    const result = await build({
      stdin: {
        contents: `import definition from ${JSON.stringify(file)};
import { ${parts.join(', ')} } from ${JSON.stringify(SDK_GUEST)};
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
      plugins: [sourcePlugin(directory)],
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
