import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type CheckReport, CheckUsageError, runCheck } from '../../../agents/cli/check.ts';
import { type GenerateResult, GenerateUsageError, runGenerate } from '../../../agents/cli/generate.ts';
import { main } from '../../../agents/cli/main.ts';
import { tinyGguf } from '../../support/tiny-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'tracebond-check-'));
const model = join(folder, 'tiny.gguf');
const environment = { env: {}, home: folder, tracebondHome: join(folder, 'home'), cache: join(folder, 'cache') };
const file = join(folder, 'generated.json');
/** The engine that proves itself in the least time; the first test is of all. */
const DEFAULTS = { generated: file, model, engine: 'wasm', threads: '1' } as const;

let drawn: GenerateResult;
let greedy: GenerateResult;
beforeAll(async () => {
  writeFileSync(model, tinyGguf({}));
  const options = { model, prompt: 'the cat', maxTokens: '12', profile: 'exact', engine: 'auto', topK: '0' } as const;
  const ask = (more: { temperature: string; seed: string; topP: string; stop?: string[] }) =>
    runGenerate({ ...options, ...more }, environment, () => {});
  drawn = await ask({ temperature: '1.5', seed: '18446744073709551615', topP: '0.95' });
  greedy = await ask({ temperature: '0', seed: '3', topP: '1' });
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Options = Parameters<typeof runCheck>[0];
const runOn = (content: string | Uint8Array, options: Partial<Options> = {}): Promise<CheckReport> => {
  writeFileSync(file, content);
  return runCheck({ ...DEFAULTS, ...options }, environment, () => {});
};
const run = (change: object = {}, options: Partial<Options> = {}, from = drawn) =>
  runOn(JSON.stringify({ ...from, ...change }), options);
const otherThan = (id: number | undefined) => ((id ?? 0) + 1) % 262;

describe('tracebond check', () => {
  it('finds what generate printed, on every engine', async () => {
    for (const options of [
      { engine: 'auto' },
      { engine: 'reference' },
      { engine: 'wasm', threads: '3' },
      { engine: 'ort' },
    ] as const) {
      const { timing, positionsPerSecond, ...rest } = await run({}, options);
      expect(rest).toEqual({ file, verdict: 'MATCH', firstWrong: null, positions: 12 });
      expect(positionsPerSecond).toBeGreaterThan(0);
      expect(timing.checkMs).toBeGreaterThan(0);
    }
    expect(await run({}, {}, greedy)).toMatchObject({ verdict: 'MATCH', positions: greedy.tokens.length });
  });

  it('finds what ended before a stop text', async () => {
    const word = drawn.text.slice(3, 5);
    const stop = ['never there', word];
    const options = { model, prompt: 'the cat', maxTokens: '12', profile: 'exact', engine: 'wasm', topK: '0', stop };
    const stopped = await runGenerate(
      { ...options, temperature: '1.5', seed: String(drawn.seed), topP: '0.95' } as Parameters<typeof runGenerate>[0],
      environment,
      () => {},
    );
    expect(stopped).toMatchObject({ finishReason: 'stop', stop });
    expect(await run({}, {}, stopped)).toMatchObject({ verdict: 'MATCH' });
    const whole = { tokens: drawn.tokens, text: drawn.text, finishReason: 'length' };
    const wrong = stopped.tokens.length;
    expect(await run(whole, {}, stopped)).toMatchObject({
      verdict: 'DIVERGED',
      field: `tokens.${wrong}`,
      claimed: String(drawn.tokens[wrong]),
      recomputed: 'none',
    });
  });

  it('does not need the digest, and does not believe anything else that is in it', async () => {
    expect(await run({ logitsDigest: undefined })).toMatchObject({ verdict: 'MATCH' });
    expect(await run({ model: 'another', engine: 'ort', threads: 64, timing: {} })).toMatchObject({ verdict: 'MATCH' });
  });

  it('names a wrong token with claimed and correct one', async () => {
    for (const index of [0, 7, 11]) {
      const correct = drawn.tokens[index] as number;
      const claimed = otherThan(correct);
      const tokens = drawn.tokens.map((id, at) => (at === index ? claimed : id));
      expect(await run({ tokens })).toMatchObject({
        verdict: 'DIVERGED',
        field: `tokens.${index}`,
        claimed: String(claimed),
        recomputed: String(correct),
        firstWrong: { index, position: drawn.promptTokens.length + index, claimed, correct },
        positions: index + 1,
      });
    }
    expect(await run({ tokens: drawn.tokens.slice(0, 5) })).toMatchObject({
      verdict: 'DIVERGED',
      field: 'tokens.5',
      claimed: 'none',
      firstWrong: { claimed: null },
    });
    expect(await run({ tokens: [] })).toMatchObject({ verdict: 'DIVERGED', field: 'tokens.0', claimed: 'none' });
    expect(await run({ tokens: [...drawn.tokens, 5] })).toMatchObject({
      field: 'tokens.12',
      claimed: '5',
      recomputed: 'none',
    });
    expect(await run({ tokens: [2 ** 32 - 1] })).toMatchObject({ field: 'tokens.0', claimed: '4294967295' });
  });

  it.each([
    ['text', () => ({ text: `${drawn.text} ` }), 'text'],
    ['finish', () => ({ finishReason: 'stop' }), 'finishReason'],
    ['digest', () => ({ logitsDigest: greedy.logitsDigest }), 'logitsDigest'],
    ['seed', () => ({ seed: 1 }), /^tokens\.\d+$/],
    ['temperature', () => ({ temperature: 0 }), /^tokens\.\d+$/],
    ['top-k', () => ({ topK: 1 }), /^tokens\.\d+$/],
    ['prompt', () => ({ promptTokens: drawn.promptTokens.map(otherThan) }), /^tokens\.\d+$/],
    ['greatest length', () => ({ maxTokens: 11 }), 'tokens.11'],
    ['greatest length, more', () => ({ maxTokens: 13 }), 'tokens.12'],
  ] as const)('finds a changed %s', async (_, change, field) => {
    const report = await run(change());
    expect(report.verdict).toBe('DIVERGED');
    if (typeof field === 'string') expect(report.field).toBe(field);
    else expect(report.field).toMatch(field);
    expect(report.claimed).not.toBe(report.recomputed);
  });

  it('finds nothing false in a seed that draws nothing', async () => {
    expect(await run({ seed: 4 }, {}, greedy)).toMatchObject({ verdict: 'MATCH' });
  });

  it.each([
    ['no answer fits the context', { maxTokens: 1000 }, 'CONTEXT_EXCEEDED'],
    ['the prompt fills the context', { promptTokens: Array(500).fill(1) }, 'PROMPT_TOO_LONG'],
    ['there is no prompt', { promptTokens: [] }, 'PROMPT_EMPTY'],
    ['the prompt holds no token', { promptTokens: [262] }, 'REQUEST_MALFORMED'],
  ])('calls it false where %s', async (_, change, recomputed) => {
    expect(await run(change)).toMatchObject({ verdict: 'DIVERGED', field: 'tokens', recomputed, positions: 0 });
  });

  it.each([
    ['commitment', { commitment: `0x${'1'.repeat(64)}` }, 'MODEL_NOT_AT_HAND'],
    ['profile', { profile: 'float-same-isa', commitment: null }, 'OTHER_NUMERICS'],
  ])('cannot check another %s', async (_, change, code) => {
    expect(await run(change)).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code });
  });

  it('cannot check without the model', async () => {
    expect(await run({}, { model: join(folder, 'none.gguf') })).toMatchObject({
      verdict: 'CANNOT_RECOMPUTE',
      code: 'MODEL_NOT_AT_HAND',
    });
    const broken = join(folder, 'broken.gguf');
    writeFileSync(broken, 'GGUF');
    expect(await run({}, { model: broken })).toMatchObject({ code: 'MODEL_NOT_AT_HAND' });
  });

  it.each([
    ['tokens', 'tokens', 'a text'],
    ['tokens.1', 'tokens', [1, -1]],
    ['tokens.0', 'tokens', [0.5]],
    ['tokens.0', 'tokens', [2 ** 32]],
    ['promptTokens.0', 'promptTokens', ['1']],
    ['promptTokens', 'promptTokens', undefined],
    ['text', 'text', null],
    ['finishReason', 'finishReason', 'choice'],
    ['logitsDigest', 'logitsDigest', '0x12'],
    ['commitment', 'commitment', null],
    ['commitment', 'commitment', `0x${'A'.repeat(64)}`],
    ['profile', 'profile', 'fast'],
    ['seed', 'seed', '12'],
    ['seed', 'seed', -1],
    ['seed', 'seed', '18446744073709551616'],
    ['temperature', 'temperature', 2.5],
    ['temperature', 'temperature', 0.12345],
    ['temperature', 'temperature', '1'],
    ['topP', 'topP', 0],
    ['topK', 'topK', 0.5],
    ['maxTokens', 'maxTokens', undefined],
    ['maxTokens', 'maxTokens', 0],
    ['stop.0', 'stop', ['']],
    ['stop', 'stop', 'a'],
    ['more', 'more', 1],
  ])('calls a claim invalid for its %s', async (place, field, value) => {
    expect(await run({ [field]: value })).toMatchObject({ verdict: 'INVALID', field: place });
  });

  it.each([
    ['nothing', '', 'MALFORMED_JSON'],
    ['no JSON', '{', 'MALFORMED_JSON'],
    ['a list', '[]', 'MALFORMED_FIELD'],
    ['a field twice', '{"text":"a","text":"b"}', 'DUPLICATE_KEY'],
    ['bytes that are no UTF-8', Uint8Array.of(0x22, 0xff, 0x22), 'MALFORMED_UTF8'],
    ['depth', '['.repeat(1000), 'TOO_DEEP'],
    ['more than a context', `[${'0,'.repeat(1 << 23)}0]`, 'TOO_LARGE'],
  ])('calls %s invalid', async (_, content, code) => {
    expect(await runOn(content)).toMatchObject({ verdict: 'INVALID', code });
  });

  it('refuses wrong use', async () => {
    const none = runCheck({ ...DEFAULTS, generated: join(folder, 'none') }, environment, () => {});
    await expect(none).rejects.toBeInstanceOf(CheckUsageError);
    await expect(none).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
    await expect(runCheck({ ...DEFAULTS, generated: folder }, environment, () => {})).rejects.toMatchObject({
      code: 'FILE_UNREADABLE',
    });
    await expect(run({}, { threads: '0' })).rejects.toBeInstanceOf(GenerateUsageError);
  });

  it('exits with the code of the verdict, and prints one line of JSON', async () => {
    vi.stubEnv('TRACEBOND_CACHE', environment.cache);
    vi.spyOn(console, 'error').mockImplementation(() => {});
    const print = vi.spyOn(console, 'log').mockImplementation(() => {});
    const command = async (change: object, ...args: string[]) => {
      print.mockClear();
      writeFileSync(file, JSON.stringify({ ...drawn, ...change }));
      const code = await main(['node', 'tracebond', 'check', '--generated', file, '--model', model, ...args]);
      return { code, lines: print.mock.calls.map(([line]) => String(line)) };
    };
    const match = await command({}, '--json');
    expect(match.code).toBe(0);
    expect(match.lines).toHaveLength(1);
    expect(JSON.parse(match.lines[0] ?? '')).toMatchObject({ verdict: 'MATCH', firstWrong: null, positions: 12 });
    expect((await command({ text: 1 }, '--json')).code).toBe(2);
    const tokens = drawn.tokens.map((id, at) => (at === 3 ? otherThan(id) : id));
    const diverged = await command({ tokens });
    expect(diverged.code).toBe(3);
    expect(diverged.lines.join('\n')).toMatch(/^DIVERGED {2}.*\n[\s\S]*tokens\.3[\s\S]*claimed {4}\d+/);
    expect((await command({ commitment: `0x${'1'.repeat(64)}` })).code).toBe(4);
    expect(await main(['node', 'tracebond', 'check', '--generated', join(folder, 'none')])).toBe(1);
  });
});
