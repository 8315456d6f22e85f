import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { toHex } from '../../../attest/core/bytes.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { signApproval } from '../../../attest/trace/approval.ts';
import { trustSigner } from '../../../attest/verify/trust.ts';
import { verifyBundle } from '../../../attest/verify/verifier.ts';
import { openAccess } from '../../../inference/access.ts';
import type { AccessKey } from '../../../inference/access-keys.ts';
import { OFF_CHAIN } from '../../../runtime/plan.ts';
import { createExecutor } from '../../../runtime/replay.ts';
import { API_GUESTS, gatedModel, openRunApi, readEvents } from '../../support/run-api.ts';
import { CALLER_KEY, OPERATOR, toyRecomputer } from '../../support/toy-run.ts';
import { toyVm } from '../../support/toy-vm.ts';

const UNKNOWN = `0x${'ab'.repeat(32)}`;

afterEach(() => vi.useRealTimers());

describe('POST /v1/runs', () => {
  it('begins a run, and waits for its end if told so', async () => {
    const { send, manager } = await openRunApi();
    const begun = await send('POST', '/v1/runs', { agent: 'count', input: { n: 3 } });
    expect(begun.status).toBe(201);
    expect(begun.headers['location']).toBe(`/v1/runs/${begun.json.id}`);
    await manager.settled(begun.json.id);
    expect((await send('GET', `/v1/runs/${begun.json.id}`)).json).toMatchObject({
      status: 'done',
      output: { n: 3 },
      agent: 'count',
      seedFrom: 'operator',
      withheldAt: null,
    });
    const waited = await send('POST', '/v1/runs?wait=10', { agent: 'count', input: { n: 1 } });
    expect(waited.json).toMatchObject({ status: 'done', output: { n: 1 }, error: null });
  });

  it('gives a run that waits for somebody at once', async () => {
    const { settled } = await openRunApi();
    const run = await settled('approve');
    expect(run).toMatchObject({ status: 'suspended', reason: 'approval', output: null });
    expect(run.waiting).toMatchObject([{ for: 'approval', request: { summary: 'pay?', details: { amount: 7 } } }]);
  });

  it('stops waiting when it was told to', async () => {
    const { inference, open } = gatedModel();
    const { send } = await openRunApi({ ports: { inference } });
    const began = performance.now();
    const response = await send('POST', '/v1/runs?wait=1', { agent: 'ask', input: null });
    expect(response.json.status).toBe('running');
    expect(performance.now() - began).toBeGreaterThan(900);
    open();
  });

  it('says what its agent made of it', async () => {
    const { settled } = await openRunApi();
    expect(await settled('fail')).toMatchObject({ status: 'failed', output: null, error: { code: 'TOOL_ERROR' } });
  });

  it.each([
    ['no body', undefined, 400, 'invalid_json', null],
    ['no JSON', '{"agent":', 400, 'invalid_json', null],
    ['a doubled name', '{"agent":"count","agent":"count","input":null}', 400, 'invalid_json', null],
    ['a list', [], 400, 'invalid_type', null],
    ['no agent', { input: null }, 400, 'missing_required_parameter', 'agent'],
    ['no input', { agent: 'count' }, 400, 'missing_required_parameter', 'input'],
    ['an unknown agent', { agent: 'toString', input: null }, 404, 'agent_not_found', 'agent'],
    ['an unknown field', { agent: 'count', input: null, model: 'x' }, 400, 'unknown_parameter', 'model'],
    ['a fraction', { agent: 'count', input: { n: 0.5 } }, 400, 'invalid_value', 'input'],
    ['an integer that is too large', '{"agent":"count","input":9007199254740993}', 400, 'invalid_value', 'input'],
    ['a deep input', `{"agent":"count","input":${'['.repeat(25)}${']'.repeat(25)}}`, 400, 'invalid_value', 'input'],
    ['a limit that is a number', { agent: 'count', input: 1, limits: { fuel: 5 } }, 400, 'invalid_type', 'limits.fuel'],
    ['a limit with zeros', { agent: 'count', input: 1, limits: { fuel: '05' } }, 400, 'invalid_value', 'limits.fuel'],
    ['an unknown limit', { agent: 'count', input: 1, limits: { gas: '5' } }, 400, 'unknown_parameter', 'limits.gas'],
    [
      "more than the agent's limits",
      { agent: 'count', input: 1, limits: { fuel: '99999999999999' } },
      400,
      'request_refused',
      'limits.fuel',
    ],
    [
      'half a signed request',
      { agent: 'count', input: 1, signature: `0x${'00'.repeat(65)}` },
      400,
      'invalid_value',
      'request',
    ],
  ] as const)('refuses %s', async (_, body, status, code, param) => {
    const { send, manager } = await openRunApi();
    const headers = { 'content-type': 'application/json' };
    const response = await send('POST', '/v1/runs', body, headers);
    expect([response.status, response.json.error]).toMatchObject([status, { code, param }]);
    expect(manager.list()).toEqual([]);
  });

  it.each(['61', '-1', '1.5', 'x', ''])('refuses to wait %j seconds', async (wait) => {
    const { send, manager } = await openRunApi();
    const response = await send('POST', `/v1/runs?wait=${wait}`, { agent: 'count', input: { n: 1 } });
    expect(response.json.error).toMatchObject({ code: 'invalid_value', param: 'wait' });
    expect((await send('POST', '/v1/runs?dry=1', { agent: 'count', input: { n: 1 } })).json.error).toMatchObject({
      code: 'unknown_parameter',
      param: 'dry',
    });
    expect(manager.list()).toEqual([]);
  });

  it('refuses another media type, a body too large, and another Host', async () => {
    const server = { bodyLimitBytes: 1000, allowedHosts: ['127.0.0.1'] };
    const { send } = await openRunApi({ server });
    const host = { host: '127.0.0.1:80' };
    const plain = await send('POST', '/v1/runs', 'x', { ...host, 'content-type': 'text/plain' });
    expect([plain.status, plain.json.error?.code]).toEqual([415, 'unsupported_media_type']);
    const large = await send('POST', '/v1/runs', { agent: 'count', input: 'x'.repeat(2000) }, host);
    expect([large.status, large.json.error?.code]).toEqual([413, 'body_too_large']);
    const rebound = await send('GET', '/v1/runs', undefined, { host: 'evil.test' });
    expect([rebound.status, rebound.json.error?.code]).toEqual([403, 'host_not_allowed']);
    expect((await send('GET', '/v1/runs', undefined, host)).status).toBe(200);
  });

  it('refuses when as many runs are at work as may be', async () => {
    const { inference, open } = gatedModel();
    const api = await openRunApi({ ports: { inference } });
    // The bound of the manager is 64 by default.
    const runs = await Promise.all(
      Array.from({ length: 64 }, () => api.send('POST', '/v1/runs', { agent: 'ask', input: null })),
    );
    expect(runs.every(({ status }) => status === 201)).toBe(true);
    const response = await api.send('POST', '/v1/runs', { agent: 'ask', input: null });
    expect([response.status, response.json.error?.code]).toEqual([429, 'too_many_runs']);
    expect(response.headers['retry-after']).toBe('5');
    open();
  });

  it('takes nothing any more once it is closed', async () => {
    const { send, manager } = await openRunApi();
    await manager.close();
    const response = await send('POST', '/v1/runs', { agent: 'count', input: { n: 1 } });
    expect([response.status, response.json.error?.code]).toEqual([503, 'server_closed']);
  });
});

