/**
 * The API as an OpenAPI 3.1 document, made from the schemas that read the requests: what the document says is taken is taken.
 *
 * @module
 */

import type { JsonObject } from '../../attest/encoding/canonical-json.ts';
import { type AboutApi, makeDocument } from './make-document.ts';
import { OPERATIONS } from './operations.ts';

/** What a status says on every route that has it. */
const REFUSALS: AboutApi['refusals'] = {
  400: 'The request is malformed, or asks for what this server does not do; `param` names where.',
  401: 'Access keys are in force, and the request has none of them.',
  403: 'The Host header does not name this computer.',
  404: 'There is no such thing here.',
  408: 'The request did not arrive in time.',
  409: 'The request insists on another identity or chain than the server has.',
  413: 'The body is larger than this server takes.',
  415: 'The body is no JSON.',
  429: 'Too many requests wait already, or the key is at its limits; `Retry-After` says when to come again.',
  500: 'A fault of the server.',
  503: 'The engine is not up, or ended; the same request may be sent again.',
  504: 'There was no answer in time.',
};

/** What the document says of the API as a whole. */
export const ABOUT: AboutApi = {
  title: 'Tracebond inference API',
  version: '1.0.0',
  description:
    "OpenAI's API for models whose answers anyone can check: every answer has a signed receipt under `tracebond`. " +
    'What this server does not do is refused by the name of the parameter, never ignored.',
  tags: ['Answers', 'Responses', 'Models', 'Receipts', 'Server'],
  refusals: REFUSALS,
};

let made: JsonObject | undefined;

/** The document, made once; the caller leaves it as it is. */
export function openApiDocument(): JsonObject {
  made ??= makeDocument(OPERATIONS, ABOUT);
  return made;
}
