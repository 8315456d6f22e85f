/**
 * A JSON Schema (draft 2020-12, and of draft 7 what differs only in spelling) as a graph of nodes whose keywords are known
 * and well formed. A keyword that this engine does not enforce is refused here, wherever it stands; annotations are left
 * out.
 *
 * @module
 */

import { isJsonObject, type Json, type JsonObject } from '../../attest/encoding/canonical-json.ts';
import { isKnownFormat } from './formats.ts';
import { GRAMMAR_LIMITS } from './limits.ts';
import { schemaError } from './schema-error.ts';

export type TypeName = 'null' | 'boolean' | 'integer' | 'number' | 'string' | 'array' | 'object';

/** One schema. What is undefined was not said. */
export type SchemaNode = {
  /** Number of the schema in its graph. */
  readonly id: number;
  /** JSON pointer. */
  readonly path: string;
  /** True for `false`, which nothing satisfies. */
  readonly isFalse: boolean;
  readonly types: ReadonlySet<TypeName> | undefined;
  readonly values: readonly Json[] | undefined;
  readonly number: {
    readonly minimum?: number;
    readonly maximum?: number;
    readonly exclusiveMinimum?: number;
    readonly exclusiveMaximum?: number;
    readonly multipleOf?: number;
  };
  readonly string: {
    readonly minLength?: number;
    readonly maxLength?: number;
    readonly pattern?: string;
    readonly format?: string;
  };
  readonly array: {
    readonly prefixItems: readonly SchemaNode[];
    readonly items?: SchemaNode;
    readonly minItems?: number;
    readonly maxItems?: number;
  };
  readonly object: {
    readonly properties: ReadonlyMap<string, SchemaNode>;
    readonly patternProperties: readonly (readonly [string, SchemaNode])[];
    readonly additionalProperties?: SchemaNode;
    readonly propertyNames?: SchemaNode;
    readonly required: readonly string[];
    readonly minProperties?: number;
    readonly maxProperties?: number;
  };
  readonly allOf: readonly SchemaNode[];
  readonly anyOf: readonly SchemaNode[];
  readonly oneOf: readonly SchemaNode[];
  /** Target of `$ref`; set once the whole document is read. */
  reference: SchemaNode | undefined;
};

/** Nodes of one or several documents. */
export type SchemaGraph = { readonly nodes: SchemaNode[] };

type Reader = {
  readonly graph: SchemaGraph;
  readonly byPath: Map<string, SchemaNode>;
  readonly anchors: Map<string, SchemaNode>;
  readonly references: { readonly node: SchemaNode; readonly to: string }[];
  base: string;
};

const TYPES: ReadonlySet<string> = new Set(['null', 'boolean', 'integer', 'number', 'string', 'array', 'object']);

const ANNOTATIONS: ReadonlySet<string> = new Set([
  '$comment',
  'title',
  'description',
  'default',
  'example',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  'contentEncoding',
  'contentMediaType',
  'contentSchema',
]);

/** Dialects in which the keywords read here mean the same. */
const DIALECT = /^https?:\/\/json-schema\.org\/(?:draft\/(?:2020-12|2019-09)|draft-0[67])\/schema#?$/;

const NUMBERS = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'] as const;
const COUNTS = ['minLength', 'maxLength', 'minItems', 'maxItems', 'minProperties', 'maxProperties'] as const;

const KEYWORDS: ReadonlySet<string> = new Set([
  ...NUMBERS,
  ...COUNTS,
  ...[
    '$schema',
    '$ref',
    '$defs',
    'definitions',
    '$anchor',
    '$id',
    'type',
    'enum',
    'const',
    'pattern',
    'format',
    'items',
  ],
  ...['additionalItems', 'prefixItems', 'properties', 'patternProperties', 'additionalProperties', 'propertyNames'],
  ...['required', 'allOf', 'anyOf', 'oneOf', 'not', 'nullable'],
]);

