import { describe, expect, it } from 'vitest';
import type { Json, JsonObject } from '../../../attest/encoding/canonical-json.ts';
import { accepts, jsonObjectGrammar, schemaGrammar, toolCallGrammar } from '../../../inference/structured/grammar.ts';
import { SchemaError } from '../../../inference/structured/schema-error.ts';

const takes = (schema: Json, ...texts: readonly string[]) => {
  const grammar = schemaGrammar(schema);
  return texts.filter((text) => accepts(grammar, text));
};

function fault(make: () => unknown): { code: string; path: unknown; keyword: unknown } {
  try {
    make();
  } catch (error) {
    if (error instanceof SchemaError) return { code: error.code, path: error.at['path'], keyword: error.at['keyword'] };
    throw error;
  }
  return { code: 'none', path: '', keyword: '' };
}

describe('the form of texts', () => {
  const person = {
    type: 'object',
    properties: { name: { type: 'string' }, age: { type: 'integer' } },
    required: ['name'],
    additionalProperties: false,
  };

  it('writes members in the order of the schema, with one optional space', () => {
    const good = ['{"name":"a"}', '{"name": "a", "age": 1}', '{"name":"a", "age":1}'];
    const bad = ['{"age":1,"name":"a"}', '{ "name":"a"}', '{"name":"a" }', '{"name":  "a"}', '{"name":"a","age":1,}'];
    expect(takes(person, ...good, ...bad, '{}', '{"name":"a","name":"b"}', '{"name":"a","x":1}')).toEqual(good);
  });

  it('writes a character in one way', () => {
    const good = ['"\\n\\"\\\\\\u0001/é\u{1F600}\u007f"', '"\\u001f\\b\\f\\r\\t"'];
    const bad = [
      '"\\u000a"',
      '"\\u0041"',
      '"\\/"',
      '"\\u001F"',
      '"\\ud83d\\ude00"',
      '"\n"',
      '"\\u0022"',
      '"a',
      '"\\x"',
    ];
    expect(takes({ type: 'string' }, ...good, ...bad, '"\u{50000}"')).toEqual(good);
  });

  it('writes a number in one way', () => {
    const good = ['0', '-1', '10', '0.5', '-0.25', '9007199254740991', '123456.789'];
    const bad = [
      '-0',
      '00',
      '01',
      '1.',
      '.5',
      '1.0',
      '1.50',
      '1e3',
      '+1',
      '9007199254740992',
      '-0.0',
      '0.0000000000000001',
    ];
    expect(takes({ type: 'number' }, ...good, ...bad)).toEqual(good);
    expect(takes({ type: 'integer' }, ...good, ...bad)).toEqual(good.filter((text) => !text.includes('.')));
  });

  it('keeps to bounds and steps exactly', () => {
    const all = ['-1.5', '-1', '0', '0.1', '0.2', '0.30000000000000004', '0.3', '0.5', '1', '1.01', '2'];
    expect(takes({ type: 'number', exclusiveMinimum: 0.1, maximum: 1 }, ...all)).toEqual(['0.2', '0.3', '0.5', '1']);
    expect(takes({ type: 'number', minimum: -1.5, exclusiveMaximum: 0 }, ...all)).toEqual(['-1.5', '-1']);
    expect(takes({ type: 'number', multipleOf: 0.1, minimum: 0 }, ...all)).toEqual([
      '0',
      '0.1',
      '0.2',
      '0.3',
      '0.5',
      '1',
      '2',
    ]);
    expect(takes({ type: 'number', exclusiveMinimum: 0.30000000000000004 }, '0.3', '0.300000000001')).toEqual([
      '0.300000000001',
    ]);
    expect(
      takes({ type: 'integer', multipleOf: 7, minimum: -14, maximum: 20 }, '-14', '-7', '0', '7', '13', '14', '21'),
    ).toEqual(['-14', '-7', '0', '7', '14']);
  });

  it("keeps to OpenAPI's formats of numbers, which say nothing of other values", () => {
    const all = ['0', '1.5', '2147483647', '2147483648', '-2147483648', '-2147483649'];
    const ints = all.filter((text) => text !== '1.5');
    expect(takes({ type: 'integer', format: 'int32' }, ...all)).toEqual(['0', '2147483647', '-2147483648']);
    expect(takes({ type: 'number', format: 'int64' }, ...all)).toEqual(ints);
    expect(takes({ type: 'number', format: 'double' }, ...all)).toEqual(all);
    expect(takes({ enum: [0, 1.5, 2 ** 31], type: 'number', format: 'int32' }, ...all)).toEqual(['0']);
    expect(takes({ type: ['boolean', 'integer'], format: 'date' }, 'true', '1')).toEqual(['true', '1']);
  });

  it('reads nullable as one more type, which an enum must name too', () => {
    expect(takes({ type: 'integer', nullable: true }, '1', 'null', '"a"')).toEqual(['1', 'null']);
    expect(takes({ type: 'string', nullable: true, enum: ['a'] }, '"a"', 'null')).toEqual(['"a"']);
    expect(takes({ type: 'string', nullable: false }, '"a"', 'null')).toEqual(['"a"']);
  });

  it('takes a name for one that a pattern does not match only if it does not', () => {
    // Four characters match: the last is behind the three that the lookahead counts.
    const schema = {
      patternProperties: { '^(?=.{1,3}x?$)a': { type: 'null' } },
      additionalProperties: { type: 'boolean' },
    };
    expect(takes(schema, '{"aaax":null}', '{"aaax":true}', '{"aaaa":true}')).toEqual([
      '{"aaax":null}',
      '{"aaaa":true}',
    ]);
    expect(takes({ enum: ['aaax', 'aaaa'], pattern: '^(?=.{1,3}x?$)a' }, '"aaax"', '"aaaa"')).toEqual(['"aaax"']);
  });

  it('writes of listed values those that satisfy all else', () => {
    const numbers = { enum: [0.1, 0.15, 0.22, 2, 6.01, 7], multipleOf: 0.05, minimum: 0.15, exclusiveMaximum: 7 };
    expect(takes(numbers, '0.1', '0.15', '0.22', '2', '6.01', '7')).toEqual(['0.15', '2']);
    const lists = { enum: [[1], [1, 2], ['a'], []], items: { type: 'integer' }, maxItems: 1, minItems: 1 };
    expect(takes(lists, '[1]', '[1,2]', '["a"]', '[]')).toEqual(['[1]']);
    const objects = { enum: [{ b: 1, a: 2 }, { a: 1, c: 1 }, {}], required: ['a'], properties: { c: { const: 2 } } };
    expect(takes(objects, '{"b":1,"a":2}', '{"b": 1, "a": 2}', '{"a":2,"b":1}', '{"a":1,"c":1}', '{}')).toEqual([
      '{"b":1,"a":2}',
      '{"b": 1, "a": 2}',
    ]);
    expect(takes({ enum: ['a', 'ab', 'b'], pattern: 'a', maxLength: 1 }, '"a"', '"ab"', '"b"')).toEqual(['"a"']);
    expect(takes({ enum: [1e21, -0, 1.5], type: 'number' }, '1e+21', '-0', '0', '1.5')).toEqual(['1e+21', '0', '1.5']);
  });

  it('writes no name that propertyNames forbids, nor more members than may be', () => {
    const names = { type: 'object', properties: { a: {}, b: {} }, propertyNames: { enum: ['a', 'c'] } };
    expect(takes(names, '{"a":1}', '{"b":1}', '{"c":1}', '{"a":1,"b":1}', '{"a":1,"c":1}')).toEqual([
      '{"a":1}',
      '{"c":1}',
      '{"a":1,"c":1}',
    ]);
    const few = { type: 'object', properties: { a: {}, b: {} }, required: ['b'], maxProperties: 2 };
    expect(takes(few, '{"b":1}', '{"a":1,"b":1}', '{"b":1,"c":1}', '{"a":1,"b":1,"c":1}', '{"a":1}')).toEqual([
      '{"b":1}',
      '{"a":1,"b":1}',
      '{"b":1,"c":1}',
    ]);
  });

  it('writes no name twice', () => {
    const good = ['{"a":1,"b":2}', '{"":1,"\\n":2}'];
    expect(takes({ type: 'object' }, ...good, '{"a":1,"a":2}', '{"":1,"":2}', '{"a":1,"b":2,"a":3}')).toEqual(good);
    expect(accepts(jsonObjectGrammar(), '{"a": {"a": [1, {"a": null}]}}')).toBe(true);
    expect(accepts(jsonObjectGrammar(), '[]')).toBe(false);
  });

  it('follows up to 256 readings, in the order of the schema', () => {
    const branches = (count: number, more: (i: number) => JsonObject) =>
      Array.from({ length: count }, (_, i) => ({ type: 'object', ...more(i), additionalProperties: false }));
    const inner = branches(20, (i) => ({
      properties: { b: { type: 'string' }, c: { const: i } },
      required: ['b', 'c'],
    }));
    expect(takes({ anyOf: inner }, '{"b":"x","c":0}', '{"b":"x","c":19}', '{"b":"x","c":20}')).toHaveLength(2);
    const outer = branches(20, (i) => ({ properties: { a: { anyOf: inner }, d: { const: i } }, required: ['a', 'd'] }));
    const text = (c: number, d: number) => `{"a":{"b":"x","c":${c}},"d":${d}}`;
    // Behind a colon each of them counts twice: before the optional space, and after it.
    const all = [text(0, 0), text(19, 5), text(7, 6), text(8, 6), text(0, 7)];
    expect(takes({ anyOf: outer }, ...all)).toEqual(all.slice(0, 3));
  });

  it('takes 5,000 properties', () => {
    const names = Array.from({ length: 5000 }, (_, i) => `name_${i}`);
    const properties = Object.fromEntries(names.map((name) => [name, { type: ['string', 'null'] }]));
    expect(takes({ properties, type: 'object' }, '{"name_17":"a","name_4999":null}', '{"name_1":1}')).toHaveLength(1);
    const more = { ...properties, more: {} };
    expect(fault(() => schemaGrammar({ properties: more })).code).toBe('SCHEMA_TOO_LARGE');
  });

  it('nests freely up to 64 levels', () => {
    const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;
    expect(takes({}, nested(64), nested(65))).toEqual([nested(64)]);
    // Deeper, only what is shortest: of anything a number, of arrays no item more than asked for.
    const within = (text: string) => `${'['.repeat(64)}${text}${']'.repeat(64)}`;
    expect(takes({}, within('0'), within('-12.5'), within('null'), within('""'), within('{}'))).toEqual([
      within('0'),
      within('-12.5'),
    ]);
    const lists = { $defs: { list: { type: 'array', items: { $ref: '#/$defs/list' } } }, $ref: '#/$defs/list' };
    expect(takes(lists, nested(65), nested(66))).toEqual([nested(65)]);
    const pairs = { type: 'object', properties: { a: { $ref: '#' }, b: { type: 'null' } }, required: ['b'] };
    const deep = (inner: string) => `${'{"a":'.repeat(64)}${inner}${',"b":null}'.repeat(64)}`;
    expect(takes(pairs, deep('{"b":null}'), deep('{"b":null,"c":1}'), deep('{"a":{"b":null},"b":null}'))).toEqual([
      deep('{"b":null}'),
    ]);
  });
});

