/**
 * Schemas by chance, for each keyword that structured output supports.
 *
 * @module
 */

import type { Json, JsonObject } from '../../attest/encoding/canonical-json.ts';
import type { Random } from './random.ts';

type Make = (random: Random) => JsonObject;

const NAMES = ['a', 'b', 'name', 'name2', 'n', 'id"x', 'é', '', 'constructor', '__proto', 'a b', '\n'] as const;

const PATTERNS = [
  '^[a-z]+$',
  'foo',
  '^a*b?c{1,3}',
  '\\d{2}-\\d{2}$',
  '^(?:yes|no|maybe)$',
  '^[^a-z"\\\\]+$',
  '^\\p{Lu}\\p{Ll}*$',
  '^(?!abc)[a-c]{3}$',
  '^(?=.*\\d)(?=.*[a-z]).{4,}$',
  '^\\S+\\s\\S+$',
  '[\\u{1F600}-\\u{1F64F}]',
  '^.*$',
  '^$|^x',
  '^"\\\\/\\n?$',
] as const;

const FORMATS = [
  ...(['date', 'time', 'date-time', 'duration', 'email', 'hostname', 'ipv4', 'ipv6', 'uri', 'uuid'] as const),
] as const;

/** A name, often one of few, so that names meet. */
const name = (random: Random) => random.pick(NAMES);

const names = (random: Random, most: number) => [
  ...new Set(Array.from({ length: 1 + random.below(most) }, () => name(random))),
];

const number = (random: Random) => {
  const size = random.pick([1, 10, 1000, 1e6, 1e12]);
  const value = (random.below(2001) - 1000) / 1000;
  return random.chance(50) ? Math.round(value * size) : Number((value * size).toPrecision(1 + random.below(8)));
};

const scalar = (random: Random): Json =>
  random.pick<Json>([null, true, false, number(random), name(random), 'ü\u{1F600}', '\u0000\u007f', 0.1, 1e21]);

const anyValue = (random: Random): Json => {
  if (random.chance(70)) return scalar(random);
  if (random.chance(50)) return Array.from({ length: random.below(3) }, () => scalar(random));
  return Object.fromEntries(names(random, 2).map((key) => [key, scalar(random)]));
};

const LEAVES: readonly [Make, ...Make[]] = [
  () => ({ type: 'boolean' }),
  () => ({ type: 'null' }),
  (random) => ({ type: 'integer', minimum: -random.below(50), maximum: random.below(50) }),
  () => ({ type: 'number' }),
  (random) => ({ type: 'string', maxLength: random.below(8) }),
  (random) => ({ enum: Array.from({ length: 1 + random.below(3) }, () => anyValue(random)) }),
];

/** A schema of any kind, at most `depth` deep. */
export function randomSchema(random: Random, depth: number): JsonObject {
  if (depth <= 0 || random.chance(35)) return random.pick(LEAVES)(random);
  const deeper = { ...random, depth: depth - 1 };
  return random.pick(CONTAINERS)(deeper);
}

const sub = (random: Random): JsonObject =>
  randomSchema(random, 'depth' in random && typeof random.depth === 'number' ? random.depth : 1);

const properties = (random: Random) => Object.fromEntries(names(random, 4).map((key) => [key, sub(random)]));

const closed = (random: Random): JsonObject => {
  const found = properties(random);
  return {
    type: 'object',
    properties: found,
    required: Object.keys(found).filter(() => random.chance(60)),
    additionalProperties: false,
  };
};

const CONTAINERS: readonly [Make, ...Make[]] = [
  closed,
  (random) => ({ type: 'array', items: sub(random), maxItems: random.below(4) }),
  (random) => ({ anyOf: [sub(random), sub(random)] }),
];

const bounds = (random: Random, low: string, high: string, most: number) => {
  const min = random.below(most);
  return { [low]: min, [high]: min + random.below(most) };
};

