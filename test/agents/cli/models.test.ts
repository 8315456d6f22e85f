import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { readEnvironment } from '../../../agents/cli/environment.ts';
import { registerModels } from '../../../agents/cli/models.ts';
import { childEntry } from '../../../attest/core/entry.ts';
import { exactModelFrom } from '../../../inference/exact/exact-file.ts';
import { openGgufSource } from '../../../inference/gguf/gguf-source.ts';
import { SHIPPED_MODEL } from '../../../inference/model-path.ts';
import { markInUse } from '../../../inference/models/use-marks.ts';
import { sha256Hex, startModelHub } from '../../support/model-hub.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { tinyGguf } from '../../support/tiny-model.ts';

function start() {
  const home = temporaryFolder();
  const cache = join(home, 'cache');
  const path = join(home, 'tiny.gguf');
  writeFileSync(path, tinyGguf({ family: 'qwen2' }));
  const lines: string[] = [];
  const messages: string[] = [];
  const models = join(cache, 'models');
  const run = async (...args: string[]) => {
    const program = new Command().exitOverride();
    registerModels(program, {
      environment: readEnvironment({ TRACEBOND_CACHE: cache }, home),
      print: (line) => void lines.push(line),
      progress: (line) => void messages.push(line),
    });
    await program.parseAsync(['models', ...args], { from: 'user' });
    return lines.at(-1) ?? '';
  };
  const commit = (...args: string[]) => run('commit', ...args);
  const source = openGgufSource(path);
  const { commitment } = exactModelFrom(source);
  source.close();
  return { home, cache, models, path, lines, messages, run, commit, commitment };
}

describe('tracebond models commit', () => {
  it('prints the root, from a fresh cache, a filled one, and after it was deleted', async () => {
    const { cache, path, lines, messages, commit, commitment } = start();
    await commit(path);
    expect(messages.join('\n')).toContain('100 %');
    const made = messages.length;
    await commit(path);
    expect(messages.slice(made).join('\n')).not.toContain('%');
    rmSync(cache, { recursive: true });
    await commit(path);
    expect(lines).toEqual([commitment, commitment, commitment]);
  });

  it('prints one object with --json', async () => {
    const { path, commit, commitment } = start();
    expect(JSON.parse(await commit(path, '--json'))).toEqual({
      model: 'tiny',
      commitment,
      profile: 'exact',
      arithmetic: 'exact/v1',
      source: expect.stringMatching(/^0x[0-9a-f]{64}$/),
      tokenizer: expect.stringMatching(/^0x[0-9a-f]{64}$/),
      leaves: expect.any(Number),
      context: 128,
    });
  });

  it('believes the weights, not the manifest beside them', async () => {
    const { cache, path, commit } = start();
    await commit(path);
    const manifest = join(cache, readdirSync(cache)[0] ?? '', 'manifest.json');
    const entries = JSON.parse(readFileSync(manifest, 'utf8'));
    writeFileSync(manifest, JSON.stringify({ ...entries, commitment: `0x${'12'.repeat(32)}` }));
    await expect(commit(path)).rejects.toMatchObject({ code: 'CACHE_DAMAGED' });
  });

  it('refuses what is no model', async () => {
    const { home, commit } = start();
    await expect(commit('gpt-5')).rejects.toMatchObject({ code: 'UNKNOWN_MODEL' });
    await expect(commit(join(home, 'gone.gguf'))).rejects.toMatchObject({ code: 'MODEL_MISSING' });
    const noise = join(home, 'noise.gguf');
    writeFileSync(noise, 'noise noise noise noise noise');
    await expect(commit(noise)).rejects.toMatchObject({ code: 'NOT_GGUF' });
    expect(readdirSync(home).sort()).toEqual(['noise.gguf', 'tiny.gguf']);
  });
});