describe('what is refused', () => {
  it.each<[string, JsonObject, string]>([
    ['not', { not: { type: 'string' } }, ''],
    ['if', { properties: { a: { if: {} } } }, '/properties/a'],
    ['contains', { contains: {} }, ''],
    ['uniqueItems', { items: { uniqueItems: true } }, '/items'],
    ['dependentRequired', { dependentRequired: {} }, ''],
    ['unevaluatedProperties', { unevaluatedProperties: false }, ''],
    ['$dynamicRef', { $dynamicRef: '#a' }, ''],
    ['nullable', { anyOf: [{ type: 'string' }], nullable: true }, ''],
    ['format', { type: 'integer', format: 'int128' }, ''],
    ['format', { type: 'string', format: 'int64' }, ''],
    ['format', { type: 'string', format: 'hex' }, ''],
    ['minimun', { $defs: { 'a/b': { minimun: 1 } } }, '/$defs/a~1b'],
    ['$ref', { $ref: 'https://example.org/schema' }, ''],
    ['$id', { properties: { a: { $id: 'b' } } }, '/properties/a'],
    ['format', { type: 'string', format: 'idn-email' }, ''],
    ['format', { type: 'string', format: 'regex' }, ''],
    ['pattern', { pattern: '(?<=a)b' }, ''],
    ['pattern', { pattern: '(a)\\1' }, ''],
    ['pattern', { pattern: '\\bword\\b' }, ''],
    ['pattern', { pattern: '(?:^a|b)+' }, ''],
    ['pattern', { pattern: '\\p{Script=Greek}' }, ''],
    ['oneOf', { oneOf: [{ type: 'integer' }, { minimum: 2 }] }, ''],
    ['oneOf', { oneOf: [{ required: ['a'] }, { required: ['b'] }] }, ''],
  ])('%s of %j', (keyword, schema, path) => {
    expect(fault(() => schemaGrammar(schema))).toEqual({ code: 'SCHEMA_UNSUPPORTED', path, keyword });
  });

  it.each<[string, Json, string]>([
    ['a schema that is none', 1, ''],
    ['a type that is none', { type: 'text' }, 'type'],
    ['a pattern that is none', { pattern: '(' }, 'pattern'],
    ['a range the wrong way', { pattern: '[z-a]' }, 'pattern'],
    ['a reference to nowhere', { $ref: '#/$defs/x' }, '$ref'],
    ['a reference to itself', { $ref: '#' }, '$ref'],
    [
      'references in a circle',
      { $defs: { a: { $ref: '#/$defs/b' }, b: { anyOf: [{ $ref: '#/$defs/a' }] } }, $ref: '#/$defs/a' },
      '$ref',
    ],
    ['a count below zero', { minLength: -1 }, 'minLength'],
    ['a word for nullable', { type: 'string', nullable: 'yes' }, 'nullable'],
    ['a bound of draft 4', { exclusiveMinimum: true }, 'exclusiveMinimum'],
  ])('malformed: %s', (_, schema, keyword) => {
    expect(fault(() => schemaGrammar(schema))).toMatchObject({ code: 'SCHEMA_MALFORMED', keyword });
  });

  it.each<[Json]>([
    [false],
    [{ type: 'string', minLength: 3, maxLength: 2 }],
    [{ type: 'integer', minimum: 0.1, maximum: 0.9 }],
    [{ enum: [] }],
    [{ enum: [1, 2], type: 'string' }],
    [{ type: 'object', properties: { a: false }, required: ['a'] }],
    [{ type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] }],
    [{ type: 'array', items: false, minItems: 1 }],
    [{ type: 'object', propertyNames: { enum: ['a'] }, minProperties: 2 }],
    [{ allOf: [{ type: 'string', pattern: '^a' }, { pattern: '^b' }] }],
    [{ not: {} }],
  ])('unsatisfiable: %j', (schema) => {
    expect(fault(() => schemaGrammar(schema)).code).toBe('SCHEMA_UNSATISFIABLE');
  });

  const nest = (depth: number): Json => (depth === 0 ? {} : { items: nest(depth - 1) });
  const pairs = Array.from({ length: 9 }, (_, i) => ({ anyOf: [{ pattern: `${i}` }, { minLength: i }] }));
  it.each<[string, Json]>([
    ['nested counters', { pattern: '^(a{1,1000}){1,1000}$' }],
    ['an intersection of counters', { allOf: [{ pattern: 'a.{300}$' }, { pattern: '^(?:.{7})*b.{400}$' }] }],
    ['exponential subsets', { pattern: '(?:a|b)*a(?:a|b){20}$' }],
    ['deep schema', nest(200)],
    ['very many values', { enum: Array.from({ length: 20_000 }, (_, i) => i) }],
    ['unions multiplied', { allOf: pairs }],
    ['a long minimum', { type: 'string', minLength: 1e9 }],
    ['many items at least', { type: 'array', items: { type: 'null' }, minItems: 1e9 }],
    ['many members at least', { type: 'object', minProperties: 1e6 }],
    ['a fine step', { type: 'number', multipleOf: 1.23456789 }],
    ['a long chain', { $defs: chain(300), $ref: '#/$defs/d0' }],
    ['a large object in many places', joined({ properties: many(1000, {}) })],
    ['a long list in many places', joined({ enum: Array.from({ length: 5000 }, (_, i) => i) })],
    ['a long tuple in many places', joined({ prefixItems: Array.from({ length: 2000 }, () => ({})) })],
    ['unions in many places', joined({ anyOf: Array.from({ length: 200 }, (_, i) => ({ minLength: i })) })],
    [
      'many rounds of a large object',
      {
        properties: { ...many(3000, { type: 'null' }), ...backwards(450) },
        minProperties: 2999,
        additionalProperties: false,
      },
    ],
    ['deep groups', { pattern: `${'('.repeat(500)}a${')'.repeat(500)}` }],
  ])('too large: %s', (_, schema) => {
    const startedAt = performance.now();
    expect(fault(() => schemaGrammar(schema)).code).toBe('SCHEMA_TOO_LARGE');
    expect(performance.now() - startedAt).toBeLessThan(10_000);
  });

  it('bears large bounds that need no table', () => {
    expect(takes({ type: 'string', maxLength: 1e9 }, '"a"')).toEqual(['"a"']);
    expect(takes({ type: 'array', items: { type: 'null' }, maxItems: 1e9 }, '[null, null]')).toEqual(['[null, null]']);
    expect(takes({ pattern: '^[a-z]{2,}$', maxLength: 1e9 }, '"ab"', '"a"')).toEqual(['"ab"']);
  });
});

