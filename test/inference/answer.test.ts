import { describe, expect, it } from 'vitest';
import { type Hex, toHex, utf8 } from '../../attest/core/bytes.ts';
import { sha256, ZERO_DIGEST } from '../../attest/core/hash.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import { computeInferenceSeed } from '../../attest/trace/run-seed.ts';
import { type AnswerFacts, createAnswering } from '../../inference/answer.ts';
import type { AnswerEvent, AnswerStart, Asked } from '../../inference/answering.ts';
import type { Completion, CompletionRequest, Delta, TokenLogprobs } from '../../inference/engine.ts';
import { InferenceError } from '../../inference/errors.ts';
import {
  parseReceiptDocument,
  type ReceiptDocument,
  verifyReceiptDocument,
} from '../../inference/receipts/receipt-document.ts';
import { openScheduler, type Turn } from '../../inference/scheduler.ts';
import { TEST_KEY, toyMessage, toyRequest } from '../support/receipt-facts.ts';
import { openToyEngine, TOY_IDENTITY } from '../support/toy-engine.ts';

const { model: _model, profile: _profile, engine: _engine, ...REQUEST } = toyRequest();
const ASKED: Asked = {
  model: TOY_IDENTITY.id,
  pinned: {},
  place: { run: ZERO_DIGEST, index: 0n, runSeed: ZERO_DIGEST },
  request: REQUEST,
  logprobs: null,
};
const asking = (change: Partial<Asked['request']>, more: Partial<Asked> = {}): Asked => ({
  ...ASKED,
  ...more,
  request: { ...REQUEST, ...change },
});
const saying = (content: string, more: Partial<Asked> = {}) => asking({ messages: [toyMessage(content)] }, more);
const weather = { name: 'weather', description: null, parameters: '{}' };
const calling = (content: string) =>
  asking({
    messages: [toyMessage(content)],
    tools: [weather],
    toolChoice: { type: 'auto' },
    parallelToolCalls: true,
    maxTokens: 200,
  });

type Engine = Parameters<typeof createAnswering>[0]['models'] extends { acquire(...a: never[]): Promise<infer L> }
  ? L extends { engine: infer E }
    ? E
    : never
  : never;

/** An answering over an engine, with what it kept and did. */
function open(engine: Engine = openToyEngine(), options: Partial<Parameters<typeof createAnswering>[0]> = {}) {
  const kept: ReceiptDocument[] = [];
  const turns: Turn[] = [];
  const facts: AnswerFacts[] = [];
  const scheduler = openScheduler();
  let leases = 0;
  let acquired = 0;
  let isKnown = true;
  const answer = createAnswering({
    models: {
      find: (name) =>
        name === TOY_IDENTITY.id || name === TOY_IDENTITY.model
          ? { id: TOY_IDENTITY.id, ...(isKnown ? { identity: TOY_IDENTITY } : {}) }
          : undefined,
      acquire: async () => {
        leases += 1;
        acquired += 1;
        const release = () => {
          leases -= 1;
        };
        return { engine, identity: TOY_IDENTITY, release };
      },
    },
    schedulerOf: () => ({
      run: (turn, work) => {
        turns.push(turn);
        return scheduler.run(turn, work);
      },
    }),
    privateKey: TEST_KEY,
    domain: null,
    receipts: { put: async (document) => void kept.push(document) },
    now: () => 1_700_000_000_999,
    onAnswered: (one) => facts.push(one),
    ...options,
  });
  return {
    kept,
    turns,
    facts,
    forget: () => {
      isKnown = false;
    },
    leases: () => ({ now: leases, ever: acquired }),
    ask: (asked: Asked, signal = new AbortController().signal) => answer(asked, { signal, caller: null }),
    stream: async (asked: Asked, signal = new AbortController().signal) => {
      const starts: AnswerStart[] = [];
      const events: AnswerEvent[] = [];
      const made = await answer(asked, {
        signal,
        caller: { id: 'k' },
        onStart: (start) => starts.push(start),
        onEvent: (event) => events.push(event),
      });
      return { made, starts, events };
    },
  };
}

