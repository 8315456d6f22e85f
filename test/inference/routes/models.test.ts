import { describe, expect, it } from 'vitest';
import { NO_CONTRACT } from '../../../attest/sign/receipt.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { modelListSchema } from '../../../inference/protocol.ts';
import { buildServer } from '../../../inference/server.ts';
import { TEST_KEY } from '../../support/receipt-facts.ts';
import { toyContext } from '../../support/toy-context.ts';
import { TOY_IDENTITY } from '../../support/toy-engine.ts';

const COLD = { id: 'org/cold', state: 'cold', identity: null } as const;

function open(isReady = true) {
  const domain = { chainId: 5n, contract: NO_CONTRACT } as const;
  const context = toyContext({ domain });
  const models = [...context.catalog.list(), COLD];
  const find = (name: string) => context.catalog.find(name) ?? models.find(({ id }) => id === name);
  return buildServer({ ...context, catalog: { list: () => models, find }, isReady: () => isReady });
}

describe('GET /v1/models', () => {
  it('lists every model, those with digests that were opened', async () => {
    const app = open();
    const body = (await app.inject('/v1/models')).json();
    const { id, ...digests } = TOY_IDENTITY;
    const signer = addressOf(TEST_KEY);
    expect(body).toEqual({
      object: 'list',
      data: [
        {
          id,
          object: 'model',
          created: 0,
          owned_by: 'tracebond',
          tracebond: { ...digests, signer, chainId: '5', contract: NO_CONTRACT },
        },
        { id: 'org/cold', object: 'model', created: 0, owned_by: 'tracebond' },
      ],
    });
    expect(modelListSchema.safeParse(body).success).toBe(true);
    for (const name of ['toy/echo', 'toy%2Fecho', TOY_IDENTITY.model]) {
      expect((await app.inject(`/v1/models/${name}`)).json()).toEqual(body.data[0]);
    }
    expect((await app.inject('/v1/models/org/cold')).json()).toEqual(body.data[1]);
  });

  it.each(['gpt-4o', 'toy', 'toy/echo/', '', '%00', 'x'.repeat(400)])('does not know %s', async (name) => {
    const response = await open().inject(`/v1/models/${name}`);
    expect(response.statusCode).toBe(404);
    expect(response.json().error).toMatchObject({ code: 'model_not_found', param: 'model' });
  });
});

describe('health', () => {
  it('is there while the server is, readiness while an engine is', async () => {
    expect((await open().inject('/healthz')).json()).toEqual({ status: 'ok' });
    expect((await open().inject('/readyz')).json()).toEqual({ status: 'ready', model: 'toy/echo' });
    const app = open(false);
    expect((await app.inject('/healthz')).statusCode).toBe(200);
    const response = await app.inject('/readyz');
    expect(response.statusCode).toBe(503);
    expect(response.json().error.code).toBe('engine_unavailable');
  });
});
