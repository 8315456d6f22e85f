import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Hex, toHex } from '../../../attest/core/bytes.ts';
import { hashGuestCode } from '../../../attest/trace/guest.ts';
import { RunApiError } from '../../../runtime/api/errors.ts';
import { openRequestBook } from '../../../runtime/api/requests.ts';
import { createRequest, OFF_CHAIN } from '../../../runtime/plan.ts';
import { apiAgents, gatedModel, openRunApi } from '../../support/run-api.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { CALLER_KEY } from '../../support/toy-run.ts';

const BODY = { agent: 'count', input: { n: 1 } };
const key = (value: string) => ({ 'idempotency-key': value });

describe('a request with an Idempotency-Key', () => {
  it('is one run, however often it comes', async () => {
    const { send, manager } = await openRunApi();
    const first = await send('POST', '/v1/runs', BODY, key('k'));
    const again = await send('POST', '/v1/runs?wait=5', { input: { n: 1 }, agent: 'count' }, key('k'));
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(again.json.id).toBe(first.json.id);
    expect(first.headers['idempotent-replayed']).toBeUndefined();
    expect(again.headers['idempotent-replayed']).toBe('true');
    expect(manager.list()).toHaveLength(1);
    expect((await send('POST', '/v1/runs', BODY, key('other'))).json.id).not.toBe(first.json.id);
  });

  it('is one run when it comes many times at once', async () => {
    const { inference, open } = gatedModel();
    const { send, manager } = await openRunApi({ ports: { inference } });
    const body = { agent: 'ask', input: null };
    const all = await Promise.all(Array.from({ length: 20 }, () => send('POST', '/v1/runs', body, key('k'))));
    expect(new Set(all.map(({ status, json }) => `${status} ${json.id}`)).size).toBe(1);
    expect(all.filter(({ headers }) => headers['idempotent-replayed'] === undefined)).toHaveLength(1);
    expect(manager.list()).toHaveLength(1);
    open();
  });

  it('with another body is refused', async () => {
    const { send, manager } = await openRunApi();
    await send('POST', '/v1/runs', BODY, key('k'));
    for (const body of [
      { ...BODY, input: { n: 2 } },
      { ...BODY, agent: 'fail' },
      { ...BODY, limits: { steps: '9' } },
    ]) {
      const response = await send('POST', '/v1/runs', body, key('k'));
      expect([response.status, response.json.error?.code]).toEqual([409, 'idempotency_key_reused']);
    }
    expect(manager.list()).toHaveLength(1);
  });

  it('is the same run after a restart', async () => {
    const first = await openRunApi();
    const { id } = (await first.send('POST', '/v1/runs?wait=5', BODY, key('k'))).json;
    await first.close();
    const { send, manager } = await openRunApi({ folder: first.folder });
    expect((await send('POST', '/v1/runs', BODY, key('k'))).json).toMatchObject({ id, status: 'done' });
    const other = await send('POST', '/v1/runs', { ...BODY, input: { n: 2 } }, key('k'));
    expect(other.json.error?.code).toBe('idempotency_key_reused');
    expect(manager.list()).toHaveLength(1);
  });

  it('that was written and never begun is begun as the run that it named', async () => {
    const first = await openRunApi();
    // The process ends between the two: nothing is begun any more.
    await first.manager.close();
    expect((await first.send('POST', '/v1/runs', BODY, key('k'))).status).toBe(503);
    await first.close();
    const file = readdirSync(join(first.folder, 'requests'))[0] ?? '';
    const { run } = JSON.parse(readFileSync(join(first.folder, 'requests', file), 'utf8')) as { run: Hex };
    const { send } = await openRunApi({ folder: first.folder });
    const begun = await send('POST', '/v1/runs?wait=5', BODY, key('k'));
    expect(begun.json).toMatchObject({ id: run, status: 'done' });
    expect(begun.headers['idempotent-replayed']).toBeUndefined();
  });

  it('that has expired before it was begun is begun anew, once', async () => {
    const first = await openRunApi({ server: { now: () => Date.now() - 7_200_000 } });
    await first.manager.close();
    await first.send('POST', '/v1/runs', BODY, key('k'));
    await first.close();
    const { send, manager } = await openRunApi({ folder: first.folder });
    const begun = await send('POST', '/v1/runs?wait=5', BODY, key('k'));
    expect(begun.json.status).toBe('done');
    expect((await send('POST', '/v1/runs', BODY, key('k'))).json.id).toBe(begun.json.id);
    expect(manager.list()).toHaveLength(1);
  });

  it('holds nothing of what was said', async () => {
    const { send, folder } = await openRunApi();
    await send('POST', '/v1/runs', { agent: 'fail', input: 'tulip mania' }, key('secret-key'));
    const [file = ''] = readdirSync(join(folder, 'requests'));
    const text = readFileSync(join(folder, 'requests', file), 'utf8');
    expect(text).not.toContain('tulip');
    expect(text).not.toContain('secret-key');
  });

  it.each(['', 'a b', 'ü', 'x'.repeat(256)])('is refused with the key %j', async (value) => {
    const { send, manager } = await openRunApi();
    const response = await send('POST', '/v1/runs', BODY, key(value));
    expect([response.status, response.json.error?.param]).toEqual([400, 'idempotency-key']);
    expect(manager.list()).toEqual([]);
  });
});

