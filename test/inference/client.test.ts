import { describe, expect, it, onTestFinished } from 'vitest';
import type { Hex } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import { NO_PLACE, signReceipt, verifyReceipt } from '../../attest/sign/receipt.ts';
import { ReceiptError } from '../../attest/sign/receipt-errors.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import { ClientError, openInferenceClient } from '../../inference/client.ts';
import { buildServer } from '../../inference/server.ts';
import { TEST_KEY, toyMessage, toyRequest } from '../support/receipt-facts.ts';
import { toyContext } from '../support/toy-context.ts';
import { TOY_IDENTITY } from '../support/toy-engine.ts';

const SIGNER = addressOf(TEST_KEY);
const PLACE = {
  chainId: 31337n,
  contract: `0x${'5f'.repeat(20)}`,
  run: sha256(TEST_KEY),
  index: 5n,
  runSeed: sha256(sha256(TEST_KEY)),
} as const;

type Reply = { status: number; headers: Record<string, string>; body: string };

/** A client of an in-memory server whose replies to chats `tamper` may change. */
async function open(tamper: (reply: Reply) => Reply = (reply) => reply, options: { signer?: Hex } = {}) {
  const app = buildServer(toyContext());
  onTestFinished(() => app.close());
  const paths: string[] = [];
  const send = (async (url: string, init: RequestInit) => {
    const { pathname } = new URL(url);
    paths.push(pathname);
    const response = await app.inject({
      method: init.method as 'GET',
      url: pathname,
      headers: init.headers as Record<string, string>,
      ...(init.body === undefined ? {} : { payload: init.body as string }),
    });
    const reply = {
      status: response.statusCode,
      headers: { ...(response.headers as Record<string, string>) },
      body: response.body,
    };
    const { status, headers, body } = pathname.endsWith('completions') ? tamper(reply) : reply;
    return new Response(body, { status, headers });
  }) as typeof fetch;
  return { client: openInferenceClient({ url: 'http://toy/', fetch: send, ...options }), paths };
}

/** Changes the JSON of an answer. */
function edit(change: (body: Answer) => void): (reply: Reply) => Reply {
  return (reply) => {
    const body = JSON.parse(reply.body) as Answer;
    change(body);
    return { ...reply, body: JSON.stringify(body) };
  };
}

type Answer = {
  choices: { message: { content: string | null; tool_calls?: object[] }; text: string; finish_reason: string }[];
  tracebond: {
    receipt: Record<string, string>;
    promptIds: number[];
    outputIds: number[];
    masks: Hex | null;
    text: string;
  };
};

const TOOL = { name: 'look', description: null, parameters: '{"type":"object"}' };
const CALLING = toyRequest({
  tools: [TOOL],
  toolChoice: { type: 'required' },
  parallelToolCalls: true,
  maxTokens: 128,
});

