import { describe, expect, it } from 'vitest';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import {
  allowsFetch,
  childGrant,
  coveredSend,
  evaluatePolicy,
  exposureOf,
  grantOf,
  mcpGrantOf,
  parsePolicy,
} from '../../../attest/trace/policy.ts';
import { WalletBook, walletTargetOf } from '../../../attest/trace/wallet.ts';
import { TOY_LIMITS, TOY_POLICY } from '../../support/toy-run.ts';

const none = { bytes: 0n, draws: 0n, fuel: 0n, steps: 0n, tokens: 0n };
const useOf = (steps = 0n, exposure = '0', wallet = new WalletBook()) => ({
  counters: { ...none, steps },
  open: { limits: TOY_LIMITS, exposure },
  wallet,
});
const decide = (tool: string | null, capability: string, target: string, steps = 0n) =>
  evaluatePolicy(TOY_POLICY, { tool, capability, target }, useOf(steps));
const fetch = {
  capability: 'http.fetch',
  maxBytes: 9,
  methods: ['GET'],
  origins: ['http://books.test', 'https://books.test:8443'],
} as const;

describe('evaluatePolicy', () => {
  it.each<[string | null, string, string, string, string, string]>([
    [null, 'inference', 'toy-model', 'allow', 'grant', 'agent.0'],
    [null, 'tool', 'count', 'allow', 'grant', 'agent.1'],
    [null, 'tool', 'other', 'deny', 'deny', 'agent.default'],
    [null, 'http.fetch', 'GET http://books.test/', 'deny', 'deny', 'agent.default'],
    [null, 'unknown', 'x', 'deny', 'deny', 'agent.default'],
    ['count', 'http.fetch', 'GET http://books.test/a?b', 'allow', 'origin-list', 'tools.count.0'],
    ['count', 'http.fetch', 'POST http://books.test/', 'deny', 'origin-list', 'tools.count.0'],
    ['count', 'inference', 'toy-model', 'deny', 'deny', 'tools.count.default'],
    ['__proto__', 'inference', 'toy-model', 'deny', 'deny', 'tools.__proto__.default'],
  ])('%s asks for %s %s: %s', (tool, capability, target, decision, form, rule) => {
    expect(decide(tool, capability, target)).toEqual({ decision, form, rule });
  });

  it('counts the step that it would allow', () => {
    expect(decide(null, 'inference', 'x', 199n)).toMatchObject({ decision: 'allow' });
    expect(decide(null, 'inference', 'x', 200n)).toEqual({ decision: 'deny', form: 'limit', rule: 'limits.steps' });
  });
});

describe('allowsFetch', () => {
  it.each<[string, boolean]>([
    ['GET http://books.test/', true],
    ['GET HTTP://BOOKS.TEST:80/', true],
    ['GET https://books.test:8443/x', true],
    ['GET https://books.test/x', false],
    ['GET http://books.test:8080/', false],
    ['GET http://books.test.evil.test/', false],
    ['GET http://books.test@evil.test/', false],
    ['GET http://user@books.test/', false],
    ['GET http://:pass@books.test/', false],
    ['get http://books.test/', false],
    ['GET  http://books.test/', true],
    ['GET file:///etc/passwd', false],
    ['GET books.test', false],
    ['GET', false],
    ['', false],
  ])('%j: %s', (target, allowed) => {
    expect(allowsFetch(fetch as unknown as Parameters<typeof allowsFetch>[0], target)).toBe(allowed);
  });
});