describe('two servers over one folder', () => {
  it('begin one run for one key, and double nothing', async () => {
    const { inference, open } = gatedModel();
    const one = await openRunApi({ ports: { inference } });
    const begun = await one.send('POST', '/v1/runs', { agent: 'ask', input: null }, key('k'));
    // The second finds the run at work, and leaves it alone.
    const two = await openRunApi({ folder: one.folder, ports: { inference } });
    await expect.poll(() => two.faults).toMatchObject([{ name: 'JournalError', code: 'JOURNAL_IN_USE' }]);
    const other = await two.send('POST', '/v1/runs', { agent: 'ask', input: null }, key('k'));
    expect([other.status, other.json.error?.code]).toEqual([503, 'journal_in_use']);
    open();
    await one.manager.settled(begun.json.id);
    expect((await one.send('GET', `/v1/runs/${begun.json.id}`)).json.status).toBe('done');
    expect(readdirSync(one.folder).filter((name) => name.endsWith('.trace'))).toHaveLength(1);
  });

  it('give a name to whoever writes it first', async () => {
    const one = await openRunApi();
    const two = await openRunApi({ folder: one.folder });
    const [a, b] = await Promise.all([one, two].map(({ send }) => send('POST', '/v1/runs', BODY, key('k'))));
    const statuses = [a?.status, b?.status].sort();
    expect(statuses).toEqual([201, 409]);
    expect(readdirSync(one.folder).filter((name) => name.endsWith('.trace'))).toHaveLength(1);
  });
});

describe('a request that its caller signed', () => {
  const agent = apiAgents()[0];
  const random = () => new Uint8Array(32).map(() => Math.floor(256 * Math.random()));
  const LIMITS = { bytes: '1000', fuel: '1000', steps: '10', tokens: '10', wallMs: '1000' };
  const signed = (changes: Partial<Parameters<typeof createRequest>[0]> = {}) => {
    if (agent === undefined) throw new TypeError('no agent');
    const made = createRequest({
      agent: hashGuestCode(agent.agent),
      input: { n: 1 },
      limits: LIMITS,
      expiry: BigInt(Math.floor(Date.now() / 1000) + 60),
      callerKey: CALLER_KEY,
      deployment: OFF_CHAIN,
      random,
      ...changes,
    });
    const { request, signature, input, limits, inputPayload } = made;
    return { agent: 'count', request, signature, input, limits, inputSalt: toHex(inputPayload.salt) };
  };

  it('seeds its run, and is one run', async () => {
    const { send, manager } = await openRunApi();
    const body = signed();
    const [first, again] = await Promise.all([
      send('POST', '/v1/runs?wait=5', body),
      send('POST', '/v1/runs?wait=5', body),
    ]);
    expect(first?.json).toMatchObject({ status: 'done', seedFrom: 'caller', output: { n: 1 } });
    expect(again?.json.id).toBe(first?.json.id);
    expect(manager.list()).toHaveLength(1);
  });

  const other: Hex = `0x${'07'.repeat(32)}`;
  it.each([
    ['for another agent', () => signed({ agent: other }), 'agent_mismatch', 409],
    ['that has expired', () => signed({ expiry: 1n }), 'request_expired', 400],
    ['with another input', () => ({ ...signed(), input: { n: 2 } }), 'input_mismatch', 400],
    ['with another salt', () => ({ ...signed(), inputSalt: other }), 'input_mismatch', 400],
    ['with other limits', () => ({ ...signed(), limits: { ...LIMITS, fuel: '999' } }), 'limits_mismatch', 400],
    ['without all limits', () => ({ ...signed(), limits: { fuel: '1000' } }), 'invalid_value', 400],
    ['without limits', () => ({ ...signed(), limits: undefined }), 'invalid_value', 400],
    ['without salt', () => ({ ...signed(), inputSalt: undefined }), 'invalid_value', 400],
    ['without signature', () => ({ ...signed(), signature: undefined }), 'invalid_value', 400],
    ['signed for another chain', () => signed({ deployment: { ...OFF_CHAIN, chainId: 1n } }), 'signature_invalid', 400],
    ['with a signature of zeros', () => ({ ...signed(), signature: `0x${'00'.repeat(65)}` }), 'signature_invalid', 400],
    [
      'in the name of somebody else',
      () => {
        const body = signed();
        return { ...body, request: { ...body.request, caller: `0x${'11'.repeat(20)}` } };
      },
      'signature_invalid',
      400,
    ],
    [
      'with another nonce',
      () => {
        const body = signed();
        return { ...body, request: { ...body.request, nonce: other } };
      },
      'signature_invalid',
      400,
    ],
    ['with too much', () => signed({ limits: { ...LIMITS, fuel: '99999999' } }), 'request_refused', 400],
    ['with a field more', () => ({ ...signed(), request: { ...signed().request, x: 1 } }), 'unknown_parameter', 400],
  ] as const)('is refused %s', async (_, make, code, status) => {
    const { send, manager } = await openRunApi();
    const response = await send('POST', '/v1/runs', make());
    expect([response.status, response.json.error?.code]).toEqual([status, code]);
    expect(manager.list()).toEqual([]);
  });
});

describe('the book of requests', () => {
  it('is not opened with a file that is none of its own', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, `${'a'.repeat(64)}.json`), '{"version":2}');
    const fault = await openRequestBook(folder).catch((error: unknown) => error);
    expect(fault).toBeInstanceOf(RunApiError);
    expect((fault as RunApiError).code).toBe('REQUESTS_MALFORMED');
  });

  it('forgets salts and digests, and keeps whose run it is', async () => {
    const { send, book, folder } = await openRunApi();
    const { id } = (await send('POST', '/v1/runs', BODY, key('k'))).json;
    await book.forget(id);
    const again = await openRequestBook(join(folder, 'requests'));
    expect(again.find('', 'k')).toMatchObject({ run: id, made: null });
    expect(again.ownerOf(id)).toBe('');
  });
});