describe('GET /v1/runs', () => {
  it('has the newest first, page by page, and nothing large', async () => {
    const { settled, send } = await openRunApi();
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.unshift((await settled(i % 2 === 0 ? 'count' : 'approve', { n: i })).id);
    const all = (await send('GET', '/v1/runs')).json;
    expect(new Set(all.data.map(({ id }) => id))).toEqual(new Set(ids));
    expect(all.has_more).toBe(false);
    for (const run of all.data) {
      expect(run.output).toBeNull();
      for (const one of run.waiting) expect(one).not.toHaveProperty('request');
    }
    const found: string[] = [];
    for (let after = ''; ; after = `&after=${found.at(-1)}`) {
      const page = (await send('GET', `/v1/runs?limit=2${after}`)).json;
      found.push(...page.data.map(({ id }) => id));
      if (!page.has_more) break;
    }
    expect(found).toEqual(all.data.map(({ id }) => id));
    expect((await send('GET', '/v1/runs?status=suspended')).json.data).toHaveLength(2);
    expect((await send('GET', '/v1/runs?status=done&agent=count')).json.data).toHaveLength(3);
    expect((await send('GET', '/v1/runs?agent=nobody')).json.data).toEqual([]);
  });

  it.each(['limit=0', 'limit=101', 'limit=1&limit=2', 'status=over', 'after=1', `after=${UNKNOWN}`, 'order=asc'])(
    'refuses %s',
    async (query) => {
      const { send } = await openRunApi();
      expect((await send('GET', `/v1/runs?${query}`)).status).toBe(400);
    },
  );
});