describe('parsePolicy', () => {
  it.each<[string, (policy: { [key: string]: Json }) => Json, string]>([
    ['another version', (policy) => ({ ...policy, version: 2 }), 'policy.version'],
    ['an unknown capability', (policy) => ({ ...policy, agent: [{ capability: 'fly' }] }), 'policy.agent.0.capability'],
    ['a grant with more', (policy) => ({ ...policy, agent: [{ capability: 'kv.get', x: 1 }] }), 'policy.agent.0.x'],
    ['a tool without grants', (policy) => ({ ...policy, tools: [{ name: 'x' }] }), 'policy.tools.0.grants'],
    [
      'a tool that may call tools',
      (policy) => ({ ...policy, tools: [{ grants: [{ capability: 'tool', names: ['x'] }], name: 'x' }] }),
      'policy.tools.0.grants.0.capability',
    ],
    ['no object', () => null, 'policy'],
  ])('refuses %s', (_, change, field) => {
    expect(() => parsePolicy(change(TOY_POLICY as unknown as { [key: string]: Json }))).toThrow(
      expect.objectContaining({ code: 'MALFORMED_BODY', at: { field } }),
    );
  });

  it('finds the grant of a tool, and none for others', () => {
    expect(grantOf(TOY_POLICY, 'count', 'http.fetch')?.maxBytes).toBe(1000);
    expect(grantOf(TOY_POLICY, null, 'http.fetch')).toBeUndefined();
    expect(grantOf(TOY_POLICY, 'constructor', 'http.fetch')).toBeUndefined();
    expect(grantOf(TOY_POLICY, null, 'human.approve')).toBeUndefined();
  });

  it('allows the child runs that it lists, and no others', () => {
    const digest = `0x${'ab'.repeat(32)}` as const;
    const policy = parsePolicy({
      version: 1,
      agent: [{ agents: [{ digest, limits: TOY_LIMITS, name: 'helper' }], capability: 'run.child' }],
      tools: [],
    });
    expect(childGrant(policy, 'helper')).toMatchObject({ digest });
    expect(childGrant(policy, 'constructor')).toBeUndefined();
    const child = (target: string) => evaluatePolicy(policy, { tool: null, capability: 'run.child', target }, useOf());
    expect(child('helper')).toEqual({ decision: 'allow', form: 'grant', rule: 'agent.0' });
    expect(child('other')).toEqual({ decision: 'deny', form: 'deny', rule: 'agent.default' });
  });
});

describe('a grant of tools of an MCP server', () => {
  const definition = `0x${'01'.repeat(32)}` as const;
  const tools = [
    { definition, idempotent: true, name: 'echo' },
    { definition, idempotent: false, name: 'with space' },
  ];
  const mcp = (server: string) => ({ capability: 'mcp.call', maxBytes: 1000, server, tools });
  const policy = parsePolicy({
    version: 1,
    agent: [],
    tools: [{ name: 't', grants: [{ capability: 'kv.get' }, mcp('one'), mcp('two')] }],
  });

  it.each([
    ['one echo', 'allow', 'grant', 'tools.t.1'],
    ['two echo', 'allow', 'grant', 'tools.t.2'],
    ['one with space', 'allow', 'grant', 'tools.t.1'],
    ['one with', 'deny', 'deny', 'tools.t.default'],
    ['three echo', 'deny', 'deny', 'tools.t.default'],
    ['one', 'deny', 'deny', 'tools.t.default'],
  ])('%s: %s', (target, decision, form, rule) => {
    expect(evaluatePolicy(policy, { tool: 't', capability: 'mcp.call', target }, useOf())).toEqual({
      decision,
      form,
      rule,
    });
  });

  it('is found with its entry', () => {
    expect(mcpGrantOf(policy, 't', 'two with space')).toMatchObject({
      grant: { server: 'two' },
      entry: { name: 'with space', idempotent: false },
    });
    expect(mcpGrantOf(policy, null, 'two echo')).toBeUndefined();
  });

  it('names no server with white space: two targets would be one', () => {
    expect(() => parsePolicy({ version: 1, agent: [mcp('a b')], tools: [] } as Json)).toThrow('policy.agent.0.server');
  });
});

