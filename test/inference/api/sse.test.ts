import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import Fastify, { type FastifyReply } from 'fastify';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import {
  clientSignal,
  type EventStream,
  type EventStreamOptions,
  openEventStream,
} from '../../../inference/api/sse.ts';

type Opened = { readonly stream: EventStream; readonly signal: AbortSignal; readonly reply: FastifyReply };

/** A server with one stream, which `use` gets; its socket has a client that reads only when it is told to. */
async function open(options: EventStreamOptions = {}, headers: { readonly [name: string]: string } = {}) {
  const app = Fastify();
  let tell: (opened: Opened) => void = () => {};
  const opened = new Promise<Opened>((resolve) => {
    tell = resolve;
  });
  app.get('/', (_request, reply) => {
    const signal = clientSignal(reply);
    tell({ stream: openEventStream(reply.headers(headers), options), signal, reply });
    return reply;
  });
  await app.listen({ port: 0, host: '127.0.0.1' });
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1');
  onTestFinished(async () => {
    socket.destroy();
    await app.close();
  });
  socket.on('error', () => {});
  socket.pause();
  socket.write('GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
  return { ...(await opened), socket };
}

/** All that comes until the connection ends. */
async function readAll(socket: Socket): Promise<string> {
  let text = '';
  socket.setEncoding('utf8').on('data', (data: string) => {
    text += data;
  });
  socket.resume();
  await once(socket, 'close');
  return text;
}

const large = 'x'.repeat(64 << 10);

describe('an event stream', () => {
  it('has the headers of one, and those of the reply', async () => {
    const { stream, socket } = await open({}, { 'x-own': '1' });
    stream.send('{"a":1}');
    stream.send('{}', 'named');
    stream.end();
    const text = await readAll(socket);
    expect(text).toMatch(/^HTTP\/1.1 200 OK\r\n/);
    for (const header of [
      'x-own: 1',
      'content-type: text/event-stream; charset=utf-8',
      'cache-control: no-cache',
      'x-accel-buffering: no',
    ]) {
      expect(text.toLowerCase()).toContain(`\r\n${header}\r\n`);
    }
    expect(text).toContain('data: {"a":1}\n\n');
    expect(text).toContain('event: named\ndata: {}\n\n');
  });

  it('sends its headers before its first event', async () => {
    const { socket } = await open();
    socket.resume();
    const [data] = await once(socket, 'data');
    expect(String(data)).toContain('text/event-stream');
  });

  it('takes nothing with a line break, which would be another event', async () => {
    const { stream } = await open();
    for (const text of ['a\nb', 'a\rb', '\n\n']) expect(() => stream.send(text)).toThrow(TypeError);
    expect(() => stream.send('a', 'b\nc')).toThrow(TypeError);
  });

  it('is whole when it ends, and then says nothing more', async () => {
    const onGone = vi.fn();
    const { stream, socket, signal } = await open({ onGone });
    stream.end();
    stream.end();
    stream.send('late');
    expect(await readAll(socket)).not.toContain('late');
    expect(signal.aborted).toBe(false);
    expect(onGone).not.toHaveBeenCalled();
  });

  it('E3: says nothing to a client that is gone, and tells that it is', async () => {
    const onGone = vi.fn();
    const { stream, socket, signal } = await open({ onGone });
    socket.destroy();
    await once(signal, 'abort');
    stream.send('{}');
    stream.end();
    expect(onGone).toHaveBeenCalledOnce();
  });

  it('E1: cuts off a client that reads nothing, before too much waits for it', async () => {
    const onGone = vi.fn();
    const { stream, signal, reply } = await open({ maxBufferedBytes: 1 << 20, onGone });
    let most = 0;
    let sent = 0;
    while (!signal.aborted && sent < 1000) {
      stream.send(large);
      sent++;
      most = Math.max(most, reply.raw.writableLength);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(signal.aborted).toBe(true);
    // The bound, the event that went beyond it, and the framing.
    expect(most).toBeLessThan((1 << 20) + 2 * large.length);
    expect(onGone).toHaveBeenCalledOnce();
  });

  it('E1: bears a client that reads slowly', async () => {
    const { stream, socket, signal, reply } = await open({ maxBufferedBytes: 1 << 20 });
    const text = readAll(socket);
    for (let i = 0; i < 200; i++) {
      stream.send(large);
      while (reply.raw.writableLength > 512 << 10) await new Promise((resolve) => setImmediate(resolve));
    }
    stream.end();
    expect((await text).split('data: ')).toHaveLength(201);
    expect(signal.aborted).toBe(false);
  });

  it.each([false, true])('E2: cuts off a client that stops to read; after the last event: %s', async (isEnded) => {
    const { stream, reply } = await open({ maxBufferedBytes: 64 << 20, stallMs: 100 });
    const closed = once(reply.raw, 'close');
    for (let i = 0; i < 200; i++) stream.send(large);
    if (isEnded) stream.end();
    expect(reply.raw.writableLength).toBeGreaterThan(large.length);
    await closed;
    expect(reply.raw.destroyed).toBe(true);
  });

  it('E2: leaves a client alone that has read everything', async () => {
    const { stream, socket, signal } = await open({ stallMs: 20 });
    socket.resume();
    stream.send('{}');
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(signal.aborted).toBe(false);
  });
});

describe('the signal of a client', () => {
  it('has fired already where the client was gone before it was asked for', async () => {
    const { socket, reply } = await open();
    const closed = once(reply.raw, 'close');
    socket.destroy();
    await closed;
    expect(clientSignal(reply).aborted).toBe(true);
  });

  it('does not fire where the response was whole before it was asked for', async () => {
    const { socket, stream, reply } = await open();
    const closed = once(reply.raw, 'close');
    stream.end();
    await readAll(socket);
    await closed;
    expect(clientSignal(reply).aborted).toBe(false);
  });
});

describe('a silent stream', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] }));
  afterEach(() => void vi.useRealTimers());

  it('sends comments, unless something was sent', async () => {
    const { stream, socket } = await open({ pingMs: 1000 });
    const text = readAll(socket);
    vi.advanceTimersByTime(2000);
    stream.send('{}');
    vi.advanceTimersByTime(1000);
    stream.send('{}');
    vi.advanceTimersByTime(1000);
    stream.end();
    vi.advanceTimersByTime(5000);
    const events = (await text).match(/: ping|data: /g);
    expect(events).toEqual([': ping', 'data: ', 'data: ']);
    expect(vi.getTimerCount()).toBe(0);
  });
});
