/**
 * Answers requests for embeddings: finds the model, waits for a turn, computes, signs, keeps the receipt.
 *
 * @module
 */

import { signEmbeddingReceipt } from '../attest/sign/embedding-receipt.ts';
import { NO_CONTRACT } from '../attest/sign/receipt.ts';
import type { Caller } from './answering.ts';
import { ApiError } from './api-errors.ts';
import type { Embeddings, Engine, ModelIdentity } from './engine.ts';
import type { ReceiptDomain } from './protocol.ts';
import { type EmbeddingDocument, toEmbeddingDocument } from './receipts/embedding-document.ts';
import type { KeyLimits, Scheduler } from './scheduler.ts';

/** Vectors with their receipt. */
export type Embedded = {
  readonly identity: ModelIdentity;
  readonly embeddings: Embeddings;
  readonly receipt: EmbeddingDocument;
};

/**
 * Computes vectors of texts.
 *
 * @param texts - at least one, none empty
 * @throws {@link ApiError} `MODEL_NOT_FOUND`
 * @throws {@link InferenceError}, {@link ServerError}
 */
export type Embedding = (
  asked: { readonly model: string; readonly texts: readonly string[] },
  options: { readonly signal: AbortSignal; readonly caller: Caller | null },
) => Promise<Embedded>;

/** The models that can be asked; a `Fleet` is such. */
export type EmbeddingModels = {
  find(idOrDigest: string): { readonly id: string } | undefined;
  acquire(
    idOrDigest: string,
    signal?: AbortSignal,
  ): Promise<{ readonly engine: Pick<Engine, 'embed'>; readonly identity: ModelIdentity; release(): void }>;
};

/** Makes what answers requests for embeddings. */
export function createEmbedding(options: createEmbedding.Options): Embedding {
  const { models, schedulerOf, privateKey, domain, receipts, limitsOf = () => undefined } = options;
  const { chainId, contract } = domain ?? { chainId: 0n, contract: NO_CONTRACT };
  return async ({ model, texts }, { signal, caller }) => {
    const known = models.find(model);
    if (known === undefined) {
      const name = JSON.stringify(model.slice(0, 256));
      throw new ApiError('MODEL_NOT_FOUND', `model ${name} is not served here; GET /v1/models lists what is`, {
        at: { param: 'model' },
      });
    }
    const limits = caller === null ? undefined : limitsOf(caller);
    const turn = {
      key: caller === null ? '' : caller.id,
      // A token of two UTF-16 units; one text is computed after the other.
      positions: Math.ceil(Math.max(...texts.map((text) => text.length)) / 2),
      signal,
      ...(limits === undefined ? {} : { limits }),
    };
    const { identity, embeddings } = await schedulerOf(known.id).run(turn, async (running) => {
      const lease = await models.acquire(model, running);
      try {
        return { identity: lease.identity, embeddings: await lease.engine.embed(texts, running) };
      } finally {
        lease.release();
      }
    });
    const { model: weights, profile, engine } = identity;
    const request = { model: weights, profile, engine, input: texts };
    const { ids, vectors } = embeddings;
    const signed = signEmbeddingReceipt({ chainId, contract, request, ids, vectors }, privateKey);
    const receipt = toEmbeddingDocument({ request, ids }, signed);
    await receipts.put(receipt, caller);
    return { identity, embeddings, receipt };
  };
}

export declare namespace createEmbedding {
  type Options = {
    readonly models: EmbeddingModels;
    readonly schedulerOf: (modelId: string) => Scheduler;
    /** 32 bytes; signs receipts and nothing else. */
    readonly privateKey: Uint8Array;
    readonly domain: ReceiptDomain;
    readonly receipts: { put(document: EmbeddingDocument, caller: Caller | null): Promise<void> };
    /** Limits of a caller's key. */
    readonly limitsOf?: (caller: Caller) => Partial<KeyLimits> | undefined;
  };
}