describe('inference client', () => {
  it('learns identity and signer once', async () => {
    const { client, paths } = await open();
    expect(await client.identity()).toEqual(TOY_IDENTITY);
    expect(await client.signer()).toBe(SIGNER);
    await client.complete(toyRequest(), PLACE);
    expect(paths).toEqual(['/v1/models', '/v1/chat/completions']);
  });

  it('brings an answer whose receipt holds', async () => {
    const { client } = await open();
    const request = toyRequest({
      messages: [toyMessage('Grüße', { role: 'tool', name: 'bob' })],
      seed: '18446744073709551615',
      stop: ['x'],
    });
    const { receipt, ...completion } = await client.complete(request, PLACE);
    expect(completion.text).toBe('echo: Grüße');
    verifyReceipt(receipt, { ...PLACE, request, completion }, SIGNER);
  });

  it('brings a choice as a choice', async () => {
    const { client } = await open();
    const responseFormat = { type: 'choice', choices: ['a', 'b'] } as const;
    const { finishReason, text } = await client.complete(toyRequest({ responseFormat }), NO_PLACE);
    expect(finishReason).toBe('choice');
    expect(['a', 'b']).toContain(text);
  });

  it('brings calls of tools as the text that was signed', async () => {
    const { client } = await open();
    const { receipt, ...completion } = await client.complete(CALLING, PLACE);
    expect(completion.text).toBe('<tool_call>\n{"name": "look", "arguments": {"toy": 1}}\n</tool_call>');
    expect(completion.masks).toMatch(/^0x6/);
    verifyReceipt(receipt, { ...PLACE, request: CALLING, completion }, SIGNER);
  });

  it('brings JSON, and what was drawn', async () => {
    const { client } = await open();
    const schema = '{"type":"object","properties":{"b":{},"a":{}}}';
    const request = toyRequest({
      responseFormat: { type: 'json_schema', schema },
      sampling: { temperature: 7001, topP: 9999, topK: 3 },
    });
    expect((await client.complete(request, PLACE)).text).toBe('{}');
  });

  it('brings a prompt as it was continued', async () => {
    const { client, paths } = await open();
    const request = toyRequest({ prompt: 'once', messages: [] });
    const { receipt, ...completion } = await client.complete(request, PLACE);
    expect(completion.text).toBe('echo: once');
    expect(paths.at(-1)).toBe('/v1/completions');
    verifyReceipt(receipt, { ...PLACE, request, completion }, SIGNER);
  });

  const said: readonly (readonly [string, ReturnType<typeof toyRequest>, (body: Answer) => void])[] = [
    ['another content', toyRequest(), ({ choices: [one] }) => Object.assign(one?.message ?? {}, { content: 'hullo' })],
    ['no content', toyRequest(), ({ choices: [one] }) => Object.assign(one?.message ?? {}, { content: null })],
    ['no message', toyRequest(), ({ choices: [one] }) => void delete (one as { message?: object }).message],
    [
      'calls that were not made',
      toyRequest(),
      ({ choices: [one] }) =>
        Object.assign(one?.message ?? {}, { tool_calls: [{ function: { name: 'look', arguments: '{}' } }] }),
    ],
    ['no calls', CALLING, ({ choices: [one] }) => Object.assign(one?.message ?? {}, { tool_calls: [] })],
    [
      'other arguments',
      CALLING,
      ({ choices: [one] }) =>
        Object.assign(one?.message ?? {}, { tool_calls: [{ function: { name: 'look', arguments: '{"toy": 2}' } }] }),
    ],
    ['a call as an end', CALLING, ({ choices: [one] }) => Object.assign(one ?? {}, { finish_reason: 'stop' })],
    [
      'another continuation',
      toyRequest({ prompt: 'once', messages: [] }),
      ({ choices: [one] }) => Object.assign(one ?? {}, { text: 'twice' }),
    ],
  ];
  it.each(said)('refuses %s beside a receipt that holds', async (_, request, change) => {
    const { client } = await open(edit(change));
    const fault = await client.complete(request, PLACE).catch((error) => error);
    expect(fault).toBeInstanceOf(ClientError);
    expect(fault.code).toBe('MALFORMED_RESPONSE');
  });

  const lies: readonly (readonly [string, (reply: Reply) => Reply, string])[] = [
    ['another text', edit((body) => Object.assign(body.tracebond, { text: 'echo: hullo' })), 'TEXT_MISMATCH'],
    [
      'masks of a free text',
      edit((body) => Object.assign(body.tracebond, { masks: `0x${'6'.repeat(64)}` })),
      'MASKS_MISMATCH',
    ],
    ['another token out', edit((body) => Object.assign(body.tracebond.outputIds, { 0: 1 })), 'OUTPUT_IDS_MISMATCH'],
    ['a token out more', edit((body) => void body.tracebond.outputIds.push(1)), 'OUTPUT_IDS_MISMATCH'],
    ['another token in', edit((body) => Object.assign(body.tracebond.promptIds, { 0: 1 })), 'PROMPT_IDS_MISMATCH'],
    [
      'a receipt of another record',
      edit((body) => Object.assign(body.tracebond.receipt, { index: '6' })),
      'INDEX_MISMATCH',
    ],
    [
      'a receipt of another chain',
      edit((body) => Object.assign(body.tracebond.receipt, { chainId: '1' })),
      'CHAIN_MISMATCH',
    ],
    [
      'a receipt of another request',
      edit((body) => Object.assign(body.tracebond.receipt, { request: `0x${'a'.repeat(64)}` })),
      'REQUEST_MISMATCH',
    ],
    ['a receipt without a field', edit((body) => void delete body.tracebond.receipt['seed']), 'MALFORMED_RECEIPT'],
    ['no receipt', edit((body) => Object.assign(body.tracebond, { receipt: null })), 'MALFORMED_RECEIPT'],
    [
      'a broken signature',
      edit((body) => Object.assign(body.tracebond.receipt, { signature: `0x${'00'.repeat(65)}` })),
      'MALFORMED_SIGNATURE',
    ],
  ];
  it.each(lies)('refuses %s', async (_, tamper, code) => {
    const { client } = await open(tamper);
    const fault = await client.complete(toyRequest(), PLACE).catch((error) => error);
    expect(fault).toBeInstanceOf(ReceiptError);
    expect(fault.code).toBe(code);
  });

  it('refuses a receipt by another key', async () => {
    const { client } = await open(
      edit((body) => {
        const { promptIds, outputIds } = body.tracebond;
        const completion = { promptIds, outputIds, text: 'echo: hello', finishReason: 'stop', masks: null } as const;
        body.tracebond.receipt = signReceipt({ ...PLACE, request: toyRequest(), completion }, sha256(TEST_KEY));
      }),
    );
    await expect(client.complete(toyRequest(), PLACE)).rejects.toMatchObject({ code: 'SIGNER_MISMATCH' });
  });

  it('refuses a server with another key than the trusted one', async () => {
    const { client } = await open(undefined, { signer: `0x${'11'.repeat(20)}` });
    const fault = await client.identity().catch((error) => error);
    expect(fault).toBeInstanceOf(ClientError);
    expect(fault.code).toBe('SIGNER_MISMATCH');
    const { client: trusting } = await open(undefined, { signer: SIGNER.toUpperCase().replace('0X', '0x') as Hex });
    expect((await trusting.complete(toyRequest(), PLACE)).text).toBe('echo: hello');
  });

  it.each(['model', 'profile', 'engine'] as const)('sends no request for another %s', async (field) => {
    const { client, paths } = await open();
    const request = toyRequest({ [field]: `0x${'a'.repeat(64)}` });
    await expect(client.complete(request, PLACE)).rejects.toMatchObject({ code: 'IDENTITY_MISMATCH', at: { field } });
    expect(paths).toEqual(['/v1/models']);
  });

  const broken: readonly (readonly [string, (reply: Reply) => Reply, string, object])[] = [
    ['no JSON', (reply) => ({ ...reply, body: '<html>' }), 'MALFORMED_RESPONSE', { status: 200 }],
    [
      'a field twice',
      (reply) => ({ ...reply, body: `{"id":"x",${reply.body.slice(1)}` }),
      'MALFORMED_RESPONSE',
      { status: 200 },
    ],
    ['another API', (reply) => ({ ...reply, body: '{}' }), 'MALFORMED_RESPONSE', {}],
    ['null', (reply) => ({ ...reply, body: 'null' }), 'MALFORMED_RESPONSE', {}],
    ['an id that is no uint32', edit((body) => void body.tracebond.promptIds.push(-1)), 'MALFORMED_RESPONSE', {}],
    [
      'tool calls',
      edit((body) => Object.assign(body.choices[0] ?? {}, { finish_reason: 'tool_calls' })),
      'MALFORMED_RESPONSE',
      {},
    ],
    [
      'another end than signed',
      edit((body) => Object.assign(body.choices[0] ?? {}, { finish_reason: 'length' })),
      'MALFORMED_RESPONSE',
      {},
    ],
    ['17 MiB', (reply) => ({ ...reply, body: ' '.repeat(17 << 20) }), 'MALFORMED_RESPONSE', {}],
    [
      '429',
      (reply) => ({ ...reply, status: 429, headers: { 'retry-after': '7' }, body: '{"error":{"code":"queue_full"}}' }),
      'OVERLOADED',
      { status: 429, code: 'queue_full', retryAfterSeconds: 7 },
    ],
    [
      '503',
      (reply) => ({ ...reply, status: 503, body: '{"error":{"code":"engine_died"}}' }),
      'FAILED',
      { status: 503, code: 'engine_died' },
    ],
    ['500 of nobody', (reply) => ({ ...reply, status: 500, body: '[]' }), 'FAILED', { status: 500, code: null }],
    [
      '502 of a proxy',
      (reply) => ({ ...reply, status: 502, body: 'Bad Gateway' }),
      'MALFORMED_RESPONSE',
      { status: 502 },
    ],
  ];
  it.each(broken)('refuses %s', async (_, tamper, code, at) => {
    const { client } = await open(tamper);
    const fault = await client.complete(toyRequest(), PLACE).catch((error) => error);
    expect(fault).toBeInstanceOf(ClientError);
    expect(fault).toMatchObject({ code, at });
  });

  it('tells what the server refuses', async () => {
    const { client } = await open();
    const request = toyRequest({ messages: [toyMessage('x'.repeat(5000))] });
    await expect(client.complete(request, PLACE)).rejects.toMatchObject({
      code: 'REFUSED',
      at: { status: 400, code: 'context_length_exceeded', param: 'messages' },
    });
  });

  it('says that nobody listens, and comes again later', async () => {
    const client = openInferenceClient({ url: 'http://127.0.0.1:1' });
    for (let i = 0; i < 2; i++) {
      const fault = await client.identity().catch((error) => error);
      expect(fault).toBeInstanceOf(ClientError);
      expect(fault.code).toBe('UNREACHABLE');
    }
  });

  it('tells a cancelled call from a broken one', async () => {
    const never = ((url: string, init: RequestInit) =>
      url.endsWith('/models')
        ? new Response(JSON.stringify({}))
        : new Promise((_, reject) =>
            init.signal?.addEventListener('abort', () => reject(new Error('aborted'))),
          )) as typeof fetch;
    const { client: real } = await open();
    const identity = await real.identity();
    const { id, ...digests } = identity;
    const models = {
      object: 'list',
      data: [{ id, object: 'model', tracebond: { ...digests, signer: SIGNER, chainId: null, contract: null } }],
    };
    const client = openInferenceClient({
      url: 'http://toy',
      fetch: ((url: string, init: RequestInit) =>
        url.endsWith('/models') ? Promise.resolve(Response.json(models)) : never(url, init)) as typeof fetch,
    });
    const stop = new AbortController();
    const call = client.complete(toyRequest(), PLACE, stop.signal);
    setTimeout(() => stop.abort(), 10);
    await expect(call).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});
