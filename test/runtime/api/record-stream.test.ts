import { connect } from 'node:net';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { gatedModel, openRunApi, readEvents } from '../../support/run-api.ts';

/** Reads a stream as it comes. */
async function follow(url: string, headers: Record<string, string> = {}) {
  const gone = new AbortController();
  const response = await fetch(url, { headers, signal: gone.signal });
  let text = '';
  const ended = (async () => {
    const decoder = new TextDecoder();
    for await (const part of response.body ?? []) text += decoder.decode(part, { stream: true });
  })().catch((error: Error) => {
    if (error.name !== 'AbortError') throw error;
  });
  return { response, ended, text: () => text, events: () => readEvents(text), leave: () => gone.abort() };
}

describe('the stream of records', () => {
  it('can be taken up behind every record', async () => {
    const api = await openRunApi();
    const { id, records } = await api.settled('count', { n: 4 });
    const path = `${await api.listen()}/v1/runs/${id}/records`;
    const read = async (url: string, headers: Record<string, string> = {}) => {
      const stream = await follow(url, headers);
      await stream.ended;
      return stream.events();
    };
    const all = await read(path);
    expect(all).toHaveLength(records + 1);
    expect(all.slice(0, -1).map((event) => event.id)).toEqual(Array.from({ length: records }, (_, i) => `${i}`));
    expect(all[0]?.event).toBe('run.open');
    expect(all.at(-2)?.event).toBe('run.close');
    expect(all.at(-1)).toMatchObject({ event: 'end', id: undefined, data: { id, status: 'done' } });
    for (let last = 0; last < records; last++) {
      const rest = await read(path, { 'last-event-id': `${last}` });
      expect(rest).toEqual(all.slice(last + 1));
      expect(await read(`${path}?from=${last}&follow=false`)).toEqual(all.slice(last));
    }
    // Whoever comes back knows better where it was than its address.
    const both = await read(`${path}?from=0`, { 'last-event-id': '3' });
    expect(both).toEqual(all.slice(4));
    expect(await read(`${path}?from=999`)).toEqual(all.slice(-1));
  });

  it.each([
    ['?from=-1', {}],
    ['?from=1e3', {}],
    ['?from=18446744073709551616', {}],
    ['?follow=yes', {}],
    ['?x=1', {}],
    ['', { 'last-event-id': 'abc' }],
    ['', { 'last-event-id': '' }],
  ])('refuses %s %j', async (query, headers) => {
    const { settled, send } = await openRunApi();
    const { id } = await settled('count', { n: 0 });
    const response = await send('GET', `/v1/runs/${id}/records${query}`, undefined, headers as Record<string, string>);
    expect(response.status).toBe(400);
  });

  it('comes as it happens, stays open while the run waits, and ends with it', async () => {
    const api = await openRunApi({ server: { streams: { pingMs: 30 } } });
    const url = await api.listen();
    const { id, waiting } = await api.settled('approve');
    const stream = await follow(`${url}/v1/runs/${id}/records`);
    expect(stream.response.headers.get('content-type')).toContain('text/event-stream');
    const before = api.manager.get(id).records;
    await vi.waitFor(() => expect(stream.events()).toHaveLength(before));
    // A sign of life in the meantime.
    await vi.waitFor(() => expect(stream.text()).toContain(': ping'));
    const path = `/v1/runs/${id}/approvals/${waiting[0]?.index}`;
    await api.send('POST', path, { approved: true });
    await stream.ended;
    const events = stream.events();
    expect(events.at(-1)).toMatchObject({ event: 'end', data: { status: 'done', output: null } });
    expect(events.slice(0, -1).map((event) => Number(event.id))).toEqual(events.slice(0, -1).map((_, i) => i));
  });

  it('ends at once, without the word, where it is not to follow', async () => {
    const { settled, send } = await openRunApi();
    const { id } = await settled('approve');
    const events = readEvents((await send('GET', `/v1/runs/${id}/records?follow=false`)).text);
    expect(events.at(-1)?.event).toBe('host.start');
  });

  it('lets go of whoever leaves, and has room for so many', async () => {
    const api = await openRunApi({ server: { streams: { maxStreams: 2 } } });
    const url = await api.listen();
    const { id } = await api.settled('approve');
    const path = `${url}/v1/runs/${id}/records`;
    const streams = [await follow(path), await follow(path)];
    const refused = await fetch(path, { headers: { connection: 'close' } });
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '5']);
    expect(await refused.json()).toMatchObject({ error: { code: 'too_many_streams', type: 'rate_limit_error' } });
    for (const stream of streams) stream.leave();
    await vi.waitFor(async () => {
      const third = await follow(path);
      third.leave();
      expect(third.response.status).toBe(200);
    });
  });

  it('ends without the word when the server goes, and goes on at the next', async () => {
    const { inference, open } = gatedModel();
    const api = await openRunApi({ ports: { inference } });
    const url = await api.listen();
    const { id } = (await api.send('POST', '/v1/runs', { agent: 'ask', input: null })).json;
    const stream = await follow(`${url}/v1/runs/${id}/records`);
    await vi.waitFor(() => expect(stream.events().at(-1)?.event).toBe('inference.start'));
    await api.close();
    await stream.ended;
    const seen = stream.events();
    expect(seen.some(({ event }) => event === 'end')).toBe(false);
    open();
    const next = await openRunApi({ folder: api.folder, ports: { inference } });
    const again = await follow(`${await next.listen()}/v1/runs/${id}/records`, {
      'last-event-id': seen.at(-1)?.id ?? '',
    });
    await again.ended;
    const ids = [...seen, ...again.events()].flatMap((event) => event.id ?? []);
    expect(ids).toEqual(ids.map((_, i) => `${i}`));
    expect(again.events().at(-1)).toMatchObject({ event: 'end', data: { status: 'done' } });
  });

  it('cuts a reader that reads nothing, and holds little for it meanwhile', async () => {
    const api = await openRunApi({ server: { streams: { stallMs: 1500, pingMs: 60_000, maxStreams: 1 } } });
    const url = new URL(await api.listen());
    const { id } = await api.settled('bulk');
    const { manager } = api;
    const records = manager.records.bind(manager);
    let taken = 0;
    const made = vi.spyOn(manager, 'records').mockImplementationOnce(async function* (...args) {
      for await (const view of records(...args)) {
        taken += 1;
        yield view;
      }
    });
    const socket = connect(Number(url.port), url.hostname);
    onTestFinished(() => void socket.destroy());
    socket.pause();
    socket.on('error', () => {});
    socket.write(`GET /v1/runs/${id}/records HTTP/1.1\r\nhost: ${url.host}\r\n\r\n`);
    await vi.waitFor(() => expect(made).toHaveBeenCalledTimes(1));
    await new Promise((resolve) => setTimeout(resolve, 1200));
    expect(taken).toBeLessThan(manager.get(id).records);
    // Its place is free again for the next.
    const next = await vi.waitFor(async () => {
      const stream = await follow(`${url.origin}/v1/runs/${id}/records?from=40`);
      expect(stream.response.status).toBe(200);
      return stream;
    }, 10_000);
    await next.ended;
    expect(next.events().at(-1)?.event).toBe('end');
  });
});