describe('a run that is not there', () => {
  it.each([
    ['GET', ''],
    ['GET', '/records'],
    ['GET', '/bundle'],
    ['POST', '/cancel'],
    ['POST', '/pause'],
    ['POST', '/resume'],
    ['POST', '/approvals/3'],
    ['POST', '/reconciliations/3'],
    ['DELETE', '/payloads'],
  ])('is 404 for %s %s', async (method, path) => {
    const { send } = await openRunApi();
    for (const id of [UNKNOWN, '0x12', '..', UNKNOWN.toUpperCase(), encodeURIComponent('../../etc/passwd')]) {
      const response = await send(method, `/v1/runs/${id}${path}`, undefined);
      expect([id, response.status]).toEqual([id, 404]);
    }
  });
});

describe('steering', () => {
  it('cancels, once', async () => {
    const { settled, send } = await openRunApi();
    const { id } = await settled('approve');
    const cancelled = await send('POST', `/v1/runs/${id}/cancel`);
    expect(cancelled.json).toMatchObject({ status: 'cancelled', reason: null, waiting: [] });
    expect((await send('POST', `/v1/runs/${id}/cancel`)).json.status).toBe('cancelled');
    const late = await send('POST', `/v1/runs/${id}/pause`);
    expect([late.status, late.json.error?.code]).toEqual([409, 'wrong_state']);
  });

  it('pauses and resumes', async () => {
    const { inference, open } = gatedModel();
    const { send, manager } = await openRunApi({ ports: { inference } });
    const { id } = (await send('POST', '/v1/runs', { agent: 'ask', input: null })).json;
    // It waits for what is under way, and the answer does not wait for it.
    expect((await send('POST', `/v1/runs/${id}/pause?wait=0`)).json.status).toBe('running');
    open();
    await manager.settled(id);
    const paused = (await send('GET', `/v1/runs/${id}`)).json;
    if (paused.status === 'suspended') {
      expect(paused.reason).toBe('paused');
      expect((await send('POST', `/v1/runs/${id}/resume`)).status).toBe(200);
    }
    expect(await manager.settled(id)).toMatchObject({ status: 'done' });
    expect((await send('POST', `/v1/runs/${id}/resume`)).json.error?.code).toBe('wrong_state');
  });

  it('takes no body where none is read', async () => {
    const { settled, send } = await openRunApi();
    const { id } = await settled('approve');
    for (const verb of ['cancel', 'pause', 'resume']) {
      const response = await send('POST', `/v1/runs/${id}/${verb}`, { force: true });
      expect([response.status, response.json.error?.code]).toEqual([400, 'unknown_parameter']);
    }
    expect((await send('GET', `/v1/runs/${id}?x=1`)).status).toBe(400);
    expect((await send('GET', `/v1/runs/${id}`)).json.status).toBe('suspended');
  });

  it('takes the word of the operator where the policy names no approvers', async () => {
    const { settled, send, manager } = await openRunApi();
    const { id, waiting } = await settled('approve');
    const path = `/v1/runs/${id}/approvals/${waiting[0]?.index}`;
    expect((await send('POST', path, { approved: true, note: 'fine' })).status).toBe(200);
    expect((await manager.settled(id)).output).toEqual({
      approved: true,
      approver: null,
      note: 'fine',
      signature: null,
    });
    const again = await send('POST', path, { approved: false });
    expect([again.status, again.json.error?.code]).toEqual([409, 'wrong_state']);
  });

  it.each([
    ['no decision', '5', {}, 400, 'missing_required_parameter'],
    ['a word', '5', { approved: 'yes' }, 400, 'invalid_type'],
    ['a long note', '5', { approved: true, note: 'x'.repeat(2001) }, 400, 'invalid_value'],
    ['an unknown field', '5', { approved: true, by: 'me' }, 400, 'unknown_parameter'],
    ['no index', 'x', { approved: true }, 400, 'invalid_value'],
    ['a negative index', '-1', { approved: true }, 400, 'invalid_value'],
    ['another index', '1', { approved: true }, 409, 'not_waiting'],
  ] as const)('refuses a decision: %s', async (_, index, body, status, code) => {
    const { settled, send } = await openRunApi();
    const { id } = await settled('approve');
    const response = await send('POST', `/v1/runs/${id}/approvals/${index}`, body);
    expect([response.status, response.json.error?.code]).toEqual([status, code]);
    expect((await send('GET', `/v1/runs/${id}`)).json).toMatchObject({ status: 'suspended', reason: 'approval' });
  });

  it('takes a signed decision of whom the policy names, and of nobody else', async () => {
    const approver = addressOf(CALLER_KEY);
    const { settled, send, manager } = await openRunApi({ approvers: [approver] });
    const { id, waiting } = await settled('approve');
    const index = waiting[0]?.index ?? '';
    const events = readEvents((await send('GET', `/v1/runs/${id}/records?follow=false&from=${index}`)).text);
    const start = events[0]?.data as unknown as { readonly body: { readonly request: `0x${string}` } } | undefined;
    const request = start?.body.request ?? '0x';
    const place = { run: Buffer.from(id.slice(2), 'hex'), index: BigInt(index), request };
    const decision = { approved: true, note: '' };
    const signature = signApproval(decision, place, OFF_CHAIN, CALLER_KEY);
    const path = `/v1/runs/${id}/approvals/${index}`;
    for (const false_ of [
      decision,
      { ...decision, approver, signature: null },
      { ...decision, approver: addressOf(Buffer.alloc(32, 7)), signature },
      { ...decision, approved: false, approver, signature },
      { ...decision, note: 'other', approver, signature },
      { ...decision, approver, signature: `0x${'00'.repeat(65)}` },
    ]) {
      const response = await send('POST', path, false_);
      expect([response.status, response.json.error?.code]).toEqual([403, 'approval_invalid']);
    }
    expect((await send('POST', path, { ...decision, approver, signature })).status).toBe(200);
    expect((await manager.settled(id)).output).toMatchObject({ approved: true, approver, signature });
  });

  it('refuses a reconciliation that nothing waits for', async () => {
    const { settled, send } = await openRunApi();
    const { id, waiting } = await settled('approve');
    const path = `/v1/runs/${id}/reconciliations/${waiting[0]?.index}`;
    expect((await send('POST', path, { how: 'send' })).json.error?.code).toBe('not_waiting');
    expect((await send('POST', path, { how: 'again' })).json.error?.code).toBe('invalid_value');
  });
});

