/**
 * Every rule of `.dependency-cruiser.cjs` is broken once in a small tree of its own, for a rule that never fires guards
 * nothing.
 */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { checkLayers } from '../layers/run.mjs';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const RULES = join(REPOSITORY, '.dependency-cruiser.cjs');

/** A tree that keeps every rule; each adapter uses its library where it may. */
const CLEAN: Readonly<Record<string, string>> = {
  'attest/core/hash.ts': 'export const hash = 1;',
  'attest/bond/ethers-chain.ts': "import { ethers } from 'ethers';\nexport const chain = ethers;",
  'attest/sign/struct-encoder.ts': "import { ethers } from 'ethers/hash';\nexport const digest = ethers;",
  'attest/dispute/game.ts': "import { hash } from '../core/hash.ts';\nexport const game = hash;",
  'inference/protocol.ts': "import { hash } from '../attest/core/hash.ts';\nexport type Call = typeof hash;",
  'inference/client.ts': "import type { Call } from './protocol.ts';\nexport type Client = Call;",
  'inference/session.ts': "import { ort } from 'onnxruntime-node';\nexport const session = ort;",
  'inference/float/transformers-library.ts': "import { t } from '@xenova/transformers';\nexport const library = t;",
  'inference/huggingface-library.ts':
    "import { k } from '@huggingface/tokenizers';\nimport { j } from '@huggingface/jinja';\nexport const library = [k, j];",
  'inference/model.ts': "export const library = () => import('./float/transformers-library.ts');",
  'runtime/sandbox/quickjs-vm.ts':
    "import { q } from 'quickjs-emscripten-core';\nimport { w } from '@jitl/quickjs-wasmfile-release-sync';\nexport const vm = [q, w];",
  'runtime/loop.ts': "import type { Client } from '../inference/client.ts';\nexport type Loop = Client;",
  'inference/http-app.ts': 'export const app = 1;',
  'runtime/api/server.ts': "import { app } from '../../inference/http-app.ts';\nexport const server = app;",
  'runtime/mcp/connection.ts': "import { mc } from '@modelcontextprotocol/client';\nexport const connection = mc;",
  'runtime/mcp/agent-server.ts': "import { ms } from '@modelcontextprotocol/server';\nexport const server = ms;",
  'runtime/queue/redis-queue.ts':
    "import { mq } from 'bullmq';\nimport { io } from 'ioredis';\nexport const queue = [mq, io];",
  'runtime/wallet/sign.ts': "import { ethers } from 'ethers';\nexport const sign = ethers;",
  'runtime/telemetry/spans.ts': "import { otel } from '@opentelemetry/api';\nexport const spans = otel;",
  'agents/cli/main.ts': "import { hash } from '../../attest/core/hash.ts';\nexport const main = hash;",
  'agents/setup/bootstrap.mjs': "import { join } from 'node:path';\nimport { x } from './platform.mjs';\njoin(x);",
  'agents/setup/platform.mjs': "export const x = 'x';",
  'test/support/fake.ts': "import { fc } from 'fast-check';\nexport const fake = fc;",
  'test/loop.test.ts':
    "import { fake } from './support/fake.ts';\nimport type { Loop } from '../runtime/loop.ts';\nexport type L = Loop | typeof fake;",
};

const PACKAGES: Readonly<Record<string, string>> = {
  ethers: 'ethers',
  'onnxruntime-node': 'ort',
  '@xenova/transformers': 't',
  '@huggingface/tokenizers': 'k',
  '@huggingface/jinja': 'j',
  'quickjs-emscripten-core': 'q',
  '@jitl/quickjs-wasmfile-release-sync': 'w',
  '@opentelemetry/api': 'otel',
  '@modelcontextprotocol/client': 'mc',
  '@modelcontextprotocol/server': 'ms',
  bullmq: 'mq',
  ioredis: 'io',
  'fast-check': 'fc',
  'left-over': 'over',
};

