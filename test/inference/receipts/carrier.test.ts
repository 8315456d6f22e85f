import { describe, expect, it } from 'vitest';
import { utf8 } from '../../../attest/core/bytes.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { signReceipt } from '../../../attest/sign/receipt.ts';
import { type InferenceRequest, REQUEST_LIMITS } from '../../../attest/trace/inference-request.ts';
import { type Carried, MAX_CARRIER_BYTES, readCarrier } from '../../../inference/receipts/carrier.ts';
import { CarrierError } from '../../../inference/receipts/carrier-error.ts';
import { readCheckable } from '../../../inference/receipts/checkable.ts';
import { fingerprintOf } from '../../../inference/receipts/fingerprint.ts';
import { readWholeAnswerTo } from '../../../inference/receipts/reading.ts';
import { parseReceiptDocument, toReceiptDocument } from '../../../inference/receipts/receipt-document.ts';
import { factsOf, TEST_KEY, toyRequest } from '../../support/receipt-facts.ts';

type Fields = { readonly [field: string]: Json };

function documentOf(text: string, request: InferenceRequest = toyRequest(), finishReason: 'stop' | 'length' = 'stop') {
  const facts = factsOf('hi', text);
  const all = { ...facts, request, completion: { ...facts.completion, finishReason } };
  return toReceiptDocument(all, signReceipt(all, TEST_KEY));
}

const weather = { name: 'weather', description: null, parameters: '{}' };
const calling = toyRequest({ tools: [weather], toolChoice: { type: 'auto' }, parallelToolCalls: true });
const callText = (city: string) => `<tool_call>\n{"name": "weather", "arguments": {"city":"${city}"}}\n</tool_call>`;

const PLAIN = documentOf('Oslo.');
const CALLS = documentOf(`So:${callText('Oslo')}\n${callText('Rom')}`, calling);
const [FIRST, SECOND] = readWholeAnswerTo(calling, CALLS.text).calls;
const print = fingerprintOf(PLAIN.request);
const usage = { prompt_tokens: 2, completion_tokens: 5 };
const chat: Fields = {
  object: 'chat.completion',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Oslo.' }, finish_reason: 'stop' }],
  usage,
  system_fingerprint: print,
  tracebond: PLAIN as unknown as Json,
};
const toolCall = (call: typeof FIRST) => ({
  id: call?.id ?? '',
  type: 'function',
  function: { name: call?.name ?? '', arguments: call?.arguments ?? '' },
});
const callingChat: Fields = {
  object: 'chat.completion',
  choices: [
    {
      message: { content: 'So:', tool_calls: [toolCall(FIRST), toolCall(SECOND)] },
      finish_reason: 'tool_calls',
    },
  ],
  tracebond: CALLS as unknown as Json,
};
const text: Fields = {
  object: 'text_completion',
  choices: [{ index: 0, text: 'Oslo.', finish_reason: 'stop' }],
  tracebond: PLAIN as unknown as Json,
};
const message = (words: string) => ({ type: 'message', content: [{ type: 'output_text', text: words }] });
const functionCall = (call: typeof FIRST) => ({
  type: 'function_call',
  call_id: call?.id ?? '',
  name: call?.name ?? '',
  arguments: call?.arguments ?? '',
});
const response: Fields = {
  object: 'response',
  status: 'completed',
  output: [message('So:'), functionCall(FIRST), functionCall(SECOND)],
  usage: { input_tokens: 2, output_tokens: CALLS.outputIds.length },
  system_fingerprint: print,
  tracebond: CALLS as unknown as Json,
};

const body = (value: Json): Carried => readCarrier(utf8(JSON.stringify(value)));
const stream = (...events: readonly (Json | string)[]): Carried =>
  readCarrier(
    utf8(events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join('')),
  );
const judge = (carried: Carried) => readCheckable(carried).compareAround()?.outcome;