describe('the bundle', () => {
  it('is the trace, and verifies', async () => {
    const { settled, send, manager } = await openRunApi();
    const { id } = await settled('count', { n: 4 });
    const response = await send('GET', `/v1/runs/${id}/bundle`);
    expect(response.headers).toMatchObject({
      'content-type': 'application/jsonl',
      'content-disposition': `attachment; filename="${id.slice(2)}.trace"`,
    });
    expect(response.text).toBe(readFileSync(manager.bundle(id), 'utf8'));
    const ports = { executor: createExecutor(toyVm(API_GUESTS), toyRecomputer), trust: trustSigner(OPERATOR) };
    const report = await verifyBundle({ ...ports, now: () => 0 }, [Buffer.from(response.text)]);
    expect(report).toMatchObject({ verdict: 'MATCH', run: id, status: 'done' });
  });

  it('of a run that goes on has whole lines', async () => {
    const { settled, send } = await openRunApi();
    const { id } = await settled('approve');
    const { text } = await send('GET', `/v1/runs/${id}/bundle`);
    expect(text.endsWith('\n')).toBe(true);
    for (const line of text.split('\n').slice(0, -1)) expect(JSON.parse(line)).toBeTypeOf('object');
  });
});

describe('DELETE payloads', () => {
  it('takes what was said from everywhere, and the trace still holds', async () => {
    const { send, manager, folder, settled } = await openRunApi();
    const asked = { agent: 'count', input: { n: 2, secret: 'tulip mania' } };
    const { id } = (await send('POST', '/v1/runs?wait=10', asked, { 'idempotency-key': 'k' })).json;
    const gone = await send('DELETE', `/v1/runs/${id}/payloads`);
    expect(gone.json).toMatchObject({ status: 'done', output: null });
    expect(gone.json.withheldAt).toBeTypeOf('number');
    const { text } = await send('GET', `/v1/runs/${id}/bundle`);
    expect(text).not.toContain('"chunks":["eyJ2YWx1ZSI6eyJuIjoy');
    const ports = { executor: createExecutor(toyVm(API_GUESTS), toyRecomputer), trust: trustSigner(OPERATOR) };
    const report = await verifyBundle({ ...ports, now: () => 0 }, [Buffer.from(text)]);
    expect(report).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'PAYLOAD_WITHHELD' });
    expect((await send('GET', `/v1/runs/${id}`)).json.output).toBeNull();
    expect(readFileSync(`${folder}/${id.slice(2)}.status.json`, 'utf8')).not.toContain('"n":2');
    // The key says nothing of the body any more.
    const replayed = await send('POST', '/v1/runs', asked, { 'idempotency-key': 'k' });
    expect([replayed.status, replayed.json.error?.code]).toEqual([409, 'idempotency_key_reused']);
    const events = readEvents((await send('GET', `/v1/runs/${id}/records`)).text);
    expect(JSON.stringify(events[0]?.data)).toContain('withheld');
    const failed = await settled('fail');
    expect((await send('DELETE', `/v1/runs/${failed.id}/payloads`)).json.error).toEqual({
      code: 'TOOL_ERROR',
      message: '',
    });
    expect(JSON.stringify(manager.list())).not.toContain('hunter2');
  });

  it('is refused for a run that may go on, and for a child that its parent needs', async () => {
    const { settled, send, manager } = await openRunApi();
    const { id } = await settled('approve');
    const early = await send('DELETE', `/v1/runs/${id}/payloads`);
    expect([early.status, early.json.error?.code]).toEqual([409, 'wrong_state']);
    const parent = await settled('delegate');
    const child = manager.list().find((one) => one.parent?.run === parent.id);
    await send('POST', `/v1/runs/${child?.run}/approvals/${child?.waiting[0]?.index}`, { approved: true });
    await manager.settled(child?.run ?? '0x');
    await vi.waitFor(() => expect(manager.get(parent.id).status).toBe('done'));
    expect((await send('DELETE', `/v1/runs/${child?.run}/payloads`)).status).toBe(200);
    expect((await send('DELETE', `/v1/runs/${parent.id}/payloads`)).status).toBe(200);
  });
});