let root = '';

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tracebond-layers-'));
  const {
    'fast-check': development,
    'left-over': _,
    ...product
  } = Object.fromEntries(Object.keys(PACKAGES).map((name) => [name, '1.0.0']));
  plant(
    'package.json',
    JSON.stringify({
      name: 'planted',
      type: 'module',
      dependencies: product,
      devDependencies: { 'fast-check': development },
    }),
  );
  plant('tsconfig.json', readFileSync(join(REPOSITORY, 'tsconfig.json'), 'utf8'));
  for (const [name, symbol] of Object.entries(PACKAGES)) {
    plant(
      `node_modules/${name}/package.json`,
      JSON.stringify({
        name,
        version: '1.0.0',
        type: 'module',
        exports: { '.': './index.js', './hash': './index.js' },
      }),
    );
    plant(`node_modules/${name}/index.js`, `export const ${symbol} = 1;`);
  }
  for (const [path, text] of Object.entries(CLEAN)) plant(path, text);
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

function plant(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), `${text}\n`);
}

it('finds nothing in a tree that keeps the rules', async () => {
  const { modules, violations } = await checkLayers(root, RULES);
  expect(violations).toEqual([]);
  expect(modules).toBe(Object.keys(CLEAN).filter((path) => path.endsWith('.ts')).length);
});