describe('tracebond models', () => {
  const listed = (lines: readonly string[]) => JSON.parse(lines.at(-1) ?? '');

  it('list shows the shipped model where nothing is, with how to get it', async () => {
    const { cache, lines, run } = start();
    await run('list', '--json');
    expect(listed(lines)).toMatchObject([
      { id: SHIPPED_MODEL.id, state: 'absent', reason: `tracebond models pull ${SHIPPED_MODEL.id}`, path: null },
    ]);
    lines.length = 0;
    await run('list');
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(/^ID +SIZE +SHA-256 +COMMITMENT +SOURCE *$/);
    expect(lines[1]).toContain('(absent: tracebond models pull');
    expect(existsSync(cache)).toBe(false);
  });

  it('pull, list, commit and rm go together', async () => {
    const { cache, models, path, lines, run, commitment } = start();
    await using hub = await startModelHub([['Tiny.gguf', readFileSync(path)]]);
    const url = `${hub.endpoint}/files/Tiny.gguf`;
    const sha256 = sha256Hex(readFileSync(path));
    expect(await run('pull', url, '--name', 'mine', '--sha256', sha256)).toBe(`mine ${join(models, 'mine/Tiny.gguf')}`);
    await run('list', '--json');
    const before = listed(lines)[1];
    expect(before).toMatchObject({ id: 'mine', state: 'ready', source: url, digest: `0x${sha256}`, commitment: null });
    expect(await run('commit', 'mine')).toBe(commitment);
    // What was computed is known from now on, also without what was made from the model.
    const [derived = ''] = readdirSync(cache).filter((name) => name.endsWith('-exact-v1'));
    await run('list', '--json');
    expect(listed(lines)[1].commitment).toBe(commitment);
    await run('rm', 'mine', '--json');
    const removed = JSON.parse(lines.at(-1) ?? '');
    expect(removed).toMatchObject({ paths: [join(models, 'mine'), join(cache, derived)], kept: null });
    expect(removed.sizeBytes).toBeGreaterThan(readFileSync(path).length);
    expect(readdirSync(cache)).toEqual(['models']);
    expect(readdirSync(models)).toEqual([]);
    await run('list', '--json');
    expect(listed(lines)).toHaveLength(1);
  });

  it('pull says the hash of what nobody had pinned', async () => {
    const { path, messages, run } = start();
    await using hub = await startModelHub([['Tiny.gguf', readFileSync(path)]]);
    const told = JSON.parse(await run('pull', `${hub.endpoint}/files/Tiny.gguf`, '--json'));
    expect(told).toMatchObject({ id: 'tiny', pin: 'none', wasThere: false });
    expect(messages.join('\n')).toContain(`Tiny.gguf has the SHA-256 ${sha256Hex(readFileSync(path))}`);
    expect(messages.join('\n')).toMatch(/with --sha256 next time/);
    expect(messages.filter((line) => line.endsWith('\n'))).toEqual([]);
  });

  it('rm keeps what was made from a model that another name has too', async () => {
    const { home, cache, path, lines, run } = start();
    await run('pull', path, '--name', 'one');
    await run('pull', path, '--name', 'two');
    await run('commit', 'one');
    await run('rm', 'one');
    expect(lines.slice(-3)).toEqual([expect.stringMatching(/^removed .*one$/), `kept ${path}`, '0.0 MB freed']);
    expect(readdirSync(cache)).toHaveLength(2);
    await run('rm', 'two');
    expect(readdirSync(cache)).toEqual(['models']);
    expect(readdirSync(home)).toContain('tiny.gguf');
  });

  it('rm keeps what was made from the shipped model while it is here, whoever has the same file', async () => {
    const { cache, models, path, run } = start();
    await run('pull', path, '--name', 'one');
    const manifest = join(models, 'one/tracebond-model.json');
    const text = readFileSync(manifest, 'utf8').replaceAll(sha256Hex(readFileSync(path)), SHIPPED_MODEL.sha256);
    writeFileSync(manifest, text);
    writeFileSync(join(models, SHIPPED_MODEL.file), 'x');
    const derived = `${SHIPPED_MODEL.sha256}-exact-v1`;
    mkdirSync(join(cache, derived));
    await run('rm', 'one');
    expect(readdirSync(cache).sort()).toEqual([derived, 'models']);
    await run('rm', SHIPPED_MODEL.id);
    expect(readdirSync(cache)).toEqual(['models']);
  });

  it('rm refuses a model that a process serves or fetches, and one that is not there', async () => {
    const { models, path, run } = start();
    await run('pull', path, '--name', 'one');
    const unmark = markInUse(models, 'one');
    await expect(run('rm', 'one')).rejects.toMatchObject({ code: 'MODEL_IN_USE', at: { pid: process.pid } });
    unmark();
    writeFileSync(join(models, '.one.lock'), JSON.stringify({ id: 'x', pid: process.pid, host: hostname() }));
    await expect(run('rm', 'one')).rejects.toMatchObject({ code: 'MODEL_IN_USE' });
    rmSync(join(models, '.one.lock'));
    await expect(run('rm', 'two')).rejects.toMatchObject({ code: 'NOT_IN_STORE' });
    await expect(run('rm', '../models')).rejects.toMatchObject({ code: 'BAD_MODEL_ID' });
    await expect(run('rm', SHIPPED_MODEL.id)).rejects.toMatchObject({ code: 'NOT_IN_STORE' });
    await run('rm', 'one');
    expect(readdirSync(models)).toEqual(['.in-use']);
  });

  it('rm removes the shipped model with what its download left, and nothing beside it', async () => {
    const { cache, models, path, lines, run } = start();
    await run('pull', path, '--name', 'one');
    const own = join(models, SHIPPED_MODEL.file);
    for (const file of [own, `${own}.b179c952.part`, join(models, 'verified.json')]) writeFileSync(file, 'x');
    mkdirSync(join(cache, `${SHIPPED_MODEL.sha256}-exact-v1`));
    await run('rm', SHIPPED_MODEL.id);
    expect(lines.filter((line) => line.startsWith('removed'))).toHaveLength(3);
    expect(readdirSync(models).sort()).toEqual(['one', 'verified.json']);
    expect(readdirSync(cache)).toEqual(['models']);
  });

  it('list tells a damaged model from a whole one, and who serves it', async () => {
    const { models, path, lines, run } = start();
    await run('pull', path, '--name', 'one');
    await run('pull', path, '--name', 'two');
    writeFileSync(join(models, 'one/tracebond-model.json'), '{');
    const unmark = markInUse(models, 'two');
    await run('list', '--json');
    unmark();
    expect(listed(lines).slice(1)).toMatchObject([
      { id: 'one', state: 'damaged', path: null, servedBy: [] },
      { id: 'two', state: 'ready', path, servedBy: [process.pid] },
    ]);
    await expect(run('commit', 'one')).rejects.toMatchObject({ code: 'MODEL_DAMAGED' });
  });
});