/**
 * Reads a schema into a graph.
 *
 * @param schema - untrusted
 * @returns the root
 * @throws SchemaError `SCHEMA_UNSUPPORTED`, `SCHEMA_MALFORMED` or `SCHEMA_TOO_LARGE`
 */
export function readSchema(graph: SchemaGraph, schema: Json): SchemaNode {
  const reader: Reader = { graph, byPath: new Map(), anchors: new Map(), references: [], base: '' };
  const root = readNode(reader, schema, '', 0);
  for (const { node, to } of reader.references) node.reference = resolve(reader, node, to);
  return root;
}

function readNode(reader: Reader, schema: Json, path: string, depth: number): SchemaNode {
  const { graph } = reader;
  // attacker-controlled: the number of schemas, and their depth, which is the depth of this recursion
  if (depth > GRAMMAR_LIMITS.schemaDepth) throw schemaError('SCHEMA_TOO_LARGE', path, '', 'schema is nested too deep');
  if (graph.nodes.length >= GRAMMAR_LIMITS.nodes) throw schemaError('SCHEMA_TOO_LARGE', path, '', 'too many schemas');
  if (typeof schema !== 'boolean' && !isJsonObject(schema)) {
    throw schemaError('SCHEMA_MALFORMED', path, '', 'a schema is an object or a boolean');
  }
  const id = graph.nodes.length;
  // The place in the list is taken before its parts are read, so that numbers follow the order of the text.
  graph.nodes.push(undefined as unknown as SchemaNode);
  const node = nodeOf(reader, typeof schema === 'boolean' ? {} : schema, path, depth, id, schema === false);
  graph.nodes[id] = node;
  reader.byPath.set(path, node);
  return node;
}

