/**
 * Reads the text of a model's answer as content and calls of tools. The trace holds the text alone; what it says follows from it.
 *
 * It reads as the inference server does (`inference/spec/tools.md#in-the-output`). The SDK is bundled from its own folder, so the
 * form of a call stands here again; a test holds the two readers to each other.
 *
 * @module
 */

const CALL_START = '<tool_call>\n{"name": "';
const CALL_ARGUMENTS = '", "arguments": ';
const CALL_END = '}\n</tool_call>';
const CALL_SEPARATOR = '\n';

/** A call of a tool, as a model wrote it. */
export type ToolCall = {
  readonly id: string;
  readonly name: string;
  /** JSON text, not checked. */
  readonly arguments: string;
};

/** Content and calls of an answer; `content` is null where there are calls and nothing else. */
export type AnswerParts = { readonly content: string | null; readonly toolCalls: readonly ToolCall[] };

/**
 * Reads a whole text.
 *
 * @param mayCall - whether tools may be called; if not, all is content
 * @param nextId - id of the next call
 */
export function readAnswer(text: string, mayCall: boolean, nextId: () => string): AnswerParts {
  const toolCalls: ToolCall[] = [];
  let content = '';
  let at = 0;
  while (mayCall) {
    const start = text.indexOf(CALL_START, at);
    if (start < 0) break;
    const gap = text.slice(at, start);
    // Between two calls a line break says nothing.
    if (toolCalls.length === 0 || gap !== CALL_SEPARATOR) content += gap;
    at = start;
    const nameAt = start + CALL_START.length;
    const nameEnd = text.indexOf(CALL_ARGUMENTS, nameAt);
    if (nameEnd < 0) break;
    const argumentsAt = nameEnd + CALL_ARGUMENTS.length;
    const found = text.indexOf(CALL_END, argumentsAt);
    const end = found < 0 ? text.length : found;
    toolCalls.push({ id: nextId(), name: text.slice(nameAt, nameEnd), arguments: text.slice(argumentsAt, end) });
    at = found < 0 ? end : end + CALL_END.length;
  }
  content += text.slice(at);
  return { content: content === '' && toolCalls.length > 0 ? null : content, toolCalls };
}
