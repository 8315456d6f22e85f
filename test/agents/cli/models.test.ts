import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { readEnvironment } from '../../../agents/cli/environment.ts';
import { registerModels } from '../../../agents/cli/models.ts';
import { exactModelFrom } from '../../../inference/exact/exact-file.ts';
import { openGgufSource } from '../../../inference/gguf/gguf-source.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { tinyGguf } from '../../support/tiny-model.ts';

function start() {
  const home = temporaryFolder();
  const cache = join(home, 'cache');
  const path = join(home, 'tiny.gguf');
  writeFileSync(path, tinyGguf({ family: 'qwen2' }));
  const lines: string[] = [];
  const messages: string[] = [];
  const run = async (...args: string[]) => {
    const program = new Command().exitOverride();
    registerModels(program, {
      environment: readEnvironment({ TRACEBOND_CACHE: cache }, home),
      print: (line) => void lines.push(line),
      progress: (line) => void messages.push(line),
    });
    await program.parseAsync(['models', 'commit', ...args], { from: 'user' });
    return lines.at(-1) ?? '';
  };
  const source = openGgufSource(path);
  const { commitment } = exactModelFrom(source);
  source.close();
  return { home, cache, path, lines, messages, run, commitment };
}

describe('tracebond models commit', () => {
  it('prints the root, from a fresh cache, a filled one, and after it was deleted', async () => {
    const { cache, path, lines, messages, run, commitment } = start();
    await run(path);
    expect(messages.join('\n')).toContain('100 %');
    const made = messages.length;
    await run(path);
    expect(messages.slice(made).join('\n')).not.toContain('%');
    rmSync(cache, { recursive: true });
    await run(path);
    expect(lines).toEqual([commitment, commitment, commitment]);
  });

  it('prints one object with --json', async () => {
    const { path, run, commitment } = start();
    expect(JSON.parse(await run(path, '--json'))).toEqual({
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
    const { cache, path, run } = start();
    await run(path);
    const manifest = join(cache, readdirSync(cache)[0] ?? '', 'manifest.json');
    const entries = JSON.parse(readFileSync(manifest, 'utf8'));
    writeFileSync(manifest, JSON.stringify({ ...entries, commitment: `0x${'12'.repeat(32)}` }));
    await expect(run(path)).rejects.toMatchObject({ code: 'CACHE_DAMAGED' });
  });

  it('refuses what is no model', async () => {
    const { home, run } = start();
    await expect(run('gpt-5')).rejects.toMatchObject({ code: 'UNKNOWN_MODEL' });
    await expect(run(join(home, 'gone.gguf'))).rejects.toMatchObject({ code: 'MODEL_MISSING' });
    const noise = join(home, 'noise.gguf');
    writeFileSync(noise, 'noise noise noise noise noise');
    await expect(run(noise)).rejects.toMatchObject({ code: 'NOT_GGUF' });
    expect(readdirSync(home).sort()).toEqual(['noise.gguf', 'tiny.gguf']);
  });
});