function nodeOf(
  reader: Reader,
  schema: JsonObject,
  path: string,
  depth: number,
  id: number,
  isFalse: boolean,
): SchemaNode {
  const bad = (keyword: string, reason: string) => schemaError('SCHEMA_MALFORMED', path, keyword, reason);
  for (const keyword of Object.keys(schema)) {
    if (ANNOTATIONS.has(keyword)) continue;
    if (!KEYWORDS.has(keyword)) throw schemaError('SCHEMA_UNSUPPORTED', path, keyword, 'keyword is not supported');
  }
  const child = (value: Json, ...steps: readonly (string | number)[]) =>
    readNode(reader, value, `${path}/${steps.map(pointerStep).join('/')}`, depth + 1);
  const get = (keyword: string): Json | undefined => (Object.hasOwn(schema, keyword) ? schema[keyword] : undefined);
  const one = (keyword: string) => {
    const value = get(keyword);
    return value === undefined ? undefined : child(value, keyword);
  };
  const list = (keyword: string, isEmptyAllowed = false): readonly SchemaNode[] => {
    const value = get(keyword);
    if (value === undefined) return [];
    if (!Array.isArray(value) || (value.length === 0 && !isEmptyAllowed))
      throw bad(keyword, 'expected a list of schemas');
    return value.map((part: Json, index) => child(part, keyword, index));
  };
  const map = (keyword: string): ReadonlyMap<string, SchemaNode> => {
    const value = get(keyword);
    if (value === undefined) return new Map();
    if (!isJsonObject(value)) throw bad(keyword, 'expected an object of schemas');
    if (Object.keys(value).length > GRAMMAR_LIMITS.properties) {
      throw schemaError('SCHEMA_TOO_LARGE', path, keyword, `more than ${GRAMMAR_LIMITS.properties} properties`);
    }
    return new Map(Object.entries(value).map(([key, part]) => [key, child(part, keyword, key)]));
  };
  const text = (keyword: string): string | undefined => {
    const value = get(keyword);
    if (value !== undefined && typeof value !== 'string') throw bad(keyword, 'expected a string');
    return value;
  };
  const numbers: { -readonly [key in (typeof NUMBERS)[number]]?: number } = {};
  for (const keyword of NUMBERS) {
    const value = get(keyword);
    if (value === undefined) continue;
    if (typeof value !== 'number' || (keyword === 'multipleOf' && value <= 0)) throw bad(keyword, 'expected a number');
    numbers[keyword] = value;
  }
  const counts: { -readonly [key in (typeof COUNTS)[number]]?: number } = {};
  for (const keyword of COUNTS) {
    const value = get(keyword);
    if (value === undefined) continue;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) throw bad(keyword, 'expected a count');
    counts[keyword] = value;
  }
  const { minLength, maxLength, minItems, maxItems, minProperties, maxProperties } = counts;
  const defined = <T extends object>(value: T) =>
    Object.fromEntries(Object.entries(value).filter(([, part]) => part !== undefined)) as {
      [key in keyof T]: Exclude<T[key], undefined>;
    };

  const format = text('format');
  if (format !== undefined && !isKnownFormat(format)) {
    throw schemaError('SCHEMA_UNSUPPORTED', path, 'format', `format ${format.slice(0, 64)} is not supported`);
  }
  const dialect = text('$schema');
  if (dialect !== undefined && !DIALECT.test(dialect)) {
    throw schemaError('SCHEMA_UNSUPPORTED', path, '$schema', 'dialect is not supported');
  }
  for (const keyword of ['$defs', 'definitions']) map(keyword);
  if (get('not') !== undefined) readNot(get('not') as Json, path);
  const node: SchemaNode = {
    id,
    path,
    isFalse: isFalse || get('not') !== undefined,
    types: withNull(readTypes(get('type'), bad), get('nullable'), path),
    values: readValues(get('enum'), get('const'), path, bad),
    number: numbers,
    string: defined({ minLength, maxLength, pattern: text('pattern'), format }) as SchemaNode['string'],
    array: { ...readItems(get, list, one, path), ...(defined({ minItems, maxItems }) as object) },
    object: {
      properties: map('properties'),
      patternProperties: [...map('patternProperties')],
      required: readRequired(get('required'), bad),
      ...(defined({
        additionalProperties: one('additionalProperties'),
        propertyNames: one('propertyNames'),
        minProperties,
        maxProperties,
      }) as object),
    },
    allOf: list('allOf'),
    anyOf: list('anyOf'),
    oneOf: list('oneOf'),
    reference: undefined,
  };
  readIdentity(reader, node, { ref: text('$ref'), anchor: text('$anchor'), identity: text('$id') });
  return node;
}

/** `not` is read as zod writes it for `never` alone: nothing satisfies `{"not": {}}`. */
function readNot(value: Json, path: string): void {
  if (value === true || (isJsonObject(value) && Object.keys(value).length === 0)) return;
  throw schemaError('SCHEMA_UNSUPPORTED', path, 'not', 'keyword is not supported');
}

type Bad = (keyword: string, reason: string) => Error;

function readTypes(value: Json | undefined, bad: Bad): ReadonlySet<TypeName> | undefined {
  if (value === undefined) return undefined;
  const names: readonly Json[] = Array.isArray(value) ? value : [value as Json];
  if (names.length === 0 || !names.every((name) => typeof name === 'string' && TYPES.has(name))) {
    throw bad('type', 'expected names of types');
  }
  return new Set(names as readonly TypeName[]);
}

/** `nullable` as OpenAPI 3.0 has it (3.0.3, Schema Object): one more type beside those that are named. */
function withNull(
  types: ReadonlySet<TypeName> | undefined,
  isNullable: Json | undefined,
  path: string,
): ReadonlySet<TypeName> | undefined {
  if (isNullable === undefined || isNullable === false) return types;
  if (isNullable !== true) throw schemaError('SCHEMA_MALFORMED', path, 'nullable', 'expected a boolean');
  if (types === undefined) throw schemaError('SCHEMA_UNSUPPORTED', path, 'nullable', 'without a type beside it');
  return new Set([...types, 'null']);
}