const chunk = (delta: Json, more: Fields = {}, end: Json = null): Fields => ({
  object: 'chat.completion.chunk',
  choices: [{ index: 0, delta, finish_reason: end }],
  system_fingerprint: print,
  ...more,
});
const chunks: readonly Fields[] = [
  chunk({ role: 'assistant', content: '' }),
  chunk({ content: 'So:' }),
  chunk({
    tool_calls: [{ index: 0, id: FIRST?.id ?? '', type: 'function', function: { name: 'weather', arguments: '' } }],
  }),
  chunk({ tool_calls: [{ index: 0, function: { arguments: '{"city":' } }] }),
  chunk({ tool_calls: [{ index: 0, function: { arguments: '"Oslo"}' } }] }),
  chunk({
    tool_calls: [{ index: 1, id: SECOND?.id ?? '', function: { name: 'weather', arguments: '{"city":"Rom"}' } }],
  }),
  chunk({}, {}, 'tool_calls'),
  {
    object: 'chat.completion.chunk',
    choices: [],
    usage: { prompt_tokens: 2, completion_tokens: CALLS.outputIds.length },
    tracebond: CALLS as unknown as Json,
  },
];
const textChunk = (words: string, more: Fields = {}, end: Json = null): Fields => ({
  object: 'text_completion',
  choices: [{ text: words, finish_reason: end }],
  ...more,
});
const textChunks = [textChunk('Os'), textChunk('lo.'), textChunk('', { tracebond: PLAIN as unknown as Json }, 'stop')];
const deltas: readonly Fields[] = [
  { type: 'response.created', response: { object: 'response', status: 'in_progress' } },
  { type: 'response.output_text.delta', output_index: 0, delta: 'So' },
  { type: 'response.output_text.delta', output_index: 0, delta: ':' },
  { type: 'response.function_call_arguments.delta', output_index: 1, delta: FIRST?.arguments ?? '' },
  { type: 'response.function_call_arguments.delta', output_index: 2, delta: SECOND?.arguments ?? '' },
  { type: 'response.completed', response },
];

describe('finds the receipt', () => {
  it('alone', () => {
    const found = body(PLAIN as unknown as Json);
    expect(found.answer).toBeNull();
    expect(parseReceiptDocument(found.document)).toEqual(PLAIN);
  });

  it.each<readonly [string, Carried, string, boolean]>([
    ['in a chat completion', body(chat), 'chat completion', false],
    ['in one with calls', body(callingChat), 'chat completion', false],
    ['in a text completion', body(text), 'text completion', false],
    ['in a response', body(response), 'response', false],
    ['in the chunks of a chat', stream(...chunks, '[DONE]'), 'chat completion', true],
    ['in the chunks of a text', stream(...textChunks, '[DONE]'), 'text completion', true],
    ['in the events of a response', stream(...deltas), 'response', true],
  ])('%s', (_, found, surface, isStream) => {
    expect(found.answer).toMatchObject({ surface, isStream });
    expect(judge(found)).toBeUndefined();
  });

  it('in events with names, comments and other line ends', () => {
    const events = textChunks.map((event) => `event: x\r\nid: 1\r\ndata:${JSON.stringify(event)}\r\n\r\n`);
    const found = readCarrier(utf8(`: ping\r\n\r\n${events.join(': ping\r\n\r\n')}data: [DONE]\r\n\r\n`));
    expect(found.answer).toMatchObject({ content: 'Oslo.', end: 'stop' });
  });

  it('of an answer that was cut at its greatest length', () => {
    const cut = documentOf('Oslo.', toyRequest(), 'length') as unknown as Json;
    const choice = { message: { content: 'Oslo.' }, finish_reason: 'length' };
    expect(judge(body({ object: 'chat.completion', choices: [choice], tracebond: cut }))).toBeUndefined();
    const incomplete = { object: 'response', status: 'incomplete', output: [message('Oslo.')], tracebond: cut };
    expect(judge(body(incomplete))).toBeUndefined();
    expect(judge(body({ ...incomplete, status: 'completed' }))).toMatchObject({ field: 'finish_reason' });
  });
});

describe('finds what the receipt does not say', () => {
  const choice = (change: Fields) => ({
    ...chat,
    choices: [{ message: { content: 'Oslo.' }, finish_reason: 'stop', ...change }],
  });
  const changed = (at: number, event: Fields) => stream(...chunks.map((old, i) => (i === at ? event : old)));
  it.each<readonly [string, Carried, string]>([
    ['another content', body(choice({ message: { content: 'Rom.' } })), 'content'],
    ['no content', body(choice({ message: { content: null } })), 'content'],
    [
      'a call that nobody made',
      body(choice({ message: { content: 'Oslo.', tool_calls: [toolCall(FIRST)] } })),
      'tool_calls.0',
    ],
    ['another end', body(choice({ finish_reason: 'length' })), 'finish_reason'],
    ['another fingerprint', body({ ...chat, system_fingerprint: 'fp_0' }), 'system_fingerprint'],
    ['more tokens of the prompt', body({ ...chat, usage: { ...usage, prompt_tokens: 3 } }), 'usage.prompt_tokens'],
    [
      'more tokens of the output',
      body({ ...chat, usage: { ...usage, completion_tokens: 6 } }),
      'usage.completion_tokens',
    ],
    ['another text', body({ ...text, choices: [{ text: 'Oslo', finish_reason: 'stop' }] }), 'content'],
    [
      'another message',
      body({ ...response, output: [message('No:'), functionCall(FIRST), functionCall(SECOND)] }),
      'content',
    ],
    ['a call that is left out', body({ ...response, output: [message('So:'), functionCall(FIRST)] }), 'tool_calls.1'],
    [
      'calls in another order',
      body({ ...response, output: [message('So:'), functionCall(SECOND), functionCall(FIRST)] }),
      'tool_calls.0.id',
    ],
    ['a response that is not whole', body({ ...response, status: 'incomplete' }), 'finish_reason'],
    ['a chunk that is left out', stream(...chunks.slice(0, 1), ...chunks.slice(2)), 'content'],
    [
      'arguments that were changed',
      changed(4, chunk({ tool_calls: [{ index: 0, function: { arguments: '"Rom"}' } }] })),
      'tool_calls.0.arguments',
    ],
    ['an end that was changed', changed(6, chunk({}, {}, 'stop')), 'finish_reason'],
    ['a text chunk too many', stream(textChunks[0] ?? {}, ...textChunks), 'content'],
  ])('%s', (_, found, field) => {
    expect(judge(found)).toMatchObject({ verdict: 'DIVERGED', field });
  });
});

