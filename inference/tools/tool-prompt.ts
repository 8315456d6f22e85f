/**
 * Tools in a prompt: the definitions as part of the system's message, calls and their results as texts of messages, in the form that
 * Qwen's and Hermes' models were trained on. It does not depend on the model's chat template, and what a caller wrote in a definition
 * stays text of a message: it never becomes a control token.
 *
 * Spec: `inference/spec/tools.md`.
 *
 * @module
 */

import type { RequestTool, RequestToolCall } from '../../attest/trace/inference-request.ts';
import type { ChatMessage, ToolUse } from '../engine.ts';
import { CALL_ARGUMENTS, CALL_END, CALL_SEPARATOR, CALL_START } from './call-form.ts';

/**
 * The messages that a template sees: definitions, calls and results written out.
 *
 * @param tools - definitions that are shown; those of a request whose tools may not be called are not
 */
export function writeTools(messages: readonly ChatMessage[], toolUse: ToolUse | undefined): readonly ChatMessage[] {
  const written: ChatMessage[] = [];
  let results: string[] = [];
  const flush = () => {
    // Results of one turn are one message, as templates of the family write them.
    if (results.length > 0) written.push({ role: 'user', content: results.join('\n') });
    results = [];
  };
  for (const { toolCalls = [], toolCallId, ...message } of messages) {
    if (message.role === 'tool' && toolCallId !== undefined) {
      results.push(`<tool_response>\n${message.content}\n</tool_response>`);
      continue;
    }
    flush();
    written.push(toolCalls.length === 0 ? message : { ...message, content: writeCalls(message.content, toolCalls) });
  }
  flush();
  return toolUse === undefined ? written : withDefinitions(written, toolUse.tools);
}

function withDefinitions(messages: readonly ChatMessage[], tools: readonly RequestTool[]): readonly ChatMessage[] {
  const text = describeTools(tools);
  const [first, ...rest] = messages;
  if (first?.role !== 'system') return [{ role: 'system', content: text }, ...messages];
  return [{ ...first, content: first.content === '' ? text : `${first.content}\n\n${text}` }, ...rest];
}

function describeTools(tools: readonly RequestTool[]): string {
  const definitions = tools.map(({ name, description, parameters }) => {
    const about = description === null ? '' : `"description": ${JSON.stringify(description)}, `;
    return `{"type": "function", "function": {"name": "${name}", ${about}"parameters": ${parameters}}}`;
  });
  return [
    '# Tools\n',
    'You may call one or more functions to assist with the user query.\n',
    'You are provided with function signatures within <tools></tools> XML tags:',
    `<tools>\n${definitions.join('\n')}\n</tools>\n`,
    'For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:',
    '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>',
  ].join('\n');
}

function writeCalls(content: string, calls: readonly RequestToolCall[]): string {
  const written = calls.map(({ name, arguments: text }) => `${CALL_START}${name}${CALL_ARGUMENTS}${text}${CALL_END}`);
  return [...(content === '' ? [] : [content]), ...written].join(CALL_SEPARATOR);
}