function readValues(
  all: Json | undefined,
  only: Json | undefined,
  path: string,
  bad: Bad,
): readonly Json[] | undefined {
  if (all !== undefined && !Array.isArray(all)) throw bad('enum', 'expected a list of values');
  const values = all as readonly Json[] | undefined;
  if (values !== undefined && values.length > GRAMMAR_LIMITS.enumValues) {
    throw schemaError('SCHEMA_TOO_LARGE', path, 'enum', `more than ${GRAMMAR_LIMITS.enumValues} values`);
  }
  if (only === undefined) return values;
  if (values === undefined) return [only];
  const text = JSON.stringify(only);
  return values.filter((value) => JSON.stringify(value) === text);
}

function readRequired(value: Json | undefined, bad: Bad): readonly string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value) || !value.every((name): name is string => typeof name === 'string')) {
    throw bad('required', 'expected a list of names');
  }
  return [...new Set(value as readonly string[])];
}

/** Up to draft 7 a list under `items` was what `prefixItems` is now, and `additionalItems` what `items` is. */
function readItems(
  get: (keyword: string) => Json | undefined,
  list: (keyword: string, isEmptyAllowed?: boolean) => readonly SchemaNode[],
  one: (keyword: string) => SchemaNode | undefined,
  path: string,
): { prefixItems: readonly SchemaNode[]; items?: SchemaNode } {
  const isOld = Array.isArray(get('items'));
  if (isOld && get('prefixItems') !== undefined) {
    throw schemaError('SCHEMA_MALFORMED', path, 'items', 'a list beside prefixItems');
  }
  if (!isOld && get('additionalItems') !== undefined) {
    throw schemaError('SCHEMA_UNSUPPORTED', path, 'additionalItems', 'without a list under items');
  }
  const items = isOld ? one('additionalItems') : one('items');
  const prefixItems = isOld ? list('items', true) : list('prefixItems');
  return items === undefined ? { prefixItems } : { prefixItems, items };
}

function readIdentity(
  reader: Reader,
  node: SchemaNode,
  found: { ref: string | undefined; anchor: string | undefined; identity: string | undefined },
): void {
  const { ref, anchor, identity } = found;
  if (identity !== undefined) {
    if (node.path !== '')
      throw schemaError('SCHEMA_UNSUPPORTED', node.path, '$id', 'only the whole schema may have one');
    reader.base = identity.replace(/#$/, '');
  }
  if (anchor !== undefined) {
    if (reader.anchors.has(anchor)) throw schemaError('SCHEMA_MALFORMED', node.path, '$anchor', 'anchor occurs twice');
    reader.anchors.set(anchor, node);
  }
  if (ref !== undefined) reader.references.push({ node, to: ref });
}

function resolve(reader: Reader, node: SchemaNode, ref: string): SchemaNode {
  const local = reader.base !== '' && ref.startsWith(reader.base) ? ref.slice(reader.base.length) : ref;
  if (local !== '' && !local.startsWith('#')) {
    throw schemaError('SCHEMA_UNSUPPORTED', node.path, '$ref', 'only references into the same schema are followed');
  }
  let fragment: string;
  try {
    fragment = decodeURIComponent(local.slice(1));
  } catch {
    throw schemaError('SCHEMA_MALFORMED', node.path, '$ref', 'fragment is not percent-encoded text');
  }
  const target =
    fragment === '' || fragment.startsWith('/') ? reader.byPath.get(fragment) : reader.anchors.get(fragment);
  if (target === undefined) throw schemaError('SCHEMA_MALFORMED', node.path, '$ref', 'no schema is there');
  return target;
}

function pointerStep(step: string | number): string {
  return String(step).replaceAll('~', '~0').replaceAll('/', '~1');
}