/** An engine that says what it is told, piece by piece. */
function scripted(deltas: readonly Delta[], completion: Partial<Completion> = {}, fault?: Error): Engine {
  return {
    async complete(_request, _signal, onDelta) {
      for (const delta of deltas) {
        onDelta?.(delta);
        await undefined;
      }
      if (fault !== undefined) throw fault;
      const text = deltas.map((delta) => delta.text).join('');
      return { promptIds: [1], outputIds: [2], text, finishReason: 'stop', masks: null, ...completion };
    },
  };
}

/** An answering whose engine begins 100 ms after it was asked, and ends 200 ms later by the same clock when `go` was called. */
function timed() {
  let nowMs = 5000;
  let go = () => {};
  const held = new Promise<void>((resolve) => {
    go = resolve;
  });
  const facts: AnswerFacts[] = [];
  const kept: unknown[] = [];
  const engine: Engine = {
    async complete(_request, _signal, onDelta) {
      nowMs += 100;
      onDelta?.({ text: 'yes', ids: [1] });
      await held;
      nowMs += 200;
      return { promptIds: [1], outputIds: [1], text: 'yes', finishReason: 'stop', masks: null };
    },
  };
  const scheduler = openScheduler();
  const answer = createAnswering({
    models: { find: () => TOY_IDENTITY, acquire: async () => ({ engine, identity: TOY_IDENTITY, release() {} }) },
    schedulerOf: () => scheduler,
    privateKey: TEST_KEY,
    domain: null,
    receipts: { put: async (_document, ...rest) => void kept.push(rest) },
    now: Date.now,
    monotonic: () => nowMs,
    onAnswered: (one) => facts.push(one),
  });
  return { answer, facts, kept, go: () => go() };
}

describe('an answer', () => {
  it('comes with a receipt for exactly what was asked and answered, which is kept first', async () => {
    const { ask, kept, facts, leases } = open();
    const { place: at } = ASKED;
    const place = { ...at, run: sha256(utf8('run')), index: 7n, runSeed: sha256(utf8('seed')) };
    const asked = saying('hello', { place: { ...place, chainId: 5n, contract: `0x${'5f'.repeat(20)}` } });
    const made = await ask(asked);
    expect(kept).toEqual([made.receipt]);
    const document = parseReceiptDocument(JSON.parse(JSON.stringify(made.receipt)));
    expect(verifyReceiptDocument(document)).toBe(addressOf(TEST_KEY));
    const { model, profile, engine } = TOY_IDENTITY;
    expect(document.request).toEqual({ ...asked.request, model, profile, engine });
    expect(document.receipt).toMatchObject({ chainId: '5', index: '7', run: toHex(place.run), finish: 'stop' });
    expect(document).toMatchObject({ text: 'echo: hello', masks: null, runSeed: toHex(place.runSeed) });
    expect(made).toMatchObject({ content: 'echo: hello', calls: [], end: 'stop', created: 1_700_000_000 });
    expect(made.fingerprint).toMatch(/^fp_[0-9a-f]{20}$/);
    expect(facts).toMatchObject([{ model: 'toy/echo', outputTokens: 11, caller: null }]);
    expect(leases()).toEqual({ now: 0, ever: 1 });
  });

  it('is not given without its receipt, however that is kept', async () => {
    const fault = new Error('no disk');
    const put = async () => {
      throw fault;
    };
    const { ask, facts } = open(openToyEngine(), { receipts: { put } });
    await expect(ask(ASKED)).rejects.toBe(fault);
    expect(facts).toEqual([]);
  });

  it('is drawn with the seed of run, place and request', async () => {
    const engine = openToyEngine();
    const { ask } = open(engine);
    const sampling = { temperature: 5000, topP: 9000, topK: 3 };
    const runSeed = sha256(utf8('seed'));
    await ask(asking({ sampling, seed: '9' }, { place: { run: runSeed, index: 7n, runSeed }, logprobs: 5 }));
    expect(engine.seen).toEqual([
      {
        messages: [{ role: 'user', content: 'hello' }],
        maxTokens: 64,
        sampling: { ...sampling, seed: toHex(computeInferenceSeed(runSeed, 7n, 9n)) },
        logprobs: 5,
      },
    ]);
  });

  it('that was cut, chosen or is a call says so', async () => {
    const { ask } = open();
    expect((await ask(asking({ maxTokens: 3 }))).end).toBe('length');
    expect((await ask(asking({ responseFormat: { type: 'choice', choices: ['a'] } }))).end).toBe('stop');
    const called = await ask(calling('call it'));
    expect(called).toMatchObject({
      end: 'tool_calls',
      content: null,
      calls: [{ name: 'weather', arguments: '{"toy": 1}' }],
    });
    expect(called.calls[0]?.id).toMatch(/^call_[0-9a-f]{24}$/);
    // Who cannot call says what looks like a call.
    const text = '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>';
    expect(await open(scripted([{ text, ids: [] }])).ask(ASKED)).toMatchObject({
      content: text,
      calls: [],
      end: 'stop',
    });
  });

  it('has call ids of its own request, the same each time', async () => {
    const ids = async (content: string) => (await open().ask(calling(content))).calls.map(({ id }) => id);
    expect(await ids('call a')).toEqual(await ids('call a'));
    expect(await ids('call a')).not.toEqual(await ids('call b'));
  });
});

