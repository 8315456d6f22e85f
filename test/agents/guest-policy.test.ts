import { describe, expect, it } from 'vitest';
import type { AgentCode } from '../../agents/guest-code.ts';
import { coversOrigin, createPolicy, type OperatorGrants } from '../../agents/guest-policy.ts';
import { type Capabilities, toCapabilities } from '../../agents/sdk/capabilities.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { type GuestCode, hashGuestCode } from '../../attest/trace/guest.ts';
import { parsePolicy } from '../../attest/trace/policy.ts';

const GRANTS: OperatorGrants = { origins: ['https://books.test', 'https://mail.test'], maxBytes: 1000 };

/** Grants of one tool, in a policy that reads back as it is. */
function grantsOf(declared: Capabilities, grants: Partial<OperatorGrants> = {}) {
  const policy = createPolicy(new Map([['tool', toCapabilities(declared, 'tool')]]), { ...GRANTS, ...grants });
  expect(parsePolicy(policy as Json)).toEqual(policy);
  return policy.tools[0]?.grants ?? [];
}

const BOOKS = { addresses: [], capability: 'http.fetch', headers: [], idempotent: false, maxBytes: 1000 };

describe('a policy', () => {
  it('gives a tool that declares nothing nothing, whatever is granted', () => {
    expect(grantsOf({}, { addresses: ['127.0.0.1/32'], approvers: [`0x${'11'.repeat(20)}`] })).toEqual([]);
  });

  it('gives what is declared and granted, with the bounds of both', () => {
    expect(grantsOf({ fetch: ['https://books.test/*', 'https://evil.test/*'] })).toEqual([
      { ...BOOKS, methods: ['GET'], origins: ['https://books.test'] },
    ]);
    const rule = {
      url: 'https://books.test/*',
      methods: ['POST', 'GET', 'DELETE'],
      headers: { 'X-Version': '2', accept: 'a/b' },
      idempotent: true,
      maxBytes: 10,
    } as const;
    const headers = [
      { name: 'accept', value: 'a/b' },
      { name: 'x-version', value: '2' },
    ];
    const full = { ...BOOKS, headers, idempotent: true, maxBytes: 10, origins: ['https://books.test'] };
    expect(grantsOf({ fetch: [rule] })).toEqual([{ ...full, methods: ['GET'] }]);
    expect(grantsOf({ fetch: [rule] }, { methods: ['PUT', 'POST', 'GET'], addresses: ['10.0.0.0/8'] })).toEqual([
      { ...full, methods: ['GET', 'POST'], addresses: ['10.0.0.0/8'] },
    ]);
    expect(grantsOf({ fetch: [{ ...rule, maxBytes: 5000 }] })[0]).toMatchObject({ maxBytes: 1000 });
    expect(grantsOf({ fetch: [{ ...rule, methods: ['POST'] }] })).toEqual([]);
    expect(grantsOf({ fetch: ['https://books.test/*'] }, { origins: [] })).toEqual([]);
  });

  it('grants the tools of MCP servers that there are, by server and name', () => {
    const pin = (server: string, tool: string, idempotent = false) => {
      return { server, tool, definition: `0x${'11'.repeat(32)}`, idempotent };
    };
    const mcp = [pin('b', 'two'), pin('a', 'x'), pin('b', 'one', true), pin('c', 'y')];
    const definition = `0x${'11'.repeat(32)}`;
    expect(grantsOf({ mcp }, { mcp: ['b', 'c', 'd'] })).toEqual([
      {
        capability: 'mcp.call',
        maxBytes: 1000,
        server: 'b',
        tools: [
          { definition, idempotent: true, name: 'one' },
          { definition, idempotent: false, name: 'two' },
        ],
      },
      { capability: 'mcp.call', maxBytes: 1000, server: 'c', tools: [{ definition, idempotent: false, name: 'y' }] },
    ]);
    expect(grantsOf({ mcp })).toEqual([]);
    for (const bad of [
      [pin('a b', 'x')],
      [pin('a', '')],
      [pin('a', 'x'), pin('a', 'x')],
      [{ ...pin('a', 'x'), definition: '0x' }],
    ]) {
      expect(() => grantsOf({ mcp: bad })).toThrow(TypeError);
    }
  });

  it('writes origins as requests have them', () => {
    const origins = ['https://BOOKS.test:443/', 'https://books.test'];
    expect(grantsOf({ fetch: ['https://books.test/*'] }, { origins })[0]).toMatchObject({
      origins: ['https://books.test'],
    });
    expect(() => grantsOf({ fetch: ['https://books.test/*'] }, { origins: ['books'] })).toThrow(TypeError);
  });

  it('grants no origin that must not see a secret of the tool', () => {
    const headers = { authorization: 'Bearer {{secret:BOOKS_TOKEN}}{{secret:OTHER}}' };
    const declared: Capabilities = {
      fetch: ['https://books.test/*', 'https://mail.test/*'].map((url) => ({ url, headers })),
    };
    const originsOf = (secrets: Readonly<Record<string, readonly string[]>> | undefined) =>
      grantsOf(declared, secrets === undefined ? {} : { secrets }).flatMap((grant) =>
        'origins' in grant ? grant.origins : [],
      );
    const both = ['https://books.test', 'https://mail.test'];
    expect(originsOf({ BOOKS_TOKEN: both, OTHER: both })).toEqual(both);
    expect(originsOf({ BOOKS_TOKEN: ['https://books.test/'], OTHER: both })).toEqual(['https://books.test']);
    expect(originsOf({ BOOKS_TOKEN: both })).toEqual([]);
    expect(originsOf({})).toEqual([]);
    expect(originsOf(undefined)).toEqual([]);
    const inherited = { fetch: [{ url: 'https://books.test', headers: { a: '{{secret:BAD name}}' } }] };
    expect(() => grantsOf(inherited)).toThrow(expect.objectContaining({ code: 'MALFORMED_TEMPLATE' }));
  });

  it('gives store, clock, random bytes and people as declared', () => {
    const approvers = [`0x${'11'.repeat(20)}`] as const;
    expect(grantsOf({ kv: true, clock: true, random: true, approve: true }, { approvers })).toEqual([
      { capability: 'kv.get' },
      { capability: 'kv.put' },
      { capability: 'clock.now' },
      { capability: 'random.bytes' },
      { capability: 'human.approve', approvers },
    ]);
  });

  it('lets agents run those of their agents that the operator gives limits', () => {
    const code = (source: string): GuestCode => ({
      language: 'javascript',
      limits: { fuel: '1', memoryMb: 1, outputBytes: 1024 },
      manifest: {},
      source,
    });
    const child = (source: string): AgentCode => {
      return { agent: code(source), tools: new Map(), capabilities: new Map(), agents: new Map() };
    };
    const agents = new Map([
      ['writer', child('w')],
      ['looker', child('l')],
    ]);
    const limits = { bytes: '1', fuel: '1', steps: '1', tokens: '1', wallMs: '1' };
    const childrenOf = (granted: OperatorGrants['agents']) =>
      createPolicy(new Map(), { ...GRANTS, agents: granted ?? {} }, agents).agent.filter(
        ({ capability }) => capability === 'run.child',
      );
    expect(childrenOf({})).toEqual([]);
    expect(childrenOf({ stranger: limits, toString: limits })).toEqual([]);
    expect(childrenOf({ writer: limits, looker: limits })).toEqual([
      {
        agents: [
          { digest: hashGuestCode(code('l')), limits, name: 'looker' },
          { digest: hashGuestCode(code('w')), limits, name: 'writer' },
        ],
        capability: 'run.child',
      },
    ]);
  });

  it.each([
    ['https://books.test', true],
    ['https://books.test/*', true],
    ['https://books.test:*/*', true],
    ['https://books.test:443/*', true],
    ['https://books.test:444/*', false],
    ['http://books.test/*', false],
    ['https://books.test/v1/*', false],
    ['https://*.test/*', false],
    ['https://*', false],
    ['*', false],
    ['https://books.test.evil/*', false],
    ['https://books.test@evil.test/*', false],
    ['', false],
  ])('covers an origin by %s: %s', (pattern, covered) => {
    expect(coversOrigin(pattern, 'https://books.test')).toBe(covered);
  });
});

