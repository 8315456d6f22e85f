import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { toAgentContext } from '../../../agents/sdk/agent-context.ts';
import { defineAgent, defineTool, type LoopAgentOptions } from '../../../agents/sdk/index.ts';
import { runToolLoop } from '../../../agents/sdk/tool-loop.ts';
import { callsText } from '../../support/sdk-agents.ts';

type Call = { readonly method: string; readonly args: { readonly name: string; readonly input: unknown } };

const echo = defineTool({ name: 'echo', description: '', execute: (input: unknown) => input });

/** Runs a loop whose model gives `answers` one after the other; tools give back their input, or throw it if it is a text. */
async function run(input: unknown, answers: readonly string[], options: Partial<LoopAgentOptions<unknown>> = {}) {
  const made: Call[] = [];
  const told = [...answers];
  const ctx = toAgentContext(async (method, args) => {
    made.push({ method, args } as Call);
    if (method === 'inference') return { text: told.shift() ?? '', finishReason: 'length' };
    const { input: given } = (args as Call['args']) ?? {};
    if (typeof given === 'string')
      throw given === '' ? given : Object.assign(new Error(given), { code: 'OUT_OF_FUEL' });
    return given;
  });
  const agent = defineAgent({ name: 'a', model: 'm', tools: [echo], ...options });
  try {
    return { output: await runToolLoop(agent, ctx, input), made };
  } catch (error) {
    throw Object.assign(error as Error, { made });
  }
}

describe('the built-in loop', () => {
  it.each<readonly [unknown]>([
    [null],
    [undefined],
    [7],
    [[]],
    [{}],
    [{ prompt: 1 }],
    [{ prompt: 'a', messages: [] }],
    [{ messages: [] }],
    [{ messages: 'a' }],
    [{ messages: [null] }],
    [{ messages: [{ role: 'user' }] }],
    [{ messages: [{ role: 'person', content: '' }] }],
    [{ messages: [{ role: 'tool', content: '' }] }],
    [{ messages: [{ role: 'assistant', content: 1 }] }],
    [{ messages: [{ role: 'assistant', content: '', toolCalls: {} }] }],
    [{ messages: [{ role: 'assistant', content: '', toolCalls: [null] }] }],
    [{ messages: [{ role: 'assistant', content: '', toolCalls: [{ id: 'a', name: 'b', arguments: {} }] }] }],
  ])('takes no %j for a conversation', async (input) => {
    await expect(run(input, ['no'])).rejects.toMatchObject({ code: 'INPUT_INVALID' });
  });

  it.each(['hi', { prompt: 'hi' }, { messages: [{ role: 'user', content: 'hi' }] }])('takes %j', async (input) => {
    const { output, made } = await run(input, ['yes']);
    expect(output).toMatchObject({ text: 'yes', finishReason: 'length' });
    expect(made).toMatchObject([{ args: { messages: [{ role: 'user', content: 'hi' }] } }]);
  });

  it('tells the model texts as they are, anything else as JSON, and whatever was thrown', async () => {
    const calls = callsText(['echo', { a: [1] }], ['echo', '"boom"'], ['echo', '""'], ['echo', 'null']);
    const { made } = await run('hi', [calls, 'done']);
    const { messages } = (made.at(-1)?.args ?? { messages: [] }) as unknown as { messages: { content: string }[] };
    expect(messages.slice(-4).map(({ content }) => content)).toEqual([
      '{"a":[1]}',
      '{"error":{"code":"OUT_OF_FUEL","message":"boom"}}',
      '{"error":{"code":"TOOL_ERROR","message":""}}',
      'null',
    ]);
  });

  it('makes no call that nobody would be told of', async () => {
    const endless = Array.from({ length: 9 }, () => callsText(['echo', {}]));
    for (const maxSteps of [1, 2, 8]) {
      const failed = await run('hi', endless, { maxSteps }).catch((error) => error);
      expect(failed).toMatchObject({ code: 'MAX_STEPS' });
      expect(failed.made.filter(({ method }: Call) => method === 'tool')).toHaveLength(maxSteps - 1);
    }
    await expect(run('hi', endless.slice(0, 7))).resolves.toMatchObject({ output: { text: '' } });
    await expect(run('hi', endless.slice(0, 8))).rejects.toMatchObject({ code: 'MAX_STEPS' });
  });

  it('holds the last answer to its schema', async () => {
    const outputSchema = z.object({ n: z.number() });
    const { output } = await run('hi', ['{"n": 1}'], { outputSchema });
    expect(output).toMatchObject({ text: '{"n": 1}', object: { n: 1 } });
    for (const text of ['{"n": "1"}', 'n', '']) {
      await expect(run('hi', [text], { outputSchema })).rejects.toMatchObject({ code: 'OUTPUT_INVALID' });
    }
  });

  it('works without tools, and chooses as told at first only', async () => {
    expect((await run('hi', ['hello'], { tools: [] })).output).toMatchObject({ text: 'hello' });
    const choicesOf = async (toolChoice: 'none' | 'required') =>
      (await run('hi', [callsText(['echo', {}]), 'done'], { toolChoice })).made
        .filter(({ method }) => method === 'inference')
        .map(({ args }) => (args as unknown as { toolChoice: { type: string } }).toolChoice.type);
    expect(await choicesOf('required')).toEqual(['required', 'auto']);
    expect(await choicesOf('none')).toEqual(['none']);
  });
});
