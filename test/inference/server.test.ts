import { basename, join } from 'node:path';
import type { LightMyRequestResponse } from 'fastify';
import { describe, expect, it } from 'vitest';
import { buildServer } from '../../inference/server.ts';
import { openOpenAIDocument } from '../support/openai-document.ts';
import { toyContext } from '../support/toy-context.ts';
import { openToyEngine } from '../support/toy-engine.ts';
import { describeVectors, filesBelow, readBytes } from '../support/vectors.ts';

const CHAT = { model: 'toy/echo', messages: [{ role: 'user', content: 'hello' }] };

function open(options: buildServer.Options = {}) {
  const engine = openToyEngine();
  const app = buildServer(toyContext({ engine }), options);
  const post = (
    payload: string | Buffer | object,
    headers: Record<string, string> = {},
    url = '/v1/chat/completions',
  ) =>
    app.inject({
      method: 'POST',
      url,
      headers: { 'content-type': 'application/json', ...headers },
      payload: typeof payload === 'string' || Buffer.isBuffer(payload) ? payload : JSON.stringify(payload),
    });
  return { app, engine, post };
}

/** Status, code and parameter of a refusal, which must have exactly OpenAI's shape. */
function refusal(response: LightMyRequestResponse) {
  const body = response.json();
  expect(Object.keys(body)).toEqual(['error']);
  expect(Object.keys(body.error).sort()).toEqual(['code', 'message', 'param', 'type']);
  expect(response.headers['content-type']).toMatch(/^application\/json/);
  return [response.statusCode, body.error.code, body.error.param];
}

describe('faults', () => {
  it.each([
    ['PROMPT_TOO_LONG', 400, 'context_length_exceeded', 'messages'],
    ['CONTEXT_EXCEEDED', 400, 'context_length_exceeded', 'messages'],
    ['CHOICE_TOO_LONG', 400, 'invalid_value', 'response_format.choices'],
    ['CONTROL_TOKEN_IN_TEXT', 400, 'control_token_in_text', 'messages'],
    ['TEMPLATE_REFUSED', 400, 'template_refused', 'messages'],
    ['SCHEMA_REFUSED', 400, 'invalid_json_schema', 'response_format'],
    ['BUDGET_TOO_SMALL', 400, 'budget_too_small', 'max_tokens'],
    ['OUT_OF_MEMORY', 503, 'out_of_memory', null],
    ['NUMERIC_FAULT', 500, 'numeric_fault', null],
    ['GRAPH_FAILED', 500, 'graph_failed', null],
    ['ENGINE_CLOSED', 503, 'engine_closed', null],
  ])('%s of the engine is told, whole and streamed', async (fault, status, code, param) => {
    const { post } = open();
    const body = { ...CHAT, messages: [{ role: 'user', content: `fail ${fault}` }] };
    expect(refusal(await post(body))).toEqual([status, code, param]);
    // Nothing of the stream was sent yet.
    expect(refusal(await post({ ...body, stream: true }))).toEqual([status, code, param]);
  });

  it('of a bug nothing is told but that there is one, and it is reported', async () => {
    const faults: unknown[] = [];
    const { post } = open({ onFault: (error) => faults.push(error) });
    for (const stream of [false, true]) {
      const response = await post({ ...CHAT, stream, messages: [{ role: 'user', content: 'bug' }] });
      expect(refusal(response)).toEqual([500, 'internal_error', null]);
      expect(response.body).not.toContain('secret');
    }
    expect(faults).toEqual([new TypeError('secret of the host'), new TypeError('secret of the host')]);
  });
});

