/**
 * OpenAPI 3.1 documents, made from the schemas that read the requests: what a document says is taken is taken.
 *
 * @module
 */

import { z } from 'zod';
import type { Json, JsonObject } from '../../attest/encoding/canonical-json.ts';
import { errorSchema } from './common-schemas.ts';
import type { Body, NamedSchema, Operation } from './operation.ts';

const ERROR: NamedSchema = { name: 'Error', schema: errorSchema };

/** What is said of a whole API. */
export type AboutApi = {
  readonly title: string;
  /** Of the API, not of the package. */
  readonly version: string;
  readonly description: string;
  /** In their order. */
  readonly tags: readonly string[];
  /** What a status says on every route that has it. */
  readonly refusals: { readonly [status: number]: string };
};

/** Refusals of every route; then those of routes that read a body. */
const ALWAYS = [401, 403, 500];
const WITH_BODY = [400, 408, 413, 415, 429, 503, 504];

/** A document of operations. */
export function makeDocument(operations: readonly Operation[], about: AboutApi): JsonObject {
  const schemas = new Map<string, Json>();
  const paths = new Map<string, Map<string, Json>>();
  for (const operation of operations) {
    const methods = paths.get(operation.path) ?? new Map<string, Json>();
    if (methods.has(operation.method)) throw new TypeError(`${operation.method} ${operation.path} is there twice`);
    methods.set(operation.method, describeOperation(operation, schemas, about));
    paths.set(operation.path, methods);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: about.title,
      version: about.version,
      description: about.description,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{ accessKey: [] }],
    tags: about.tags.map((name) => ({ name })),
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

function describeOperation(operation: Operation, schemas: Map<string, Json>, about: AboutApi): JsonObject {
  const {
    id,
    tag,
    summary,
    description,
    parameters = {},
    query,
    headers,
    request,
    response,
    isPublic = false,
  } = operation;
  const inPath = Object.entries(parameters).map(([name, about]) => ({
    name,
    in: 'path',
    required: true,
    description: about,
    schema: { type: 'string' },
  }));
  const given = [...describeFields(query, 'query'), ...describeFields(headers, 'header')];
  const refusals = [...ALWAYS, ...(request === undefined ? [] : WITH_BODY), ...(operation.refusals ?? [])]
    .filter((status) => !isPublic || status !== 401)
    .sort((a, b) => a - b);
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    ...(isPublic ? { security: [] } : {}),
    ...(inPath.length + given.length === 0 ? {} : { parameters: [...inPath, ...given] }),
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
      [
        String(operation.status ?? 200),
        { description: response.description, content: describeContent(response, schemas) },
      ],
      ...[...new Set(refusals)].map((status) => [
        String(status),
        {
          description: about.refusals[status] ?? 'Refused.',
          ...(status === 429
            ? { headers: { 'Retry-After': { schema: { type: 'integer' }, description: 'Seconds.' } } }
            : {}),
          content: { 'application/json': { schema: refer(ERROR, 'output', schemas) } },
        },
      ]),
    ]),
  };
}

/** Parameters after the question mark, or headers, from the schema of their object. */
function describeFields(fields: z.ZodType | undefined, place: 'query' | 'header'): readonly JsonObject[] {
  if (fields === undefined) return [];
  const { properties = {}, required = [] } = convert(fields, 'input');
  return Object.entries(properties as JsonObject).map(([name, schema]) => {
    const { description, ...rest } = schema as JsonObject;
    return {
      name,
      in: place,
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