it('a pull that is killed leaves nothing that looks whole, and the next one goes on', async () => {
  const { cache, models, path, lines, run } = start();
  const content = readFileSync(path);
  await using hub = await startModelHub([['Tiny.gguf', content]]);
  hub.scripts.set('Tiny.gguf', [{ kind: 'stall', after: 10_000 }]);
  const url = `${hub.endpoint}/files/Tiny.gguf`;
  const { url: entry, execArgv } = childEntry(import.meta.url, '../../support/pull-child.ts');
  const child = fork(fileURLToPath(entry), [url], { execArgv, env: { TRACEBOND_CACHE: cache }, stdio: 'ignore' });
  const died = once(child, 'exit');
  const part = () => readdirSync(join(models, '.pull-tiny'), { withFileTypes: true });
  const sizeOfPart = () => {
    if (!existsSync(join(models, '.pull-tiny'))) return 0;
    return part().reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);
  };
  while (sizeOfPart() < 10_000) await setTimeout(20);
  child.kill('SIGKILL');
  await died;
  await run('list', '--json');
  expect(JSON.parse(lines.at(-1) ?? '')).toHaveLength(1);
  hub.asked.length = 0;
  await run('pull', url);
  expect(hub.asked).toEqual(['Tiny.gguf bytes=0-0', 'Tiny.gguf bytes=10000-']);
  expect(readFileSync(join(models, 'tiny/Tiny.gguf')).equals(content)).toBe(true);
  expect(readdirSync(models)).toEqual(['tiny']);
});
