#!/usr/bin/env node
/**
 * Whether the server that a container runs answers: exit code 0 or 1, for HEALTHCHECK. Which server that is and where it listens, the
 * command line of the container's first process tells; TRACEBOND_HEALTH_URL goes before it. A container that serves nothing is healthy.
 *
 * Plain Node without a dependency. Usage: `node agents/setup/container-health.mjs`.
 *
 * @module
 */

import { readFileSync, realpathSync } from 'node:fs';
import { get } from 'node:http';
import { fileURLToPath } from 'node:url';

const TIMEOUT_MS = 4_000;

/** What each `tracebond serve` answers, and where it listens unless `--port` says so. */
const SERVERS = {
  inference: { port: '8080', path: '/healthz' },
  runtime: { port: '8090', path: '/healthz' },
  // Without --port it does not listen.
  worker: { port: undefined, path: '/health' },
};

/**
 * The address to ask, of the command line of a server of this package.
 *
 * @param {readonly string[]} line - a whole command line, with what starts the program before it
 * @returns {string | undefined} undefined if nothing is served over HTTP
 * @throws {Error} if the port is not known beforehand
 */
export function healthUrl(line) {
  const program = line.findIndex((word) => /(?:^|\/)tracebond(?:\.mjs)?$/.test(word));
  const [serve, kind = '', ...options] = program < 0 ? [] : line.slice(program + 1);
  if (serve !== 'serve' || !Object.hasOwn(SERVERS, kind)) return undefined;
  const port = lastValue(options, '--port') ?? SERVERS[kind].port;
  if (port === undefined) return undefined;
  if (port === '0') throw new Error('--port 0 is any free port: name one, or the address in TRACEBOND_HEALTH_URL');
  return `http://${reachable(lastValue(options, '--host') ?? '127.0.0.1')}:${port}${SERVERS[kind].path}`;
}

function lastValue(options, name) {
  const at = options.findLastIndex((word) => word === name || word.startsWith(`${name}=`));
  if (at < 0) return undefined;
  return options[at] === name ? options[at + 1] : options[at].slice(name.length + 1);
}

/** Where a server that listens on `host` is reached from the same computer. */
function reachable(host) {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}

/** @returns {Promise<string>} why the server is not healthy; empty if it is, or if there is none */
async function findFault() {
  const url = process.env.TRACEBOND_HEALTH_URL || healthUrl(readFileSync('/proc/1/cmdline', 'utf8').split('\0'));
  if (url === undefined) return '';
  const status = await statusOf(url);
  // Where access keys are in force a worker asks for one here too: it lives.
  return status === 200 || (status === 401 && url.endsWith(SERVERS.worker.path)) ? '' : `${url} answers ${status}`;
}

/** @param {string} url @returns {Promise<number | undefined>} */
function statusOf(url) {
  return new Promise((answered, failed) => {
    const request = get(url, { agent: false, signal: AbortSignal.timeout(TIMEOUT_MS) }, (response) => {
      response.destroy();
      answered(response.statusCode);
    });
    request.once('error', failed);
  });
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const fault = await findFault().catch((error) => error.cause?.message ?? error.message);
  if (fault !== '') {
    console.error(fault);
    process.exitCode = 1;
  }
}
