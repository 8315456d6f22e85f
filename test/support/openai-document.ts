/**
 * OpenAI's own OpenAPI document as a judge: whether a response, a chunk of a stream or an error is what its clients were
 * told to expect.
 *
 * The document is OpenAPI 3.1, yet writes some things as older versions do. Before it is compiled (JSON Schema 2020-12),
 * `nullable` becomes a union with null, a union with a discriminator looks at that property first, so that an error names
 * what is wrong and not every member of the union, other `oneOf` become `anyOf` (members overlap where they leave
 * properties open), and `$recursiveRef` points at the schema that it stands in.
 *
 * Two amendments, where the document contradicts what it says in words and what OpenAI sends: a chunk of `/completions`
 * has the `finish_reason` null until the last, and the `usage` null where another chunk brings it; an embedding may be
 * base64, which the document does not describe.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormatsModule from 'ajv-formats';

/** The streams that the document describes; each has its own chunks. */
export type ChunkKind = 'chat' | 'completions' | 'responses';

/** Validators over the document. Each throws a {@link DocumentMismatch}, else the value is as described. */
export type OpenAIDocument = {
  /**
   * A whole body.
   *
   * @param path - as in the document, with or without `/v1`; `/models/NAME` is found as `/models/{model}`
   * @param method - in either case
   * @param status - what is 400 and above is an error whatever the path
   */
  validateResponse(path: string, method: string, status: number, body: unknown): void;
  /** The parsed data of one event; a chunk that reports an error is validated as such. */
  validateChunk(kind: ChunkKind, chunk: unknown): void;
  validateError(body: unknown): void;
  /** Any of the document's schemas, by its name under `components`. */
  validateAs(schema: string, value: unknown): void;
  /** Examples of responses that the document gives for an operation, parsed; those that are not JSON are left out. */
  responseExamples(path: string, method: string): { readonly title: string; readonly body: unknown }[];
  /** The example that a schema brings, parsed; undefined where it has none or none that is JSON. */
  schemaExample(schema: string): unknown;
  /** Names of all schemas of events of `/responses`, by their type. */
  readonly eventSchemas: ReadonlyMap<string, string>;
};

/** A value that the document does not allow. */
export class DocumentMismatch extends Error {
  override readonly name = 'DocumentMismatch';
}

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
type JsonObject = { readonly [key: string]: Json };

const DOCUMENT_ID = 'https://tracebond.invalid/openai-openapi';
const SCHEMAS = '#/components/schemas/';
const METHODS = ['get', 'post', 'put', 'delete', 'patch'];
const SHOWN_VALUE = 400;
const MAX_ERRORS = 6;

/** Paths of the document are written without it. */
const PREFIX = /^\/v1(?=\/)/;

const addFormats = addFormatsModule.default;

/**
 * Reads and prepares the document; schemas are compiled when they are first used.
 *
 * @param path - of `openapi.json`
 */
export function openOpenAIDocument(path: string): OpenAIDocument {
  const document = readDocument(path);
  const schemas = objectAt(objectAt(document, 'components'), 'schemas');
  const ajv = new Ajv2020({ strict: false, allErrors: true, validateSchema: false, logger: false });
  addFormats(ajv);
  ajv.addFormat('unixtime', { type: 'number', validate: (value: number) => Number.isFinite(value) && value >= 0 });
  ajv.addSchema({ $id: DOCUMENT_ID, components: { schemas: prepareAll(schemas) } });

  const compiled = new Map<string, ValidateFunction>();
  const compile = (name: string): ValidateFunction => {
    const known = compiled.get(name);
    if (known !== undefined) return known;
    if (!Object.hasOwn(schemas, name)) throw new TypeError(`the document has no schema ${name}`);
    const made = ajv.compile({ $ref: `${DOCUMENT_ID}${SCHEMAS}${name}` });
    compiled.set(name, made);
    return made;
  };
  const validateAs = (name: string, value: unknown): void => {
    const validate = compile(name);
    if (!validate(value)) throw new DocumentMismatch(describeFaults(name, validate, value));
  };
  const eventSchemas = eventsByType(schemas);

  return {
    validateAs,
    eventSchemas,
    validateError: (body) => validateAs('ErrorResponse', body),
    validateResponse(path, method, status, body) {
      if (status >= 400) return validateAs('ErrorResponse', body);
      const name = responseSchema(document, path, method, status);
      if (name === 'CreateEmbeddingResponse') return validateAs(name, withFloats(body));
      validateAs(name, body);
    },
    validateChunk(kind, chunk) {
      if (kind === 'responses') {
        const type = propertyOf(chunk, 'type');
        const name = typeof type === 'string' ? eventSchemas.get(type) : undefined;
        if (name === undefined) throw new DocumentMismatch(`no event of /responses has the type ${show(type)}`);
        return validateAs(name, chunk);
      }
      if (propertyOf(chunk, 'error') !== undefined) return validateAs('ErrorResponse', chunk);
      if (kind === 'chat') return validateAs('CreateChatCompletionStreamResponse', chunk);
      validateAs('CreateCompletionResponse', asLastChunk(chunk));
    },
    responseExamples: (path, method) => readExamples(operationOf(document, path, method)),
    schemaExample(name) {
      const { example, ['x-oaiMeta']: meta } = objectAt(schemas, name);
      const text = example ?? propertyOf(meta, 'example');
      return typeof text === 'string' ? parseJson(text) : text;
    },
  };
}

