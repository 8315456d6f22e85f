/**
 * What goes into the built-in tool-calling loop, and what comes out.
 *
 * @module
 */

import type { ToolCall } from './answer.ts';
import type { InferAnswer, InferSettings, Message, ToolChoice } from './infer.ts';
import type { StandardSchema } from './schema.ts';

/** Settings of the built-in loop, complete. */
export type LoopSettings = InferSettings & {
  readonly instructions: string | undefined;
  readonly maxSteps: number;
  readonly toolChoice: ToolChoice | undefined;
  readonly parallelToolCalls: boolean;
  readonly outputSchema: StandardSchema | undefined;
};

/** What an agent with the built-in loop takes: a conversation, or its first message. */
export type LoopInput = string | { readonly prompt: string } | { readonly messages: readonly Message[] };

/** One answer of the model, and what came of its calls. */
export type LoopStep = {
  readonly text: string;
  readonly finishReason: InferAnswer['finishReason'];
  readonly calls: readonly LoopCall[];
};

/** A call of a tool, and what the model was told of it. */
export type LoopCall = ToolCall & {
  readonly ok: boolean;
  /** The result as text or JSON text, or JSON text of `{error: {code, message}}`. */
  readonly result: string;
};

/** What an agent with the built-in loop gives. */
export type LoopResult<T = undefined> = {
  /** The last answer. */
  readonly text: string;
  /** `length` where the last answer was cut off. */
  readonly finishReason: InferAnswer['finishReason'];
  readonly steps: readonly LoopStep[];
} & (T extends undefined ? unknown : { readonly object: T });