/** A schema with a keyword, for each keyword; those that apply to one type often come without `type`. */
export const SCHEMAS_BY_KEYWORD: Readonly<Record<string, Make>> = {
  type: (random) => {
    const types = ['null', 'boolean', 'integer', 'number', 'string', 'array', 'object'] as const;
    const chosen = types.filter(() => random.chance(30));
    return { type: chosen.length === 0 ? random.pick(types) : chosen };
  },
  nullable: (random) => ({
    type: random.pick(['boolean', 'integer', 'string', 'object'] as const),
    nullable: random.chance(80),
    ...(random.chance(30) ? { enum: [null, true, 1, 'a', {}] } : {}),
  }),
  enum: (random) => ({ enum: Array.from({ length: 1 + random.below(8) }, () => anyValue(random)) }),
  const: (random) => ({ const: anyValue(random) }),
  properties: (random) => ({ ...maybe(random, 'object'), properties: properties(random) }),
  required: (random) => ({ ...maybe(random, 'object'), properties: properties(random), required: names(random, 4) }),
  additionalProperties: (random) => ({
    ...maybe(random, 'object'),
    properties: properties(random),
    additionalProperties: random.chance(30) ? random.chance(50) : sub(random),
  }),
  patternProperties: (random) => ({
    type: 'object',
    ...(random.chance(50) ? { properties: properties(random) } : {}),
    patternProperties: { [random.pick(PATTERNS)]: sub(random), [random.pick(['^a', 'e$', '^n'])]: sub(random) },
    ...(random.chance(50) ? { additionalProperties: random.chance(50) ? false : sub(random) } : {}),
  }),
  propertyNames: (random) => ({
    type: 'object',
    propertyNames: random.pick<JsonObject>([
      { type: 'string', pattern: random.pick(PATTERNS) },
      { enum: names(random, 4) },
      { maxLength: random.below(4) },
      { minLength: 1 + random.below(3) },
    ]),
    additionalProperties: sub(random),
    ...(random.chance(30) ? { minProperties: random.below(3) } : {}),
  }),
  minProperties: (random) => ({
    ...(random.chance(50) ? closed(random) : { type: 'object', properties: properties(random) }),
    ...(random.chance(50) ? { additionalProperties: sub(random) } : {}),
    minProperties: random.below(6),
  }),
  maxProperties: (random) => ({
    type: 'object',
    properties: properties(random),
    additionalProperties: sub(random),
    ...bounds(random, 'minProperties', 'maxProperties', 4),
  }),
  items: (random) => ({ ...maybe(random, 'array'), items: random.chance(10) ? random.chance(50) : sub(random) }),
  prefixItems: (random) => ({
    ...maybe(random, 'array'),
    prefixItems: Array.from({ length: 1 + random.below(3) }, () => sub(random)),
    ...(random.chance(60) ? { items: random.chance(50) ? false : sub(random) } : {}),
    ...(random.chance(50) ? { minItems: random.below(3) } : {}),
  }),
  minItems: (random) => ({ ...maybe(random, 'array'), items: sub(random), minItems: random.below(6) }),
  maxItems: (random) => ({ type: 'array', items: sub(random), ...bounds(random, 'minItems', 'maxItems', 5) }),
  minLength: (random) => ({ ...maybe(random, 'string'), minLength: random.below(20) }),
  maxLength: (random) => ({ type: 'string', ...bounds(random, 'minLength', 'maxLength', 12) }),
  pattern: (random) => ({
    type: 'string',
    pattern: random.pick(PATTERNS),
    ...(random.chance(40) ? { maxLength: 5 + random.below(20) } : {}),
    ...(random.chance(20) ? { minLength: random.below(6) } : {}),
  }),
  'format of numbers': (random) => ({
    type: random.pick(['integer', 'number'] as const),
    format: random.pick(['int32', 'int64', 'float', 'double'] as const),
    ...(random.chance(30) ? { minimum: number(random) } : {}),
  }),
  format: (random) => ({
    type: 'string',
    format: random.pick(FORMATS),
    ...(random.chance(20) ? { maxLength: 40 } : {}),
  }),
  minimum: (random) => ({ ...maybe(random, random.chance(50) ? 'integer' : 'number'), minimum: number(random) }),
  maximum: (random) => ({ ...maybe(random, random.chance(50) ? 'integer' : 'number'), maximum: number(random) }),
  exclusiveMinimum: (random) => ({ type: random.pick(['integer', 'number']), exclusiveMinimum: number(random) }),
  exclusiveMaximum: (random) => {
    const max = number(random);
    return { type: random.pick(['integer', 'number']), exclusiveMaximum: max, minimum: max - random.below(1000) - 2 };
  },
  multipleOf: (random) => ({
    type: random.pick(['integer', 'number']),
    multipleOf: random.pick([1, 2, 3, 7, 10, 25, 60, 100, 0.5, 0.1, 0.25, 1.5]),
    ...(random.chance(50) ? { minimum: -random.below(500), maximum: 500 + random.below(500) } : {}),
  }),
  anyOf: (random) => ({ anyOf: Array.from({ length: 1 + random.below(4) }, () => sub(random)) }),
  oneOf: (random) => ({
    oneOf: names(random, 4).map((key) => ({
      type: 'object',
      properties: { kind: { const: key }, ...properties(random) },
      required: ['kind'],
      additionalProperties: random.chance(50),
    })),
  }),
  allOf: (random) => ({
    allOf: [
      { type: 'object', properties: properties(random), required: names(random, 2) },
      { properties: properties(random), ...(random.chance(30) ? { minProperties: random.below(4) } : {}) },
      ...(random.chance(40) ? [{ anyOf: [{ required: ['a'] }, { required: ['b'] }] }] : []),
    ],
  }),
  $ref: (random) => ({
    $defs: { one: sub(random), 'a/b~c': { $anchor: 'here', ...sub(random) } },
    type: 'object',
    properties: { x: { $ref: '#/$defs/one' }, y: { $ref: random.pick(['#here', '#/$defs/a~1b~0c']) } },
    required: ['y'],
  }),
  'recursion by $ref': (random) => ({
    type: 'object',
    properties: {
      value: sub(random),
      ...(random.chance(50) ? { left: { anyOf: [{ $ref: '#' }, { type: 'null' }] } } : {}),
      children: { type: 'array', items: { $ref: '#' }, maxItems: 1 + random.below(3) },
    },
    required: ['value', 'children'],
    additionalProperties: false,
  }),
};

/** Most times the type alone, sometimes nothing: then values of other types are free. */
function maybe(random: Random, type: string): JsonObject {
  return random.chance(75) ? { type } : {};
}
