import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { contentFaults, expectedFiles } from './contents.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const FOLDERS = ['attest', 'inference', 'runtime', 'agents'];
const PAGE = 'dist/attest/inspector/page';

/** What a working checkout has, and no package may. */
const UNWANTED = [
  'dist/.build.json',
  `${PAGE}/.inputs.json`,
  'dist/attest/inspector/page.4711.tmp/index.html',
  'dist/agents/cli/main.js.4711.tmp',
  'dist/agents/cli/main.d.ts',
  'dist/agents/setup/build.mjs',
  'test/package/contents.test.ts',
  'shared/design.md',
  '.env',
  '.device/key',
  '.cache/model.gguf',
  'coverage/index.html',
  'package-lock.json',
  'tsconfig.json',
  'npm-debug.log',
];

type Manifest = {
  readonly main: string;
  readonly types: string;
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly dependencies: Readonly<Record<string, string>>;
};

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;

/** What npm would pack of a checkout of this shape that was built; the files of the build are empty. */
function packed(): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'tracebond-test-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const put = (path: string, content = '') => {
    mkdirSync(join(folder, dirname(path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  };
  for (const path of FOLDERS.flatMap(sourcesOf)) put(path);
  for (const path of expectedFiles(ROOT)) put(path);
  for (const path of [...UNWANTED, `${PAGE}/assets/index-Ab12_-9z.js`, `${PAGE}/assets/index-Ab12_-9z.css`]) put(path);
  for (const path of ['package.json', '.gitignore']) cpSync(join(ROOT, path), join(folder, path));
  const output = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts', '--loglevel=error'], {
    cwd: folder,
    encoding: 'utf8',
  });
  const [{ files }] = JSON.parse(output) as [{ readonly files: readonly { readonly path: string }[] }];
  return files.map(({ path }) => path);
}

function sourcesOf(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .map((path) => posix.join(folder, path))
    .filter((path) => /\.\w+$/.test(path) && !/\/(assembly|node_modules)\//.test(path));
}

const PRODUCT = FOLDERS.flatMap(sourcesOf).filter(
  (path) => /\.(ts|mjs)$/.test(path) && !/\.d\.ts$|^attest\/inspector\/page\//.test(path),
);

/** Files that a module reads at addresses which no pattern can follow. */
const COMPUTED: Readonly<Record<string, readonly string[]>> = {
  // The folder of the SDK's source, seen from `dist/agents`.
  'agents/bundle.ts': ['agents/sdk/index.ts', 'agents/sdk/guest.ts'],
  'agents/cli/package-root.ts': ['package.json'],
  'agents/cli/inspect.ts': [`${PAGE}/index.html`, 'agents/cli/tracebond.mjs'],
  'agents/cli/tracebond.mjs': ['dist/agents/cli/main.js', 'agents/setup/platform.mjs'],
  // An address in a message.
  'agents/sdk/wasm-tool.ts': [],
  'agents/demo/audit.ts': ['agents/examples/expense-auditor/agent.ts'],
  'attest/core/entry.ts': [],
  'inference/installed-version.ts': [],
};

/** Parts of the set-up that run in a checkout alone. */
const CHECKOUT_ONLY = /^agents\/setup\/(bootstrap|build[\w-]*|copy-assets|container-[\w-]*|prune-[\w-]*)\.mjs$/;

describe('the package', () => {
  const paths = packed();

  it('holds what it must, and nothing else', () => {
    expect(contentFaults(paths, ROOT)).toEqual([]);
    expect(paths.filter((path) => !path.startsWith('dist/') && !existsSync(join(ROOT, path)))).toEqual([]);
  });

  it('says what is missing and what should not be there', () => {
    const wrong = [
      ...paths.filter((path) => path !== 'LICENSE' && !path.endsWith('.css')),
      'dist/agents/cli/main.js.map',
    ];
    expect(contentFaults(wrong, ROOT)).toEqual([
      'missing: LICENSE',
      'should not be there: dist/agents/cli/main.js.map',
      "missing: the page's .css",
    ]);
  });

  it('has what its entries name', () => {
    const { '.': main, ...others } = manifest.exports;
    expect(main).toEqual({ types: manifest.types, default: manifest.main });
    expect(others).toEqual({ './package.json': './package.json' });
    for (const target of [manifest.main, manifest.types, ...Object.values(manifest.bin)]) {
      expect(paths).toContain(posix.normalize(target));
    }
  });

  it('has every file that a module reads beside itself', () => {
    const faults = PRODUCT.filter((path) => !CHECKOUT_ONLY.test(path)).flatMap((path) =>
      readsOf(path).flatMap((read) =>
        read === undefined
          ? [`${path} reads by an address that this test cannot follow: name its files in COMPUTED`]
          : paths.some((one) => one === read || one.startsWith(`${read}/`))
            ? []
            : [`${path} reads ${read}`],
      ),
    );
    expect(faults).toEqual([]);
  });

  it('asks for no package by name that it does not depend on', () => {
    const names = PRODUCT.filter((path) => !CHECKOUT_ONLY.test(path)).flatMap((path) =>
      [...codeOf(path).matchAll(/\b(?:require|resolve|installedVersion)\(\[?'((?:@[\w-]+\/)?[\w.-]+)['/]/g)].map(
        ([, name = '']) => name,
      ),
    );
    expect(names).toContain('@jitl/quickjs-wasmfile-release-sync');
    // A checkout alone runs by the loader of TypeScript.
    expect(names.filter((name) => name !== 'tsx' && !(name in manifest.dependencies))).toEqual([]);
  });
});

/** A module's text without its comments. */
function codeOf(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8').replace(/^\s*(\*|\/\/|\/\*).*$/gm, '');
}

/** The files of the package that a module reads by its own address; undefined for one that cannot be told. */
function readsOf(path: string): (string | undefined)[] {
  const known = COMPUTED[path];
  if (known !== undefined) return [...known];
  const code = codeOf(path);
  const home = posix.dirname(path === 'agents/cli/tracebond.mjs' ? path : `dist/${path}`);
  const plain = /(?:new URL\('([^']+)', import\.meta\.url\)|childEntry\(import\.meta\.url, '([^']+)'\))/g;
  const targets = [...code.matchAll(plain)].map(([, url, entry]) =>
    posix.join(home, url ?? (entry ?? '').replace(/\.ts$/, '.js')).replace(/\/$/, ''),
  );
  const harmless = [...code.matchAll(/createRequire\(import\.meta\.url\)/g)].length;
  const uses = [...code.matchAll(/import\.meta\.url/g)].length;
  // One that computes its entry: `childEntry(import.meta.url, entry)` of names that stand as literals in its module.
  const entries = /childEntry\(import\.meta\.url, entry\)/.test(code)
    ? [...code.matchAll(/bundle\('(\.[^']+)'\)/g)].map(([, entry = '']) =>
        posix.join(home, entry.replace(/\.ts$/, '.js')),
      )
    : [];
  const followed = targets.length + harmless + (entries.length > 0 ? 1 : 0);
  return [...targets, ...entries, ...(uses === followed ? [] : [undefined])];
}