function readDocument(path: string): JsonObject {
  const parsed = JSON.parse(readFileSync(path, 'utf8')) as Json;
  if (!isObject(parsed)) throw new TypeError('the document is no object');
  return parsed;
}

function operationOf(document: JsonObject, path: string, method: string): JsonObject {
  const bare = path.replace(PREFIX, '').replace(/\?.*$/, '');
  const paths = objectAt(document, 'paths');
  const verb = method.toLowerCase();
  if (!METHODS.includes(verb)) throw new TypeError(`no operations of ${method}`);
  const segments = bare.split('/');
  const found = Object.keys(paths).find((template) => {
    const parts = template.split('/');
    return parts.length === segments.length && parts.every((part, at) => part === segments[at] || isParameter(part));
  });
  if (found === undefined) throw new DocumentMismatch(`the document has no path ${bare}`);
  const operation = objectAt(paths, found)[verb];
  if (!isObject(operation)) throw new DocumentMismatch(`the document has no ${method} ${bare}`);
  return operation;
}

function isParameter(part: string): boolean {
  return part.startsWith('{') && part.endsWith('}');
}

function responseSchema(document: JsonObject, path: string, method: string, status: number): string {
  const response = objectAt(operationOf(document, path, method), 'responses')[String(status)];
  const ref = propertyOf(propertyOf(propertyOf(propertyOf(response, 'content'), 'application/json'), 'schema'), '$ref');
  if (typeof ref !== 'string') throw new DocumentMismatch(`${method} ${path} has no response ${status}`);
  return ref.slice(SCHEMAS.length);
}

/** Base64 embeddings become the numbers they stand for. */
function withFloats(body: unknown): unknown {
  const data = propertyOf(body, 'data');
  if (!Array.isArray(data)) return body;
  const floats = data.map((entry: unknown) => {
    const embedding = propertyOf(entry, 'embedding');
    return typeof embedding === 'string' ? { ...(entry as object), embedding: decodeFloats(embedding) } : entry;
  });
  return { ...(body as object), data: floats };
}

/**
 * Little-endian binary32 numbers of a base64 text.
 *
 * @throws {@link DocumentMismatch} if it is not strict base64 of whole numbers, at least one
 */
export function decodeFloats(base64: string): number[] {
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.toString('base64') !== base64) throw new DocumentMismatch('an embedding is not base64');
  if (bytes.length === 0 || bytes.length % 4 !== 0) throw new DocumentMismatch('an embedding is no list of binary32');
  return Array.from({ length: bytes.length / 4 }, (_, at) => bytes.readFloatLE(4 * at));
}

/** The first amendment: `finish_reason: null` and `usage: null`, as all chunks but the last have them. */
function asLastChunk(chunk: unknown): unknown {
  const choices = propertyOf(chunk, 'choices');
  if (!Array.isArray(choices)) return chunk;
  const { usage, ...rest } = chunk as { usage?: unknown };
  const ended = choices.map((choice: unknown) =>
    propertyOf(choice, 'finish_reason') === null ? { ...(choice as object), finish_reason: 'stop' } : choice,
  );
  return { ...rest, ...(usage === null || usage === undefined ? {} : { usage }), choices: ended };
}

function readExamples(operation: JsonObject): { title: string; body: unknown }[] {
  const examples = propertyOf(operation['x-oaiMeta'], 'examples');
  const list: readonly unknown[] = Array.isArray(examples) ? examples : [examples];
  return list.flatMap((example) => {
    const response = propertyOf(example, 'response');
    const body = typeof response === 'string' ? parseJson(response) : undefined;
    return body === undefined ? [] : [{ title: String(propertyOf(example, 'title') ?? 'only one'), body }];
  });
}

