import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { LightMyRequestResponse } from 'fastify';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { fromHex, toHex, utf8 } from '../../attest/core/bytes.ts';
import { sha256, ZERO_DIGEST } from '../../attest/core/hash.ts';
import { NO_CONTRACT, parseReceipt, verifyReceipt } from '../../attest/sign/receipt.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import { openQueue } from '../../inference/queue.ts';
import { buildServer } from '../../inference/server.ts';
import { TEST_KEY, toyRequest } from '../support/receipt-facts.ts';
import { openToyEngine, TOY_IDENTITY } from '../support/toy-engine.ts';
import { describeVectors, filesBelow, readBytes } from '../support/vectors.ts';

const SIGNER = addressOf(TEST_KEY);
const CHAT = { model: 'toy/echo', messages: [{ role: 'user', content: 'hello' }] };

function open(options: Partial<buildServer.Options> = {}) {
  const engine = openToyEngine();
  const app = buildServer({ engine, privateKey: TEST_KEY, now: () => 1_700_000_000_999, ...options });
  const post = (payload: string | Buffer | object, headers: Record<string, string> = {}) =>
    app.inject({
      method: 'POST',
      url: '/v1/chat/completions',
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

describe('POST /v1/chat/completions', () => {
  it('answers as OpenAI does, with the receipt beside', async () => {
    const { post } = open();
    const response = await post(CHAT);
    expect(response.statusCode).toBe(200);
    const { id, system_fingerprint, tracebond, ...rest } = response.json();
    expect(rest).toEqual({
      object: 'chat.completion',
      created: 1_700_000_000,
      model: 'toy/echo',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: 'echo: hello', refusal: null },
          logprobs: null,
          finish_reason: 'stop',
        },
      ],
      usage: { prompt_tokens: 35, completion_tokens: 11, total_tokens: 46 },
    });
    expect(id).toMatch(/^chatcmpl-[0-9a-f]{24}$/);
    expect(system_fingerprint).toMatch(/^fp_[0-9a-f]{20}$/);
    expect(Object.keys(tracebond)).toEqual(['receipt', 'promptIds', 'outputIds']);
    expect(tracebond.outputIds).toEqual([...utf8('echo: hello')]);
  });

  it('signs exactly what was asked and answered, outside a run', async () => {
    const { post } = open();
    const { tracebond } = (await post({ ...CHAT, max_tokens: 64 })).json();
    verifyReceipt(
      parseReceipt(tracebond.receipt),
      {
        chainId: 0n,
        contract: NO_CONTRACT,
        run: ZERO_DIGEST,
        index: 0n,
        runSeed: ZERO_DIGEST,
        request: toyRequest(),
        completion: {
          promptIds: tracebond.promptIds,
          outputIds: [...utf8('echo: hello')],
          text: 'echo: hello',
          finishReason: 'stop',
        },
      },
      SIGNER,
    );
  });

  it('signs the place in a run, and the same twice', async () => {
    const { post } = open();
    const run = toHex(sha256(utf8('run')));
    const runSeed = toHex(sha256(utf8('seed')));
    const place = { run, index: '18446744073709551615', runSeed, chainId: '31337', contract: `0x${'5f'.repeat(20)}` };
    const [one, two] = await Promise.all([0, 1].map(() => post({ ...CHAT, max_tokens: 64, tracebond: place })));
    expect(one?.body).toBe(two?.body);
    const { receipt, promptIds, outputIds } = JSON.parse(one?.body ?? '').tracebond;
    expect(receipt).toMatchObject({ run, index: place.index, chainId: '31337', contract: place.contract });
    verifyReceipt(
      parseReceipt(receipt),
      {
        ...place,
        contract: `0x${'5f'.repeat(20)}`,
        run: fromHex(run),
        runSeed: fromHex(runSeed),
        index: (1n << 64n) - 1n,
        chainId: 31337n,
        request: toyRequest(),
        completion: { promptIds, outputIds, text: 'echo: hello', finishReason: 'stop' },
      },
      SIGNER,
    );
  });

  it('constrains to a choice, which OpenAI calls stop and the receipt choice', async () => {
    const { post, engine } = open();
    const choices = ['travel', 'meals'];
    const body = (await post({ ...CHAT, response_format: { type: 'choice', choices } })).json();
    expect(choices).toContain(body.choices[0].message.content);
    expect(body.choices[0].finish_reason).toBe('stop');
    expect(body.tracebond.receipt.finish).toBe('choice');
    expect(engine.seen[0]?.choices).toEqual(choices);
  });

  it('hands on limit, stop and names', async () => {
    const { post, engine } = open();
    const messages = [{ role: 'user', content: 'a long enough text', name: 'bob' }];
    const cut = (await post({ ...CHAT, messages, max_tokens: 6 })).json();
    expect(cut.choices[0]).toMatchObject({ finish_reason: 'length', message: { content: 'echo: ' } });
    const stopped = (await post({ ...CHAT, messages, stop: 'enough' })).json();
    expect(stopped.choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: 'echo: a long ' } });
    expect(engine.seen[1]).toEqual({ messages, maxTokens: 256, stop: ['enough'] });
  });

  it('takes the model by its digest, too', async () => {
    const { post } = open();
    expect((await post({ ...CHAT, model: TOY_IDENTITY.model })).json().model).toBe('toy/echo');
  });

  const other = `0x${'a'.repeat(64)}`;
  const refusals: readonly (readonly [string, object, number, string, string | null])[] = [
    ['another model', { ...CHAT, model: 'gpt-4o' }, 404, 'model_not_found', 'model'],
    ['another digest', { ...CHAT, model: other }, 404, 'model_not_found', 'model'],
    ['a pinned model', { ...CHAT, tracebond: { model: other } }, 409, 'identity_mismatch', 'tracebond.model'],
    ['a pinned profile', { ...CHAT, tracebond: { profile: other } }, 409, 'identity_mismatch', 'tracebond.profile'],
    ['a pinned engine', { ...CHAT, tracebond: { engine: other } }, 409, 'identity_mismatch', 'tracebond.engine'],
    ['an unknown field', { ...CHAT, top_k: 1 }, 400, 'unknown_parameter', 'top_k'],
    ['a field of OpenAI', { ...CHAT, tools: [] }, 400, 'unsupported_parameter', 'tools'],
    ['a warm temperature', { ...CHAT, temperature: 1 }, 400, 'unsupported_value', 'temperature'],
    ['a stream', { ...CHAT, stream: true }, 400, 'unsupported_value', 'stream'],
    ['no messages', { model: 'toy/echo' }, 400, 'missing_required_parameter', 'messages'],
    [
      'a prompt beyond the context',
      { ...CHAT, messages: [{ role: 'user', content: 'x'.repeat(5000) }] },
      400,
      'context_length_exceeded',
      'messages',
    ],
  ];
  it.each(refusals)('refuses %s', async (_, body, status, code, param) => {
    const { post, engine } = open();
    expect(refusal(await post(body))).toEqual([status, code, param]);
    if (code !== 'context_length_exceeded') expect(engine.seen).toEqual([]);
  });

  it.each([
    ['PROMPT_TOO_LONG', 400, 'context_length_exceeded', 'messages'],
    ['CONTEXT_EXCEEDED', 400, 'context_length_exceeded', 'messages'],
    ['CHOICE_TOO_LONG', 400, 'invalid_value', 'response_format.choices'],
    ['CONTROL_TOKEN_IN_TEXT', 400, 'control_token_in_text', 'messages'],
    ['TEMPLATE_REFUSED', 400, 'template_refused', 'messages'],
    ['NUMERIC_FAULT', 500, 'numeric_fault', null],
    ['GRAPH_FAILED', 500, 'graph_failed', null],
    ['ENGINE_CLOSED', 503, 'engine_closed', null],
  ])('tells %s of the engine', async (fault, status, code, param) => {
    const { post } = open();
    const messages = [{ role: 'user', content: `fail ${fault}` }];
    expect(refusal(await post({ ...CHAT, messages }))).toEqual([status, code, param]);
  });

  it('tells nothing of a bug but that there is one, and reports it', async () => {
    const faults: unknown[] = [];
    const { post } = open({ onFault: (error) => faults.push(error) });
    const response = await post({ ...CHAT, messages: [{ role: 'user', content: 'bug' }] });
    expect(refusal(response)).toEqual([500, 'internal_error', null]);
    expect(response.body).not.toContain('secret');
    expect(faults).toEqual([new TypeError('secret of the host')]);
  });

  it('refuses what the queue cannot hold, and says when to come again', async () => {
    const queue = openQueue(openToyEngine(), { maxWaiting: 1, timeoutMs: 300 });
    const { post } = open({ engine: queue });
    const wait = { messages: [{ role: 'user', content: 'wait' }], maxTokens: 1 } as const;
    const running = [queue.complete(wait), queue.complete(wait)];
    const ends = Promise.allSettled(running);
    const full = await post(CHAT);
    expect(refusal(full)).toEqual([429, 'queue_full', null]);
    expect(Number(full.headers['retry-after'])).toBeGreaterThan(0);
    expect((await ends).map((end) => end.status === 'rejected' && end.reason.code)).toEqual([
      'REQUEST_TIMEOUT',
      'REQUEST_TIMEOUT',
    ]);
    expect(refusal(await post({ ...CHAT, messages: wait.messages }))).toEqual([504, 'request_timeout', null]);
    expect((await post(CHAT)).statusCode).toBe(200);
    await queue.close();
    expect(refusal(await post(CHAT))).toEqual([503, 'server_closed', null]);
  });

  it('binds receipts to the chain it is set to', async () => {
    const contract = `0x${'5f'.repeat(20)}` as const;
    const { post } = open({ domain: { chainId: 5n, contract } });
    expect((await post(CHAT)).json().tracebond.receipt).toMatchObject({ chainId: '5', contract });
    expect((await post({ ...CHAT, tracebond: { chainId: '5', contract } })).statusCode).toBe(200);
    expect(refusal(await post({ ...CHAT, tracebond: { chainId: '6' } }))).toEqual([
      409,
      'wrong_chain',
      'tracebond.chainId',
    ]);
    expect(refusal(await post({ ...CHAT, tracebond: { contract: NO_CONTRACT } }))).toEqual([
      409,
      'wrong_chain',
      'tracebond.contract',
    ]);
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
    ['33 levels', '['.repeat(33) + ']'.repeat(33)],
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

  it('refuses 1 MiB and a byte by default', async () => {
    const frame = JSON.stringify({ ...CHAT, messages: [{ role: 'user', content: '' }] });
    const body = (size: number) => frame.replace('""', `"${'x'.repeat(size - frame.length)}"`);
    const { post } = open();
    expect(refusal(await post(body((1 << 20) + 1)))).toEqual([413, 'body_too_large', null]);
    expect(refusal(await post(body(1 << 20)))).toEqual([400, 'context_length_exceeded', 'messages']);
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

describe('models and health', () => {
  it('lists the one model with its digests', async () => {
    const { app } = open({ domain: { chainId: 5n, contract: NO_CONTRACT } });
    const { data, object } = (await app.inject('/v1/models')).json();
    const { id, ...digests } = TOY_IDENTITY;
    expect(object).toBe('list');
    expect(data).toEqual([
      {
        id,
        object: 'model',
        created: 0,
        owned_by: 'tracebond',
        tracebond: { ...digests, signer: SIGNER, chainId: '5', contract: NO_CONTRACT },
      },
    ]);
    for (const name of ['toy/echo', 'toy%2Fecho', TOY_IDENTITY.model]) {
      expect((await app.inject(`/v1/models/${name}`)).json()).toEqual(data[0]);
    }
  });

  it('does not know others', async () => {
    const { app } = open();
    expect(refusal(await app.inject('/v1/models/gpt-4o'))).toEqual([404, 'model_not_found', 'model']);
    expect(refusal(await app.inject('/v1/models/__proto__'))).toEqual([404, 'model_not_found', 'model']);
  });

  it('is healthy, and ready when its engine is', async () => {
    let ready = false;
    const { app } = open({ isReady: () => ready });
    expect((await app.inject('/healthz')).json()).toEqual({ status: 'ok' });
    expect(refusal(await app.inject('/readyz'))).toEqual([503, 'engine_unavailable', null]);
    ready = true;
    expect((await app.inject('/readyz')).json()).toEqual({ status: 'ready', model: 'toy/echo' });
  });

  it.each([
    ['GET', '/'],
    ['GET', '/v1/chat/completions'],
    ['POST', '/v1/completions'],
    ['POST', '/v1/embeddings'],
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
    for (const host of ['127.0.0.1:8080', 'localhost', '[::1]:80']) expect((await ask(host)).statusCode).toBe(200);
    for (const host of ['evil.example', '127.0.0.1.evil.example:8080', 'localhost.']) {
      expect(refusal(await ask(host))).toEqual([403, 'host_not_allowed', null]);
    }
  });
});

describeVectors('openai-openapi', (folder) => {
  const { components } = JSON.parse(readFileSync(`${folder}/openapi.json`, 'utf8'));
  /** The published schema of one name, as a zod schema. */
  const schemaOf = (name: string) => {
    const text = JSON.stringify({ $ref: `#/$defs/${name}`, $defs: used(name) });
    return z.fromJSONSchema(JSON.parse(text.replaceAll('#/components/schemas/', '#/$defs/')));
  };
  const used = (name: string, found: Record<string, unknown> = {}) => {
    if (Object.hasOwn(found, name)) return found;
    found[name] = components.schemas[name];
    for (const [, next] of JSON.stringify(found[name]).matchAll(/#\/components\/schemas\/([A-Za-z0-9_]+)/g)) {
      used(next as string, found);
    }
    return found;
  };

  it('answers and refusals are what the published schemas say', async () => {
    const { app, post } = open();
    schemaOf('CreateChatCompletionResponse').parse((await post(CHAT)).json());
    const choice = { ...CHAT, response_format: { type: 'choice', choices: ['a'] } };
    schemaOf('CreateChatCompletionResponse').parse((await post(choice)).json());
    schemaOf('ListModelsResponse').parse((await app.inject('/v1/models')).json());
    schemaOf('Model').parse((await app.inject('/v1/models/toy/echo')).json());
    schemaOf('ErrorResponse').parse((await post({})).json());
    const broken = (await post(CHAT)).json();
    broken.choices[0].finish_reason = 'choice';
    expect(schemaOf('CreateChatCompletionResponse').safeParse(broken).success).toBe(false);
  });
});
