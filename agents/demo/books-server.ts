/**
 * A small web server with the ledger and the policy of the example, on loopback.
 *
 * @module
 */

import { readFile } from 'node:fs/promises';
import fastify from 'fastify';

/** The running server. */
export type BooksServer = { readonly origin: string; close(): Promise<void> };

/**
 * Serves `ledger.csv` and `policy.txt` of a folder.
 *
 * @param folder - URL that ends in a slash
 */
export async function serveBooks(folder: URL): Promise<BooksServer> {
  const app = fastify({ logger: false });
  for (const name of ['ledger.csv', 'policy.txt']) {
    const text = await readFile(new URL(name, folder), 'utf8');
    app.get(`/${name}`, async (_, reply) => reply.type('text/plain; charset=utf-8').send(text));
  }
  const origin = await app.listen({ host: '127.0.0.1', port: 0 });
  return { origin, close: () => app.close() };
}
