/**
 * A connection to the host of a URL that has been checked on the way: name, every answer of the resolver, and the
 * address at the other end.
 *
 * C1. A name is resolved once for a connection; what is dialled is an address out of the answers that were checked, so
 *     an answer that changes later changes nothing.
 * C2. No byte is sent before the address at the other end has been read from the socket and found to be the one dialled.
 * C3. A connection serves one request. No proxy is used, whatever the environment says.
 *
 * Spec: `runtime/spec/host-calls.md#destinations`.
 *
 * @module
 */

import { lookup } from 'node:dns/promises';
import { connect as connectSocket, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { type AddressRange, decideAddress, normalizeAddress } from './address.ts';
import { readHost, verifyDestination } from './destination.ts';
import { ExchangeError } from './errors.ts';

/** Port: the addresses of a name. May be asked again for each request; answers are untrusted. */
export type Resolve = (name: string) => Promise<readonly string[]>;

/** Port: opens a connection to an address, never to a name. Rejects if there is none; gives up when `signal` aborts. */
export type Connect = (address: string, port: number, signal: AbortSignal) => Promise<Connection>;

/** A byte stream that says which address is at its other end. */
export type Connection = Duplex & { readonly remoteAddress?: string | undefined };

/** Ways to the network; each default is the real one. */
export type NetworkPorts = {
  readonly resolve?: Resolve | undefined;
  readonly connect?: Connect | undefined;
  /** Certificates (PEM) that are trusted instead of those of Node. */
  readonly ca?: string | undefined;
};

/** Time after which the next address of a name is tried, in milliseconds. */
const NEXT_ADDRESS_MS = 3000;

/** Addresses of a name that are tried. */
const MAX_DIALLED = 4;

/**
 * Opens a connection to the host of `url`, with TLS for `https:`. Certificates are always verified against the host.
 *
 * @param ranges - ranges that the grant opens though they are not public
 * @param signal - its abort ends every wait
 * @throws {@link ExchangeError} `ADDRESS_DENIED` if the host may not be reached, or another address than the one dialled
 *   is at the other end
 * @throws {@link ExchangeError} `UNREACHABLE` if there is no answer, no connection, or no trust in the certificate
 */
export async function openConnection(
  url: URL,
  ranges: readonly AddressRange[],
  ports: NetworkPorts,
  signal: AbortSignal,
): Promise<Connection> {
  const host = readHost(url);
  const answers = host.kind === 'address' ? [] : await ask(ports.resolve ?? resolveName, host.name, signal);
  const addresses = verifyDestination(host, answers, ranges).slice(0, MAX_DIALLED);
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
  const connection = await dial(addresses, port, ports.connect ?? connectAddress, signal);
  try {
    verifyPeer(connection.peer.remoteAddress, connection.address, ranges);
    if (url.protocol === 'http:') return connection.peer;
    const name = host.kind === 'name' ? host.name : undefined;
    return await secure(connection.peer, name, connection.address, ports.ca, signal);
  } catch (error) {
    connection.peer.destroy();
    throw error;
  }
}

/** The resolver of the operating system, its hosts file included. */
async function resolveName(name: string): Promise<readonly string[]> {
  const answers = await lookup(name, { all: true, verbatim: true });
  return answers.map((answer) => answer.address);
}

/** A connection over TCP. */
function connectAddress(address: string, port: number, signal: AbortSignal): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket({ host: address, port, autoSelectFamily: false });
    const finish = (act: () => void): void => {
      signal.removeEventListener('abort', onAbort);
      act();
    };
    const onAbort = (): void => {
      socket.destroy();
      finish(() => reject(signal.reason));
    };
    signal.addEventListener('abort', onAbort);
    socket.once('error', (error) => finish(() => reject(error)));
    socket.once('connect', () => finish(() => resolve(socket)));
  });
}

async function ask(resolve: Resolve, name: string, signal: AbortSignal): Promise<readonly string[]> {
  try {
    return await orAbort(resolve(name), signal);
  } catch (cause) {
    signal.throwIfAborted();
    throw new ExchangeError('UNREACHABLE', 'host cannot be resolved', { cause });
  }
}

/** The first of the addresses that takes the connection, in their order. */
async function dial(
  addresses: readonly string[],
  port: number,
  connect: Connect,
  signal: AbortSignal,
): Promise<{ readonly address: string; readonly peer: Connection }> {
  let cause: unknown;
  for (const [i, address] of addresses.entries()) {
    const attempt = new AbortController();
    const giveUp = (): void => attempt.abort(signal.reason);
    signal.addEventListener('abort', giveUp);
    const timer = i + 1 < addresses.length ? setTimeout(() => attempt.abort(), NEXT_ADDRESS_MS) : undefined;
    try {
      const peer = await connect(address, port, attempt.signal);
      // Until a request listens, a fault of the connection shows when it is used.
      peer.on('error', ignore);
      if (!signal.aborted) return { address, peer };
      peer.destroy();
    } catch (error) {
      cause = error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', giveUp);
    }
    signal.throwIfAborted();
  }
  throw new ExchangeError('UNREACHABLE', 'host takes no connection', { cause });
}

/**
 * @param actual - address at the other end, untrusted: none once the connection has ended
 * @throws {@link ExchangeError} `ADDRESS_DENIED` unless it is the one that was checked and dialled
 */
function verifyPeer(actual: string | undefined, dialled: string, ranges: readonly AddressRange[]): void {
  if (actual === undefined) throw new ExchangeError('UNREACHABLE', 'connection has ended');
  if (normalizeAddress(actual) !== dialled || decideAddress(actual, ranges) === 'denied') {
    throw new ExchangeError('ADDRESS_DENIED', 'connection leads to another address than the one dialled');
  }
}

/** TLS over a connection. The certificate must be for the name, or for the address of a URL without one. */
function secure(
  socket: Connection,
  name: string | undefined,
  address: string,
  ca: string | undefined,
  signal: AbortSignal,
): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const secured = connectTls({
      socket: socket as Socket,
      host: name ?? address,
      ...(name === undefined ? {} : { servername: name }),
      ...(ca === undefined ? {} : { ca }),
      ALPNProtocols: ['http/1.1'],
      minVersion: 'TLSv1.2',
      // Stated, because the environment (NODE_TLS_REJECT_UNAUTHORIZED) changes the default.
      rejectUnauthorized: true,
    });
    const onAbort = (): void => {
      secured.destroy();
      reject(signal.reason);
    };
    signal.addEventListener('abort', onAbort);
    secured.on('error', (cause) => {
      signal.removeEventListener('abort', onAbort);
      reject(new ExchangeError('UNREACHABLE', 'connection cannot be secured', { cause }));
    });
    secured.once('close', () => reject(new ExchangeError('UNREACHABLE', 'connection ended before it was secured')));
    secured.once('secureConnect', () => {
      signal.removeEventListener('abort', onAbort);
      resolve(secured);
    });
  });
}

/** Waits for a promise that knows no signal. */
function orAbort<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

function ignore(): void {}
