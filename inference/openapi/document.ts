/**
 * The API as an OpenAPI 3.1 document, made from the schemas that read the requests: what the document says is taken is taken.
 *
 * @module
 */

import { z } from 'zod';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { errorSchema } from './common-schemas.ts';
import type { Body, NamedSchema, Operation } from './operation.ts';
import { OPERATIONS } from './operations.ts';

type JsonObject = { readonly [key: string]: Json };

const ERROR: NamedSchema = { name: 'Error', schema: errorSchema };

/** What a status says on every route that has it. */
const REFUSALS: { readonly [status: number]: string } = {
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

/** Refusals of every route; then those of routes that read a body. */
const ALWAYS = [401, 403, 500];
const WITH_BODY = [400, 408, 413, 415, 429, 503, 504];

/** Of the API, not of the package. */
const API_VERSION = '1.0.0';

let made: JsonObject | undefined;

/** The document, made once; the caller leaves it as it is. */
export function openApiDocument(): JsonObject {
  made ??= makeDocument(OPERATIONS);
  return made;
}

/** A document of operations. */
export function makeDocument(operations: readonly Operation[]): JsonObject {
  const schemas = new Map<string, Json>();
  const paths = new Map<string, Map<string, Json>>();
  for (const operation of operations) {
    const methods = paths.get(operation.path) ?? new Map<string, Json>();
    if (methods.has(operation.method)) throw new TypeError(`${operation.method} ${operation.path} is there twice`);
    methods.set(operation.method, describeOperation(operation, schemas));
    paths.set(operation.path, methods);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Tracebond inference API',
      version: API_VERSION,
      description:
        "OpenAI's API for models whose answers anyone can check: every answer has a signed receipt under `tracebond`. " +
        'What this server does not do is refused by the name of the parameter, never ignored.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{ accessKey: [] }],
    tags: ['Answers', 'Responses', 'Models', 'Receipts', 'Server'].map((name) => ({ name })),
    paths: Object.fromEntries([...paths].map(([path, methods]) => [path, Object.fromEntries(methods)])),
    components: {
      schemas: Object.fromEntries(schemas),
      securitySchemes: {
        accessKey: {
          type: 'http',
          scheme: 'bearer',
          description:
            'A key of this server, `tb-…`. On a loopback address without keys any is taken and none is needed.',
        },
      },
    },
  };
}

function describeOperation(operation: Operation, schemas: Map<string, Json>): JsonObject {
  const { id, tag, summary, description, parameters = {}, query, request, response, isPublic = false } = operation;
  const inPath = Object.entries(parameters).map(([name, about]) => ({
    name,
    in: 'path',
    required: true,
    description: about,
    schema: { type: 'string' },
  }));
  const inQuery = query === undefined ? [] : describeQuery(query);
  const refusals = [...ALWAYS, ...(request === undefined ? [] : WITH_BODY), ...(operation.refusals ?? [])]
    .filter((status) => !isPublic || status !== 401)
    .sort((a, b) => a - b);
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    ...(isPublic ? { security: [] } : {}),
    ...(inPath.length + inQuery.length === 0 ? {} : { parameters: [...inPath, ...inQuery] }),
    ...(request === undefined
      ? {}
      : {
          requestBody: {
            required: true,
            content: {
              'application/json': {
                schema: refer(request, 'input', schemas),
                ...(request.example === undefined ? {} : { example: request.example as Json }),
              },
            },
          },
        }),
    responses: Object.fromEntries([
      ['200', { description: response.description, content: describeContent(response, schemas) }],
      ...[...new Set(refusals)].map((status) => [
        String(status),
        {
          description: REFUSALS[status] ?? 'Refused.',
          ...(status === 429
            ? { headers: { 'Retry-After': { schema: { type: 'integer' }, description: 'Seconds.' } } }
            : {}),
          content: { 'application/json': { schema: refer(ERROR, 'output', schemas) } },
        },
      ]),
    ]),
  };
}

/** Parameters after the question mark, from the schema of their object. */
function describeQuery(query: z.ZodType): readonly JsonObject[] {
  const { properties = {}, required = [] } = convert(query, 'input');
  return Object.entries(properties as JsonObject).map(([name, schema]) => {
    const { description, ...rest } = schema as JsonObject;
    return {
      name,
      in: 'query',
      required: (required as readonly Json[]).includes(name),
      ...(description === undefined ? {} : { description }),
      schema: rest,
    };
  });
}

function describeContent({ json, events, text }: Body, schemas: Map<string, Json>): JsonObject {
  return {
    ...(json === undefined ? {} : { 'application/json': { schema: refer(json, 'output', schemas) } }),
    // Each event's data is JSON of this schema.
    ...(events === undefined ? {} : { 'text/event-stream': { schema: refer(events, 'output', schemas) } }),
    ...(text === undefined ? {} : { [text]: { schema: { type: 'string' } } }),
  };
}

/** Puts a schema and those that it is made of among the components, and points there. */
function refer({ name, schema }: NamedSchema, io: 'input' | 'output', schemas: Map<string, Json>): JsonObject {
  const { $defs = {}, ...root } = convert(schema, io);
  // Parts without a name of their own are named after the whole.
  const nameOf = (part: string) => (part.startsWith('__') ? `${name}${part.replace(/^_+/, '_')}` : part);
  const rename = (text: string) =>
    text === '#' ? point(name) : text.replace(/^#\/\$defs\/([^/]+)/, (_, part: string) => point(nameOf(part)));
  const add = (own: string, converted: Json) => {
    const text = JSON.stringify(converted, (key, value: unknown) =>
      key === '$ref' && typeof value === 'string' ? rename(value) : value,
    );
    const known = schemas.get(own);
    if (known !== undefined && JSON.stringify(known) !== text) throw new TypeError(`two schemas are called ${own}`);
    schemas.set(own, JSON.parse(text) as Json);
  };
  for (const [part, converted] of Object.entries($defs as JsonObject)) add(nameOf(part), converted);
  // One that has a name of its own is a part already.
  const { $ref, ...rest } = root;
  if (typeof $ref === 'string' && Object.keys(rest).length === 0) return { $ref: rename($ref) };
  add(name, root);
  return { $ref: point(name) };
}

function point(name: string): string {
  return `#/components/schemas/${name}`;
}

/** A schema as JSON Schema 2020-12, which is that of OpenAPI 3.1; a request's is that of what is sent, before it is read. */
function convert(schema: z.ZodType, io: 'input' | 'output'): JsonObject {
  const {
    $schema: _,
    id: _id,
    ...converted
  } = z.toJSONSchema(schema, {
    target: 'draft-2020-12',
    io,
    // Integers beyond 2^53 are read as bigint.
    unrepresentable: 'any',
    override: ({ zodSchema, jsonSchema }) => {
      if (zodSchema._zod.def.type === 'bigint') jsonSchema.type = 'integer';
      // Names are those of the components.
      delete jsonSchema.id;
    },
  });
  return converted as unknown as JsonObject;
}
