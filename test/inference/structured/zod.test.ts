import { zodFunction, zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import * as z3 from 'zod/v3';
import { type Json, parseJsonText } from '../../../attest/encoding/canonical-json.ts';
import { type Grammar, schemaGrammar, toolCallGrammar } from '../../../inference/structured/grammar.ts';
import { SchemaError } from '../../../inference/structured/schema-error.ts';
import { seededRandom } from '../../support/random.ts';
import { byteMasks, writeByChance } from '../../support/structured-generation.ts';

const masks = byteMasks();
const tokens = (id: number) => (id < 256 ? Uint8Array.of(id) : null);

/** Texts by chance, the shortest among them. */
function* texts(grammar: Grammar, seed: number, spares: readonly number[] = [0, 2, 12, 50]): Generator<string> {
  for (const spare of spares) yield writeByChance(masks, grammar, tokens, seededRandom(seed + spare), spare).text;
}

/** The schema as a request carries it. */
const wire = (schema: unknown): Json => parseJsonText(JSON.stringify(schema));

function expectParsed(type: { safeParse(value: unknown): { success: boolean; error?: unknown } }, text: string): void {
  const { success, error } = type.safeParse(JSON.parse(text));
  expect(success, `${text} ${String(error)}`).toBe(true);
}

function refusal(schema: unknown): string {
  try {
    schemaGrammar(wire(schema));
    return '';
  } catch (fault) {
    if (!(fault instanceof SchemaError)) throw fault;
    return `${fault.code} ${String(fault.at['keyword'])}`;
  }
}

const Tree = z.object({
  value: z.number(),
  get children() {
    return z.array(Tree);
  },
});
const Linked = z.object({
  name: z.string(),
  get next() {
    return Linked.nullable();
  },
});
const Expression = z.union([
  z.number(),
  z.strictObject({
    op: z.enum(['+', '*']),
    get of() {
      return z.tuple([Expression, Expression]);
    },
  }),
]);
const Address = z.object({ city: z.string(), zip: z.string().regex(/^\d{5}$/) }).meta({ id: 'Address' });

const TYPES: readonly (readonly [string, z.ZodType])[] = [
  ['string', z.string()],
  ['lengths', z.string().min(2).max(5)],
  ['a length', z.string().length(3)],
  ['no text', z.string().nonempty()],
  ['email', z.email()],
  ['a bounded email', z.email().max(24)],
  ['uuid', z.uuid()],
  ['uuid v4', z.uuidv4()],
  ['uuid v7', z.uuidv7()],
  ['guid', z.guid()],
  ['url', z.url()],
  ['ipv4', z.ipv4()],
  ['ipv6', z.ipv6()],
  ['cidrv4', z.cidrv4()],
  ['cidrv6', z.cidrv6()],
  ['cuid', z.cuid()],
  ['cuid2', z.cuid2()],
  ['ulid', z.ulid()],
  ['xid', z.xid()],
  ['ksuid', z.ksuid()],
  ['nanoid', z.nanoid()],
  ['base64', z.base64()],
  ['base64url', z.base64url()],
  ['e164', z.e164()],
  ['jwt', z.jwt()],
  ['hostname', z.hostname()],
  ['hex', z.hex()],
  ['hash', z.hash('sha256')],
  ['mac', z.mac()],
  ['date', z.iso.date()],
  ['time', z.iso.time()],
  ['a minute', z.iso.time({ precision: -1 })],
  ['datetime', z.iso.datetime()],
  ['datetime with offset', z.iso.datetime({ offset: true, precision: 3 })],
  ['local datetime', z.iso.datetime({ local: true })],
  ['duration', z.iso.duration()],
  ['regex', z.string().regex(/^[a-f]+-\d{2,4}$/)],
  [
    'two patterns',
    z
      .string()
      .regex(/a/)
      .regex(/^[^b]*$/),
  ],
  ['parts', z.string().startsWith('a.').includes('[b]').endsWith('$').max(20)],
  ['lower case', z.string().lowercase()],
  ['upper case', z.string().uppercase()],
  ['template', z.templateLiteral(['id-', z.number(), '-', z.enum(['x', 'y'])])],
  ['number', z.number()],
  ['an interval', z.number().gt(1).lte(5)],
  ['a step', z.number().multipleOf(0.5)],
  ['two steps', z.number().multipleOf(4).multipleOf(6)],
  ['positive', z.number().positive()],
  ['int', z.int()],
  ['int32', z.int32()],
  ['uint32', z.uint32()],
  ['float32', z.float32()],
  ['an old int', z.number().int().nonnegative().max(150)],
  ['boolean', z.boolean()],
  ['null', z.null()],
  ['any', z.any()],
  ['unknown', z.unknown()],
  ['json', z.json()],
  ['literal', z.literal('x')],
  ['literal null', z.literal(null)],
  ['literals', z.literal(['x', 1, null, true])],
  ['enum', z.enum(['red', 'green', 'dark "blue"\n'])],
  ['an enum of numbers', z.enum({ A: 1, B: 2.5 })],
  ['a mixed enum', z.enum({ A: 1, B: 'b' })],
  ['nullable', z.string().nullable()],
  ['nullable enum', z.enum(['a', 'b']).nullable()],
  ['nullish', z.strictObject({ a: z.number().nullish(), b: z.string().optional() })],
  ['default', z.object({ a: z.string().default('x'), b: z.number().prefault(1) })],
  ['catch', z.object({ a: z.string().catch('x') })],
  ['readonly', z.object({ a: z.array(z.string()).readonly() }).readonly()],
  ['brand', z.string().brand('id')],
  [
    'meta',
    z.object({
      a: z
        .string()
        .meta({ title: 'A', examples: ['x'], deprecated: true })
        .describe('text'),
    }),
  ],
  ['object', z.object({ a: z.string(), b: z.object({ c: z.boolean() }) })],
  ['strict object', z.strictObject({ a: z.string(), 'b "c"\n': z.int() })],
  ['loose object', z.looseObject({ a: z.string() })],
  ['catch-all', z.object({ a: z.string() }).catchall(z.number())],
  ['partial', z.object({ a: z.string(), b: z.int() }).partial()],
  ['extended', z.object({ a: z.string() }).extend({ b: z.int() }).omit({ a: true })],
  ['array', z.array(z.boolean()).min(1).max(4)],
  ['nonempty', z.array(z.int()).nonempty()],
  ['tuple', z.tuple([z.string(), z.number()])],
  ['open tuple', z.tuple([z.string()], z.boolean())],
  ['optional of a tuple', z.tuple([z.string(), z.int().optional()])],
  ['union', z.union([z.string(), z.int(), z.array(z.null())])],
  ['union of objects', z.union([z.strictObject({ a: z.string() }), z.strictObject({ a: z.int(), b: z.int() })])],
  [
    'discriminated union',
    z.discriminatedUnion('k', [
      z.object({ k: z.literal('a'), x: z.number() }),
      z.object({ k: z.enum(['b', 'c']) }),
      z.object({ k: z.literal(1), y: z.string() }),
    ]),
  ],
  [
    'nested discriminated union',
    z.discriminatedUnion('ok', [
      z.object({ ok: z.literal(true), data: z.string() }),
      z.discriminatedUnion('code', [
        z.object({ ok: z.literal(false), code: z.literal(1) }),
        z.object({ ok: z.literal(false), code: z.literal(2), why: z.string() }),
      ]),
    ]),
  ],
  ['xor', z.xor([z.string(), z.int()])],
  ['intersection', z.intersection(z.object({ a: z.string() }), z.object({ b: z.number() }))],
  ['and', z.string().min(2).and(z.string().max(4))],
  ['record', z.record(z.string(), z.int())],
  ['record by pattern', z.record(z.string().regex(/^x/), z.number())],
  ['record of names', z.record(z.enum(['a', 'b']), z.number())],
  ['record of numbers', z.record(z.number(), z.string())],
  ['partial record', z.partialRecord(z.enum(['a', 'b']), z.number())],
  ['loose record', z.looseRecord(z.string().regex(/^x-/), z.number())],
  ['tree', Tree],
  ['linked', Linked],
  ['expression', Expression],
  ['definitions', z.object({ from: Address, to: Address, via: z.array(Address) })],
  ['pipe', z.pipe(z.string().max(4), z.string().max(4))],
  ['lazy', z.lazy(() => z.int())],
  ['preprocess', z.preprocess((value) => value, z.int())],
  ['never in an array', z.array(z.never())],
  ['never as an option', z.strictObject({ a: z.never().optional(), b: z.int() })],
];

describe.each(['draft-2020-12', 'draft-7'] as const)('texts of what zod writes as %s parse', (target) => {
  it.each(TYPES)('%s', (name, type) => {
    const grammar = schemaGrammar(wire(z.toJSONSchema(type, { target, io: 'input', reused: 'inline' })));
    for (const text of texts(grammar, name.length)) expectParsed(type, text);
  });
});

it('texts of definitions and of outputs parse', () => {
  for (const [name, type] of TYPES) {
    const reused = schemaGrammar(wire(z.toJSONSchema(type, { reused: 'ref', io: 'input' })));
    for (const text of texts(reused, name.length, [0, 15])) expectParsed(type, text);
    let output: unknown;
    try {
      output = z.toJSONSchema(type);
    } catch {
      // What comes out of a transformation has no schema.
      continue;
    }
    if (refusal(output) !== '') expect([name, refusal(output)]).toEqual([]);
  }
});

describe('what zod writes and is refused, by its keyword', () => {
  it.each<[string, z.ZodType, string]>([
    ['emoji', z.emoji(), 'SCHEMA_UNSUPPORTED format'],
    ['file', z.file(), 'SCHEMA_UNSUPPORTED format'],
    ['never', z.never(), 'SCHEMA_UNSATISFIABLE '],
    ['xor of what overlaps', z.xor([z.int(), z.number()]), 'SCHEMA_UNSUPPORTED oneOf'],
    ['a format of its own', z.stringFormat('even', /^(..)*$/), 'SCHEMA_UNSUPPORTED format'],
    ['metadata of its own', z.string().meta({ color: 'red' }), 'SCHEMA_UNSUPPORTED color'],
    ['lookbehind', z.string().regex(/(?<=a)b/), 'SCHEMA_UNSUPPORTED pattern'],
    ['a back reference', z.string().regex(/^(a|b)\1$/), 'SCHEMA_UNSUPPORTED pattern'],
  ])('%s', (_, type, expected) => {
    expect(refusal(z.toJSONSchema(type))).toBe(expected);
  });
});

describe("through OpenAI's helpers", () => {
  const wrapped = TYPES.map(([name, type]) => [name, z.object({ id: z.int(), value: type })] as const);
  const attempt = <T>(make: () => T): T | undefined => {
    try {
      return make();
    } catch {
      // What strict mode does not know is refused by the helper, before a server sees it.
      return undefined;
    }
  };

  it('answers parse', () => {
    let parsed = 0;
    for (const [name, type] of wrapped) {
      const format = attempt(() => zodResponseFormat(type, 'answer'));
      if (format === undefined) continue;
      const schema = wire(format.json_schema.schema);
      const text = attempt(() => zodTextFormat(type, 'answer'));
      expect(wire(text?.schema)).toEqual(schema);
      if (name === 'never in an array') continue;
      for (const one of texts(schemaGrammar(schema), name.length, [0, 20])) {
        expect(() => format.$parseRaw(one), `${name}: ${one}`).not.toThrow();
        parsed++;
      }
    }
    expect(parsed).toBeGreaterThan(120);
  });

  it('calls parse', () => {
    let parsed = 0;
    for (const [name, type] of wrapped) {
      const tool = attempt(() => zodFunction({ name: 'act', parameters: type }));
      if (tool === undefined) continue;
      const grammar = toolCallGrammar([{ name: 'act', parameters: wire(tool.function.parameters) }], {
        mode: 'required',
        parallel: false,
      });
      for (const text of texts(grammar, name.length, [1, 25])) {
        const call = /^<tool_call>\n\{"name": "act", "arguments": (.*)\}\n<\/tool_call>$/s.exec(text);
        expectParsed(type, call?.[1] ?? '');
        parsed++;
      }
    }
    expect(parsed).toBeGreaterThan(120);
  });

  it('answers of zod 3 parse, whose nullable types are a keyword of OpenAPI', () => {
    const type = z3.object({
      name: z3.string(),
      age: z3.number().nullable(),
      kind: z3.enum(['a', 'b']).nullable(),
      mail: z3.string().email().nullable(),
      tags: z3.array(z3.string()),
      when: z3.string().datetime(),
      inner: z3.object({ ok: z3.boolean().nullable() }).nullable(),
      of: z3.discriminatedUnion('k', [
        z3.object({ k: z3.literal('x'), n: z3.number().int() }),
        z3.object({ k: z3.literal('y') }),
      ]),
    });
    const { schema } = zodResponseFormat(type, 'answer').json_schema;
    expect(JSON.stringify(schema)).toContain('"nullable":true');
    for (const text of texts(schemaGrammar(wire(schema)), 3)) expectParsed(type, text);
  });
});
