import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { ABOUT, openApiDocument } from '../../../inference/openapi/document.ts';
import { makeDocument } from '../../../inference/openapi/make-document.ts';
import type { Operation } from '../../../inference/openapi/operation.ts';
import { OPERATIONS } from '../../../inference/openapi/operations.ts';
import { buildServer } from '../../../inference/server.ts';
import { toyContext } from '../../support/toy-context.ts';

type JsonObject = { readonly [key: string]: Json };

const DOCUMENT = openApiDocument();

function at(value: Json | undefined, ...path: readonly string[]): Json | undefined {
  let found = value;
  for (const step of path) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, step)) return undefined;
    found = (found as JsonObject)[step];
  }
  return found;
}

function refsIn(value: Json): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    key === '$ref' && typeof inner === 'string' ? [inner] : refsIn(inner as Json),
  );
}

const ajv = new Ajv2020({ strict: false, allErrors: true, formats: { 'date-time': true } });
ajv.addSchema({ $id: 'document', components: at(DOCUMENT, 'components') });
const validatorOf = (schema: string) => ajv.compile({ $ref: `document#/components/schemas/${schema}` });

describe('the document', () => {
  it('has every route of the server, and no other', async () => {
    const found = new Set<string>();
    const app = buildServer(toyContext());
    const seen: string[] = [];
    // Printed by the router itself: what it would answer.
    await app.ready();
    for (const { method, path } of OPERATIONS) {
      const url = path.replace(/\{\w+\}/g, 'x');
      seen.push(`${method} ${path}`);
      expect([url, app.hasRoute({ method: method.toUpperCase(), url: toRoute(path) })]).toEqual([url, true]);
    }
    for (const [path, methods] of Object.entries(at(DOCUMENT, 'paths') as JsonObject)) {
      for (const method of Object.keys(methods as JsonObject)) found.add(`${method} ${path}`);
    }
    expect([...found].sort()).toEqual(seen.sort());
    const routes = app.printRoutes({ commonPrefix: false });
    const known = OPERATIONS.map(({ path }) => toRoute(path));
    const missing = [...routes.matchAll(/(\/\S*) \((?:GET|POST|DELETE)/g)]
      .map(([, route = '']) => route)
      .filter((route) => route.startsWith('/v1') && !known.includes(route));
    expect(missing).toEqual([]);
  });

  it('has what OpenAPI 3.1 requires', () => {
    expect(at(DOCUMENT, 'openapi')).toBe('3.1.0');
    expect(at(DOCUMENT, 'info', 'title')).toBeTypeOf('string');
    expect(at(DOCUMENT, 'info', 'version')).toMatch(/^\d+\.\d+\.\d+$/);
    const ids = new Set<Json | undefined>();
    for (const [path, methods] of Object.entries(at(DOCUMENT, 'paths') as JsonObject)) {
      for (const operation of Object.values(methods as JsonObject)) {
        const id = at(operation, 'operationId');
        expect(ids.has(id)).toBe(false);
        ids.add(id);
        const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
        const named = ((at(operation, 'parameters') ?? []) as readonly JsonObject[])
          .filter((parameter) => parameter['in'] === 'path')
          .map((parameter) => parameter['name']);
        expect(named).toEqual(inPath);
        const responses = at(operation, 'responses') as JsonObject;
        expect(Object.keys(responses)).toContain('200');
        for (const [status, response] of Object.entries(responses)) {
          expect(status).toMatch(/^[2-5]\d\d$/);
          expect(at(response, 'description')).toBeTypeOf('string');
          expect(Object.keys(at(response, 'content') as JsonObject).length).toBeGreaterThan(0);
        }
      }
    }
  });

  it('points only at what is there, and every schema compiles', () => {
    const refs = refsIn(DOCUMENT);
    expect(refs.length).toBeGreaterThan(20);
    for (const ref of new Set(refs)) {
      expect([ref, at(DOCUMENT, ...ref.replace(/^#\//, '').split('/'))]).not.toEqual([ref, undefined]);
    }
    const schemas = Object.keys(at(DOCUMENT, 'components', 'schemas') as JsonObject);
    const used = new Set(refs.map((ref) => ref.split('/').at(-1)));
    for (const name of schemas) {
      expect(used).toContain(name);
      expect(validatorOf(name)).toBeTypeOf('function');
    }
  });

  it('says which routes need no key', () => {
    const open = Object.entries(at(DOCUMENT, 'paths') as JsonObject)
      .filter(([, methods]) => at(methods, 'get', 'security') !== undefined)
      .map(([path]) => path);
    expect(open.sort()).toEqual(['/healthz', '/openapi.json', '/readyz']);
    expect(at(DOCUMENT, 'security')).toEqual([{ accessKey: [] }]);
  });
});

function toRoute(path: string): string {
  if (path === '/v1/models/{model}') return '/v1/models/*';
  return path.replace(/\{\w+\}/g, ':id');
}

describe('what the document takes', () => {
  const posts = OPERATIONS.flatMap(({ method, path, request, response }) =>
    method === 'post' && request !== undefined ? [{ path, request, response }] : [],
  );

  it.each(posts)('and answers as it says: the example of $path', async ({ path, request, response }) => {
    const app = buildServer(toyContext());
    const body = { ...(request.example as object), model: 'toy/echo' };
    expect(validatorOf(request.name)(body)).toBe(true);
    const answer = await app.inject({ method: 'POST', url: path, payload: body });
    expect(answer.statusCode).toBe(200);
    const validate = validatorOf(response.json?.name ?? '');
    expect([validate(answer.json()), validate.errors]).toEqual([true, null]);
  });

  it.each(posts)('and streams as it says: $path', async ({ path, request, response }) => {
    if (response.events === undefined) return;
    const app = buildServer(toyContext());
    const body = { ...(request.example as object), model: 'toy/echo', stream: true };
    expect(validatorOf(request.name)(body)).toBe(true);
    const answer = await app.inject({ method: 'POST', url: path, payload: body });
    const events = [...answer.body.matchAll(/^data: (\{.*)$/gm)].map(([, text = '']) => JSON.parse(text));
    expect(events.length).toBeGreaterThan(2);
    const validate = validatorOf(response.events.name);
    for (const event of events) expect([validate(event), validate.errors]).toEqual([true, null]);
  });

  const more: readonly (readonly [string, object])[] = [
    ['/v1/chat/completions', { temperature: 0.5, top_p: 0.9, seed: 7, stop: ['x'], n: 1, user: 'me', logprobs: true }],
    ['/v1/chat/completions', { seed: '18446744073709551615', stop: 'x', max_tokens: null, logit_bias: {} }],
    ['/v1/chat/completions', { tools: [{ type: 'function', function: { name: 'f' } }], tool_choice: 'required' }],
    ['/v1/chat/completions', { response_format: { type: 'choice', choices: ['a', 'b'] } }],
    ['/v1/completions', { seed: 1, stop: null, echo: false }],
    ['/v1/responses', { instructions: 'be brief', store: false, metadata: { a: 'b' } }],
    ['/v1/embeddings', { encoding_format: 'base64' }],
  ];
  it.each(more)('%s %j is taken by both', async (path, fields) => {
    const { request } = posts.find((post) => post.path === path) ?? {};
    const body = { ...(request?.example as object), model: 'toy/echo', ...fields };
    expect(validatorOf(request?.name ?? '')(body)).toBe(true);
    expect((await buildServer(toyContext()).inject({ method: 'POST', url: path, payload: body })).statusCode).toBe(200);
  });

  const refused: readonly (readonly [string, object])[] = [
    ['/v1/chat/completions', { n: 2 }],
    ['/v1/chat/completions', { messages: [{ role: 'robot', content: 'x' }] }],
    ['/v1/chat/completions', { messages: [] }],
    ['/v1/chat/completions', { max_tokens: 0 }],
    ['/v1/chat/completions', { stop: '' }],
    ['/v1/chat/completions', { tools: [{ type: 'web_search' }] }],
    ['/v1/chat/completions', { anything: 1 }],
    ['/v1/completions', { prompt: 5 }],
    ['/v1/responses', { background: true }],
    ['/v1/embeddings', { input: '' }],
  ];
  it.each(refused)('%s %j is refused by both', async (path, fields) => {
    const { request } = posts.find((post) => post.path === path) ?? {};
    const body = { ...(request?.example as object), model: 'toy/echo', ...fields };
    expect(validatorOf(request?.name ?? '')(body)).toBe(false);
    const answer = await buildServer(toyContext()).inject({ method: 'POST', url: path, payload: body });
    expect(answer.statusCode).toBe(400);
    expect(validatorOf('Error')(answer.json())).toBe(true);
  });

  it('are models, health and receipts, too', async () => {
    const app = buildServer(toyContext());
    const [model] = toyContext().catalog.list();
    for (const [path, name] of [
      ['/v1/models', 'ModelList'],
      [`/v1/models/${model?.id}`, 'Model'],
      ['/healthz', 'Health'],
      ['/readyz', 'Readiness'],
      ['/nowhere', 'Error'],
    ] as const) {
      const validate = validatorOf(name);
      expect([validate((await app.inject(path)).json()), validate.errors]).toEqual([true, null]);
    }
    for (const [path, body] of [
      ['/v1/completions', { prompt: 'x' }],
      ['/v1/embeddings', { input: 'x' }],
    ] as const) {
      const { tracebond } = (
        await app.inject({ method: 'POST', url: path, payload: { model: 'toy/echo', ...body } })
      ).json();
      const found = (await app.inject(`/v1/receipts/${tracebond.id}`)).json();
      expect(found).toEqual(tracebond);
      expect(validatorOf('ReceiptDocument')(found)).toBe(true);
    }
  });
});

describe('makeDocument', () => {
  const operation = (changes: Partial<Operation>): Operation => ({
    method: 'get',
    path: '/a',
    id: 'a',
    tag: 'Server',
    summary: 'a',
    response: { description: 'a', json: { name: 'A', schema: z.strictObject({ a: z.string() }) } },
    ...changes,
  });

  it('gives parts with an id a place of their own, and recursion its name', () => {
    const part = z.strictObject({ x: z.int() }).meta({ id: 'Part' });
    const tree: z.ZodType = z.lazy(() => z.strictObject({ parts: z.array(part), trees: z.array(tree) }));
    const made = makeDocument(
      [operation({ response: { description: 'a', json: { name: 'Tree', schema: tree } } })],
      ABOUT,
    );
    const schemas = at(made, 'components', 'schemas') as JsonObject;
    expect(Object.keys(schemas)).toContain('Part');
    for (const ref of refsIn(made)) expect(at(made, ...ref.slice(2).split('/'))).toBeDefined();
    expect(JSON.stringify(made)).not.toContain('$defs');
  });

  it('shows a request as it is sent, not as it is read', () => {
    const schema = z.strictObject({ a: z.string().transform((text) => text.length), b: z.int().default(3) });
    const made = makeDocument([operation({ method: 'post', request: { name: 'R', schema } })], ABOUT);
    expect(at(made, 'components', 'schemas', 'R')).toMatchObject({
      properties: { a: { type: 'string' }, b: { type: 'integer' } },
      required: ['a'],
    });
  });

  it('refuses one operation or one name twice', () => {
    expect(() => makeDocument([operation({}), operation({})], ABOUT)).toThrow('get /a is there twice');
    const other = { description: 'b', json: { name: 'A', schema: z.string() } };
    expect(() => makeDocument([operation({}), operation({ path: '/b', response: other })], ABOUT)).toThrow(
      'two schemas',
    );
  });
});
