import { describe, expect, it } from 'vitest';
import { sha256 } from '../../../attest/core/hash.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { ModelError } from '../../../inference/errors.ts';
import { accepts, type Grammar, schemaGrammar, toolCallGrammar } from '../../../inference/structured/grammar.ts';
import { type MaskState, openMasks } from '../../../inference/structured/masks.ts';
import { makeTrie } from '../../../inference/structured/trie.ts';
import { seededRandom } from '../../support/random.ts';
import { describeSmolLM2 } from '../../support/smollm2.ts';
import { tokenizerOf, vocabularyOf } from '../../support/smollm2-vocabulary.ts';
import { idsOf, pick, writeByChance } from '../../support/structured-generation.ts';

const END = 400;

/** Bytes, and longer tokens of the kinds that vocabularies have: joins of structure, words, parts of characters, one twice. */
const WORDS = [
  ...[
    '":',
    '":"',
    '","',
    '"}',
    '{"',
    '"]',
    '[]',
    '{}',
    ', "',
    '": ',
    '"},',
    '":{"',
    '":[],"',
    '":"","',
    '":1,"',
    'a',
    'ab',
  ],
  ...[
    'abc',
    ' the',
    'true',
    'null',
    'name',
    '10',
    '12',
    '\\n',
    '\\u00',
    'é',
    'éa',
    '"a":1,"b":2}',
    '<tool_call>',
    '\n{"',
  ],
  // The rest of a string, by its smallest closing text.
  '\\"b"',
  // Names that end and begin within one token.
  ...['":1,"', '":1,"a', '":1,"b":2', '"a":1,"a":2', '"b":1,"a', '":0,"!":0', 'c":0,"ab":0,"a":0'],
];
const TOKENS: (Uint8Array | null)[] = [
  ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
  ...WORDS.map((word) => new TextEncoder().encode(word)),
  Uint8Array.of(0xc3),
  Uint8Array.of(0x22, 0xc3),
  Uint8Array.of(0xa9, 0x22),
];
while (TOKENS.length <= END) TOKENS.push(null);
const trie = makeTrie(TOKENS);
const masks = openMasks(trie, [END]);
const tokens = (id: number) => TOKENS[id] ?? null;

const SCHEMAS: readonly (readonly [string, Json])[] = [
  ['an object', { type: 'object', properties: { a: { type: 'integer' }, b: { type: 'string' } }, required: ['a'] }],
  ['other names', { type: 'object', additionalProperties: { type: 'integer' }, minProperties: 3, maxProperties: 4 }],
  ['names in turn', { type: 'object', additionalProperties: { type: 'integer' }, maxProperties: 3 }],
  ['few names', { type: 'object', propertyNames: { enum: ['a', 'ab', 'abc'] }, minProperties: 2 }],
  ['a counted text', { type: 'string', minLength: 2, maxLength: 4 }],
  ['a pattern', { type: 'string', pattern: '^(?:ab|é)+c$', maxLength: 7 }],
  [
    'a union',
    {
      anyOf: [
        { type: 'object', properties: { a: { const: 1 } }, required: ['a'] },
        { type: 'array' },
        { type: 'null' },
      ],
    },
  ],
  ['a tree', { $defs: { t: { type: 'array', items: { $ref: '#/$defs/t' }, minItems: 0 } }, $ref: '#/$defs/t' }],
  ['anything', {}],
];
const GRAMMARS: readonly (readonly [string, Grammar])[] = [
  ...SCHEMAS.map(([name, schema]) => [name, schemaGrammar(schema)] as const),
  ['calls', toolCallGrammar([{ name: 'a', parameters: { type: 'object' } }], { mode: 'auto', parallel: true })],
];

/** Places on the way of texts by chance. */
function* places(grammar: Grammar, seed: number): Generator<{ place: MaskState; left: number }> {
  const random = seededRandom(seed);
  let place = masks.start(grammar);
  for (let left = place.cost + 1 + random.below(12); left > 0; left--) {
    yield { place, left };
    if (place.isEnd) return;
    const id = pick(place.mask(left), random);
    if (id === END) return;
    place = place.take(id);
  }
}

describe.each(GRAMMARS)('masks of %s', (_, grammar) => {
  it('hold a token exactly if a closing text fits what is left after it', () => {
    let compared = 0;
    for (let seed = 1; seed <= 4; seed++) {
      for (const { place, left } of places(grammar, seed)) {
        for (const remaining of new Set([left, Math.max(place.cost, 1)])) {
          const found = new Set(idsOf(place.mask(remaining)));
          TOKENS.forEach((bytes, id) => {
            if (bytes === null) return;
            let cost = Number.POSITIVE_INFINITY;
            try {
              cost = place.take(id).cost;
            } catch (fault) {
              if (!(fault instanceof RangeError)) throw fault;
            }
            if (found.has(id) !== cost < remaining) {
              expect({ id, token: Buffer.from(bytes).toString(), allowed: found.has(id), cost }).toEqual({ remaining });
            }
            compared++;
          });
          expect(found.has(END)).toBe(place.isWhole);
        }
      }
    }
    expect(compared).toBeGreaterThan(500);
  });

  it('lead nearer to the end from wherever they are tight', () => {
    for (let seed = 1; seed <= 6; seed++) {
      for (const { place } of places(grammar, seed)) {
        if (place.cost === 0) continue;
        const costs = idsOf(place.mask(place.cost)).map((id) => place.take(id).cost);
        expect(costs.length).toBeGreaterThan(0);
        expect(Math.max(...costs)).toBeLessThan(place.cost);
      }
    }
  });

  it('are the same from new caches', () => {
    const fresh = openMasks(makeTrie(TOKENS), [END]);
    const random = seededRandom(9);
    let [a, b] = [masks.start(grammar), fresh.start(grammar)];
    for (let left = a.cost + 10; left > 0 && !a.isEnd; left--) {
      const [one, two] = [a.mask(left), b.mask(left)];
      expect(one.digest).toEqual(two.digest);
      const id = pick(one, random);
      if (id === END) return;
      [a, b] = [a.take(id), b.take(id)];
    }
  });
});

