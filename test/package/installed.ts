/**
 * What a user does with the installed package, from `npm install` to a verified run.
 *
 * @module
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bundleAgent } from '../../agents/bundle.ts';
import { readEnvironment } from '../../agents/cli/environment.ts';
import { toAgentCode } from '../../agents/guest-code.ts';
import * as sdk from '../../agents/sdk/index.ts';
import { hashGuestCode } from '../../attest/trace/guest.ts';
import { ModelPathError, resolveModelPath, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { FreshProject } from './fresh-project.ts';
import { ADDER, ASKER, PROGRAM, PROGRAM_COMMONJS, SHOUTER, TSCONFIG } from './project-files.ts';
import { must, type Steps } from './steps.ts';
import { mebibytes } from './tarball.ts';

/** What `tracebond run --json` prints, as far as it is read here. */
type RunResult = {
  readonly status: string;
  readonly output: unknown;
  readonly bundle: string;
  readonly operator: string;
};

/** The shipped model's file where this computer has it; the fresh project fetches it otherwise. */
export function findModel(): string | undefined {
  const { env, home } = readEnvironment();
  try {
    return resolveModelPath(SHIPPED_MODEL.id, env, home).path;
  } catch (error) {
    if (error instanceof ModelPathError && error.code === 'MODEL_MISSING') return undefined;
    throw error;
  }
}

/** Installs the tarball in fresh projects and goes through everything that it offers. */
export async function useProject(
  steps: Steps,
  options: {
    readonly root: string;
    readonly folder: string;
    readonly tarball: string;
    readonly model: string | undefined;
  },
): Promise<void> {
  const { root, folder, tarball, model } = options;
  const home = join(folder, 'home');
  const project = new FreshProject(folder, 'project', home, model === undefined ? {} : { TRACEBOND_MODEL: model });
  const tracebond = (code: number, args: readonly string[], input = '') =>
    project.expect(code, 'npx', ['tracebond', ...args], { input });
  const isInstalled = await steps.run('npm install --ignore-scripts', async () => {
    await project.expect(0, 'npm', ['init', '-y']);
    const { err } = await project.expect(0, 'npm', ['install', '--ignore-scripts', '--engine-strict', tarball]);
    must(!/npm warn/i.test(err), `npm warns: ${err}`);
    return `node_modules ${await mebibytes(join(project.folder, 'node_modules'))} MiB, npm's cache ${await mebibytes(join(home, '.npm'))} MiB`;
  });
  if (!isInstalled) return;
  writeFiles(project);

  await steps.run('tsc: strict, nodenext, declarations of packages too', async () => {
    const { typescript, zod } = readVersions(root);
    const wanted = [`typescript@${typescript}`, `zod@${zod}`];
    await project.expect(0, 'npm', ['install', '--ignore-scripts', '--save-dev', ...wanted]);
    await project.expect(0, 'npx', ['tsc', '-p', '.']);
    return `TypeScript ${typescript}`;
  });
  for (const file of ['program.mjs', 'program.cjs']) {
    await steps.run(`node ${file}`, async () => {
      const { out, err } = await project.expect(0, 'node', [file]);
      const expected = { names: Object.keys(sdk).sort(), name: 'here' };
      must(out.trim() === JSON.stringify(expected), `expected ${JSON.stringify(expected)}, got ${out}`);
      must(err === '', `it warns: ${err}`);
      return `${expected.names.length} exports`;
    });
  }
  await steps.run('tracebond conformance jcs', async () => {
    const { out } = await tracebond(0, ['conformance', 'jcs'], `${JSON.stringify({ json: '{"b":1,"a":[2]}' })}\n`);
    must(out === '{"canonical":"{\\"a\\":[2],\\"b\\":1}"}\n', `got ${out}`);
    return '';
  });
  if (model === undefined) {
    await steps.run('tracebond models pull', async () => {
      await tracebond(0, ['models', 'pull', SHIPPED_MODEL.id]);
      return '';
    });
  }

  const run = async (file: string, input: unknown): Promise<RunResult> => {
    const { out } = await tracebond(0, ['run', file, '--input', JSON.stringify(input), '--json']);
    const result = JSON.parse(out) as RunResult;
    must(result.status === 'done', `the run ended as ${result.status}`);
    return result;
  };
  const verify = async ({ bundle, operator }: RunResult): Promise<string> => {
    const { out } = await tracebond(0, ['verify', bundle, '--signer', operator]);
    must(/^MATCH/.test(out), `no MATCH: ${out}`);
    return firstLine(out);
  };
  let added: RunResult | undefined;
  await steps.run('tracebond run agent.ts', async () => {
    added = await run('agent.ts', { numbers: [1, 2, 39] });
    must(JSON.stringify(added.output) === '{"total":42}', `it gave ${JSON.stringify(added.output)}`);
    return JSON.stringify(added.output);
  });
  await steps.run('the agent has the digest that the checkout gives it', async () => {
    must(added !== undefined, 'there is no run');
    return await compareDigest(join(project.folder, 'agent.ts'), added.bundle);
  });
  await steps.run('tracebond verify', async () => {
    must(added !== undefined, 'there is no run');
    return await verify(added);
  });
  await steps.run('tracebond verify, one byte changed', async () => {
    must(added !== undefined, 'there is no run');
    const path = join(project.folder, 'tampered.trace');
    const bytes = readFileSync(added.bundle);
    // A digit of the agent's digest in the first record.
    const at = bytes.indexOf('"digest":"0x') + '"digest":"0x'.length;
    bytes.write(bytes.toString('latin1', at, at + 1) === '0' ? '1' : '0', at, 'latin1');
    writeFileSync(path, bytes);
    const { out } = await tracebond(2, ['verify', path, '--signer', added.operator]);
    must(/^INVALID/.test(out), `no INVALID: ${out}`);
    return firstLine(out);
  });
  await steps.run('tracebond run ask.mts, with inference, and verify', async () => {
    const asked = await run('ask.mts', { country: 'Norway' });
    return `${JSON.stringify(asked.output)}, ${await verify(asked)}`;
  });
  await steps.run('tracebond run shout.mjs, and verify', async () => {
    const shouted = await run('shout.mjs', { text: 'ahoy' });
    must(JSON.stringify(shouted.output) === '{"text":"AHOY!"}', `it gave ${JSON.stringify(shouted.output)}`);
    return await verify(shouted);
  });
  await steps.run('tracebond inspect', async () => {
    must(added !== undefined, 'there is no run');
    return await project.serve(['inspect', added.bundle, '--no-open'], /(http:\/\/127\.0\.0\.1:\S+)\n/, checkPage);
  });
  await steps.run('tracebond serve inference', () =>
    project.serve(['serve', 'inference', '--port', '0'], /listening (http:\S+)/, askServer),
  );
  await steps.run('tracebond demo', async () => {
    const { out } = await tracebond(0, ['demo', '--json']);
    const { honest, bundle } = JSON.parse(out) as {
      readonly honest: { readonly verdict?: string };
      readonly bundle: string;
    };
    const example = join(root, 'agents/examples/expense-auditor/agent.ts');
    return `${JSON.stringify(honest)}, ${await compareDigest(example, bundle)}`;
  });
  await steps.run('npm install, with scripts, and tracebond run', async () => {
    const plain = new FreshProject(folder, 'with-scripts', home, {
      // Or ONNX Runtime's script fetches libraries for GPUs, which nothing here uses.
      ONNXRUNTIME_NODE_INSTALL: 'skip',
      ...(model === undefined ? {} : { TRACEBOND_MODEL: model }),
    });
    await plain.expect(0, 'npm', ['init', '-y']);
    await plain.expect(0, 'npm', ['install', '--engine-strict', tarball]);
    plain.write('shout.mjs', SHOUTER);
    await plain.expect(0, 'npx', ['tracebond', 'run', 'shout.mjs', '--input', '{"text":"ahoy"}']);
    return `node_modules ${await mebibytes(join(plain.folder, 'node_modules'))} MiB`;
  });
}

