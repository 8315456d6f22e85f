import { describe, expect, it } from 'vitest';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { allowsFetch, childGrant, evaluatePolicy, grantOf, parsePolicy } from '../../../attest/trace/policy.ts';
import { TOY_LIMITS, TOY_POLICY } from '../../support/toy-run.ts';

const none = { bytes: 0n, draws: 0n, fuel: 0n, steps: 0n, tokens: 0n };
const decide = (tool: string | null, capability: string, target: string, steps = 0n) =>
  evaluatePolicy(TOY_POLICY, { tool, capability, target }, { ...none, steps }, TOY_LIMITS);
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
    const child = (target: string) =>
      evaluatePolicy(policy, { tool: null, capability: 'run.child', target }, none, TOY_LIMITS);
    expect(child('helper')).toEqual({ decision: 'allow', form: 'grant', rule: 'agent.0' });
    expect(child('other')).toEqual({ decision: 'deny', form: 'deny', rule: 'agent.default' });
  });
});