describe('piece by piece', () => {
  const said = (events: readonly AnswerEvent[]) => events.map((event) => ('text' in event ? event.text : '')).join('');

  it('is the same answer, begun once, before its first piece', async () => {
    const whole = await open().ask(saying('héllo 🌍'));
    const { made, starts, events } = await open().stream(saying('héllo 🌍'));
    expect(made).toEqual(whole);
    expect(starts).toEqual([{ identity: TOY_IDENTITY, fingerprint: whole.fingerprint, created: whole.created }]);
    expect(events.length).toBeGreaterThan(5);
    expect(said(events)).toBe(whole.content);
  });

  it('begins when the engine does, whether its pieces are wanted or not', async () => {
    const { answer, facts, kept, go } = timed();
    const said: string[] = [];
    const made = answer(ASKED, {
      signal: new AbortController().signal,
      caller: { id: 'k' },
      responseId: 'chatcmpl-1',
      onStart: () => said.push('start'),
    }).then(() => said.push('end'));
    await expect.poll(() => said).toEqual(['start']);
    go();
    await made;
    expect(said).toEqual(['start', 'end']);
    // Of its own arrival, not of the clock's beginning.
    expect(facts).toMatchObject([{ startMs: 100, totalMs: 300 }]);
    expect(kept).toEqual([[{ id: 'k' }, 'chatcmpl-1']]);
  });

  it('has calls with their names before their arguments', async () => {
    const { made, events } = await open().stream(calling('call it'));
    expect(events[0]).toMatchObject({ type: 'call', index: 0, name: 'weather', id: made.calls[0]?.id });
    expect(said(events)).toBe('{"toy": 1}');
  });

  it('begins also where the engine shows nothing, and says all', async () => {
    const silent: Engine = { complete: (request: CompletionRequest) => openToyEngine().complete(request) };
    const { made, starts, events } = await open(silent).stream(ASKED);
    expect(starts).toHaveLength(1);
    expect(said(events)).toBe(made.content);
  });

  it('has the probabilities of every token once, those without text too', async () => {
    const of = (id: number): TokenLogprobs => ({ id, text: '', bytes: null, logprob: -1, top: [] });
    const deltas: Delta[] = [
      { text: '', ids: [1], logprobs: [of(1)] },
      { text: 'é', ids: [2], logprobs: [of(2)] },
      { text: 'x', ids: [3, 4], logprobs: [of(3), of(4)] },
      { text: '', ids: [5], logprobs: [of(5)] },
    ];
    const { events } = await open(scripted(deltas)).stream({ ...ASKED, logprobs: 0 });
    const ids = events.map((event) => (event.type === 'text' ? (event.logprobs ?? []).map(({ id }) => id) : []));
    expect(ids).toEqual([[1, 2], [3, 4], [5]]);
  });

  it('has no text after a call, not even for the probabilities of its tokens', async () => {
    const of = (id: number): TokenLogprobs => ({ id, text: '', bytes: null, logprob: -1, top: [] });
    const text = '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>';
    const deltas: Delta[] = [
      { text, ids: [1], logprobs: [of(1)] },
      { text: '', ids: [2], logprobs: [of(2)] },
    ];
    const { made, events } = await open(scripted(deltas)).stream({ ...calling('call it'), logprobs: 0 });
    expect(made.content).toBeNull();
    expect(events.map(({ type }) => type)).toEqual(['call', 'arguments']);
  });

  it('is not signed where the engine showed another text than it answers', async () => {
    const { stream, kept } = open(scripted([{ text: 'yes', ids: [1] }], { text: 'no' }));
    await expect(stream(ASKED)).rejects.toThrow(TypeError);
    expect(kept).toEqual([]);
  });

  it('is computed again where it found no memory before its first piece', async () => {
    const engine = openToyEngine();
    const found: string[] = [];
    const { stream, ask, leases } = open({
      complete(request, signal, onDelta) {
        const said = request.messages[0]?.content ?? '';
        found.push(said);
        if (said === 'hello' && found.length === 2) throw new InferenceError('OUT_OF_MEMORY', 'full');
        return engine.complete(request, signal, onDelta);
      },
    });
    const other = new AbortController();
    const waits = ask(saying('wait'), other.signal);
    const answered = stream(saying('hello'));
    await expect.poll(() => leases()).toEqual({ now: 1, ever: 2 });
    other.abort();
    await expect(waits).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(await answered).toMatchObject({ made: { content: 'echo: hello' } });
    expect(found).toEqual(['wait', 'hello', 'hello']);
  });

  it('is not computed again where it failed for want of memory after a piece', async () => {
    const fault = new InferenceError('OUT_OF_MEMORY', 'full');
    const late = open(scripted([{ text: 'a', ids: [1] }], {}, fault));
    // Something else runs: the scheduler would try again.
    const other = new AbortController();
    const engine = openToyEngine();
    const { stream, ask, leases } = open({
      complete: (request, signal, onDelta) =>
        request.messages[0]?.content === 'wait'
          ? engine.complete(request, signal, onDelta)
          : scripted([{ text: 'a', ids: [1] }], {}, fault).complete(request, signal, onDelta),
    });
    const waits = ask(saying('wait'), other.signal);
    await expect(stream(ASKED)).rejects.toBe(fault);
    expect(leases().ever).toBe(2);
    other.abort();
    await expect(waits).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect(late.stream(ASKED)).rejects.toBe(fault);
    expect(late.kept).toEqual([]);
  });
});