const many = (count: number, schema: Json): JsonObject =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`n${i}`, schema]));

/** A schema joined with another at very many places. */
const joined = (schema: Json): JsonObject => ({
  $defs: { large: schema },
  properties: many(3000, { $ref: '#/$defs/large', minItems: 1 }),
});

/** Places that each need the next one's length, asked for the other way round. */
const backwards = (count: number): JsonObject =>
  Object.fromEntries(
    Array.from({ length: count }, (_, i) => {
      const next = i + 1 === count ? {} : { properties: { v: { $ref: `#/properties/b${i + 1}/properties/v` } } };
      return [
        `b${i}`,
        { type: 'object', properties: { v: { type: 'object', required: ['v'], ...next } }, required: ['v'] },
      ];
    }),
  );

function chain(length: number): JsonObject {
  const link = (i: number): Json =>
    i === length ? {} : { type: 'object', properties: { n: { $ref: `#/$defs/d${i + 1}` } }, required: ['n'] };
  return Object.fromEntries(Array.from({ length: length + 1 }, (_, i) => [`d${i}`, link(i)]));
}

describe('tool calls', () => {
  const tools = [
    {
      name: 'get',
      parameters: {
        type: 'object',
        properties: { q: { type: 'integer' } },
        required: ['q'],
        additionalProperties: false,
      },
    },
    { name: 'get_all', parameters: {} },
  ];
  const one = '<tool_call>\n{"name": "get", "arguments": {"q": 1}}\n</tool_call>';
  const other = '<tool_call>\n{"name": "get_all", "arguments": {}}\n</tool_call>';
  const wrong = [
    '<tool_call>\n{"name": "set", "arguments": {}}\n</tool_call>',
    '<tool_call>\n{"name": "get_all", "arguments": []}\n</tool_call>',
    `${one} `,
    '<tool_call>',
    `${one}\n`,
  ];
  const by = (options: toolCallGrammar.Options, ...texts: readonly string[]) => {
    const grammar = toolCallGrammar(tools, options);
    return texts.filter((text) => accepts(grammar, text));
  };

  it('required: calls alone', () => {
    const both = `${one}\n${other}`;
    expect(by({ mode: 'required', parallel: false }, one, other, both, '', 'text', `a${one}`, ...wrong)).toEqual([
      one,
      other,
    ]);
    expect(by({ mode: 'required', parallel: true }, one, both, `${both}\n${one}`, ...wrong)).toEqual([
      one,
      both,
      `${both}\n${one}`,
    ]);
  });

  it('auto: text before calls or without them, and no marker but of a call', () => {
    const good = ['', 'text', 'a <tool_', 'a <tool<tool_calls', `Sure.\n${one}`, one];
    expect(
      by({ mode: 'auto', parallel: false }, ...good, 'a <tool_call> b', '<<tool_call> b', '<tool<tool_call>', ...wrong),
    ).toEqual(good);
    expect(
      by({ mode: 'auto', parallel: false }, `<<tool_call>\n{"name": "get", "arguments": {"q":1}}\n</tool_call>`),
    ).toHaveLength(1);
  });

  it('auto with content of a form: the form or calls', () => {
    const content = schemaGrammar({ type: 'boolean' });
    expect(by({ mode: 'auto', parallel: false, content }, 'true', one, 'text', `true${one}`, '')).toEqual([
      'true',
      one,
    ]);
  });
});
