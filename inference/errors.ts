/**
 * Faults of model files and of single requests. A caller decides by class: a {@link ModelError} means that this file
 * cannot be served at all, an {@link InferenceError} that this one request was refused or ended early.
 *
 * @module
 */

import { RuntimeError } from '../attest/core/error.ts';

/** Faults of the GGUF or safetensors container itself, found before any tensor is read. */
export type GgufErrorCode =
  | 'NOT_GGUF'
  | 'NOT_SAFETENSORS'
  | 'UNSUPPORTED_VERSION'
  | 'TRUNCATED'
  | 'TOO_LARGE'
  | 'TOO_DEEP'
  | 'MALFORMED_STRING'
  | 'MALFORMED_VALUE'
  | 'MALFORMED_ALIGNMENT'
  | 'MALFORMED_SHAPE'
  | 'MALFORMED_OFFSET'
  | 'DUPLICATE_KEY'
  | 'DUPLICATE_TENSOR'
  | 'OVERLAPPING_TENSORS'
  | 'UNSUPPORTED_TENSOR_TYPE';

/** Faults of a model whose container is sound, and of the files made from it. */
export type ModelErrorCode =
  | GgufErrorCode
  | 'FILE_UNREADABLE'
  | 'MISSING_METADATA'
  | 'MALFORMED_METADATA'
  | 'UNSUPPORTED_ARCHITECTURE'
  | 'UNSUPPORTED_FEATURE'
  | 'MISSING_TENSOR'
  | 'UNEXPECTED_TENSOR'
  | 'TENSOR_SHAPE_MISMATCH'
  | 'UNSUPPORTED_TOKENIZER'
  | 'MALFORMED_TOKENIZER'
  | 'MALFORMED_TEMPLATE'
  | 'CACHE_UNWRITABLE'
  | 'CACHE_DAMAGED'
  | 'WEIGHT_NOT_FINITE'
  | 'RANGE_EXCEEDED'
  | 'GRAPH_NOT_EXACT'
  | 'GRAPH_REFUSED'
  | 'SELF_TEST_FAILED'
  // An engine that was asked for by name cannot be loaded on this computer.
  | 'ENGINE_ABSENT';

/** A model that cannot be served: broken file, missing metadata, unsupported architecture or tokenizer. */
export class ModelError extends RuntimeError<ModelErrorCode> {
  override readonly name = 'ModelError';
}

export type InferenceErrorCode =
  | 'REQUEST_MALFORMED'
  | 'PROMPT_EMPTY'
  | 'PROMPT_TOO_LONG'
  | 'CONTEXT_EXCEEDED'
  | 'CHOICE_EMPTY'
  | 'CHOICE_DUPLICATE'
  | 'CHOICE_TOO_LONG'
  | 'CHOICE_UNWRITABLE'
  | 'TOO_MANY_CHOICES'
  | 'STOP_EMPTY'
  /** A JSON Schema that answers cannot be held to; `at.field`, `at.index` of a tool, `at.path` and `at.keyword` in the schema. */
  | 'SCHEMA_REFUSED'
  /** No answer of the form fits the tokens that may be spent; `at.needed`. */
  | 'BUDGET_TOO_SMALL'
  | 'SAMPLING_REFUSED'
  | 'OUT_OF_MEMORY'
  | 'TEMPLATE_REFUSED'
  | 'CONTROL_TOKEN_IN_TEXT'
  | 'NUMERIC_FAULT'
  | 'GRAPH_FAILED'
  | 'CANCELLED'
  | 'ENGINE_CLOSED';

/** A request that was refused, cancelled or failed; the engine stays usable unless the code is `ENGINE_CLOSED`. */
export class InferenceError extends RuntimeError<InferenceErrorCode> {
  override readonly name = 'InferenceError';
}
