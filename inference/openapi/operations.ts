/**
 * All operations of the API, each with the schemas that its route reads and writes by.
 *
 * @module
 */

import { z } from 'zod';
import { chatRequestSchema } from '../api/chat-request.ts';
import { chatResponseSchema } from '../api/chat-response.ts';
import { chatChunkSchema } from '../api/chat-stream.ts';
import { embeddingRequestSchema, embeddingResponseSchema } from '../api/embeddings.ts';
import { receiptDocumentSchema } from '../api/receipt-body.ts';
import { deletedResponseSchema, responseSchema } from '../api/responses-body.ts';
import { responsesEventSchema } from '../api/responses-events.ts';
import { itemListSchema, itemsQuerySchema } from '../api/responses-listing.ts';
import { responsesRequestSchema } from '../api/responses-request.ts';
import { textRequestSchema } from '../api/text-request.ts';
import { textChunkSchema, textResponseSchema } from '../api/text-response.ts';
import { SHIPPED_MODEL } from '../model-path.ts';
import { healthSchema, modelBodySchema, modelListBodySchema, readinessSchema } from './common-schemas.ts';
import type { Operation } from './operation.ts';

/** Refusals of every route that computes: an unknown model, and another identity than the client insists on. */
const ANSWERS = [404, 409];

const STREAM =
  'With `stream` the answer comes as server-sent events, then `data: [DONE]`; the last chunk carries the receipt. A fault after ' +
  'the first chunk is an event with `error`.';

const MODEL = SHIPPED_MODEL.id;

/** Of an answer, or of vectors. */
const receiptSchema = z.union([receiptDocumentSchema, embeddingResponseSchema.shape.tracebond]);

/** In the order of the document. */
export const OPERATIONS: readonly Operation[] = [
  {
    method: 'post',
    path: '/v1/chat/completions',
    id: 'createChatCompletion',
    tag: 'Answers',
    summary: 'An answer to a conversation',
    description: STREAM,
    request: {
      name: 'ChatCompletionRequest',
      schema: chatRequestSchema,
      example: { model: MODEL, messages: [{ role: 'user', content: 'What is a merkle tree?' }], max_tokens: 64 },
    },
    response: {
      description: 'The answer with its receipt; with `stream`, one event for each chunk.',
      json: { name: 'ChatCompletion', schema: chatResponseSchema },
      events: { name: 'ChatCompletionChunk', schema: chatChunkSchema },
    },
    refusals: ANSWERS,
  },
  {
    method: 'post',
    path: '/v1/completions',
    id: 'createCompletion',
    tag: 'Answers',
    summary: 'A text, continued as it stands',
    description: STREAM,
    request: {
      name: 'CompletionRequest',
      schema: textRequestSchema,
      example: { model: MODEL, prompt: 'Once upon a time', max_tokens: 32 },
    },
    response: {
      description: 'The text with its receipt; with `stream`, one event for each chunk.',
      json: { name: 'Completion', schema: textResponseSchema },
      events: { name: 'CompletionChunk', schema: textChunkSchema },
    },
    refusals: ANSWERS,
  },
  {
    method: 'post',
    path: '/v1/embeddings',
    id: 'createEmbeddings',
    tag: 'Answers',
    summary: 'Vectors of texts',
    request: {
      name: 'EmbeddingRequest',
      schema: embeddingRequestSchema,
      example: { model: MODEL, input: ['a tree', 'a forest'] },
    },
    response: {
      description: 'One vector of unit length for each text, with their receipt.',
      json: { name: 'EmbeddingResponse', schema: embeddingResponseSchema },
    },
    refusals: [404],
  },
  {
    method: 'post',
    path: '/v1/responses',
    id: 'createResponse',
    tag: 'Responses',
    summary: 'An answer to a conversation, kept for later requests',
    description: 'With `stream` the events have names; the last carries the whole response with its receipt.',
    request: {
      name: 'CreateResponse',
      schema: responsesRequestSchema,
      example: { model: MODEL, input: 'What is a merkle tree?', max_output_tokens: 64 },
    },
    response: {
      description: 'The response with its receipt; with `stream`, its events.',
      json: { name: 'Response', schema: responseSchema },
      events: { name: 'ResponsesEvent', schema: responsesEventSchema },
    },
    refusals: ANSWERS,
  },
  {
    method: 'get',
    path: '/v1/responses/{response_id}',
    id: 'retrieveResponse',
    tag: 'Responses',
    summary: 'A response that is kept',
    parameters: { response_id: 'Its id.' },
    response: { description: 'The response.', json: { name: 'Response', schema: responseSchema } },
    refusals: [400, 404],
  },
  {
    method: 'delete',
    path: '/v1/responses/{response_id}',
    id: 'deleteResponse',
    tag: 'Responses',
    summary: 'Forgets a response',
    parameters: { response_id: 'Its id.' },
    response: { description: 'It is forgotten.', json: { name: 'DeletedResponse', schema: deletedResponseSchema } },
    refusals: [404],
  },
  {
    method: 'get',
    path: '/v1/responses/{response_id}/input_items',
    id: 'listInputItems',
    tag: 'Responses',
    summary: 'What a kept response was asked',
    parameters: { response_id: 'Its id.' },
    query: itemsQuerySchema,
    response: { description: 'A page of items.', json: { name: 'ResponsesItemList', schema: itemListSchema } },
    refusals: [400, 404],
  },
  {
    method: 'get',
    path: '/v1/models',
    id: 'listModels',
    tag: 'Models',
    summary: 'What this server offers',
    response: {
      description: 'The models, the first of which is open from the start.',
      json: { name: 'ModelList', schema: modelListBodySchema },
    },
  },
  {
    method: 'get',
    path: '/v1/models/{model}',
    id: 'retrieveModel',
    tag: 'Models',
    summary: 'One model',
    parameters: { model: 'Its id, slashes in it as they are, or the digest of its weights.' },
    response: { description: 'The model.', json: { name: 'Model', schema: modelBodySchema } },
    refusals: [404],
  },
  {
    method: 'get',
    path: '/v1/receipts/{id}',
    id: 'retrieveReceipt',
    tag: 'Receipts',
    summary: 'A receipt, with everything that it is about',
    description: 'Given to the key that it was made for. `tracebond verify-receipt` checks it.',
    parameters: { id: 'Id of the receipt, as `tracebond.id` of an answer has it.' },
    response: { description: 'The receipt.', json: { name: 'ReceiptDocument', schema: receiptSchema } },
    refusals: [404],
  },
  {
    method: 'get',
    path: '/healthz',
    id: 'health',
    tag: 'Server',
    summary: 'Whether the server answers',
    response: { description: 'It does.', json: { name: 'Health', schema: healthSchema } },
    isPublic: true,
  },
  {
    method: 'get',
    path: '/readyz',
    id: 'readiness',
    tag: 'Server',
    summary: 'Whether an engine is up',
    response: { description: 'One is.', json: { name: 'Readiness', schema: readinessSchema } },
    refusals: [503],
    isPublic: true,
  },
  {
    method: 'get',
    path: '/metrics',
    id: 'metrics',
    tag: 'Server',
    summary: 'What the server counts, for Prometheus',
    response: { description: 'Text of the exposition format.', text: 'text/plain' },
  },
  {
    method: 'get',
    path: '/openapi.json',
    id: 'document',
    tag: 'Server',
    summary: 'This document',
    response: {
      description: 'OpenAPI 3.1.',
      json: { name: 'Document', schema: z.looseObject({ openapi: z.string() }) },
    },
    isPublic: true,
  },
];
