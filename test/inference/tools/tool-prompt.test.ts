import { expect, it } from 'vitest';
import type { ChatMessage, ToolUse } from '../../../inference/engine.ts';
import { readWholeAnswer } from '../../../inference/tools/answer-reader.ts';
import { writeTools } from '../../../inference/tools/tool-prompt.ts';

const parameters = '{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"integer"}}}';
const toolUse: ToolUse = {
  tools: [
    { name: 'add', description: 'Adds "two"', parameters },
    { name: 'none', description: null, parameters: '{}' },
  ],
  choice: { type: 'auto' },
  parallel: true,
};
const user: ChatMessage = { role: 'user', content: 'hi' };

it('leaves a conversation without tools as it is', () => {
  const messages: ChatMessage[] = [{ role: 'system', content: 's' }, user, { role: 'tool', content: 'r', name: 'n' }];
  expect(writeTools(messages, undefined)).toEqual(messages);
});

it('writes definitions into the first message of the system, as they were given', () => {
  const [system, ...rest] = writeTools([user], toolUse);
  expect(system?.role).toBe('system');
  expect(rest).toEqual([user]);
  expect(system?.content).toContain(
    `<tools>\n{"type": "function", "function": {"name": "add", "description": "Adds \\"two\\"", "parameters": ${parameters}}}\n` +
      '{"type": "function", "function": {"name": "none", "parameters": {}}}\n</tools>',
  );
  const [own, ...others] = writeTools([{ role: 'system', content: 'Be brief.' }, user], toolUse);
  expect(own?.content).toBe(`Be brief.\n\n${system?.content}`);
  expect(others).toEqual([user]);
  expect(writeTools([{ role: 'system', content: '' }], toolUse)[0]?.content).toBe(system?.content);
});

it('writes calls in the form in which they are read', () => {
  const toolCalls = [
    { id: 'x', name: 'add', arguments: '{"a": 1}' },
    { id: 'y', name: 'none', arguments: '{}' },
  ];
  const [written] = writeTools([{ role: 'assistant', content: 'So:', toolCalls }], undefined);
  expect(written).not.toHaveProperty('toolCalls');
  expect(readWholeAnswer(written?.content ?? '', true, (i) => ['x', 'y'][i] ?? '')).toEqual({
    content: 'So:\n',
    calls: toolCalls,
  });
  expect(writeTools([{ role: 'assistant', content: '', toolCalls }], undefined)[0]?.content).toMatch(/^<tool_call>\n/);
});

it('joins the results of one turn, and keeps the order of everything', () => {
  const result = (content: string): ChatMessage => ({ role: 'tool', content, toolCallId: 'x' });
  expect(writeTools([user, result('1'), result('2'), user, result('3')], undefined)).toEqual([
    user,
    { role: 'user', content: '<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>' },
    user,
    { role: 'user', content: '<tool_response>\n3\n</tool_response>' },
  ]);
});