describe('bodies', () => {
  const text = JSON.stringify(CHAT);
  const malformed: readonly (readonly [string, string | Buffer])[] = [
    ['nothing', ''],
    ['cut off', text.slice(0, -1)],
    ['two values', `${text}{}`],
    ['a comment', `/**/${text}`],
    ['a comma at the end', `${text.slice(0, -1)},}`],
    ['single quotes', text.replaceAll('"', "'")],
    ['a byte order mark', `\ufeff${text}`],
    ['a field twice', `${text.slice(0, -1)},"model":"toy/echo"}`],
    ['a field twice by an escape', `${text.slice(0, -1)},"mod\\u0065l":"toy/echo"}`],
    ['half a character', text.replace('hello', '\\ud800')],
    ['no UTF-8', Buffer.concat([Buffer.from(text.slice(0, -4)), Buffer.of(0xff), Buffer.from(text.slice(-4))])],
    ['UTF-16', Buffer.from(text, 'utf16le')],
    ['NaN', text.slice(0, -1).concat(',"seed":NaN}')],
    ['a number beyond all', text.slice(0, -1).concat(',"seed":1e999}')],
    ['81 levels', '['.repeat(81) + ']'.repeat(81)],
    ['half a million levels', '['.repeat(500_000)],
  ];
  it.each(malformed)('refuses %s', async (_, body) => {
    expect(refusal(await open().post(body))).toEqual([400, 'invalid_json', null]);
  });

  it('refuses one that is too large, by its length and by its bytes', async () => {
    const { post, engine } = open({ bodyLimitBytes: 1000 });
    const large = JSON.stringify({ ...CHAT, messages: [{ role: 'user', content: 'x'.repeat(1000) }] });
    expect(refusal(await post(large))).toEqual([413, 'body_too_large', null]);
    expect(engine.seen).toEqual([]);
    expect((await post(CHAT)).statusCode).toBe(200);
  });

  it.each(['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/jsonp'])(
    'refuses %s',
    async (type) => {
      expect(refusal(await open().post(text, { 'content-type': type }))).toEqual([415, 'unsupported_media_type', null]);
    },
  );

  it('reads application/json with a charset', async () => {
    expect((await open().post(text, { 'content-type': 'application/json; charset=utf-8' })).statusCode).toBe(200);
  });

  it('refuses none at all', async () => {
    const { app } = open();
    expect(refusal(await app.inject({ method: 'POST', url: '/v1/chat/completions' }))).toEqual([
      400,
      'invalid_json',
      null,
    ]);
  });
});

describeVectors('jsontestsuite/test_parsing', (folder) => {
  it('as bodies: each is refused, none stops the server', async () => {
    const { post, engine } = open();
    let count = 0;
    for (const path of filesBelow(folder)) {
      const [status, code] = refusal(await post(Buffer.from(readBytes(path))));
      const name = basename(path);
      expect([name, status]).toEqual([name, 400]);
      // A valid one is no request of this API; an n_ one is no JSON.
      if (name.startsWith('n_')) expect([name, code]).toEqual([name, 'invalid_json']);
      if (name.startsWith('y_') && !name.includes('duplicated'))
        expect([name, code]).not.toEqual([name, 'invalid_json']);
      count++;
    }
    expect(count).toBeGreaterThan(300);
    expect(engine.seen).toEqual([]);
    expect((await post(CHAT)).statusCode).toBe(200);
  });
});

describe('requests', () => {
  it.each([
    ['GET', '/'],
    ['GET', '/v1/chat/completions'],
    ['POST', '/v1/models'],
    ['GET', '/v1/completions'],
    ['OPTIONS', '/v1/chat/completions'],
    ['POST', '/v1/chat/completions/'],
    ['DELETE', '/v1/models/toy'],
    ['GET', '/../../etc/passwd'],
  ] as const)('has no %s %s', async (method, url) => {
    expect(refusal(await open().app.inject({ method, url }))).toEqual([404, 'not_found', null]);
  });

  it('refuses a path that is no URL', async () => {
    expect(refusal(await open().app.inject('/v1/models/%E0%A4%A'))).toEqual([400, 'bad_request', null]);
  });

  it('refuses a request for another host', async () => {
    const { app } = open({ allowedHosts: ['127.0.0.1', 'localhost', '[::1]'] });
    const ask = (host: string) => app.inject({ url: '/healthz', headers: { host } });
    for (const host of ['127.0.0.1:8080', 'localhost', 'LocalHost:80', '[::1]:80']) {
      expect((await ask(host)).statusCode).toBe(200);
    }
    for (const host of ['evil.example', '127.0.0.1.evil.example:8080', 'localhost.']) {
      expect(refusal(await ask(host))).toEqual([403, 'host_not_allowed', null]);
    }
  });
});

describeVectors('openai-openapi', (folder) => {
  const document = openOpenAIDocument(join(folder, 'openapi.json'));

  it('models and refusals of every route are what the published document says', async () => {
    const { app, post } = open();
    document.validateResponse('/models', 'get', 200, (await app.inject('/v1/models')).json());
    document.validateResponse('/models/toy', 'get', 200, (await app.inject('/v1/models/toy/echo')).json());
    for (const url of ['/v1/chat/completions', '/v1/completions', '/v1/responses', '/v1/embeddings', '/v1/nothing']) {
      for (const body of [{}, [], { model: 'x', n: 3 }, '{', { ...CHAT, prompt: 'x', input: 'x', model: 'gpt-4o' }]) {
        const response = await post(body, {}, url);
        expect(response.statusCode).toBeGreaterThanOrEqual(400);
        expect(response.statusCode).toBeLessThan(500);
        document.validateError(response.json());
      }
    }
  });
});