/** Undefined where examples are abridged, or streams. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function eventsByType(schemas: JsonObject): Map<string, string> {
  const byType = new Map<string, string>();
  for (const member of arrayOf(objectAt(schemas, 'ResponseStreamEvent')['anyOf'])) {
    const name = String(propertyOf(member, '$ref')).slice(SCHEMAS.length);
    for (const type of valuesOf(schemas, member, 'type') ?? []) byType.set(type, name);
  }
  return byType;
}

function prepareAll(schemas: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(schemas).map(([name, schema]) => [name, prepare(schema, { schemas, within: name })]),
  );
}

type Place = { readonly schemas: JsonObject; readonly within: string };

function prepare(schema: Json, place: Place): Json {
  if (Array.isArray(schema)) return schema.map((member: Json) => prepare(member, place));
  if (!isObject(schema)) return schema;
  const { discriminator, nullable, $recursiveAnchor, $recursiveRef, ...kept } = schema;
  if ($recursiveRef !== undefined) return { $ref: `${DOCUMENT_ID}${SCHEMAS}${place.within}` };
  const made: Record<string, Json> = {};
  for (const [key, value] of Object.entries(kept)) {
    // Annotations may hold anything, also what looks like a keyword.
    if (key === 'example' || key === 'default' || key === 'enum' || key.startsWith('x-')) {
      if (key === 'enum') made[key] = value;
    } else if (key === 'properties' && isObject(value)) {
      made[key] = Object.fromEntries(Object.entries(value).map(([name, sub]) => [name, prepare(sub, place)]));
    } else made[key] = prepare(value, place);
  }
  const { oneOf, ...others } = made;
  const union = oneOf === undefined ? made : { ...others, anyOf: oneOf };
  const property = propertyOf(discriminator, 'propertyName');
  const chosen = typeof property === 'string' ? chooseBy(property, union, place) : union;
  return nullable === true ? { anyOf: [chosen, { type: 'null' }] } : chosen;
}

/** A union in which one property says which member is meant; as it was, if some member leaves that property open. */
function chooseBy(property: string, union: JsonObject, { schemas }: Place): JsonObject {
  const { anyOf, ...others } = union;
  const byValue = new Map<string, Json[]>();
  for (const member of arrayOf(anyOf)) {
    const values = valuesOf(schemas, member, property);
    if (values === undefined) return union;
    for (const value of values) byValue.set(value, [...(byValue.get(value) ?? []), member]);
  }
  // A discriminator without a union: some base of others.
  if (byValue.size === 0) return union;
  const cases = [...byValue].map(([value, members]): Json => {
    return { if: { not: { properties: { [property]: { const: value } } } }, else: { anyOf: members } };
  });
  const head = { type: 'object', required: [property], properties: { [property]: { enum: [...byValue.keys()] } } };
  return { ...others, allOf: [...arrayOf(others['allOf']), head, ...cases] };
}

/** The values that a schema allows a property, if they are a list of strings. */
function valuesOf(schemas: JsonObject, schema: Json | undefined, property: string): string[] | undefined {
  if (!isObject(schema)) return undefined;
  const ref = schema['$ref'];
  if (typeof ref === 'string') return valuesOf(schemas, schemas[ref.slice(SCHEMAS.length)], property);
  const values = propertyOf(propertyOf(schema['properties'], property), 'enum');
  if (Array.isArray(values) && values.every((value) => typeof value === 'string')) return values;
  const members = arrayOf(schema['allOf']).map((member) => valuesOf(schemas, member, property));
  return members.find((found) => found !== undefined);
}

function describeFaults(name: string, validate: ValidateFunction, value: unknown): string {
  const faults = (validate.errors ?? [])
    // These only say that a case of a union was looked at.
    .filter(({ keyword }) => keyword !== 'if' && keyword !== '$ref')
    .map(({ instancePath, message, params }) => `${instancePath || '/'} ${message} ${JSON.stringify(params)}`);
  const shown = faults.slice(0, MAX_ERRORS).join('; ');
  return `not a ${name}: ${shown}${faults.length > MAX_ERRORS ? '; ...' : ''}; it is ${show(value)}`;
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > SHOWN_VALUE ? `${text.slice(0, SHOWN_VALUE)}...` : text;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function objectAt(value: JsonObject, key: string): JsonObject {
  const found = value[key];
  if (!isObject(found)) throw new TypeError(`the document has no ${key}`);
  return found;
}

function propertyOf(value: unknown, key: string): unknown {
  return isObject(value) ? value[key] : undefined;
}

function arrayOf(value: Json | undefined): readonly Json[] {
  return Array.isArray(value) ? value : [];
}
