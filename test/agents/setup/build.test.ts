import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ensureBuild } from '../../../agents/setup/build.mjs';
import { BUILD_FAILED, listBuildFiles, planBuild, RECORD } from '../../../agents/setup/build-files.mjs';
import { temporaryFolder } from '../../support/temporary.ts';

const REPOSITORY = fileURLToPath(new URL('../../../', import.meta.url));
const BUILDER = join(REPOSITORY, 'agents/setup/build.mjs');

const SOURCES: Readonly<Record<string, string>> = {
  'package.json': '{ "type": "module" }',
  'attest/core/one.ts': 'export type One = 1;\nexport const one: One = 1;\n',
  'attest/core/one.test.ts': "import './one.ts';\n",
  'attest/bond/contracts/bond.artifact.json': '{ "abi": [] }\n',
  'attest/bond/contracts/Bond.sol': 'contract Bond {}\n',
  'attest/spec/trace.md': '# Trace\n',
  'inference/sum.ts': `import { type One, one } from '../attest/core/one.ts';
import type { Gone } from './types-alone.ts';
import table from './spec/table.json' with { type: 'json' };

export const sum = async (add: Gone): Promise<number> => {
  const first: One = one;
  const { later } = await import('./later.ts');
  return first + table.ten + later + add;
};
`,
  'inference/types-alone.ts': 'export type Gone = number;\n',
  'inference/later.ts': 'export const later: number = 100;\n',
  'inference/spec/table.json': '{ "ten": 10 }\n',
  'inference/exact/wasm/kernels.wasm': '\0asm',
  'inference/exact/wasm/asconfig.json': '{}',
  'inference/exact/wasm/assembly/kernels.ts': 'export function f(): i32 { return 1; }\n',
  'agents/examples/auditor/agent.ts': 'export const agent = 1 as const;\n',
  'agents/examples/auditor/ledger.csv': 'id,cents\n',
};

const BUILT = [
  'agents/examples/auditor/agent.js',
  'agents/examples/auditor/ledger.csv',
  'attest/bond/contracts/bond.artifact.json',
  'attest/core/one.js',
  'inference/exact/wasm/kernels.wasm',
  'inference/later.js',
  'inference/spec/table.json',
  'inference/sum.js',
  'inference/types-alone.js',
];

function write(root: string, path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

function tree(): string {
  const root = temporaryFolder();
  for (const [path, text] of Object.entries(SOURCES)) write(root, path, text);
  for (const name of ['tsconfig.json', 'tsconfig.build.json']) cpSync(join(REPOSITORY, name), join(root, name));
  return root;
}

async function builtTree(): Promise<string> {
  const root = tree();
  await ensureBuild(root);
  return root;
}

const read = (root: string, path: string) => readFileSync(join(root, 'dist', path), 'utf8');

/** The files of `dist`, without the record. */
function built(root: string): string[] {
  return readdirSync(join(root, 'dist'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(join(root, 'dist'), join(entry.parentPath, entry.name)))
    .filter((path) => join('dist', path) !== RECORD)
    .sort();
}

/** Files by their inodes: one that was written again has another. */
function inodes(root: string): ReadonlyMap<string, number> {
  return new Map(
    [...built(root), relative('dist', RECORD)].map((path) => [path, statSync(join(root, 'dist', path)).ino]),
  );
}

/** What was written between two calls of {@link inodes}. */
function rewritten(root: string, before: ReadonlyMap<string, number>): string[] {
  const now = inodes(root);
  return [...now.keys()].filter((path) => now.get(path) !== before.get(path) && join('dist', path) !== RECORD);
}

type Ran = { readonly code: number; readonly stdout: string; readonly stderr: string };

const node = (...args: string[]) =>
  new Promise<Ran>((resolve) => {
    execFile(process.execPath, args, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, stdout, stderr });
    });
  });

const sumOf = (root: string) =>
  node(
    '--input-type=module',
    '-e',
    `console.log(await (await import(${JSON.stringify(pathToFileURL(join(root, 'dist/inference/sum.js')).href)})).sum(1000))`,
  );