it('finds one planted violation of each kind, and nothing else', async () => {
  const planted: readonly (readonly [rule: string, file: string, text: string])[] = [
    [
      'attest-imports-upward',
      'attest/a.ts',
      "import type { Call } from '../inference/protocol.ts';\nexport type A = Call;",
    ],
    ['attest-imports-upward', 'attest/b.ts', "export { main } from '../agents/cli/main.ts';"],
    [
      'inference-imports-upward',
      'inference/a.ts',
      "import type { Loop } from '../runtime/loop.ts';\nexport type A = Loop;",
    ],
    ['runtime-imports-upward', 'runtime/a.ts', "export const a = import('../agents/cli/main.ts');"],
    [
      'runtime-past-the-door-of-inference',
      'runtime/b.ts',
      "import type { session } from '../inference/session.ts';\nexport type B = typeof session;",
    ],
    [
      'runtime-past-the-door-of-inference',
      'runtime/f.ts',
      "import { app } from '../inference/http-app.ts';\nexport const f = app;",
    ],
    [
      'runtime-api-past-the-parts-of-any-api',
      'runtime/api/a.ts',
      "import type { Client } from '../../inference/client.ts';\nexport type A = Client;",
    ],
    [
      'opentelemetry-outside-telemetry',
      'runtime/e.ts',
      "import type { otel } from '@opentelemetry/api';\nexport type E = typeof otel;",
    ],
    [
      'onnxruntime-outside-session',
      'inference/b.ts',
      "import type { ort } from 'onnxruntime-node';\nexport type B = typeof ort;",
    ],
    ['transformers-outside-its-adapter', 'inference/c.ts', "export const c = import('@xenova/transformers');"],
    [
      'tokenizers-outside-its-adapter',
      'inference/d.ts',
      "import { k } from '@huggingface/tokenizers';\nexport const d = k;",
    ],
    [
      'tokenizers-outside-its-adapter',
      'agents/b.ts',
      "import type { j } from '@huggingface/jinja';\nexport type B = typeof j;",
    ],
    [
      'transformers-loaded-at-start',
      'inference/e.ts',
      "import { library } from './float/transformers-library.ts';\nexport const e = library;",
    ],
    [
      'quickjs-outside-its-vm',
      'runtime/c.ts',
      "import type { q } from 'quickjs-emscripten-core';\nexport type C = typeof q;",
    ],
    [
      'quickjs-outside-its-vm',
      'runtime/sandbox/host.ts',
      "import { w } from '@jitl/quickjs-wasmfile-release-sync';\nexport const h = w;",
    ],
    ['ethers-outside-its-adapters', 'agents/cli/a.ts', "import { ethers } from 'ethers';\nexport const a = ethers;"],
    [
      'ethers-outside-its-adapters',
      'attest/sign/receipt.ts',
      "import { ethers } from 'ethers/hash';\nexport const r = ethers;",
    ],
    [
      'ethers-outside-its-adapters',
      'attest/sign/eip712-types.ts',
      "import type { ethers } from 'ethers';\nexport type T = typeof ethers;",
    ],
    [
      'mcp-client-outside-its-adapter',
      'runtime/mcp/servers.ts',
      "import type { mc } from '@modelcontextprotocol/client';\nexport type S = typeof mc;",
    ],
    [
      'mcp-server-outside-its-adapters',
      'agents/cli/b.ts',
      "import { ms } from '@modelcontextprotocol/server';\nexport const b = ms;",
    ],
    ['redis-outside-its-machinery', 'runtime/queue/ports.ts', "import { mq } from 'bullmq';\nexport const q = mq;"],
    [
      'redis-outside-its-machinery',
      'runtime/queue/embedded-queue.ts',
      "import type { io } from 'ioredis';\nexport type I = typeof io;",
    ],
    ['game-imports-node', 'attest/dispute/game.ts', "import { join } from 'node:path';\nexport const game = join;"],
    ['setup-needs-packages', 'agents/setup/a.mjs', "import { ethers } from '../../attest/core/hash.ts';\nethers();"],
    [
      'page-build-needs-packages',
      'agents/setup/build-page.mjs',
      "import { hash } from '../../attest/core/hash.ts';\nhash();",
    ],
    ['page-imports-node', 'attest/inspector/page/a.ts', "import { join } from 'node:path';\nexport const a = join;"],
    ['build-needs-packages', 'agents/setup/build.mjs', "import { hash } from '../../attest/core/hash.ts';\nhash();"],
    ['product-imports-test', 'runtime/d.ts', "import { fake } from '../test/support/fake.ts';\nexport const d = fake;"],
    ['product-imports-devdependency', 'attest/c.ts', "import { fc } from 'fast-check';\nexport const c = fc;"],
    ['undeclared-package', 'attest/d.ts', "import { over } from 'left-over';\nexport const d = over;"],
    ['unresolvable', 'attest/e.ts', "import { gone } from './gone.ts';\nexport const e = gone;"],
  ];
  for (const [, file, text] of planted) plant(file, text);
  plant('attest/ring-a.ts', "import type { B } from './ring-b.ts';\nexport type A = B;");
  plant('attest/ring-b.ts', "import type { A } from './ring-a.ts';\nexport type B = A | 1;");

  const { violations } = await checkLayers(root, RULES);
  const found = violations.map(({ rule, from }) => `${rule} ${from}`).sort();
  // A ring is reported once.
  expect(found).toEqual([...planted.map(([rule, file]) => `${rule} ${file}`), 'cycle attest/ring-a.ts'].sort());
});

it('breaks every rule that there is', () => {
  const rules: { forbidden: { name: string }[] } = createRequire(import.meta.url)(RULES);
  const text = readFileSync(fileURLToPath(import.meta.url), 'utf8');
  expect(rules.forbidden.filter(({ name }) => !text.includes(`'${name}`))).toEqual([]);
});

it('counts no module where no TypeScript is, which the command takes for a failure', async () => {
  for (const folder of ['attest', 'inference', 'runtime', 'agents', 'test'])
    rmSync(join(root, folder), { recursive: true });
  expect(await checkLayers(root, RULES)).toEqual({ modules: 0, violations: [] });
  plant('vitest.config.ts', 'export const x = 1;');
  plant('agents/setup/platform.mjs', 'export const x = 1;');
  expect((await checkLayers(root, RULES)).modules).toBe(0);
});
