/**
 * `ctx` of an agent: a model, tools and other agents besides what tools have too.
 *
 * @module
 */

import { type BaseContext, type HostCaller, type ToolHandle, type Typed, toBaseContext } from './context.ts';
import {
  type InferAnswer,
  type InferRequest,
  MADE_AT_RUN_TIME,
  readInference,
  type SchemaTexts,
  toInferenceArgs,
} from './infer.ts';
import type { StandardSchema } from './schema.ts';

/** What `ctx.run` needs of an agent: its name, and its types. */
export type AgentHandle<Sent, Given> = Typed<Sent, Given> & { readonly kind: 'agent'; readonly name: string };

/** `ctx` of an agent. */
export type AgentContext = BaseContext & {
  /**
   * Asks the agent's model for JSON of a schema.
   *
   * @throws `OUTPUT_INVALID` if the answer is none of it
   */
  infer<T>(
    request: Omit<InferRequest, 'schema' | 'tools'> & {
      readonly schema: StandardSchema<unknown, T>;
      readonly tools?: never;
    },
  ): Promise<InferAnswer<T>>;
  /** The same, where the model may call tools instead. */
  infer<T>(
    request: Omit<InferRequest, 'schema'> & { readonly schema: StandardSchema<unknown, T> },
  ): Promise<InferAnswer<T | undefined>>;
  /** Asks the agent's model. */
  infer(request: InferRequest): Promise<InferAnswer>;
  /** Runs a tool in a sandbox of its own. */
  tool<Sent, Given>(tool: ToolHandle<Sent, Given>, input: Sent): Promise<Given>;
  /** Runs another agent, one of `agents`, as a run of its own; fails with its error. */
  run<Sent, Given>(agent: AgentHandle<Sent, Given>, input: Sent): Promise<Given>;
};

/**
 * Makes the `ctx` of an agent.
 *
 * @param texts - the JSON Schemas that were made at build time
 */
export function toAgentContext(call: HostCaller, texts: SchemaTexts = MADE_AT_RUN_TIME): AgentContext {
  let calls = 0;
  // Not those of a receipt: its digests of model and engine are not known here. Unique within the run is what they have to be.
  const nextId = () => `call_${calls++}`;
  const infer = async (request: InferRequest): Promise<InferAnswer> => {
    const delivered = await call('inference', toInferenceArgs(request, texts));
    return readInference(request, delivered as { readonly text: string; readonly finishReason: string }, nextId);
  };
  return {
    ...toBaseContext(call),
    infer: infer as AgentContext['infer'],
    tool: async <Sent, Given>({ name, asText }: ToolHandle<Sent, Given>, input: Sent) => {
      if (asText !== true) return call('tool', { name, input }) as Promise<Given>;
      return JSON.parse(String(await call('tool', { name, input: JSON.stringify(input) }))) as Given;
    },
    run: <Sent, Given>(agent: AgentHandle<Sent, Given>, input: Sent) =>
      call('run.child', { agent: agent.name, input }) as Promise<Given>,
  };
}
