import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SpanStatusCode } from '@opentelemetry/api';
import { InMemorySpanExporter, type ReadableSpan, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import type { RunManager } from '../../../runtime/manager-types.ts';
import { openOtlpSpans } from '../../../runtime/telemetry/otlp.ts';
import { createRunSpans } from '../../../runtime/telemetry/spans.ts';
import { gatedModel, openRunApi } from '../../support/run-api.ts';
import { toyClient, toyRun } from '../../support/toy-run.ts';

/** Spans of everything that the manager of an API does. */
async function traced(options: Parameters<typeof openRunApi>[0] = {}) {
  const exporter = new InMemorySpanExporter();
  let manager: RunManager | undefined;
  const spans = createRunSpans([new SimpleSpanProcessor(exporter)], {
    parentOf: (run) => manager?.list().find((one) => one.run === run)?.parent?.run,
  });
  const api = await openRunApi({
    ...options,
    ports: { ...options.ports, onRecord: (run, agent, seen) => spans.onRecord(run, agent, seen) },
  });
  manager = api.manager;
  return { ...api, spans: () => exporter.getFinishedSpans() };
}

const named = (spans: readonly ReadableSpan[], name: string) => {
  const found = spans.filter((span) => span.name === name);
  if (found.length !== 1) throw new Error(`${found.length} spans ${name} of ${spans.map((span) => span.name)}`);
  return found[0] as ReadableSpan;
};

describe('spans of a run', () => {
  it('are named and counted as the conventions say', async () => {
    const { settled, spans } = await traced();
    const { id, records } = await settled('ask');
    const root = named(spans(), 'invoke_agent ask');
    expect(root.spanContext().traceId).toBe(id.slice(2, 34));
    expect(root.parentSpanContext).toBeUndefined();
    expect(root.status.code).toBe(SpanStatusCode.UNSET);
    expect(root.attributes).toMatchObject({
      'gen_ai.operation.name': 'invoke_agent',
      'gen_ai.agent.name': 'ask',
      'gen_ai.request.model': 'toy-model',
      'gen_ai.usage.input_tokens': 9,
      'gen_ai.usage.output_tokens': 16,
      'tracebond.run': id,
      'tracebond.record': 0,
      'tracebond.records': records,
      'tracebond.status': 'done',
    });
    const chat = named(spans(), 'chat toy-model');
    expect(chat.parentSpanContext?.spanId).toBe(root.spanContext().spanId);
    expect(chat.attributes).toMatchObject({
      'gen_ai.operation.name': 'chat',
      'gen_ai.request.model': 'toy-model',
      'gen_ai.request.max_tokens': 16,
      'gen_ai.request.temperature': 0,
      'gen_ai.request.top_p': 1,
      'gen_ai.response.finish_reasons': ['stop'],
      'gen_ai.usage.input_tokens': 9,
      'gen_ai.usage.output_tokens': 16,
    });
  });

  it('hold nothing that was said', async () => {
    const { settled, send, manager, spans } = await traced();
    await settled('fail', 'tulip mania');
    await settled('ask', 'tulip mania');
    const { id, waiting } = await settled('approve', 'tulip mania');
    await send('POST', `/v1/runs/${id}/approvals/${waiting[0]?.index}`, { approved: false, note: 'tulip' });
    await manager.settled(id);
    expect(spans()).toHaveLength(5);
    const all = JSON.stringify(
      spans().map(({ name, attributes, events, status }) => [name, attributes, events, status]),
    );
    for (const word of ['tulip', 'hunter2', 'how long', 'letters', 'pay?']) expect(all).not.toContain(word);
  });

  it('tell a failure by its code', async () => {
    const { settled, send, manager, spans } = await traced();
    await settled('fail');
    const failed = named(spans(), 'invoke_agent fail');
    expect(failed.status).toEqual({ code: SpanStatusCode.ERROR });
    expect(failed.attributes['error.type']).toBe('TOOL_ERROR');
    const { id } = await settled('approve');
    await send('POST', `/v1/runs/${id}/cancel`);
    await manager.settled(id);
    expect(named(spans(), 'human.approve').attributes['error.type']).toBe('CANCELLED');
    expect(named(spans(), 'invoke_agent approve').attributes['error.type']).toBe('cancelled');
  });

  it('of a child are in the trace of its parent', async () => {
    const { settled, send, manager, spans } = await traced();
    const parent = await settled('delegate');
    const child = manager.list().find((one) => one.parent?.run === parent.id);
    await send('POST', `/v1/runs/${child?.run}/approvals/${child?.waiting[0]?.index}`, { approved: true });
    await vi.waitFor(() => expect(manager.get(parent.id).status).toBe('done'));
    const root = named(spans(), 'invoke_agent delegate');
    const [call, run] = spans()
      .filter(({ name }) => name === 'invoke_agent approve')
      .sort(
        (a, b) =>
          Number(a.attributes['tracebond.run'] === child?.run) - Number(b.attributes['tracebond.run'] === child?.run),
      );
    expect(call?.parentSpanContext?.spanId).toBe(root.spanContext().spanId);
    expect(run?.parentSpanContext?.spanId).toBe(call?.spanContext().spanId);
    expect(call?.attributes['tracebond.child.run']).toBe(child?.run);
    expect(new Set(spans().map((span) => span.spanContext().traceId))).toEqual(new Set([parent.id.slice(2, 34)]));
  });

  it('are sent once, by the process that saw their end, and hang together', async () => {
    const { inference, open } = gatedModel();
    const first = await traced({ ports: { inference } });
    const { id } = (await first.send('POST', '/v1/runs', { agent: 'ask', input: null })).json;
    await vi.waitFor(() => expect(first.manager.get(id).records).toBeGreaterThan(3));
    await first.close();
    expect(first.spans()).toEqual([]);
    open();
    const next = await traced({ folder: first.folder, ports: { inference } });
    await next.manager.settled(id);
    const [chat, root] = [named(next.spans(), 'chat toy-model'), named(next.spans(), 'invoke_agent ask')];
    expect(next.spans()).toHaveLength(2);
    expect(chat.parentSpanContext?.spanId).toBe(root.spanContext().spanId);
    expect(chat.startTime[0]).toBeGreaterThanOrEqual(root.startTime[0]);
  });

  it('that ended before a restart are not sent again', async () => {
    let answers = 0;
    const inference = {
      complete: async (...args: Parameters<typeof toyClient.complete>) => {
        answers += 1;
        if (answers === 2) await new Promise((resolve) => args[2]?.addEventListener('abort', resolve));
        return toyClient.complete(...args);
      },
    };
    const first = await traced({ ports: { inference } });
    const { id } = (await first.send('POST', '/v1/runs', { agent: 'askTwice', input: null })).json;
    await vi.waitFor(() => expect(answers).toBe(2));
    await first.close();
    expect(first.spans().map(({ name }) => name)).toEqual(['chat toy-model']);
    const next = await traced({ folder: first.folder });
    await next.manager.settled(id);
    expect(next.spans().map(({ name }) => name)).toEqual(['chat toy-model', 'invoke_agent askTwice']);
    const [before, after] = [first.spans()[0], next.spans()[0]];
    expect(after?.spanContext().spanId).not.toBe(before?.spanContext().spanId);
    expect(after?.parentSpanContext?.spanId).toBe(before?.parentSpanContext?.spanId);
  });

  it('of tools hold what tools do', async () => {
    const exporter = new InMemorySpanExporter();
    const spans = createRunSpans([new SimpleSpanProcessor(exporter)]);
    const seen: Parameters<typeof spans.onRecord>[2][] = [];
    const { result } = await toyRun({ onRecord: (record) => seen.push(record) });
    for (const record of seen) spans.onRecord(result.run, 'toy', record);
    const all = exporter.getFinishedSpans();
    const tool = named(all, 'execute_tool count');
    expect(tool.attributes).toMatchObject({ 'gen_ai.tool.name': 'count', 'gen_ai.operation.name': 'execute_tool' });
    expect(named(all, 'http.fetch').parentSpanContext?.spanId).toBe(tool.spanContext().spanId);
    expect(JSON.stringify(all.map(({ attributes }) => attributes))).not.toContain('books.test');
  });
});

describe('a collector', () => {
  it('is sent them over OTLP', async () => {
    const bodies: string[] = [];
    const collector = createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (part: string) => {
        body += part;
      });
      request.on('end', () => {
        bodies.push(`${request.method} ${request.url} ${body}`);
        response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
      });
    });
    await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void collector.close());
    const { port } = collector.address() as AddressInfo;
    const spans = openOtlpSpans(`http://127.0.0.1:${port}/`, { version: '1.2.3' });
    const { settled } = await openRunApi({
      ports: { onRecord: (run, agent, seen) => spans.onRecord(run, agent, seen) },
    });
    const { id } = await settled('ask');
    await spans.close();
    expect(bodies).toHaveLength(1);
    const [line = ''] = bodies;
    expect(line.startsWith('POST /v1/traces {')).toBe(true);
    const sent = JSON.parse(line.slice(line.indexOf('{'))) as {
      resourceSpans: { scopeSpans: { spans: object[] }[] }[];
    };
    const found = sent.resourceSpans[0]?.scopeSpans[0]?.spans;
    expect(found).toMatchObject([{ traceId: id.slice(2, 34), name: 'chat toy-model' }, { name: 'invoke_agent ask' }]);
    expect(line).toContain('"service.version"');
  });
});
