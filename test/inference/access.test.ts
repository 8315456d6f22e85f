import Fastify from 'fastify';
import { describe, expect, it } from 'vitest';
import { openAccess } from '../../inference/access.ts';
import { type AccessKey, AccessKeyError } from '../../inference/access-keys.ts';
import type { Asked } from '../../inference/answering.ts';
import { openRateLimits } from '../../inference/rate-limits.ts';
import { buildServer } from '../../inference/server.ts';
import { toyContext } from '../support/toy-context.ts';
import { openToyEngine } from '../support/toy-engine.ts';

const NONE: AccessKey['limits'] = { active: null, waiting: null, requestsPerMinute: null, tokensPerMinute: null };
const CHAT = { model: 'toy/echo', messages: [{ role: 'user', content: 'hello' }], max_tokens: 16 };

/** A server with two keys, `tb-a` and `tb-b`; the first has the limits. */
function open(limits: Partial<AccessKey['limits']> = {}) {
  const keys = new Map([
    ['tb-a', { id: 'ak-a', limits: { ...NONE, ...limits } }],
    ['tb-b', { id: 'ak-b', limits: NONE }],
  ]);
  let nowMs = 0;
  const access = openAccess(
    { authenticate: (secret) => keys.get(secret) },
    openRateLimits(() => nowMs),
  );
  const engine = openToyEngine();
  const app = buildServer(toyContext({ engine }), { access });
  const get = (url: string, authorization?: string) =>
    app.inject({ url, headers: authorization === undefined ? {} : { authorization } });
  const chat = (secret: string | undefined, body: object = CHAT) =>
    app.inject({
      method: 'POST',
      url: '/v1/chat/completions',
      headers: {
        'content-type': 'application/json',
        ...(secret === undefined ? {} : { authorization: `Bearer ${secret}` }),
      },
      payload: JSON.stringify(body),
    });
  const pass = (ms: number) => {
    nowMs += ms;
  };
  return { app, access, engine, keys, get, chat, pass };
}

