import { describe, expect, it } from 'vitest';
import { parseWalletConfig, readWalletConfig, walletSecret } from '../../../agents/cli/wallet-config.ts';
import { utf8 } from '../../../attest/core/bytes.ts';

const CONTRACT = `0x${'ab'.repeat(20)}`;
const entry = {
  tool: 'pay',
  chain: '31337',
  perCall: '100',
  perRun: '1000',
  fee: '10',
  approvalAbove: '50',
  calls: [{ contract: CONTRACT, selectors: ['0x', '0xa9059cbb'], token: { units: '1', wei: '2' } }],
};
const whole = { chains: { '31337': { rpc: 'http://127.0.0.1:8545', confirmations: 3 } }, agents: { payer: [entry] } };
const parse = (value: unknown, env = {}) => parseWalletConfig(utf8(JSON.stringify(value)), env);

describe('the file of wallets', () => {
  it('says which chains there are and what tools may spend', () => {
    const { chains, agents } = parse(whole);
    expect(chains.get('31337')).toEqual({ rpc: 'http://127.0.0.1:8545', confirmations: 3 });
    expect(agents.get('payer')).toEqual([entry]);
  });

  it('takes the address of a node from the environment, and never quotes it', () => {
    const of = (rpcEnv: unknown) => ({ ...whole, chains: { '31337': { rpcEnv } } });
    expect(parse(of('NODE'), { NODE: 'https://node.example/secret' }).chains.get('31337')?.rpc).toContain('secret');
    expect(() => parse(of('NODE'), {})).toThrowError(expect.objectContaining({ code: 'MISSING_VARIABLE' }));
    expect(() => parse(of('NODE'), { NODE: 'hunter2' })).toThrowError(/^(?!.*hunter2)/);
  });

  const with_ = (more: object) => ({ ...whole, agents: { payer: [{ ...entry, ...more }] } });
  const call = (more: object) => with_({ calls: [{ ...entry.calls[0], ...more }] });
  it.each<[string, unknown, string]>([
    ['no JSON object', [], 'MALFORMED_CONFIG'],
    ['another member', { ...whole, more: 1 }, 'MALFORMED_CONFIG'],
    ['a chain that is no number', { ...whole, chains: { main: { rpc: 'http://x' } } }, 'MALFORMED_CONFIG'],
    ['a node that is no URL', { ...whole, chains: { '31337': { rpc: 'ftp://x' } } }, 'MALFORMED_CONFIG'],
    ['no confirmations', { ...whole, chains: { '31337': { rpc: 'http://x', confirmations: 0 } } }, 'MALFORMED_CONFIG'],
    ['a chain that is not listed', with_({ chain: '1' }), 'UNKNOWN_CHAIN'],
    ['an amount as a number', with_({ perCall: 5 }), 'MALFORMED_CONFIG'],
    ['a negative amount', with_({ perRun: '-1' }), 'MALFORMED_CONFIG'],
    ['more for a call than for a run', with_({ perCall: '1001' }), 'MALFORMED_CONFIG'],
    ['a fee above a call', with_({ fee: '101' }), 'MALFORMED_CONFIG'],
    ['no limit left out', with_({ approvalAbove: undefined }), 'MALFORMED_CONFIG'],
    ['no calls', with_({ calls: [] }), 'MALFORMED_CONFIG'],
    ['a contract that is none', call({ contract: '0x12' }), 'MALFORMED_CONFIG'],
    ['a contract with a wrong checksum', call({ contract: `0xA${'b'.repeat(39)}` }), 'MALFORMED_CONFIG'],
    ['a selector of three bytes', call({ selectors: ['0x123456'] }), 'MALFORMED_CONFIG'],
    ['a token of no units', call({ token: { units: '0', wei: '1' } }), 'MALFORMED_CONFIG'],
    ['two entries of one tool', { ...whole, agents: { payer: [entry, entry] } }, 'MALFORMED_CONFIG'],
  ])('is refused with %s', (_, value, code) => {
    expect(() => parse(value)).toThrowError(expect.objectContaining({ code }));
  });

  it('is none where nobody names one, and refused where it is not there', () => {
    expect(readWalletConfig(undefined, { env: {} }).chains.size).toBe(0);
    const env = { TRACEBOND_WALLET_CONFIG: '/nowhere/wallets.json' };
    expect(() => readWalletConfig(undefined, { env })).toThrowError(/ENOENT/);
    expect(() => parseWalletConfig(utf8('{'), {})).toThrowError(expect.objectContaining({ code: 'MALFORMED_CONFIG' }));
  });
});

describe('the secret of wallets', () => {
  const own = () => new Uint8Array(32).fill(7);
  it('is the operator key unless another is set', () => {
    expect(walletSecret({ env: {} }, own)).toEqual(own());
    const env = { TRACEBOND_WALLET_SECRET: `0x${'08'.repeat(32)}` };
    expect(walletSecret({ env }, own)).toEqual(new Uint8Array(32).fill(8));
  });
  it('is refused without being quoted', () => {
    const env = { TRACEBOND_WALLET_SECRET: 'hunter2' };
    expect(() => walletSecret({ env }, own)).toThrowError(/^TRACEBOND_WALLET_SECRET: (?!.*hunter2)/);
  });
});
