import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GenerateUsageError, runGenerate } from '../../../agents/cli/generate.ts';
import { tinyGguf } from '../../support/tiny-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'tracebond-generate-'));
const model = join(folder, 'tiny.gguf');
const environment = { env: {}, home: folder, tracebondHome: join(folder, 'home'), cache: join(folder, 'cache') };
const DEFAULTS = {
  model,
  maxTokens: '6',
  profile: 'exact',
  engine: 'wasm',
  seed: '0',
  temperature: '0',
  topP: '1',
  topK: '0',
} as const;

beforeAll(() => writeFileSync(model, tinyGguf({})));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Options = Parameters<typeof runGenerate>[0];
const run = (options: Partial<Options>) =>
  runGenerate(
    { ...DEFAULTS, ...('promptFile' in options ? {} : { prompt: 'the cat' }), ...options },
    environment,
    () => {},
  );

describe('tracebond generate', () => {
  it('prints what another computer needs to compare', async () => {
    const first = await run({ engine: 'auto' });
    expect(first).toMatchObject({
      model: 'tiny',
      profile: 'exact',
      engine: 'ort',
      seed: 0,
      temperature: 0,
      topP: 1,
      topK: 0,
      finishReason: 'length',
    });
    expect(first.tokens).toHaveLength(6);
    expect(first.logitsDigest).toMatch(/^0x[0-9a-f]{64}$/);
    expect(first.commitment).toMatch(/^0x[0-9a-f]{64}$/);
    const { timing, engine, threads, ...bits } = await run({ engine: 'reference' });
    expect({ engine, threads }).toEqual({ engine: 'reference', threads: 1 });
    expect(timing.readyMs).toBeGreaterThan(0);
    expect(first).toMatchObject(bits);
  });

  it.each([
    { engine: 'reference' },
    { engine: 'wasm', threads: '1' },
    { engine: 'wasm', threads: '3' },
    { engine: 'ort', threads: '1' },
    { engine: 'ort', threads: '3' },
  ] as const)('computes with the engine that is asked for, and the output is the same: %j', async (options) => {
    const prompt = 'the cat and the dog and the cat';
    const { timing: _, engine: __, threads: ___, ...expected } = await run({ prompt });
    const { timing: ____, engine, threads, ...bits } = await run({ prompt, ...options });
    expect({ engine, threads: String(threads) }).toEqual({ threads: '1', ...options });
    expect(bits).toEqual(expected);
  });

  it('says what it computed, and computes nothing ahead when told so', async () => {
    const { timing: on, ...bits } = await run({ maxTokens: '40' });
    const { timing: off, ...others } = await run({ maxTokens: '40', speculation: false });
    expect(others).toEqual(bits);
    const rows = bits.promptTokens.length + bits.tokens.length - 1;
    expect(off.counts).toEqual({ rows, calls: bits.tokens.length, proposed: 0, accepted: 0, reused: 0 });
    expect(on.counts.rows).toBe(rows + on.counts.proposed - on.counts.accepted);
  });

  it('reads its numbers to the last digit', async () => {
    const options = { seed: '18446744073709551615', temperature: '0.7501', topP: '0.95', topK: '40' };
    expect(await run(options)).toMatchObject({
      seed: '18446744073709551615',
      temperature: 0.7501,
      topP: 0.95,
      topK: 40,
    });
    expect(await run({ seed: '9007199254740991' })).toMatchObject({ seed: 9007199254740991 });
  });

  it('reads the prompt from a file, byte for byte', async () => {
    const file = join(folder, 'prompt.txt');
    writeFileSync(file, 'the cat\n');
    const fromFile = await run({ promptFile: file });
    expect(fromFile.promptTokens).toEqual((await run({ prompt: 'the cat\n' })).promptTokens);
    writeFileSync(file, Uint8Array.of(0x61, 0xff));
    await expect(run({ promptFile: file })).rejects.toMatchObject({ code: 'PROMPT_UNREADABLE', at: { file } });
    await expect(run({ promptFile: join(folder, 'none') })).rejects.toMatchObject({ code: 'PROMPT_UNREADABLE' });
    await expect(run({ promptFile: file, prompt: 'both' })).rejects.toMatchObject({ code: 'PROMPT_MISSING' });
  });

  it.each([
    ['--max-tokens', { maxTokens: '0' }],
    ['--max-tokens', { maxTokens: '1e3' }],
    ['--threads', { threads: '0' }],
    ['--threads', { threads: '65' }],
    ['--seed', { seed: '-1' }],
    ['--seed', { seed: '18446744073709551616' }],
    ['--temperature', { temperature: '0.12345' }],
    ['--temperature', { temperature: 'hot' }],
    ['--top-p', { topP: '.5' }],
    ['--top-k', { topK: '1000001' }],
  ] as const)('names %s when it is %j', async (option, options) => {
    const fault = await run(options).catch((error) => error);
    expect(fault).toBeInstanceOf(GenerateUsageError);
    expect(fault).toMatchObject({ code: 'BAD_OPTION', at: { option } });
  });

  it('refuses an engine that does not compute the profile', async () => {
    for (const engine of ['reference', 'wasm'] as const) {
      await expect(run({ profile: 'float-same-isa', engine })).rejects.toMatchObject({ code: 'BAD_OPTION' });
    }
  });

  it('refuses what the sampler does not have, before it looks for the model', async () => {
    const absent = { model: join(folder, 'absent.gguf') };
    await expect(run({ ...absent, temperature: '2.0001' })).rejects.toMatchObject({ code: 'SAMPLING_REFUSED' });
    await expect(run({ ...absent, topP: '0' })).rejects.toMatchObject({ code: 'SAMPLING_REFUSED' });
  });
});
