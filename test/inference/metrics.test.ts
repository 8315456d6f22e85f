import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openMetrics } from '../../inference/metrics.ts';
import { buildServer } from '../../inference/server.ts';
import { toyContext } from '../support/toy-context.ts';

function open() {
  const context = toyContext();
  let nowMs = 0;
  const metrics = openMetrics({
    sources: { load: () => ({ active: 2, waiting: 5 }), models: () => context.catalog.list() },
    now: () => {
      nowMs += 250;
      return nowMs;
    },
  });
  const app = buildServer(context, { metrics });
  const post = (url: string, payload: object) => app.inject({ method: 'POST', url, payload });
  /** Value of a line by its name with labels; undefined where there is none. */
  const value = async (name: string) => {
    const text = (await app.inject('/metrics')).body;
    const line = text.split('\n').find((one) => one.startsWith(`${name} `));
    return line === undefined ? undefined : Number(line.slice(name.length));
  };
  return { app, metrics, post, value };
}

const CHAT = { model: 'toy/echo', messages: [{ role: 'user', content: 'hello' }] };

describe('GET /metrics', () => {
  it('is the text that Prometheus reads', async () => {
    const { app } = open();
    const response = await app.inject('/metrics');
    expect(response.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    for (const line of response.body.split('\n'))
      expect(line).toMatch(/^(?:# (?:HELP|TYPE) \w+ .+|\w+(?:\{.*\})? \S+|)$/);
  });

  it('counts requests by route, not by path, and tokens and receipts by model', async () => {
    const { app, post, value } = open();
    const { usage } = (await post('/v1/chat/completions', CHAT)).json();
    await post('/v1/chat/completions', { ...CHAT, max_tokens: 3 });
    for (const name of ['a', 'b', 'c']) await app.inject(`/v1/models/${name}`);
    for (const path of ['/x', '/y', '/z?q']) await app.inject(path);
    const requests = 'tracebond_http_requests_total';
    expect(await value(`${requests}{route="/v1/chat/completions",method="POST",status="200"}`)).toBe(2);
    expect(await value(`${requests}{route="/v1/models/*",method="GET",status="404"}`)).toBe(3);
    expect(await value(`${requests}{route="none",method="GET",status="404"}`)).toBe(3);
    expect(await value('tracebond_tokens_total{model="toy/echo",kind="prompt"}')).toBe(2 * usage.prompt_tokens);
    expect(await value('tracebond_tokens_total{model="toy/echo",kind="output"}')).toBe(usage.completion_tokens + 3);
    expect(await value('tracebond_receipts_total{model="toy/echo",end="stop"}')).toBe(1);
    expect(await value('tracebond_receipts_total{model="toy/echo",end="length"}')).toBe(1);
    await post('/v1/embeddings', { model: 'toy/echo', input: ['ab', 'c'] });
    expect(await value('tracebond_receipts_total{model="toy/echo",end="embedding"}')).toBe(1);
    expect(await value('tracebond_tokens_total{model="toy/echo",kind="prompt"}')).toBe(2 * usage.prompt_tokens + 3);
  });

  it('times the first piece of streams', async () => {
    const { post, value } = open();
    const first = 'tracebond_first_piece_seconds_count{model="toy/echo"}';
    await post('/v1/chat/completions', CHAT);
    expect(await value(first)).toBeUndefined();
    await post('/v1/chat/completions', { ...CHAT, stream: true });
    expect(await value(first)).toBe(1);
    expect(await value('tracebond_first_piece_seconds_sum{model="toy/echo"}')).toBe(0.25);
  });

  it('counts faults by their wire code, and never by what a client wrote', async () => {
    const { app, post, value } = open();
    const say = (content: string) => ({ ...CHAT, messages: [{ role: 'user', content }] });
    await post('/v1/chat/completions', say('fail NUMERIC_FAULT'));
    await post('/v1/chat/completions', say('bug'));
    await post('/v1/chat/completions', { ...CHAT, model: 'mallory"}\n' });
    expect(await value('tracebond_answer_faults_total{code="numeric_fault"}')).toBe(1);
    expect(await value('tracebond_answer_faults_total{code="internal_error"}')).toBe(1);
    expect(await value('tracebond_answer_faults_total{code="model_not_found"}')).toBe(1);
    expect((await app.inject('/metrics')).body).not.toContain('mallory');
  });

  it('shows what is there now', async () => {
    const { metrics, value } = open();
    expect(await value('tracebond_requests{state="active"}')).toBe(2);
    expect(await value('tracebond_requests{state="waiting"}')).toBe(5);
    expect(await value('tracebond_model_open{model="toy/echo"}')).toBe(1);
    metrics.countLoad('toy/echo');
    expect(await value('tracebond_model_loads_total{model="toy/echo"}')).toBe(1);
  });

  it('counts a client that went away as 499', async () => {
    const { app, value } = open();
    onTestFinished(() => app.close());
    await app.listen({ host: '127.0.0.1', port: 0 });
    const socket = connect((app.server.address() as { port: number }).port, '127.0.0.1');
    await once(socket, 'connect');
    const body = JSON.stringify({ ...CHAT, messages: [{ role: 'user', content: 'wait' }] });
    const head = ['POST /v1/chat/completions HTTP/1.1', 'Host: x', 'Content-Type: application/json'];
    socket.write(`${[...head, `Content-Length: ${body.length}`].join('\r\n')}\r\n\r\n${body}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
    socket.destroy();
    const name = 'tracebond_http_requests_total{route="/v1/chat/completions",method="POST",status="499"}';
    for (let i = 0; i < 100 && (await value(name)) === undefined; i++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(await value(name)).toBe(1);
  });

  it('has the process beside, where that is wanted', async () => {
    const metrics = openMetrics({
      sources: { load: () => ({ active: 0, waiting: 0 }), models: () => [] },
      withProcess: true,
    });
    expect((await metrics.print()).text).toContain('process_resident_memory_bytes');
    expect((await open().app.inject('/metrics')).body).not.toContain('process_resident_memory_bytes');
  });
});