describe('refuses', () => {
  const refuse = (act: () => unknown): CarrierError => {
    try {
      act();
    } catch (error) {
      if (error instanceof CarrierError) return error;
      throw error;
    }
    return expect.unreachable();
  };
  const { tracebond: _, ...unsigned } = chat;
  it.each<readonly [string, () => unknown, string]>([
    ['another JSON', () => body([1]), 'NO_RECEIPT'],
    ['an error', () => body({ error: { message: 'no' } }), 'NO_RECEIPT'],
    ['an answer without receipt', () => body(unsigned), 'NO_RECEIPT'],
    ['null for a receipt', () => body({ ...chat, tracebond: null }), 'NO_RECEIPT'],
    ['a stream that was cut off', () => stream(...chunks.slice(0, -1)), 'NO_RECEIPT'],
    [
      'a response that failed',
      () => stream({ type: 'response.failed', response: { status: 'failed', tracebond: null } }),
      'NO_RECEIPT',
    ],
    ['a stream of nothing', () => stream('[DONE]'), 'NO_RECEIPT'],
    ['another object', () => body({ ...chat, object: 'list' }), 'MALFORMED_ANSWER'],
    [
      'two choices',
      () => body({ ...text, choices: [{ text: 'Oslo.', finish_reason: 'stop' }, {}] }),
      'MALFORMED_ANSWER',
    ],
    [
      'content that is no text',
      () => body({ ...chat, choices: [{ message: { content: 1 }, finish_reason: 'stop' }] }),
      'MALFORMED_ANSWER',
    ],
    ['an output of another kind', () => body({ ...response, output: [{ type: 'reasoning' }] }), 'MALFORMED_ANSWER'],
    ['a stream without end', () => stream(...chunks.filter((_, i) => i !== 6)), 'MALFORMED_ANSWER'],
    ['a stream that ends twice', () => stream(...chunks.slice(0, 7), ...chunks.slice(6)), 'MALFORMED_ANSWER'],
    [
      'a stream of two fingerprints',
      () => stream(chunk({}, { system_fingerprint: 'fp_0' }), ...chunks),
      'MALFORMED_ANSWER',
    ],
    ['a call far away', () => stream(chunk({ tool_calls: [{ index: 4e9, id: 'x' }] }), ...chunks), 'MALFORMED_ANSWER'],
    ['words after the end', () => stream(...chunks.slice(0, 2), '[DONE]', ...chunks.slice(2)), 'MALFORMED_ANSWER'],
    [
      'a refusal that nobody made',
      () => body({ ...chat, choices: [{ message: { content: 'Oslo.', refusal: 'No.' }, finish_reason: 'stop' }] }),
      'MALFORMED_ANSWER',
    ],
    ['a refusal in a chunk', () => stream(chunk({ refusal: 'No.' }), ...chunks), 'MALFORMED_ANSWER'],
    [
      'a second choice',
      () => stream({ ...chunk({ content: '' }), choices: [{ index: 1, delta: {} }] }, ...chunks),
      'MALFORMED_ANSWER',
    ],
    ['another sum of tokens', () => body({ ...chat, usage: { ...usage, total_tokens: 8 } }), 'MALFORMED_ANSWER'],
    [
      'another sum in a response',
      () => body({ ...response, usage: { input_tokens: 2, output_tokens: 5, total_tokens: 8 } }),
      'MALFORMED_ANSWER',
    ],
    ['pieces that are not the whole', () => stream(...deltas.filter((_, i) => i !== 2)), 'MALFORMED_ANSWER'],
  ])('%s', (_, act, code) => {
    expect(refuse(act).code).toBe(code);
  });

  const at = (type: string, more: Fields): Fields => ({ type: `response.${type}`, ...more });
  const part = (words: string) => ({ output_index: 0, part: { type: 'output_text', text: words } });
  const say = (words: string) => ({ output_index: 0, text: words });
  const args = (more: Fields) => ({ output_index: 1, arguments: FIRST?.arguments ?? '', ...more });
  const item = (index: number, one: Json) => ({ output_index: index, item: one });
  const among = (event: Fields) => () => stream(...deltas.slice(0, -1), event, ...deltas.slice(-1));
  const { arguments: words, ...name } = functionCall(FIRST);
  it.each<readonly [string, Fields, Fields]>([
    ['a text', at('output_text.done', say('So:')), at('output_text.done', say('No:'))],
    ['a part', at('content_part.done', part('So:')), at('content_part.done', part('No:'))],
    ['a new part', at('content_part.added', part('')), at('content_part.added', part('No:'))],
    ['an item', at('output_item.done', item(0, message('So:'))), at('output_item.done', item(0, message('No:')))],
    [
      'a new item',
      at('output_item.added', item(0, { ...message(''), content: [] })),
      at('output_item.added', item(0, message('No:'))),
    ],
    [
      'the kind of an item',
      at('output_item.done', item(1, functionCall(FIRST))),
      at('output_item.done', item(0, functionCall(FIRST))),
    ],
    [
      'a call',
      at('output_item.done', item(1, functionCall(FIRST))),
      at('output_item.done', item(1, functionCall(SECOND))),
    ],
    [
      'a new call',
      at('output_item.added', item(1, { ...name, arguments: '' })),
      at('output_item.added', item(1, { ...name, name: 'pay', arguments: '' })),
    ],
    [
      'arguments',
      at('function_call_arguments.done', args({})),
      at('function_call_arguments.done', args({ arguments: '{}' })),
    ],
    [
      'the name of a call',
      at('function_call_arguments.done', args({ name: 'weather' })),
      at('function_call_arguments.done', args({ name: 'pay' })),
    ],
    [
      'a piece of no item',
      at('output_text.delta', { output_index: 0, delta: '' }),
      at('output_text.delta', { output_index: 9, delta: 'No' }),
    ],
    [
      'output before the end',
      at('created', { response: { output: [] } }),
      at('created', { response: { output: [message('No:')] } }),
    ],
    ['another kind of event', at('in_progress', { response: {} }), at('refusal.done', { refusal: 'No.' })],
    [
      'an end before the end',
      at('in_progress', { response: {} }),
      at('completed', { response: { ...response, output: [message('No:')] } }),
    ],
  ])('an event of a response that says otherwise: %s', (_, right, wrong) => {
    expect(words).toBe(FIRST?.arguments);
    expect(judge(among(right)() as Carried)).toBeUndefined();
    expect(refuse(among(wrong)).code).toBe('MALFORMED_ANSWER');
  });

  it.each([
    ['no JSON', 'receipt'],
    ['JSON with a key twice', '{"tracebond":1,"tracebond":2}'],
    ['deep JSON', `${'['.repeat(200)}${']'.repeat(200)}`],
    ['an event of no JSON', 'data: {\n\n'],
    ['nothing', ''],
  ])('%s', (_, file) => {
    expect(() => readCarrier(utf8(file))).toThrow(expect.objectContaining({ name: 'EncodingError' }));
  });

  it('an answer deeper than any schema that it may hold', () => {
    const around = (depth: number) => {
      const schema = `${'{"items":'.repeat(depth - 1)}{}${'}'.repeat(depth - 1)}`;
      const json = JSON.stringify({ ...response, tools: [{ type: 'function', parameters: 0 }] });
      return utf8(json.replace('"parameters":0', `"parameters":${schema}`));
    };
    const { schemaDepth } = REQUEST_LIMITS;
    expect(readCarrier(around(schemaDepth)).answer).toMatchObject({ surface: 'response', content: 'So:' });
    expect(() => readCarrier(around(4 * schemaDepth))).toThrow(expect.objectContaining({ name: 'EncodingError' }));
  });

  it('a stream of more bytes than are read', () => {
    const bytes = new Uint8Array(MAX_CARRIER_BYTES + 1).fill(0x0a);
    bytes.set(utf8('data: 1'));
    expect(() => readCarrier(bytes)).toThrow(expect.objectContaining({ name: 'EncodingError' }));
    expect(() => readCarrier(bytes.subarray(1 << 20))).toThrow();
  });
});