describe('with access keys', () => {
  const NONE: AccessKey['limits'] = { active: null, waiting: null, requestsPerMinute: null, tokensPerMinute: null };
  const keys = new Map([
    ['tb-a', { id: 'ak-a', limits: NONE }],
    ['tb-b', { id: 'ak-b', limits: { ...NONE, requestsPerMinute: 2 } }],
  ]);
  const access = () => openAccess({ authenticate: (secret) => keys.get(secret) });
  const [a, b] = [{ authorization: 'Bearer tb-a' }, { authorization: 'Bearer tb-b' }];

  it.each([
    ['GET', '/v1/agents'],
    ['GET', '/v1/runs'],
    ['POST', '/v1/runs'],
    ['GET', `/v1/runs/${UNKNOWN}`],
    ['GET', `/v1/runs/${UNKNOWN}/records`],
    ['GET', `/v1/runs/${UNKNOWN}/bundle`],
    ['POST', `/v1/runs/${UNKNOWN}/cancel`],
    ['DELETE', `/v1/runs/${UNKNOWN}/payloads`],
    ['GET', '/metrics'],
  ])('asks for one: %s %s', async (method, path) => {
    const { send } = await openRunApi({ server: { access: access() } });
    for (const headers of [{}, { authorization: 'Bearer tb-c' }]) {
      expect((await send(method, path, undefined, headers as Record<string, string>)).status).toBe(401);
    }
  });

  it('asks for none where nothing is told', async () => {
    const { send } = await openRunApi({ server: { access: access() } });
    for (const path of ['/healthz', '/readyz', '/openapi.json']) expect((await send('GET', path)).status).toBe(200);
  });

  it('shows a run to the key that began it, and its children too, also after a restart', async () => {
    const first = await openRunApi({ server: { access: access() } });
    const parent = await first.settled('delegate', null, a);
    await first.close();
    const { send, manager } = await openRunApi({ folder: first.folder, server: { access: access() } });
    const child = manager.list().find((one) => one.parent?.run === parent.id)?.run;
    expect(child).toBeDefined();
    for (const id of [parent.id, child]) {
      expect((await send('GET', `/v1/runs/${id}`, undefined, a)).status).toBe(200);
      for (const [method, path] of [
        ['GET', ''],
        ['GET', '/records'],
        ['GET', '/bundle'],
        ['POST', '/cancel'],
        ['DELETE', '/payloads'],
      ] as const) {
        const response = await send(method, `/v1/runs/${id}${path}`, undefined, b);
        expect([response.status, response.json.error?.code]).toEqual([404, 'run_not_found']);
      }
    }
    expect((await send('GET', '/v1/runs', undefined, a)).json.data).toHaveLength(2);
    expect((await send('GET', '/v1/runs', undefined, b)).json.data).toEqual([]);
    expect((await send('GET', `/v1/runs?after=${parent.id}`, undefined, b)).status).toBe(400);
  });

  it('keeps to the requests of a minute', async () => {
    const { send } = await openRunApi({ server: { access: access() } });
    const begin = () => send('POST', '/v1/runs', { agent: 'count', input: { n: 0 } }, b);
    expect((await begin()).status).toBe(201);
    expect((await begin()).status).toBe(201);
    const third = await begin();
    expect([third.status, third.json.error?.code]).toEqual([429, 'rate_limit_exceeded']);
    expect(Number(third.headers['retry-after'])).toBeGreaterThan(0);
  });
});