describe('refuses', () => {
  const other: Hex = `0x${'a'.repeat(64)}`;
  const domain = { chainId: 5n, contract: `0x${'5f'.repeat(20)}` as Hex };

  it('another model, before any wait', async () => {
    const { ask, turns } = open();
    const fault = { code: 'MODEL_NOT_FOUND', at: { param: 'model' } };
    await expect(ask({ ...ASKED, model: 'gpt-4' })).rejects.toMatchObject(fault);
    await expect(ask({ ...ASKED, model: 'x'.repeat(9999) })).rejects.toMatchObject({
      message: expect.stringMatching(/^.{1,400}$/),
    });
    expect(turns).toEqual([]);
    expect((await ask({ ...ASKED, model: TOY_IDENTITY.model })).identity.id).toBe(TOY_IDENTITY.id);
  });

  it.each(['model', 'profile', 'engine'] as const)('another %s, known before or not', async (field) => {
    const fault = { code: 'IDENTITY_MISMATCH', at: { param: `tracebond.${field}` } };
    const { ask, turns, forget, leases } = open();
    await expect(ask({ ...ASKED, pinned: { [field]: other } })).rejects.toMatchObject(fault);
    expect(turns).toEqual([]);
    forget();
    await expect(ask({ ...ASKED, pinned: { [field]: other } })).rejects.toMatchObject(fault);
    expect(leases()).toEqual({ now: 0, ever: 1 });
    await ask({ ...ASKED, pinned: { [field]: TOY_IDENTITY[field] } });
  });

  it('another chain than the server is bound to', async () => {
    const { ask } = open(openToyEngine(), { domain });
    const at = (change: object) => ({ ...ASKED, place: { ...ASKED.place, ...change } });
    const code = 'WRONG_CHAIN';
    await expect(ask(at({ chainId: 1n }))).rejects.toMatchObject({ code, at: { param: 'tracebond.chainId' } });
    const contract = `0x${'00'.repeat(20)}`;
    await expect(ask(at({ contract }))).rejects.toMatchObject({ code, at: { param: 'tracebond.contract' } });
    expect((await ask(ASKED)).receipt.receipt).toMatchObject({ chainId: '5', contract: domain.contract });
  });

  it.each<readonly [string, Partial<Asked['request']>, string]>([
    ['a stop with JSON', { stop: ['x'], responseFormat: { type: 'json_object' } }, 'stop'],
    ['a choice of no tool', { toolChoice: { type: 'required' } }, 'tool_choice'],
    ['sampling beyond its range', { sampling: { temperature: 20_001, topP: 1, topK: 0 } }, 'temperature'],
    ['a prompt and messages', { prompt: 'x' }, 'messages'],
    ['a tool twice', { tools: [weather, weather] }, 'tools.1.name'],
    ['parallel calls without tools', { parallelToolCalls: true }, 'parallel_tool_calls'],
  ])('%s', async (_, change, param) => {
    const { ask, kept, leases } = open();
    await expect(ask(asking(change))).rejects.toMatchObject({ code: 'INVALID_VALUE', at: { param } });
    expect(kept).toEqual([]);
    expect(leases().now).toBe(0);
  });

  it('what the engine refuses, without a beginning', async () => {
    const { stream, leases } = open();
    const starts: unknown[] = [];
    await expect(stream(saying('fail PROMPT_TOO_LONG'))).rejects.toMatchObject({ code: 'PROMPT_TOO_LONG' });
    expect(starts).toEqual([]);
    expect(leases().now).toBe(0);
  });
});

