import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CompletionPlanner, encodePlain, type Plan } from '../../inference/completion-plan.ts';
import type { CompletionRequest } from '../../inference/engine.ts';
import { type OpenModel, openModel } from '../../inference/model.ts';
import { TokenTable } from '../../inference/token-table.ts';
import type { TextTokenizer } from '../../inference/tokenizer.ts';
import { tinyGguf } from '../support/tiny-model.ts';

const CONTEXT = 128;
const folder = mkdtempSync(join(tmpdir(), 'tracebond-plan-'));
let model: OpenModel;
let planner: CompletionPlanner;
beforeAll(async () => {
  const path = join(folder, 'tiny.gguf');
  writeFileSync(path, tinyGguf({}));
  model = await openModel({ path, id: 'tiny', cacheDir: join(folder, 'cache'), threads: 1 });
  planner = new CompletionPlanner(model.tokenizer, new TokenTable(model.tokenizer), CONTEXT);
});
afterAll(async () => {
  await model.sequences.close();
  rmSync(folder, { recursive: true, force: true });
});

const plan = (more: Partial<CompletionRequest> = {}): Plan =>
  planner.plan({ messages: [], prompt: 'a', maxTokens: 4, ...more });
const many = (count: number) => Array.from({ length: count }, (_, i) => `c${i}`);

describe('a plan', () => {
  it.each<[string, Partial<CompletionRequest>, Partial<CompletionRequest>, string]>([
    ['stop texts', { stop: many(16) }, { stop: many(17) }, 'STOP_EMPTY'],
    ['alternatives', { logprobs: 20 }, { logprobs: 21 }, 'REQUEST_MALFORMED'],
    ['choices', { choices: many(1024), maxTokens: 9 }, { choices: many(1025), maxTokens: 9 }, 'TOO_MANY_CHOICES'],
    ['tokens of a choice', { choices: ['bcdf'] }, { choices: ['bcdfg'] }, 'CHOICE_TOO_LONG'],
    ['tokens of prompt and answer', { maxTokens: CONTEXT - 1 }, { maxTokens: CONTEXT }, 'CONTEXT_EXCEEDED'],
    [
      'tokens of a prompt',
      { prompt: 'b'.repeat(CONTEXT - 1), maxTokens: 1 },
      { prompt: 'b'.repeat(CONTEXT), maxTokens: 1 },
      'PROMPT_TOO_LONG',
    ],
  ])('takes the most of %s, and no more', (_, most, more, code) => {
    expect(plan(most).promptIds.length).toBeGreaterThan(0);
    expect(() => plan(more)).toThrow(expect.objectContaining({ code }));
  });

  it('wants room for the longest choice, not for the tokens that are allowed', () => {
    const { capacity, promptIds, choiceIds } = plan({ choices: ['b', 'bcd'], maxTokens: CONTEXT });
    expect(choiceIds?.map((ids) => ids.length)).toEqual([1, 3]);
    expect(capacity).toBe(promptIds.length + 3);
    expect(plan({ maxTokens: 7 }).capacity).toBe(promptIds.length + 7);
  });

  it('refuses a prompt that cannot fit before it is cut into tokens', () => {
    const untouched: TextTokenizer = {
      ...model.tokenizer,
      encodeText: () => {
        throw new Error('cut into tokens');
      },
    };
    const other = new CompletionPlanner(untouched, new TokenTable(model.tokenizer), CONTEXT);
    const ask = (prompt: string) => () => other.plan({ messages: [], prompt, maxTokens: 1 });
    expect(ask('a')).toThrow('cut into tokens');
    expect(ask('a'.repeat(1 << 20))).toThrow(expect.objectContaining({ code: 'PROMPT_TOO_LONG' }));
  });
});

describe('a plain text', () => {
  it('begins with the start token where the model wants one, and is empty where it has no tokens', () => {
    const { tokenizer } = model;
    const wants = { ...tokenizer, description: { ...tokenizer.description, addBos: true, bosId: 1 } };
    expect(encodePlain(wants, 'b')).toEqual([1, ...tokenizer.encodeText('b')]);
    expect(encodePlain(wants, '')).toEqual([]);
  });
});
