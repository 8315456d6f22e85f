/**
 * What the routes of a server work with, over the toy engine: real answers and receipts, no scheduler, nothing on disk.
 *
 * @module
 */

import { addressOf } from '../../attest/sign/secp256k1.ts';
import { createAnswering } from '../../inference/answer.ts';
import { createEmbedding } from '../../inference/embed.ts';
import type { Engine } from '../../inference/engine.ts';
import type { ReceiptDomain } from '../../inference/protocol.ts';
import type { EmbeddingDocument } from '../../inference/receipts/embedding-document.ts';
import type { ReceiptDocument } from '../../inference/receipts/receipt-document.ts';
import type { ServerContext } from '../../inference/routes/context.ts';
import type { Scheduler } from '../../inference/scheduler.ts';
import { TEST_KEY } from './receipt-facts.ts';
import { openToyEngine } from './toy-engine.ts';

/** A context of one model; `engine` is the toy by default. The clock stands still. */
export function toyContext(
  options: { readonly engine?: Pick<Engine, 'identity' | 'complete' | 'embed'>; readonly domain?: ReceiptDomain } = {},
): ServerContext {
  const { engine = openToyEngine(), domain = null } = options;
  const { identity } = engine;
  const kept = new Map<string, ReceiptDocument | EmbeddingDocument>();
  const now = () => 1_700_000_000_999;
  const model = { id: identity.id, state: 'ready', identity } as const;
  const find = (name: string) => (name === identity.id || name === identity.model ? model : undefined);
  const shared = {
    models: { find, acquire: async () => ({ engine, identity, release: () => {} }) },
    schedulerOf: (): Scheduler => ({
      counts: { active: 0, waiting: 0 },
      close: () => {},
      run: (turn, work) => work(turn.signal ?? new AbortController().signal),
    }),
    privateKey: TEST_KEY,
    domain,
    receipts: { put: async (document: ReceiptDocument | EmbeddingDocument) => void kept.set(document.id, document) },
    now,
  };
  return {
    answer: createAnswering(shared),
    embed: createEmbedding(shared),
    catalog: { list: () => [model], find },
    receipts: { get: async (id) => kept.get(id) },
    signer: addressOf(TEST_KEY),
    domain,
    isReady: () => true,
    now,
    callerOf: () => null,
  };
}
