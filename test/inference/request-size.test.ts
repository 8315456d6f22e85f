import { expect, it } from 'vitest';
import { mostTokens, tokensIn } from '../../inference/request-size.ts';

const message = { role: 'user', content: 'x'.repeat(100), name: null, toolCalls: [], toolCallId: null } as const;
const none = {
  messages: [message],
  prompt: null,
  tools: [],
  toolChoice: { type: 'none' },
  maxTokens: 7,
} as const;
const tool = { name: 'n'.repeat(10), description: 'd'.repeat(30), parameters: 'p'.repeat(60) };

it('counts a token for two units of what the model reads, and all tokens of the answer', () => {
  expect(mostTokens(none)).toBe(57);
  expect(mostTokens({ ...none, messages: [message, message] })).toBe(107);
  expect(mostTokens({ ...none, messages: [], prompt: 'xyz' })).toBe(9);
});

it('counts earlier calls, and tools that the model is shown', () => {
  const calls = [{ id: 'i'.repeat(1000), name: 'ab', arguments: 'x'.repeat(18) }];
  const asked = {
    ...none,
    messages: [message, { ...message, role: 'assistant', content: '', toolCalls: calls }],
  } as const;
  expect(mostTokens(asked)).toBe(67);
  expect(mostTokens({ ...none, tools: [tool, { ...tool, description: null }], toolChoice: { type: 'auto' } })).toBe(
    142,
  );
  expect(mostTokens({ ...none, tools: [tool] })).toBe(57);
});

it('rounds up', () => {
  expect([tokensIn([]), tokensIn(['a']), tokensIn(['a', 'b', 'c'])]).toEqual([0, 1, 2]);
});