/** Without the bundle's path. */
function firstLine(out: string): string {
  return (out.split('\n')[0] ?? '').replace(/\s+\S+\.trace/, '');
}

function writeFiles(project: FreshProject): void {
  project.write('tsconfig.json', TSCONFIG);
  project.write('agent.ts', ADDER);
  project.write('ask.mts', ASKER);
  project.write('shout.mjs', SHOUTER);
  project.write('program.mjs', PROGRAM);
  project.write('program.cjs', PROGRAM_COMMONJS);
}

/** Versions that the checkout pins. */
function readVersions(root: string): { readonly typescript: string; readonly zod: string } {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    readonly dependencies: { readonly zod: string };
    readonly devDependencies: { readonly typescript: string };
  };
  return { typescript: devDependencies.typescript, zod: dependencies.zod };
}

/** The agent's digest in a bundle's first record must be the one that this checkout computes from its source. */
async function compareDigest(file: string, bundle: string): Promise<string> {
  const recorded = /"agent":\{[^}]*"digest":"(0x[0-9a-f]{64})"/.exec(readFileSync(bundle, 'utf8'))?.[1];
  const computed = hashGuestCode(toAgentCode(await bundleAgent(file)).agent);
  must(recorded === computed, `recorded ${recorded}, computed ${computed}`);
  return `agent ${computed.slice(0, 18)}…`;
}

/** The page, its scripts and its style come from the package. */
async function checkPage(address: string): Promise<string> {
  const page = await fetch(address);
  must(page.ok && /^text\/html/.test(page.headers.get('content-type') ?? ''), `GET / gives ${page.status}`);
  const parts = [...(await page.text()).matchAll(/(?:src|href)="(\.\/[^"]+)"/g)].map(([, path = '']) => path);
  must(
    parts.some((path) => path.endsWith('.js')) && parts.some((path) => path.endsWith('.css')),
    'the page has no script',
  );
  let bytes = 0;
  for (const path of parts) {
    const part = await fetch(new URL(path, address));
    const type = part.headers.get('content-type') ?? '';
    must(part.ok && /javascript|css/.test(type), `${path} gives ${part.status} ${type}`);
    bytes += (await part.arrayBuffer()).byteLength;
  }
  return `${parts.length} parts, ${bytes} bytes`;
}

/** A chat completion with its receipt. */
async function askServer(address: string): Promise<string> {
  const response = await fetch(`${address}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model: SHIPPED_MODEL.id,
      messages: [{ role: 'user', content: 'What is the capital of Norway?' }],
      max_tokens: 12,
    }),
  });
  const text = await response.text();
  must(response.ok, `${response.status} ${text}`);
  const { choices, tracebond } = JSON.parse(text) as {
    readonly choices: readonly { readonly message: { readonly content: string } }[];
    readonly tracebond?: unknown;
  };
  must(tracebond !== undefined, 'the answer has no receipt');
  return JSON.stringify(choices[0]?.message.content);
}
