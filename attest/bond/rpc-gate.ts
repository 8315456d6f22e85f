/**
 * The door of the embedded chain: passes JSON-RPC on to anvil, and puts every raw transaction on disk, with the time of
 * its block, before anvil sees it.
 *
 * @module
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Hex } from '../core/bytes.ts';
import { BondError } from './errors.ts';
import type { LoggedTransaction, TransactionLog } from './transaction-log.ts';

const MAX_BODY_BYTES = 8 * 1024 * 1024;

/** An answer of JSON-RPC 2.0. */
export type RpcAnswer = {
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly message: string };
};
/** One call to the chain behind the gate. Rejects when the chain does not answer. */
export type RpcCall = (method: string, params: readonly unknown[]) => Promise<RpcAnswer>;

/** Speaks to a node at a port of 127.0.0.1. */
export function rpcAt(port: number): RpcCall {
  return async (method, params) => {
    const response = await fetch(`http://127.0.0.1:${port}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    });
    return (await response.json()) as RpcAnswer;
  };
}

/**
 * Mines transactions in their order, each at a time fixed before it is sent, so that a replay gives the same blocks.
 * Clock of the chain = clock of this machine + what was skipped.
 */
export class Sequencer {
  readonly #call: RpcCall;
  #skippedSeconds = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(call: RpcCall) {
    this.#call = call;
  }

  /** Sets the chain's clock on where its newest block left it. */
  async start(): Promise<void> {
    const ahead = (await this.#newestTime()) - seconds();
    if (ahead > 0) await this.skip(ahead);
  }

  /** Moves the chain's clock on; resolves with the node's answer. */
  async skip(count: number): Promise<RpcAnswer> {
    const answer = await this.#call('evm_increaseTime', [count]);
    if (answer.error === undefined) this.#skippedSeconds += count;
    return answer;
  }

  /** Sends a transaction that is on disk already. */
  replay(transaction: LoggedTransaction): Promise<RpcAnswer> {
    return this.#queue(async () => this.#sendAt(transaction.raw, Math.max(transaction.time, await this.#newestTime())));
  }

  /** Puts a transaction on disk and sends it. */
  send(raw: Hex, log: TransactionLog): Promise<RpcAnswer> {
    return this.#queue(async () => {
      const time = Math.max(seconds() + this.#skippedSeconds, await this.#newestTime());
      const { hash } = await log.append(raw, time);
      const answer = await this.#sendAt(raw, time);
      if (answer.error !== undefined) await log.refuse(hash);
      return answer;
    });
  }

  async #sendAt(raw: Hex, time: number): Promise<RpcAnswer> {
    const set = await this.#call('evm_setNextBlockTimestamp', [time]);
    return set.error === undefined ? this.#call('eth_sendRawTransaction', [raw]) : set;
  }

  async #newestTime(): Promise<number> {
    const { result } = await this.#call('eth_getBlockByNumber', ['latest', false]);
    return Number((result as { timestamp: string }).timestamp);
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#last.then(work, work);
    this.#last = next.catch(() => undefined);
    return next;
  }
}

/** An open gate. */
export type RpcGate = { readonly port: number; close(): Promise<void> };

/**
 * Listens on 127.0.0.1.
 *
 * @param port - 0 for any free one
 * @throws {@link BondError} `PORT_IN_USE`, `CHAIN_START_FAILED`
 */
export async function openRpcGate(
  port: number,
  call: RpcCall,
  sequencer: Sequencer,
  log: TransactionLog,
): Promise<RpcGate> {
  const answerOne = async (request: unknown): Promise<unknown> => {
    const { id = null, method, params } = (request ?? {}) as { id?: unknown; method?: unknown; params?: unknown };
    const list: readonly unknown[] = Array.isArray(params) ? params : [];
    if (typeof method !== 'string') return refusal(id, -32600, 'no JSON-RPC request');
    const [first] = list;
    let answer: RpcAnswer;
    try {
      if (method === 'eth_sendRawTransaction' && typeof first === 'string' && /^0x(?:[0-9a-fA-F]{2})+$/.test(first)) {
        answer = await sequencer.send(first.toLowerCase() as Hex, log);
      } else if (method === 'evm_increaseTime' && Number.isSafeInteger(Number(first))) {
        answer = await sequencer.skip(Number(first));
      } else {
        answer = await call(method, list);
      }
    } catch (error) {
      if (error instanceof BondError) return refusal(id, -32000, `${error.code}: ${error.message}`);
      throw error;
    }
    return {
      jsonrpc: '2.0',
      id,
      ...(answer.error === undefined ? { result: answer.result ?? null } : { error: answer.error }),
    };
  };
  const server = createServer((incoming, outgoing) => {
    answerHttp(incoming, outgoing, answerOne).catch(() => {
      // The chain behind the gate does not answer: the client learns that from the status.
      if (!outgoing.headersSent) outgoing.writeHead(502);
      outgoing.end();
    });
  });
  await listen(server, port);
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answerHttp(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  answerOne: (request: unknown) => Promise<unknown>,
): Promise<void> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_BODY_BYTES) {
      outgoing.writeHead(413).end();
      return;
    }
    chunks.push(chunk);
  }
  let request: unknown;
  try {
    request = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    return reply(outgoing, refusal(null, -32700, 'no JSON'));
  }
  if (!Array.isArray(request)) return reply(outgoing, await answerOne(request));
  const answers: unknown[] = [];
  for (const one of request) answers.push(await answerOne(one));
  return reply(outgoing, answers);
}

function reply(outgoing: ServerResponse, body: unknown): void {
  outgoing.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function refusal(id: unknown, code: number, message: string): unknown {
  return { jsonrpc: '2.0', id, error: { code, message } };
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const inUse = cause.code === 'EADDRINUSE';
      const message = inUse ? `port ${port} is in use` : `cannot listen on port ${port}: ${cause.code}`;
      reject(new BondError(inUse ? 'PORT_IN_USE' : 'CHAIN_START_FAILED', message, { at: { port }, cause }));
    });
    server.listen(port, '127.0.0.1', () => resolve());
  });
}

function seconds(): number {
  return Math.floor(Date.now() / 1000);
}