describe('a grant of a wallet', () => {
  const shop = `0x${'aa'.repeat(20)}` as const;
  const coin = `0x${'bb'.repeat(20)}` as const;
  const grant = {
    address: `0x${'cc'.repeat(20)}`,
    approvalAbove: '600',
    calls: [
      { contract: shop, selectors: ['0x', '0x12345678'], token: null },
      { contract: coin, selectors: ['0xa9059cbb'], token: { units: '10', wei: '3' } },
    ],
    capability: 'wallet.send',
    chain: '31337',
    fee: '100',
    perCall: '1000',
    perRun: '1500',
  };
  const policyOf = (...grants: readonly object[]) => parsePolicy({ version: 1, agent: grants, tools: [] } as Json);
  const policy = policyOf({ capability: 'clock.now' }, grant);
  const send = (more: { to?: `0x${string}`; value?: string; data?: `0x${string}`; chain?: string }) =>
    walletTargetOf({ chain: '31337', to: shop, value: '0', data: '0x', ...more });
  const transfer = (units: number) =>
    `0xa9059cbb${'00'.repeat(12)}${'dd'.repeat(20)}${units.toString(16).padStart(64, '0')}` as const;
  const ask = (target: string, book = new WalletBook(), exposure = '5000') =>
    evaluatePolicy(policy, { tool: null, capability: 'wallet.send', target }, useOf(0n, exposure, book));

  it.each<[string, Parameters<typeof send>[0], string, string]>([
    ['a payment', { value: '500' }, 'allow', 'agent.1'],
    ['a listed method', { data: '0x12345678ff' }, 'allow', 'agent.1'],
    ['another method', { data: '0x12345679' }, 'deny', 'agent.1.calls'],
    ['data that is no method', { data: '0x1234' }, 'deny', 'agent.1.calls'],
    ['another account', { to: `0x${'ee'.repeat(20)}` }, 'deny', 'agent.1.calls'],
    ['another chain', { chain: '1' }, 'deny', 'agent.1.calls'],
    ['a payment to the token', { to: coin, value: '1' }, 'deny', 'agent.1.calls'],
    ['the greatest payment without a person', { value: '500' }, 'allow', 'agent.1'],
    ['a payment that a person has to approve', { value: '501' }, 'deny', 'agent.1.approvalAbove'],
    ['the greatest payment', { value: '900' }, 'deny', 'agent.1.approvalAbove'],
    ['a payment above the limit of a call', { value: '901' }, 'deny', 'agent.1.perCall'],
    ['tokens worth the bound', { to: coin, data: transfer(1666) }, 'allow', 'agent.1'],
    ['tokens a fraction above it', { to: coin, data: transfer(1667) }, 'deny', 'agent.1.approvalAbove'],
    ['a value beside tokens', { to: coin, data: transfer(1666), value: '1' }, 'deny', 'agent.1.approvalAbove'],
  ])('%s', (_, args, decision, rule) => {
    expect(ask(send(args))).toMatchObject({ decision, rule });
  });

  it('counts what was started: per run, and all wallets of the run against its exposure', () => {
    const book = new WalletBook();
    book.spend('agent.1', null, '', 1400n, false);
    expect(ask(send({}), book)).toMatchObject({ decision: 'allow' });
    expect(ask(send({ value: '1' }), book)).toEqual({ decision: 'deny', form: 'limit', rule: 'agent.1.perRun' });
    const other = new WalletBook();
    other.spend('tools.x.0', 'x', '', 1400n, false);
    expect(ask(send({ value: '1' }), other)).toMatchObject({ decision: 'allow' });
    expect(ask(send({ value: '1' }), other, '1500')).toEqual({ decision: 'deny', form: 'limit', rule: 'exposure' });
    expect(ask(send({}), other, '1500')).toMatchObject({ decision: 'allow' });
  });

  it('lets an approval serve one send, of the guest that asked', () => {
    const target = send({ value: '900' });
    const covered = coveredSend(policy, null, target);
    expect(covered).toMatchObject({ rule: 'agent.1', amount: 1000n, needsApproval: true });
    const digest = covered?.target.digest ?? '';
    const book = new WalletBook();
    book.approve('x', digest);
    expect(ask(target, book)).toMatchObject({ rule: 'agent.1.approvalAbove' });
    book.approve(null, digest);
    expect(ask(target, book)).toMatchObject({ decision: 'allow' });
    expect(ask(send({ value: '899' }), book)).toMatchObject({ rule: 'agent.1.approvalAbove' });
    book.spend('agent.1', null, digest, 0n, true);
    expect(ask(target, book)).toMatchObject({ rule: 'agent.1.approvalAbove' });
  });

  it('is refused to who has none, and to a target that is none', () => {
    expect(evaluatePolicy(TOY_POLICY, { tool: null, capability: 'wallet.send', target: send({}) }, useOf())).toEqual({
      decision: 'deny',
      form: 'deny',
      rule: 'agent.default',
    });
    expect(ask('malformed arguments')).toMatchObject({ decision: 'deny', rule: 'agent.1.calls' });
    expect(ask(`${send({})} more`)).toMatchObject({ decision: 'deny', rule: 'agent.1.calls' });
  });

  it('sums up to the exposure of a run, tools included', () => {
    const { capability: _, ...rest } = grant;
    const tools = [{ name: 't', grants: [{ capability: 'wallet.send', ...rest, perRun: '7' }] }];
    expect(exposureOf(parsePolicy({ version: 1, agent: [grant], tools } as Json))).toBe(1507n);
    expect(exposureOf(TOY_POLICY)).toBe(0n);
  });

  it.each<[string, object, string]>([
    [
      'a token by no units',
      { calls: [{ contract: coin, selectors: [], token: { units: '0', wei: '1' } }] },
      'agent.0.calls.0.token.units',
    ],
    [
      'a selector of three bytes',
      { calls: [{ contract: null, selectors: ['0x123456'], token: null }] },
      'agent.0.calls.0.selectors.0',
    ],
    ['a fraction of a wei', { perCall: '1.5' }, 'agent.0.perCall'],
    ['a chain by name', { chain: 'mainnet' }, 'agent.0.chain'],
  ])('refuses %s', (_, more, place) => {
    expect(() => policyOf({ ...grant, ...more })).toThrow(place);
  });
});
