/**
 * Tools of a request: functions that the model may call, and whether it may.
 *
 * @module
 */

import { z } from 'zod';
import { type InferenceRequest, REQUEST_LIMITS, type RequestTool } from '../../attest/trace/inference-request.ts';
import { refuseValue } from '../protocol-faults.ts';
import { functionName, jsonObject, text, toSchemaText } from './fields.ts';

/** Fields of a function; chat completions have them under `function`, responses in the tool itself. */
export const functionFields = {
  name: functionName,
  description: text(0, REQUEST_LIMITS.description).nullish(),
  parameters: jsonObject.nullish().describe('JSON Schema of the arguments; without it there are none.'),
  strict: z.boolean().nullish().describe('Arguments keep to the schema either way.'),
} as const;

/** A tool of a chat completion. */
export const chatToolSchema = z.strictObject({ type: z.literal('function'), function: z.strictObject(functionFields) });

const named = z.strictObject({ type: z.literal('function'), function: z.strictObject({ name: functionName }) });

/** `tool_choice` of a chat completion. */
export const chatToolChoiceSchema = z.union([
  z.enum(['none', 'auto', 'required']),
  z.discriminatedUnion('type', [
    named,
    z.strictObject({
      type: z.literal('allowed_tools'),
      allowed_tools: z.strictObject({
        mode: z.enum(['auto', 'required']),
        tools: z.array(named).min(1).max(REQUEST_LIMITS.tools),
      }),
    }),
  ]),
]);

/** What a client says about calling: how, and where it names tools, which. */
export type AskedChoice = {
  readonly type: 'none' | 'auto' | 'required' | 'function';
  /** The only tools that may be called; exactly one with `function`. */
  readonly names?: readonly string[];
};

/** Arguments of a function that says nothing about them. */
const NO_ARGUMENTS = { type: 'object', properties: {}, additionalProperties: false };

/**
 * A tool in normal form.
 *
 * @param param - where its parameters stand in the request, for the refusal
 * @throws {@link ApiError} `INVALID_VALUE` if the schema is beyond the limits
 */
export function toRequestTool(
  tool: { readonly name: string; readonly description?: string | null | undefined; readonly parameters?: unknown },
  param: string,
): RequestTool {
  const { name, description = null, parameters } = tool;
  return { name, description, parameters: toSchemaText(parameters ?? NO_ARGUMENTS, param) };
}

/** `tool_choice` of a chat completion in this API's words. */
export function readToolChoice(
  choice: z.output<typeof chatToolChoiceSchema> | null | undefined,
): AskedChoice | undefined {
  if (choice === null || choice === undefined) return undefined;
  if (typeof choice === 'string') return { type: choice };
  if (choice.type === 'function') return { type: 'function', names: [choice.function.name] };
  const { mode, tools } = choice.allowed_tools;
  return { type: mode, names: tools.map((tool) => tool.function.name) };
}

/**
 * The part of a request that is about tools. Without a choice they may be called; without tools nothing may, so that the choices `none` and
 * `auto` and whether calls may be parallel say nothing then. Tools that a list of allowed ones leaves out are not shown to the model.
 *
 * @param parallel - whether one answer may hold several calls; true by default
 * @throws {@link ApiError} `INVALID_VALUE` for a tool that is there twice, or chosen and not there
 */
export function bindTools(
  tools: readonly RequestTool[],
  choice: AskedChoice | undefined,
  parallel: boolean | null | undefined,
): Pick<InferenceRequest, 'tools' | 'toolChoice' | 'parallelToolCalls'> {
  const names = tools.map(({ name }) => name);
  const twice = names.findIndex((name, i) => names.indexOf(name) !== i);
  if (twice >= 0) throw refuseValue(`tools[${twice}]`, 'repeats a name');
  const missing = choice?.names?.find((name) => !names.includes(name));
  if (missing !== undefined) throw refuseValue('tool_choice', `there is no tool ${missing}`);
  const { type = 'auto', names: allowed } = choice ?? {};
  if (type === 'required' && tools.length === 0) throw refuseValue('tool_choice', 'there are no tools');
  if (type === 'none' || tools.length === 0) return { tools, toolChoice: { type: 'none' }, parallelToolCalls: false };
  const parallelToolCalls = parallel ?? true;
  const [only = ''] = allowed ?? [];
  if (type === 'function') return { tools, toolChoice: { type, name: only }, parallelToolCalls };
  const shown = allowed === undefined ? tools : tools.filter(({ name }) => allowed.includes(name));
  return { tools: shown, toolChoice: { type }, parallelToolCalls };
}
