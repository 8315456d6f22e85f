/**
 * A network out of lists: names with the answers they give one after another, addresses with what they answer, and a
 * record of every address to which a connection was opened.
 *
 * @module
 */

import { Duplex } from 'node:stream';
import type { Connect, Connection, Resolve } from '../../runtime/net/connect.ts';

/** What stands at every address: gets the head and body of a request, and gives the bytes of an answer. */
export type StubHandler = (request: string, address: string, port: number) => string | Uint8Array;

/** The stub's ports, and what happened at them. */
export type StubNetwork = {
  readonly resolve: Resolve;
  readonly connect: Connect;
  /** `address port` of each connection, in order. */
  readonly dialled: string[];
  /** Each name that was asked for. */
  readonly asked: string[];
  /** Each request that was received. */
  readonly received: string[];
};

/**
 * Makes a network.
 *
 * @param names - the answers of each name; each question takes the next one, and the last one stays
 * @param options.peer - the address that is at the other end instead of the one dialled
 */
export function stubNetwork(
  names: Readonly<Record<string, readonly (readonly string[])[]>>,
  handler: StubHandler,
  options: { readonly peer?: (address: string) => string | undefined } = {},
): StubNetwork {
  const dialled: string[] = [];
  const asked: string[] = [];
  const received: string[] = [];
  return {
    dialled,
    asked,
    received,
    resolve: async (name) => {
      const answers = Object.hasOwn(names, name) ? names[name] : undefined;
      if (answers === undefined) throw new Error(`no such name: ${name}`);
      const turn = asked.filter((other) => other === name).length;
      asked.push(name);
      return answers[Math.min(turn, answers.length - 1)] ?? [];
    },
    connect: async (address, port) => {
      dialled.push(`${address} ${port}`);
      const peer = options.peer === undefined ? address : options.peer(address);
      return stubConnection(peer, (request) => {
        received.push(request);
        return handler(request, address, port);
      });
    },
  };
}

function stubConnection(
  remoteAddress: string | undefined,
  answer: (request: string) => string | Uint8Array,
): Connection {
  let head = '';
  let answered = false;
  const stream = new Duplex({
    read: () => {},
    write: (chunk: Uint8Array, _encoding, done) => {
      head += Buffer.from(chunk).toString('utf8');
      const end = head.indexOf('\r\n\r\n');
      const length = Number(/^content-length: (\d+)\r$/im.exec(head)?.[1] ?? 0);
      if (!answered && end >= 0 && Buffer.byteLength(head.slice(end + 4)) >= length) {
        answered = true;
        stream.push(answer(head));
        stream.push(null);
      }
      done();
    },
  });
  return Object.assign(stream, { remoteAddress });
}

/** An answer in full. */
export function answerOf(status: number, headers: Readonly<Record<string, string>>, body = ''): string {
  const fields = Object.entries({ 'content-length': String(Buffer.byteLength(body)), ...headers });
  return `HTTP/1.1 ${status} Answer\r\n${fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`;
}