describe('a closing text', () => {
  const LONG = { type: 'object', properties: { name: { const: 'long value' } }, additionalProperties: false };
  const bytes = openMasks(makeTrie([...TOKENS.slice(0, 256), null]), [256]);
  const costAfter = (schema: Json, beginning: string): number => {
    let place = bytes.start(schemaGrammar(schema));
    for (const byte of new TextEncoder().encode(beginning)) place = place.take(byte);
    return place.cost;
  };

  it.each<[Json, string, number]>([
    [LONG, '{"n', 18],
    [{ ...LONG, additionalProperties: true }, '{"n', 4],
    [{ ...LONG, additionalProperties: true }, '{"nam', 4],
    [{ ...LONG, properties: { a: { const: 111 }, b: { const: 1 } }, minProperties: 1 }, '{', 6],
    // Of two classes of names the smaller name, not the class that comes first.
    [
      {
        ...LONG,
        properties: {},
        patternProperties: { '^xb$': { const: 222 }, '^xa$': { const: 1 } },
        minProperties: 1,
      },
      '{',
      7,
    ],
    [{ type: 'array', items: { const: 1 }, minItems: 3 }, '[1, ', 4],
    [{ type: ['array', 'null'] }, '', 2],
    [{ type: 'integer', minimum: 100, maximum: 999 }, '1', 2],
    [{ type: 'string', minLength: 3 }, '"\u00e9', 3],
  ])('of %j after %s', (schema, beginning, cost) => {
    expect(costAfter(schema, beginning)).toBe(cost);
  });
});

it('the smallest of equally short closing texts is cut into tokens, whichever way comes first', () => {
  const cost = (schema: Json) => masks.start(schemaGrammar(schema)).cost;
  // `10` is one token, `99` would be two; `"` and `\\"b"` are two, `"\\ba"` would be four at least.
  expect(cost({ type: 'integer', minimum: 10, maximum: 99 })).toBe(1);
  expect(cost({ enum: [99, 98, 10] })).toBe(1);
  expect(cost({ type: 'string', pattern: '^(?:\\x08a|"b)$' })).toBe(2);
});

describe('a mask', () => {
  const grammar = schemaGrammar({ enum: [true, 'a'] });

  it('counts, names the only id and has a digest of its little-endian words', () => {
    const place = masks.start(grammar).take(0x74);
    const mask = place.mask(10);
    expect([mask.count, mask.only, mask.has(0x72), mask.has(0x73)]).toEqual([1, 0x72, true, false]);
    const bytes = new Uint8Array(4 * Math.ceil(TOKENS.length / 32));
    bytes[0x72 >> 3] = 1 << (0x72 & 7);
    expect(mask.digest).toEqual(sha256(bytes));
    expect(masks.start(grammar).mask(10).only).toBeUndefined();
  });

  it('ends where nothing can follow, without an end token', () => {
    let place = masks.start(grammar);
    expect([place.isWhole, place.isEnd, place.cost]).toEqual([false, false, 3]);
    for (const byte of '"a"') place = place.take(byte.charCodeAt(0));
    expect([place.isWhole, place.isEnd, place.cost]).toEqual([true, true, 0]);
    expect(idsOf(place.mask(1))).toEqual([END]);
    expect(() => place.take(0x20)).toThrow(RangeError);
    expect(() => place.take(END)).toThrow(RangeError);
  });

  it('refuses a vocabulary without the bytes to close with', () => {
    const without = TOKENS.map((bytes) => (bytes?.length === 1 && bytes[0] === 0x7d ? null : bytes));
    expect(() => openMasks(makeTrie(without), [END])).toThrow(ModelError);
  });
});

describeSmolLM2('masks over SmolLM2', (path) => {
  const tokenizer = tokenizerOf(path);
  const { masks: real, tokens: bytesOf } = vocabularyOf(tokenizer);

  it.each(SCHEMAS)('write texts of %s that the tokenizer reads back', (name, schema) => {
    const own = schemaGrammar(schema);
    const random = seededRandom(name.length);
    for (const spare of [0, 3, 25]) {
      const { text, ids } = writeByChance(real, own, bytesOf, random, spare);
      expect(tokenizer.decode(ids)).toBe(text);
      expect(accepts(own, text)).toBe(true);
    }
  });

  it('allows the ids of a text as the tokenizer cuts it', () => {
    const own = schemaGrammar({ type: 'object' });
    const ids = tokenizer.encodeText('{"city": "Zürich 🙂", "days": [1, 2.5, -3], "ok": true}');
    let place = real.start(own);
    ids.forEach((id, i) => {
      expect(place.mask(100 - i).has(id)).toBe(true);
      place = place.take(id);
    });
    expect(place.isEnd).toBe(true);
  });
});

it('every byte vocabulary writes', () => {
  const { text } = writeByChance(masks, schemaGrammar({ const: 'é' }), tokens, seededRandom(1), 5);
  expect(text).toBe('"é"');
});
