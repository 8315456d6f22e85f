import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/temporary.ts';
import { listContext, readDockerignore } from './context.ts';
import { DockerfileError, parseDockerfile } from './dockerfile.ts';
import { findFaults, type Project } from './rules.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const HEALTH = join(ROOT, 'agents/setup/container-health.mjs');
const PRUNE = join(ROOT, 'agents/setup/prune-packages.mjs');

const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const PROJECT: Project = {
  dockerfile: read('Dockerfile'),
  dockerignore: read('.dockerignore'),
  files: [
    ...readdirSync(ROOT).filter((name) => !['node_modules', 'dist', '.git', '.cache'].includes(name)),
    ...['agents/cli', 'agents/sdk', 'agents/setup', 'inference/spec'].flatMap((folder) =>
      readdirSync(join(ROOT, folder)).map((name) => `${folder}/${name}`),
    ),
  ],
  version: JSON.parse(read('package.json')).version,
};

/** The project with another text in its Dockerfile. */
function changed(from: string | RegExp, to: string): Project {
  const dockerfile = PROJECT.dockerfile.replace(from, to);
  if (dockerfile === PROJECT.dockerfile) throw new TypeError(`${from} is not in the Dockerfile`);
  return { ...PROJECT, dockerfile };
}

describe('the Dockerfile', () => {
  it('holds all rules', () => {
    expect(findFaults(PROJECT)).toEqual([]);
  });

  it.each<[string, Project, RegExp]>([
    ['a base image without digest', changed(/@sha256:\w+ AS base/, ' AS base'), /not pinned by its digest/],
    ['the latest base image', changed('20.20.2-bookworm-slim@', 'latest@'), /not pinned by its digest/],
    ['a base image of one number', changed('20.20.2-bookworm-slim@', '20-bookworm-slim@'), /not pinned/],
    ['a stage that is built later', changed('FROM base AS deps', 'FROM build AS deps'), /build is not pinned/],
    ['no HEALTHCHECK', changed(/^HEALTHCHECK.*$/m, ''), /no HEALTHCHECK/],
    ['no USER', changed(/^USER.*$/m, ''), /no USER/],
    ['root', changed('USER 1000:1000', 'USER 0:0'), /USER 0:0 is root/],
    ['root after another user', changed('USER 1000:1000', 'USER 1000:1000\nUSER root'), /USER root is root/],
    ['a user by name', changed('USER 1000:1000', 'USER node'), /cannot tell/],
    ['a file that is not there', changed('COPY package.json LICENSE', 'COPY package.json LICENCE'), /LICENCE: no such/],
    ['an ignored file', changed('COPY package.json LICENSE', 'COPY README.md LICENSE'), /README.md: kept out/],
    [
      'a folder that becomes ignored',
      { ...PROJECT, dockerignore: `${PROJECT.dockerignore}agents/sdk\n` },
      /agents\/sdk: kept/,
    ],
    ['a stage that is not there', changed('--from=deps', '--from=packages'), /names no stage/],
    ['ADD of an address', changed('COPY . .', 'ADD https://example.org/x.tar .'), /ADD .*not understood/],
    ['recommended packages', changed('--no-install-recommends ', ''), /no-install-recommends/],
    ['lists of apt-get', changed('rm -rf /var/lib/apt/lists/*', 'true'), /lists of apt-get stay/],
    ['scripts of packages', changed('--ignore-scripts --omit=dev', '--omit=dev'), /scripts of packages/],
    ['packages without a lock', changed('npm run build', 'npx vite build'), /no lock names/],
    ['a secret', changed('ENV NODE_ENV', 'ENV API_KEY=x NODE_ENV'), /a secret/],
    ['another digest in the label', changed('base.digest="sha256:2', 'base.digest="sha256:3'), /base.digest/],
    ['another tag in the label', changed('node:20.20.2-bookworm-slim"', 'node:20.20.1-bookworm-slim"'), /base.name/],
    ['another version', { ...PROJECT, version: '9.9.9' }, /version is 0.1.0, expected 9.9.9/],
    ['a shell around the program', changed(/^ENTRYPOINT.*$/m, 'ENTRYPOINT node x'), /JSON list/],
  ])('is refused with %s', (_what, project, fault) => {
    expect(findFaults(project).join('\n')).toMatch(fault);
  });

  it('is read whole: what is not understood is an error', () => {
    for (const line of [
      'ARG X=1',
      'SHELL ["/bin/bash"]',
      'ONBUILD RUN x',
      'RUN <<EOF\nx\nEOF',
      'RUN ["a"]',
      'RUN --mount=type=secret,id=x a',
      'COPY --chmod=777 a b',
      'COPY *.json b',
      'COPY $X b',
      'HEALTHCHECK NONE',
      'HEALTHCHECK --start-interval=1s CMD ["a"]',
      'FRMO a',
    ]) {
      expect(() => parseDockerfile(`FROM a\n${line}\n`), line).toThrow(DockerfileError);
    }
  });
});