describe('a server with access keys', () => {
  it.each([
    ['no header', undefined],
    ['no secret', 'Bearer '],
    ['another scheme', 'Basic dGItYQ=='],
    ['a secret alone', 'tb-a'],
    ['two secrets', 'Bearer tb-a tb-b'],
    ['another secret', 'Bearer tb-c'],
    ['a secret in capitals', 'Bearer TB-A'],
    ['a long secret', `Bearer ${'x'.repeat(1000)}`],
    ['the secret in a header that is too long', `Bearer ${' '.repeat(512)}tb-a`],
  ])('refuses %s', async (_, authorization) => {
    const response = await open().get('/v1/models', authorization);
    expect(response.statusCode).toBe(401);
    expect(response.headers['www-authenticate']).toBe('Bearer');
    expect(response.json().error).toMatchObject({
      type: 'invalid_request_error',
      code: 'invalid_api_key',
      param: null,
    });
    expect(response.body).not.toContain('tb-c');
  });

  it('lets the key in, in whatever way the scheme is written', async () => {
    const { get, chat } = open();
    for (const scheme of ['Bearer', 'bearer', 'BEARER ']) {
      expect((await get('/v1/models', `${scheme} tb-a`)).statusCode).toBe(200);
    }
    expect((await chat('tb-b')).statusCode).toBe(200);
  });

  it('asks before the body is read', async () => {
    const { app, engine } = open();
    const response = await app.inject({ method: 'POST', url: '/v1/chat/completions', payload: 'not json' });
    expect(response.statusCode).toBe(401);
    expect(engine.seen).toEqual([]);
  });

  it('asks on every route of the API and for metrics, and not for health and documents', async () => {
    const { app, get } = open();
    await app.ready();
    for (const url of ['/healthz', '/readyz', '/openapi.json', '/docs/', '/docs/json', '/docs/static/swagger-ui.css']) {
      expect([url, (await get(url)).statusCode]).toEqual([url, 200]);
    }
    for (const url of [
      '/v1/models',
      '/v1/models/toy/echo',
      '/v1/receipts/rcpt_0',
      '/v1/responses/resp_0',
      '/metrics',
      // The same route in other letters.
      '/%76%31/models',
      '/v1/models/..%2F..%2Fhealthz',
    ]) {
      expect([url, (await get(url)).statusCode]).toEqual([url, 401]);
    }
    for (const url of ['/v1/chat/completions', '/v1/completions', '/v1/responses', '/v1/embeddings']) {
      expect([url, (await app.inject({ method: 'POST', url })).statusCode]).toEqual([url, 401]);
    }
    expect((await app.inject({ method: 'DELETE', url: '/v1/responses/resp_0' })).statusCode).toBe(401);
    expect((await app.inject({ method: 'HEAD', url: '/v1/models' })).statusCode).toBe(401);
    expect((await get('/nowhere')).statusCode).toBe(404);
  });

  it('asks on a route whose name only begins like that of a public one', async () => {
    const { access } = open();
    const app = Fastify();
    access.guard(app);
    const urls = [
      '/healthz',
      '/healthzz',
      '/healthz/all',
      '/readyz2',
      '/openapi.json5',
      '/docs',
      '/docs2',
      '/v1/docs/',
    ];
    for (const url of urls) app.get(url, async () => 'in');
    const answered = await Promise.all(urls.map(async (url) => [url, (await app.inject({ url })).body === 'in']));
    expect(answered.filter(([, isIn]) => isIn).map(([url]) => url)).toEqual(['/healthz', '/docs']);
  });

  it('refuses a key from the moment that it is revoked', async () => {
    const { keys, chat } = open();
    expect((await chat('tb-a')).statusCode).toBe(200);
    keys.delete('tb-a');
    expect((await chat('tb-a')).statusCode).toBe(401);
  });

  it('limits the requests of a minute, of that key alone, and says when to come again', async () => {
    const { chat, pass } = open({ requestsPerMinute: 2 });
    expect((await chat('tb-a')).statusCode).toBe(200);
    // What is no request of this API is not counted.
    expect((await chat('tb-a', { model: 'toy/echo' })).statusCode).toBe(400);
    expect((await chat('tb-a')).statusCode).toBe(200);
    const refused = await chat('tb-a');
    expect(refused.statusCode).toBe(429);
    expect(refused.json().error).toMatchObject({ type: 'rate_limit_error', code: 'rate_limit_exceeded' });
    expect(refused.headers['retry-after']).toBe('30');
    expect((await chat('tb-b')).statusCode).toBe(200);
    pass(30_000);
    expect((await chat('tb-a')).statusCode).toBe(200);
  });

  it('limits the tokens of a minute: what an answer may take enters, what it took counts', async () => {
    const { chat } = open({ tokensPerMinute: 60 });
    // 3 of the prompt's text and 16 of the answer at most; 35 and 11 in the end.
    expect((await chat('tb-a')).statusCode).toBe(200);
    expect((await chat('tb-a')).statusCode).toBe(429);
    expect((await chat('tb-a', { ...CHAT, max_tokens: 5 })).statusCode).toBe(200);
  });

  it('gives tokens back that a refused request did not take', async () => {
    const { chat } = open({ tokensPerMinute: 60 });
    const failing = { ...CHAT, messages: [{ role: 'user', content: 'fail PROMPT_TOO_LONG' }] };
    for (let i = 0; i < 5; i++) expect((await chat('tb-a', failing)).statusCode).toBe(400);
    expect((await chat('tb-a')).statusCode).toBe(200);
  });

  it('limits the tokens of texts and of embeddings too', async () => {
    const { app, pass } = open({ tokensPerMinute: 60 });
    const post = async (url: string, payload: object) =>
      (await app.inject({ method: 'POST', url, headers: { authorization: 'Bearer tb-a' }, payload })).statusCode;
    const embed = (units: number) => post('/v1/embeddings', { model: 'toy/echo', input: 'x'.repeat(units) });
    // 20 at most, and 40 in the end.
    expect(await embed(40)).toBe(200);
    expect(await embed(42)).toBe(429);
    expect(await embed(20)).toBe(200);
    pass(3_600_000);
    const complete = (units: number) =>
      post('/v1/completions', { model: 'toy/echo', prompt: 'x'.repeat(units), max_tokens: 1 });
    // The toy counts nothing of a prompt but its two brackets.
    expect(await complete(10)).toBe(200);
    expect(await complete(116)).toBe(429);
    expect(await complete(110)).toBe(200);
  });

  it('keeps the tokens of an answer whose client left', async () => {
    const { access, chat, keys } = open({ tokensPerMinute: 60 });
    await chat('tb-a', { ...CHAT, messages: [{ role: 'user', content: 'fail PROMPT_TOO_LONG' }] });
    const gone = new AbortController();
    const answer = access.limitAnswers(async () => {
      gone.abort();
      throw new Error('as asked');
    });
    const request = { messages: [], prompt: null, tools: [], toolChoice: { type: 'none' }, maxTokens: 50 };
    const asked = { request } as unknown as Asked;
    const caller = { id: keys.get('tb-a')?.id ?? '' };
    await expect(answer(asked, { caller, signal: gone.signal })).rejects.toThrow('as asked');
    expect((await chat('tb-a')).statusCode).toBe(429);
  });

  it('says that keys cannot be read, and why to its operator alone', async () => {
    const fault = new AccessKeyError('KEYS_UNSAFE', 'others may write to /secret/keys');
    const keys = {
      authenticate: () => {
        throw fault;
      },
    };
    const told: unknown[] = [];
    const access = openAccess(
      keys,
      openRateLimits(() => 0),
    );
    const app = buildServer(toyContext({ engine: openToyEngine() }), { access, onFault: (error) => told.push(error) });
    const answer = await app.inject({ url: '/v1/models', headers: { authorization: 'Bearer tb-a' } });
    expect(answer.statusCode).toBe(503);
    expect(answer.json().error).toMatchObject({ type: 'server_error', code: 'keys_unavailable' });
    expect(answer.body).not.toContain('secret');
    expect(told).toMatchObject([{ code: 'KEYS_UNAVAILABLE', cause: fault }]);
  });

  it('hands on the limits that a scheduler keeps', async () => {
    const { access, chat } = open({ active: 3, waiting: 5 });
    await chat('tb-a');
    await chat('tb-b');
    expect(access.limitsOf({ id: 'ak-a' })).toEqual({ active: 3, waiting: 5 });
    expect(access.limitsOf({ id: 'ak-b' })).toEqual({});
  });

  it('keeps the responses of a key from others', async () => {
    const { app, get } = open();
    const made = await app.inject({
      method: 'POST',
      url: '/v1/responses',
      headers: { authorization: 'Bearer tb-a' },
      payload: { model: 'toy/echo', input: 'hello' },
    });
    expect(made.statusCode).toBe(200);
    const url = `/v1/responses/${made.json().id}`;
    expect((await get(url, 'Bearer tb-a')).statusCode).toBe(200);
    expect((await get(url, 'Bearer tb-b')).statusCode).toBe(404);
  });
});

it('a server without keys takes any, as OpenAI’s clients send one always', async () => {
  const app = buildServer(toyContext());
  for (const authorization of ['Bearer sk-anything', 'nonsense']) {
    expect((await app.inject({ url: '/v1/models', headers: { authorization } })).statusCode).toBe(200);
  }
});
