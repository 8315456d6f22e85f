/**
 * What OpenAI's `/v1/responses` (2.3.0) has and this server has not, so that a refusal can say so.
 *
 * @module
 */

import type { LosslessJson } from '../../attest/encoding/canonical-json.ts';
import type { KnownElsewhere } from '../protocol-faults.ts';

const ITEM_TYPES = new Set([
  'additional_tools',
  'apply_patch_call',
  'apply_patch_call_output',
  'code_interpreter_call',
  'compaction',
  'compaction_trigger',
  'computer_call',
  'computer_call_output',
  'custom_tool_call',
  'custom_tool_call_output',
  'file_search_call',
  'image_generation_call',
  'local_shell_call',
  'local_shell_call_output',
  'mcp_approval_request',
  'mcp_approval_response',
  'mcp_call',
  'mcp_list_tools',
  'program',
  'program_output',
  'reasoning',
  'shell_call',
  'shell_call_output',
  'tool_search_call',
  'tool_search_output',
  'web_search_call',
]);

const isText = (value: LosslessJson | undefined) => typeof value === 'string';
const isPart = (value: LosslessJson | undefined) =>
  value === 'input_image' || value === 'input_file' || value === 'input_audio';
const isThere = (value: LosslessJson | undefined) => value !== undefined && value !== null;

/** Parameters and values of OpenAI's. */
export const KNOWN_TO_OPENAI: KnownElsewhere = {
  parameters: new Set(['input[].namespace', 'reasoning.context', 'reasoning.mode']),
  values: {
    background: (value) => value === true,
    context_management: isThere,
    conversation: isThere,
    'include[]': isText,
    'input[].caller': isThere,
    'input[].content[].type': isPart,
    'input[].name': isThere,
    'input[].output[].type': isPart,
    'input[].type': (value) => typeof value === 'string' && ITEM_TYPES.has(value),
    max_tool_calls: isThere,
    moderation: isThere,
    prompt: isThere,
    prompt_cache_options: isThere,
    prompt_cache_retention: (value) => value === '24h',
    'reasoning.effort': isText,
    'reasoning.generate_summary': isText,
    'reasoning.summary': isText,
    service_tier: isText,
    'stream_options.include_obfuscation': (value) => value === true,
    'text.verbosity': isText,
    'tool_choice.type': isText,
    'tools[].allowed_callers': isThere,
    'tools[].defer_loading': (value) => value === true,
    'tools[].output_schema': isThere,
    'tools[].type': isText,
    truncation: (value) => value === 'auto',
  },
};
