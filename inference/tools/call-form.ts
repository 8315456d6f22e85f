/**
 * The form in which a model writes a call of a tool: `<tool_call>`, a line with one JSON object, `</tool_call>`. The object's JSON holds no
 * line break, so the end of a call cannot occur inside it.
 *
 * @module
 */

/** Where a call may begin. */
export const CALL_MARKER = '<tool_call>';

/** From the marker to the tool's name. */
export const CALL_START = `${CALL_MARKER}\n{"name": "`;

/** From the tool's name to its arguments. */
export const CALL_ARGUMENTS = '", "arguments": ';

/** After the arguments. */
export const CALL_END = '}\n</tool_call>';

/** Between two calls. */
export const CALL_SEPARATOR = '\n';