describe('capabilities', () => {
  it.each<readonly [string, unknown]>([
    ['no list', { fetch: 'https://a.test' }],
    ['no URL', { fetch: [{ methods: ['GET'] }] }],
    ['nothing', { fetch: [null] }],
    ['another method', { fetch: [{ url: 'https://a.test', methods: ['CONNECT'] }] }],
    ['a method in lower case', { fetch: [{ url: 'https://a.test', methods: ['get'] }] }],
    ['no method', { fetch: [{ url: 'https://a.test', methods: [] }] }],
    ['a header that is none', { fetch: [{ url: 'https://a.test', headers: { 'a b': '1' } }] }],
    ['a header of no text', { fetch: [{ url: 'https://a.test', headers: { a: 1 } }] }],
    ['no bytes', { fetch: [{ url: 'https://a.test', maxBytes: 0 }] }],
    ['rules of two kinds', { fetch: ['https://a.test', { url: 'https://b.test', methods: ['POST'] }] }],
    [
      'secrets for one origin only',
      { fetch: ['https://a.test', { url: 'https://b.test', headers: { a: '{{secret:A}}' } }] },
    ],
  ])('refuse %s', (_name, declared) => {
    expect(() => toCapabilities(declared as Capabilities, 'tool')).toThrow(TypeError);
  });
});