describe('what is told of the server', () => {
  it('lists agents with the digest that a request names', async () => {
    const { send } = await openRunApi();
    const { json } = await send('GET', '/v1/agents');
    expect(json).toMatchObject({ operator: OPERATOR, chainId: '0', contract: toHex(new Uint8Array(20)) });
    expect(json.data).toHaveLength(Object.keys(API_GUESTS).length);
  });

  it('counts runs, records and requests', async () => {
    const { settled, send } = await openRunApi();
    await settled('count', { n: 2 });
    await settled('approve');
    const { text } = await send('GET', '/metrics');
    expect(text).toContain('tracebond_runs{status="done"} 1');
    expect(text).toContain('tracebond_runs{status="suspended"} 1');
    expect(text).toMatch(/tracebond_records_total\{kind="host.start"\} 3/);
    expect(text).toMatch(/tracebond_run_seconds_count\{agent="count",status="done"\} 1/);
    expect(text).toContain('tracebond_http_requests_total{route="/v1/runs",method="POST",status="201"} 2');
  });

  it('is not ready when it says so', async () => {
    const { send } = await openRunApi({ server: { isReady: () => false } });
    expect((await send('GET', '/readyz')).status).toBe(503);
    expect((await send('GET', '/healthz')).status).toBe(200);
  });

  it('has no other routes', async () => {
    const { send } = await openRunApi();
    for (const [method, path] of [
      ['GET', '/'],
      ['PUT', '/v1/runs'],
      ['DELETE', '/v1/runs'],
      ['GET', '/v1/runs/'],
      ['HEAD', `/v1/runs/${UNKNOWN}/bundle`],
    ] as const) {
      const response = await openRunApi().then(({ app }) => app.inject({ method, url: path }));
      expect([path, response.statusCode]).toEqual([path, 404]);
    }
    expect((await send('GET', '/openapi.json')).status).toBe(200);
  });
});

describe('a fault of the host', () => {
  it('is told without its paths', async () => {
    const { send, folder, manager } = await openRunApi();
    const { rmSync } = await import('node:fs');
    rmSync(folder, { recursive: true });
    const response = await send('POST', '/v1/runs', { agent: 'count', input: { n: 1 } } as unknown as Json);
    expect([response.status, response.json.error?.code]).toEqual([503, 'journal_missing']);
    expect(response.text).not.toContain(folder);
    expect(manager.list()).toEqual([]);
  });
});
