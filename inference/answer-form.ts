/**
 * The form that an answer must have, from a request: JSON of a schema, calls of tools, or both in turn. Grammars are kept, since a
 * client asks for the same form again and again.
 *
 * @module
 */

import { type Json, parseJsonText } from '../attest/encoding/canonical-json.ts';
import { EncodingError } from '../attest/encoding/errors.ts';
import { REQUEST_LIMITS } from '../attest/trace/inference-request.ts';
import type { MaskedPlace, TokenMask } from './decode.ts';
import type { CompletionRequest, ToolUse } from './engine.ts';
import { InferenceError } from './errors.ts';
import { type Grammar, jsonObjectGrammar, schemaGrammar, toolCallGrammar } from './structured/grammar.ts';
import { type Mask, openMasks } from './structured/masks.ts';
import { SchemaError } from './structured/schema-error.ts';
import { makeTrie } from './structured/trie.ts';

/** Grammars that are kept. */
const KEPT = 32;

/** Forms over one vocabulary. */
export class AnswerForms {
  readonly #tokens: readonly (Uint8Array | null)[];
  readonly #endIds: readonly number[];
  readonly #grammars = new Map<string, Grammar>();
  #masks: ReturnType<typeof openMasks> | undefined;

  /**
   * @param tokens - bytes of each token; null for one that no form has
   * @param endIds - ids that end an answer
   */
  constructor(tokens: readonly (Uint8Array | null)[], endIds: readonly number[]) {
    this.#tokens = tokens;
    this.#endIds = endIds;
  }

  /**
   * Where an answer begins; undefined where a request leaves the form free.
   *
   * @throws {@link InferenceError} `SCHEMA_REFUSED`, `BUDGET_TOO_SMALL`
   */
  begin({ format, toolUse, maxTokens }: CompletionRequest): MaskedPlace | undefined {
    if (format === undefined && toolUse === undefined) return undefined;
    // Made on first use: a trie of a large vocabulary takes a moment.
    this.#masks ??= openMasks(makeTrie(this.#tokens), this.#endIds);
    const start = this.#masks.start(this.#grammarOf(format, toolUse));
    if (start.cost > maxTokens) {
      throw new InferenceError(
        'BUDGET_TOO_SMALL',
        `the shortest answer of this form has ${start.cost} tokens, at most ${maxTokens} are wanted`,
        { at: { field: 'maxTokens', needed: start.cost } },
      );
    }
    return start;
  }

  #grammarOf(format: CompletionRequest['format'], toolUse: ToolUse | undefined): Grammar {
    const key = JSON.stringify([format ?? null, toolUse ?? null]);
    const known = this.#grammars.get(key);
    const grammar = known ?? makeGrammar(format, toolUse);
    // The most recently used last.
    this.#grammars.delete(key);
    this.#grammars.set(key, grammar);
    const [oldest] = this.#grammars.keys();
    if (this.#grammars.size > KEPT && oldest !== undefined) this.#grammars.delete(oldest);
    return grammar;
  }
}

/** SHA-256 of a mask's bits, for the root over the masks of an output. */
export function maskDigest(mask: TokenMask): Uint8Array {
  return (mask as Mask).digest;
}

function makeGrammar(format: CompletionRequest['format'], toolUse: ToolUse | undefined): Grammar {
  const content = format === undefined ? undefined : formatGrammar(format);
  if (toolUse === undefined) return content as Grammar;
  const { tools, choice, parallel } = toolUse;
  const named = choice.type === 'function' ? tools.filter(({ name }) => name === choice.name) : tools;
  const shapes = named.map(({ name, parameters }) => {
    const at = { field: 'tools', index: tools.findIndex((tool) => tool.name === name) };
    const schema = readSchema(parameters, at);
    // Alone, so that a fault is told of the tool whose it is.
    attempt(at, () => schemaGrammar(schema));
    return { name, parameters: schema };
  });
  const isFree = choice.type === 'auto';
  return attempt({ field: 'tools' }, () =>
    toolCallGrammar(shapes, {
      mode: isFree ? 'auto' : 'required',
      // One function by its name is one call.
      parallel: parallel && choice.type !== 'function',
      ...(content !== undefined && isFree ? { content } : {}),
    }),
  );
}

function formatGrammar(format: NonNullable<CompletionRequest['format']>): Grammar {
  if (format.type === 'json_object') return jsonObjectGrammar();
  const at = { field: 'schema' };
  const schema = readSchema(format.schema, at);
  return attempt(at, () => schemaGrammar(schema));
}

type Place = { readonly field: string; readonly index?: number };

function readSchema(text: string, at: Place): Json {
  return attempt(at, () => parseJsonText(text, { maxDepth: REQUEST_LIMITS.schemaDepth }));
}

function attempt<T>(at: Place, make: () => T): T {
  try {
    return make();
  } catch (cause) {
    if (!(cause instanceof SchemaError || cause instanceof EncodingError)) throw cause;
    throw new InferenceError('SCHEMA_REFUSED', cause.message, { at: { ...cause.at, ...at }, cause });
  }
}