describe('a client that is gone', () => {
  it('is answered no more, and its engine is told', async () => {
    const { ask, kept, leases } = open();
    const gone = new AbortController();
    const asked = ask(saying('wait'), gone.signal);
    setImmediate(() => gone.abort());
    await expect(asked).rejects.toMatchObject({ code: 'CANCELLED' });
    await new Promise((resolve) => setImmediate(resolve));
    expect(kept).toEqual([]);
    expect(leases().now).toBe(0);
  });

  it('is shown nothing that comes after', async () => {
    const gone = new AbortController();
    const shown: AnswerEvent[] = [];
    const engine: Engine = {
      async complete(_request, _signal, onDelta) {
        onDelta?.({ text: 'a', ids: [1] });
        gone.abort();
        onDelta?.({ text: 'b', ids: [2] });
        return { promptIds: [1], outputIds: [1, 2], text: 'ab', finishReason: 'stop', masks: null };
      },
    };
    const scheduler = openScheduler();
    const answer = createAnswering({
      models: { find: () => TOY_IDENTITY, acquire: async () => ({ engine, identity: TOY_IDENTITY, release() {} }) },
      schedulerOf: () => scheduler,
      privateKey: TEST_KEY,
      domain: null,
      receipts: { put: async () => expect.unreachable() },
      now: Date.now,
    });
    const made = answer(ASKED, { signal: gone.signal, caller: null, onEvent: (event) => shown.push(event) });
    await expect(made).rejects.toMatchObject({ code: 'CANCELLED' });
    await new Promise((resolve) => setImmediate(resolve));
    expect(shown).toEqual([{ type: 'text', text: 'a' }]);
  });
});

it('stands in the line of its key, with the limits of that key', async () => {
  const { stream, ask, turns } = open(openToyEngine(), {
    limitsOf: ({ id }) => (id === 'k' ? { active: 3 } : undefined),
  });
  await stream(ASKED);
  await ask(ASKED);
  expect(turns).toMatchObject([{ key: 'k', limits: { active: 3 } }, { key: '' }]);
  expect(turns[1]).not.toHaveProperty('limits');
  expect(turns[0]?.positions).toBeLessThanOrEqual(TOY_IDENTITY.contextLength);
});

it('asks for as many positions as it may take, at most the context of the model where that is known', async () => {
  const { ask, turns, forget } = open();
  await ask(saying('hello'));
  await ask(asking({ messages: [], prompt: 'a prompt', maxTokens: 9 }));
  for (let i = 0; i < 2; i++) {
    await expect(ask(saying('x'.repeat(10_000)))).rejects.toMatchObject({ code: 'PROMPT_TOO_LONG' });
    forget();
  }
  expect(turns.map(({ positions }) => positions)).toEqual([67, 13, TOY_IDENTITY.contextLength, 5064]);
});