describe('.dockerignore', () => {
  it('lets sources through, and nothing that is made, fetched or secret', () => {
    const folder = temporaryFolder();
    const kept = ['agents/a.ts', 'package.json', 'attest/inspector/page/main.tsx', '.npmrc'];
    const out = ['agents/.env', 'agents/x/.env.local', 'agents/operator.key', 'attest/tls.pem', 'runtime/a.log'];
    out.push('inference/.cache/x', 'dist/a.js', 'node_modules/a/b.js', '.git/config', 'test/a.ts', 'README.md', 'x.ts');
    for (const path of [...kept, ...out]) {
      mkdirSync(join(folder, path, '..'), { recursive: true });
      writeFileSync(join(folder, path), '');
    }
    expect(listContext(folder, readDockerignore(PROJECT.dockerignore))).toEqual(kept.sort());
  });
});

describe('prune-packages', () => {
  const LIBRARY = 'onnxruntime_binding.node';
  const OURS = `onnxruntime-node/bin/napi-v6/${process.platform}/${process.arch}`;

  function packages(...files: string[]): string {
    const folder = temporaryFolder();
    for (const path of files) {
      mkdirSync(join(folder, path, '..'), { recursive: true });
      writeFileSync(join(folder, path), 'x');
    }
    return folder;
  }

  const filesOf = (folder: string) =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
      .sort();

  it('leaves the library of this platform, and takes out the others, the build for browsers and source maps', async () => {
    const kept = [`${OURS}/${LIBRARY}`, 'a/index.js', 'a/types.d.ts', 'a/site.map'];
    const folder = packages(
      ...kept,
      `onnxruntime-node/bin/napi-v6/win32/x64/${LIBRARY}`,
      'onnxruntime-node/bin/napi-v6/linux/s390x/libonnxruntime.so.1',
      'onnxruntime-web/dist/ort.wasm',
      'a/index.js.map',
      'a/types.d.ts.map',
    );
    expect(await run([PRUNE, folder])).toMatchObject({ code: 0, out: expect.stringContaining('taken out: ') });
    expect(filesOf(folder)).toEqual(kept.sort());
    expect(await run([PRUNE, folder])).toMatchObject({ code: 0 });
  });

  it('takes nothing out where this platform has no library', async () => {
    const folder = packages(`onnxruntime-node/bin/napi-v6/win32/ia32/${LIBRARY}`, 'a/index.js.map');
    expect(await run([PRUNE, folder])).toMatchObject({ code: 1, err: expect.stringContaining('has no library for') });
    expect(filesOf(folder)).toHaveLength(2);
  });
});

describe('container-health', () => {
  let server: Server | undefined;
  afterEach(() => server?.close());

  it('asks what the first process serves', async () => {
    const lines = {
      'tini -- node /app/agents/cli/tracebond.mjs serve inference --host 0.0.0.0': 'http://127.0.0.1:8080/healthz',
      'docker-init -- tini -- node /a/tracebond.mjs serve inference --port=81': 'http://127.0.0.1:81/healthz',
      'tini -- node /app/agents/cli/tracebond.mjs serve runtime --host ::': 'http://[::1]:8090/healthz',
      'node tracebond.mjs serve runtime --host fd00::1 --port 1 --port 2': 'http://[fd00::1]:2/healthz',
      'tracebond serve worker --port 9': 'http://127.0.0.1:9/health',
      'tracebond serve worker': '',
      'tracebond serve mcp agent.js': '',
      'tracebond demo': '',
      'sleep 10': '',
    };
    const program = `const { healthUrl } = await import(process.argv[1]);
      console.log(JSON.stringify(process.argv.slice(2).map((line) => healthUrl(line.split(' ')) ?? '')));`;
    const { out } = await run(['--input-type=module', '-e', program, HEALTH, ...Object.keys(lines)]);
    expect(JSON.parse(out)).toEqual(Object.values(lines));
  });

  it('is as healthy as what answers', async () => {
    server = createServer(({ url }, response) => response.writeHead(Number(url?.split('/')[1])).end());
    await new Promise<void>((done) => server?.listen(0, '127.0.0.1', done));
    const { port } = server.address() as AddressInfo;
    const cases = [
      ['/200/healthz', 0],
      ['/503/healthz', 1],
      ['/401/healthz', 1],
      ['/401/health', 0],
      ['/500/health', 1],
    ] as const;
    const ask = (path: string, at = port) => run([HEALTH], { TRACEBOND_HEALTH_URL: `http://127.0.0.1:${at}${path}` });
    const ended = await Promise.all([...cases.map(([path]) => ask(path)), ask('/200/healthz', 1)]);
    expect(ended.map(({ code }) => code)).toEqual([...cases.map(([, code]) => code), 1]);
    expect(ended[1]?.err).toMatch(/answers 503/);
    expect(ended.at(-1)?.err).toMatch(/ECONNREFUSED/);
  });
});

function run(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return new Promise<{ readonly code: number | null; readonly out: string; readonly err: string }>((done) => {
    const child = spawn(process.execPath, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    let [out, err] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      err += text;
    });
    child.once('close', (code) => done({ code, out, err }));
  });
}