describe('ensureBuild', () => {
  it('compiles a fresh tree into modules that run, with their data beside them', async () => {
    const root = tree();
    expect(await ensureBuild(root)).toBe(true);
    expect(built(root)).toEqual(BUILT);
    expect(await sumOf(root)).toEqual({ code: 0, stdout: '1111\n', stderr: '' });
    expect(read(root, 'inference/sum.js')).not.toMatch(/\.ts'/);
    expect(read(root, 'inference/spec/table.json')).toBe(SOURCES['inference/spec/table.json']);
  });

  it('does nothing the second time', async () => {
    const root = await builtTree();
    const before = inodes(root);
    const said: string[] = [];
    expect(await ensureBuild(root, { log: (line) => said.push(line) })).toBe(false);
    expect(inodes(root)).toEqual(before);
    expect(said).toEqual([]);
  });

  it('compiles the one file that changed, though its size is the same and its time lies in the past', async () => {
    const root = await builtTree();
    const before = inodes(root);
    write(root, 'inference/later.ts', 'export const later: number = 200;\n');
    utimesSync(join(root, 'inference/later.ts'), 1, 1);
    expect(await ensureBuild(root)).toBe(true);
    expect(rewritten(root, before)).toEqual(['inference/later.js']);
    expect((await sumOf(root)).stdout).toBe('1211\n');
  });

  it('copies an asset that changed', async () => {
    const root = await builtTree();
    const before = inodes(root);
    write(root, 'inference/spec/table.json', '{ "ten": 20 }\n');
    expect(await ensureBuild(root)).toBe(true);
    expect(rewritten(root, before)).toEqual(['inference/spec/table.json']);
    expect((await sumOf(root)).stdout).toBe('1121\n');
  });

  it('does not take for fresh what another build made of other sources in between', async () => {
    const root = await builtTree();
    // As `npm run build` on another commit would leave it, before the sources are put back.
    write(root, 'dist/inference/later.js', 'export const later = 300;\n');
    write(root, 'dist/inference/later.d.ts', 'export declare const later: number;\n');
    expect(await ensureBuild(root)).toBe(true);
    expect((await sumOf(root)).stdout).toBe('1111\n');
    expect(built(root)).toContain('inference/later.d.ts');
  });

  it('makes again what was removed from dist', async () => {
    const root = await builtTree();
    rmSync(join(root, 'dist/inference/later.js'));
    expect(await ensureBuild(root)).toBe(true);
    expect(built(root)).toEqual(BUILT);
  });

  it('removes what was made of files that are no more, and what a killed build left', async () => {
    const root = await builtTree();
    write(root, 'dist/inference/later.d.ts', '');
    write(root, 'dist/runtime/never.js', '');
    write(root, 'dist/inference/sum.js.1.tmp', '');
    utimesSync(join(root, 'dist/inference/sum.js.1.tmp'), 1, 1);
    write(root, 'dist/inference/sum.js.2.tmp', '');
    rmSync(join(root, 'inference/later.ts'));
    rmSync(join(root, 'agents/examples/auditor/ledger.csv'));
    expect(await ensureBuild(root)).toBe(true);
    const gone = ['inference/later.js', 'agents/examples/auditor/ledger.csv'];
    const young = 'inference/sum.js.2.tmp';
    expect(built(root)).toEqual([...BUILT.filter((path) => !gone.includes(path)), young].sort());
    expect(await ensureBuild(root)).toBe(false);
  });

  it('compiles everything again under other settings', async () => {
    const root = await builtTree();
    const settings = join(root, 'tsconfig.build.json');
    writeFileSync(settings, readFileSync(settings, 'utf8').replace('"declaration": true', '"removeComments": true'));
    const before = inodes(root);
    expect(await ensureBuild(root)).toBe(true);
    expect(rewritten(root, before)).toEqual(BUILT);
  });

  it.each(['', '{', '[]', 'null', '{"settings":"","files":{"inference/later.ts":null}}'])(
    'builds anew over the damaged record %j',
    async (text) => {
      const root = await builtTree();
      writeFileSync(join(root, RECORD), text);
      expect(await ensureBuild(root)).toBe(true);
      expect(await ensureBuild(root)).toBe(false);
    },
  );

  it('names file, line and column of syntax errors, all of them, and leaves dist as it was', async () => {
    const root = await builtTree();
    const before = inodes(root);
    write(root, 'inference/later.ts', 'export const later =\n  100 +;\n');
    write(root, 'attest/core/one.ts', 'export const one = 1 1;\n');
    write(root, 'inference/sum.ts', 'export const sum = 2;\n');
    const message = expect.stringMatching(
      /^attest\/core\/one\.ts:1:22: .+\ninference\/later\.ts:2:8: Expression expected\.$/,
    );
    await expect(ensureBuild(root)).rejects.toMatchObject({ name: 'SetupError', code: 'SYNTAX_ERROR', message });
    expect(inodes(root)).toEqual(before);

    const { code, stderr } = await node(BUILDER, root);
    expect(code).toBe(BUILD_FAILED);
    expect(stderr).toMatch(/^Build failed \(SYNTAX_ERROR\): attest\/core\/one\.ts:1:22: /);
    write(root, 'inference/later.ts', SOURCES['inference/later.ts'] ?? '');
    write(root, 'attest/core/one.ts', SOURCES['attest/core/one.ts'] ?? '');
    expect(await ensureBuild(root)).toBe(true);
    expect(rewritten(root, before)).toEqual(['inference/sum.js']);
  });

  it('says that it cannot write', async () => {
    const root = tree();
    writeFileSync(join(root, 'dist'), 'a file');
    await expect(ensureBuild(root)).rejects.toMatchObject({ name: 'SetupError', code: 'NOT_WRITABLE' });
  });

  it('says that the compiler is not installed', async () => {
    const elsewhere = temporaryFolder();
    cpSync(dirname(BUILDER), elsewhere, { recursive: true });
    const { code, stderr } = await node(join(elsewhere, 'build.mjs'), tree());
    expect(code).toBe(BUILD_FAILED);
    expect(stderr).toBe('Build failed (COMPILER_MISSING): package typescript is not installed; run npm ci\n');
  });

  it('may run in several processes at once', async () => {
    const root = tree();
    const ran = await Promise.all(Array.from({ length: 4 }, () => node(BUILDER, root)));
    expect(ran).toEqual(ran.map(() => ({ code: 0, stdout: '', stderr: '' })));
    expect(built(root)).toEqual(BUILT);
    expect(planBuild(root).isFresh).toBe(true);
  });
});

describe('the command in a checkout', () => {
  it('compiles by itself, in silence when nothing has changed, and refuses what does not parse', async () => {
    const root = temporaryFolder();
    for (const { source } of listBuildFiles(REPOSITORY)) {
      mkdirSync(dirname(join(root, source)), { recursive: true });
      cpSync(join(REPOSITORY, source), join(root, source));
    }
    for (const path of [
      'agents/setup',
      'agents/cli/tracebond.mjs',
      'package.json',
      'tsconfig.json',
      'tsconfig.build.json',
    ]) {
      cpSync(join(REPOSITORY, path), join(root, path), { recursive: true });
    }
    symlinkSync(join(REPOSITORY, 'node_modules'), join(root, 'node_modules'));
    const command = join(root, 'agents/cli/tracebond.mjs');
    const { version } = JSON.parse(readFileSync(join(REPOSITORY, 'package.json'), 'utf8')) as { version: string };

    const first = await node(command, '--version');
    expect(first).toEqual({ code: 0, stdout: `${version}\n`, stderr: expect.stringMatching(/^Compiling \d+ modules/) });
    expect(await node(command, '--version')).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
    for (const { target } of listBuildFiles(root)) {
      if (!target.endsWith('.js')) continue;
      for (const [, path = ''] of readFileSync(join(root, target), 'utf8').matchAll(
        /(?:from|import\() ?'(\.[^']+)'/g,
      )) {
        expect(existsSync(join(root, dirname(target), path)), `${target} imports ${path}`).toBe(true);
      }
    }

    write(root, 'runtime/broken.ts', 'export const = 1;\n');
    const refused = await node(command, '--version');
    expect(refused.code).toBe(1);
    expect(refused.stdout).toBe('');
    expect(refused.stderr).toContain('runtime/broken.ts:1:14: ');
  });
});
