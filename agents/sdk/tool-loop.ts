/**
 * The built-in tool-calling loop of agents without a `run`: the model answers, its calls are made side by side, their results go
 * back to it, until it answers without a call. It is agent code like any other: it runs in the sandbox and is replayed.
 *
 * What a tool throws is told to the model, never to the caller: the model may correct itself.
 *
 * @module
 */

import type { AnyAgent } from './agent.ts';
import type { AgentContext } from './agent-context.ts';
import type { ToolCall } from './answer.ts';
import type { InferRequest, Message } from './infer.ts';
import type { LoopCall, LoopSettings, LoopStep } from './loop.ts';
import { SchemaError } from './schema.ts';

/** The loop gave up; the run's error is `TOOL_ERROR` with this code before its message. */
export class LoopError extends Error {
  override readonly name = 'LoopError';
  readonly code: 'MAX_STEPS';

  constructor(code: 'MAX_STEPS', message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * Runs the loop.
 *
 * @throws {@link SchemaError} `INPUT_INVALID` for no {@link LoopInput}, `OUTPUT_INVALID` for a last answer that is none of `outputSchema`
 * @throws {@link LoopError} `MAX_STEPS` if the last answer that is allowed still calls tools; those calls are not made
 */
export async function runToolLoop(agent: AnyAgent, ctx: AgentContext, input: unknown): Promise<unknown> {
  const { loop: settings } = agent;
  if (settings === undefined) throw new TypeError(`agent ${agent.name} has a function of its own`);
  const messages = [...toMessages(settings.instructions, input)];
  const steps: LoopStep[] = [];
  for (let step = 1; step <= settings.maxSteps; step++) {
    const answer = await ctx.infer(toRequest(agent, settings, messages, step));
    const { text, finishReason, toolCalls, object, message } = answer;
    if (toolCalls.length === 0) {
      steps.push({ text, finishReason, calls: [] });
      return { text, finishReason, steps, ...(settings.outputSchema === undefined ? {} : { object }) };
    }
    if (step === settings.maxSteps) break;
    const calls = await Promise.all(toolCalls.map((call) => makeCall(agent, ctx, call)));
    steps.push({ text, finishReason, calls });
    messages.push(message);
    for (const { id, result } of calls) messages.push({ role: 'tool', toolCallId: id, content: result });
  }
  throw new LoopError('MAX_STEPS', `the model still calls tools after ${settings.maxSteps} answers`);
}

function toRequest(
  { tools }: AnyAgent,
  { instructions: _instructions, maxSteps: _maxSteps, outputSchema, toolChoice, ...settings }: LoopSettings,
  messages: readonly Message[],
  step: number,
): InferRequest {
  return {
    ...settings,
    messages,
    tools,
    ...(outputSchema === undefined ? {} : { schema: outputSchema }),
    ...(toolChoice === undefined ? {} : { toolChoice: step === 1 || toolChoice === 'none' ? toolChoice : 'auto' }),
  };
}

async function makeCall({ tools }: AnyAgent, ctx: AgentContext, call: ToolCall): Promise<LoopCall> {
  const failed = (code: string, message: string): LoopCall => {
    return { ...call, ok: false, result: JSON.stringify({ error: { code, message } }) };
  };
  const tool = tools.find(({ name }) => name === call.name);
  if (tool === undefined) {
    return failed('UNKNOWN_TOOL', `there is no such tool; there are: ${tools.map(({ name }) => name).join(', ')}`);
  }
  let input: unknown;
  try {
    input = JSON.parse(call.arguments);
  } catch {
    return failed('ARGUMENTS_INVALID', 'the arguments are no JSON');
  }
  try {
    const result: unknown = await ctx.tool(tool, input);
    return { ...call, ok: true, result: typeof result === 'string' ? result : JSON.stringify(result) };
  } catch (error) {
    const { code } = (error ?? {}) as { readonly code?: unknown };
    return failed(
      typeof code === 'string' ? code : 'TOOL_ERROR',
      error instanceof Error ? error.message : String(error),
    );
  }
}

function toMessages(instructions: string | undefined, input: unknown): readonly Message[] {
  const first: readonly Message[] = instructions === undefined ? [] : [{ role: 'system', content: instructions }];
  if (typeof input === 'string') return [...first, { role: 'user', content: input }];
  const { prompt, messages } = (input ?? {}) as { readonly prompt?: unknown; readonly messages?: unknown };
  if (typeof prompt === 'string' && messages === undefined) return [...first, { role: 'user', content: prompt }];
  if (prompt === undefined && Array.isArray(messages) && messages.length > 0 && messages.every(isMessage)) {
    return [...first, ...messages];
  }
  throw new SchemaError('INPUT_INVALID', 'the input must be a text, {prompt}, or {messages}');
}

function isMessage(value: unknown): value is Message {
  if (typeof value !== 'object' || value === null) return false;
  const { role, content, toolCalls, toolCallId } = value as Readonly<Record<string, unknown>>;
  if (role === 'assistant') {
    const isSaid = typeof content === 'string' || content === null || content === undefined;
    return isSaid && (toolCalls === undefined || (Array.isArray(toolCalls) && toolCalls.every(isToolCall)));
  }
  if (typeof content !== 'string') return false;
  return role === 'tool' ? typeof toolCallId === 'string' : role === 'system' || role === 'user';
}

function isToolCall(value: unknown): value is ToolCall {
  const call = (value ?? {}) as Readonly<Record<string, unknown>>;
  return ['id', 'name', 'arguments'].every((field) => typeof call[field] === 'string');
}
