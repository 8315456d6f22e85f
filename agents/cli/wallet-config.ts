/**
 * The file of wallets that commands use: chains, and what each agent's tools may spend. Of an option, or of the environment.
 *
 * Spec: `runtime/spec/wallet.md#configuration`.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { z } from 'zod';
import type { Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { parseJson } from '../../attest/encoding/canonical-json.ts';
import { parseAddress } from '../../attest/sign/address.ts';
import type { Wallets } from '../../runtime/wallet/wallet.ts';
import type { WalletLimits } from '../guest-policy.ts';
import type { Environment } from './environment.ts';
import { readSecretKey } from './secret-key.ts';

export type WalletConfigErrorCode = 'MALFORMED_CONFIG' | 'UNKNOWN_CHAIN' | 'MISSING_VARIABLE' | 'BAD_SECRET';

/** The file of wallets, or what it names of the environment, cannot be used. Messages quote no address of a node and no secret. */
export class WalletConfigError extends RuntimeError<WalletConfigErrorCode> {
  override readonly name = 'WalletConfigError';
}

/** A chain of the host. */
export type WalletChain = {
  /** Address of its node; may hold a secret. */
  readonly rpc: string;
  /** Blocks that a transaction must be in or under; the wallet's default if left out. */
  readonly confirmations: number | undefined;
};

/** What one tool of an agent may spend, before the agent's address is known. */
export type ToolLimits = Omit<WalletLimits, 'address'>;

/** Chains by id in decimal, limits by agent. */
export type WalletConfig = {
  readonly chains: ReadonlyMap<string, WalletChain>;
  readonly agents: ReadonlyMap<string, readonly ToolLimits[]>;
};

/** Most bytes of the file. */
const MAX_BYTES = 1 << 20;

const chainId = z.string().regex(/^[1-9][0-9]{0,18}$/, 'expected a chain id in decimal');
const wei = z.string().regex(/^(?:0|[1-9][0-9]{0,77})$/, 'expected wei as a decimal text');
const units = z.string().regex(/^[1-9][0-9]{0,77}$/, 'expected units as a decimal text from 1');
const confirmations = z.int().min(1).max(10_000).optional();
const url = z
  .string()
  .max(4096)
  .refine((text) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol), 'expected an http(s) URL');
const contract = z
  .string()
  .refine((text) => parseAddress(text) !== undefined, 'expected an address, in lower case or with its checksum')
  .transform((text) => text.toLowerCase() as Hex);

const selector = z
  .string()
  .regex(/^0x(?:[0-9a-f]{8})?$/, 'expected 0x, or four bytes in lower case')
  .transform((text) => text as Hex);

const schema = z.strictObject({
  chains: z.record(
    chainId,
    z.union([
      z.strictObject({ rpc: url, confirmations }),
      /** A variable of the environment, for an address that holds a secret. */
      z.strictObject({ rpcEnv: z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), confirmations }),
    ]),
  ),
  agents: z.record(
    z.string().min(1).max(64),
    z
      .array(
        z.strictObject({
          tool: z.string().min(1).max(64),
          chain: chainId,
          perCall: wei,
          perRun: wei,
          fee: wei,
          approvalAbove: wei.nullable(),
          calls: z
            .array(
              z.strictObject({
                contract: contract.nullable(),
                selectors: z.array(selector).min(1).max(64),
                token: z.strictObject({ units, wei }).nullable(),
              }),
            )
            .min(1)
            .max(64),
        }),
      )
      .max(16),
  ),
});

/**
 * The wallets of a file; of `$TRACEBOND_WALLET_CONFIG` if no option names one, else none.
 *
 * @throws {@link WalletConfigError}
 */
export function readWalletConfig(option: string | undefined, { env }: Pick<Environment, 'env'>): WalletConfig {
  const given = option ?? env['TRACEBOND_WALLET_CONFIG'];
  if (given === undefined || given === '') return { chains: new Map(), agents: new Map() };
  const path = resolve(given);
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    throw new WalletConfigError('MALFORMED_CONFIG', `${path}: cannot be read (${reason})`, {
      at: { file: path },
      cause,
    });
  }
  return parseWalletConfig(bytes, env);
}

/**
 * Reads a file of wallets.
 *
 * @param bytes - untrusted
 * @throws {@link WalletConfigError} with the place as `at.field`
 */
export function parseWalletConfig(bytes: Uint8Array, env: Environment['env']): WalletConfig {
  let value: unknown;
  try {
    value = parseJson(bytes, { maxBytes: MAX_BYTES, maxDepth: 16 });
  } catch (cause) {
    if (!RuntimeError.is(cause)) throw cause;
    throw refuse('MALFORMED_CONFIG', '$', cause.message);
  }
  const read = schema.safeParse(value);
  if (!read.success) {
    const [issue] = read.error.issues;
    throw refuse(
      'MALFORMED_CONFIG',
      ['$', ...(issue?.path ?? []).map(String)].join('.'),
      issue?.message ?? 'malformed',
    );
  }
  const chains = new Map<string, WalletChain>();
  for (const [id, chain] of Object.entries(read.data.chains)) {
    const rpc = 'rpc' in chain ? chain.rpc : rpcOf(chain.rpcEnv, `chains.${id}.rpcEnv`, env);
    chains.set(id, { rpc, confirmations: chain.confirmations });
  }
  for (const [agent, entries] of Object.entries(read.data.agents)) {
    entries.forEach((entry, i) => {
      const field = `agents.${agent}.${i}`;
      if (!chains.has(entry.chain))
        throw refuse('UNKNOWN_CHAIN', `${field}.chain`, `no chain ${entry.chain} is listed`);
      if (BigInt(entry.perCall) > BigInt(entry.perRun)) {
        throw refuse('MALFORMED_CONFIG', `${field}.perCall`, 'expected at most perRun');
      }
      // The fee counts as a whole: with more, no call would ever be allowed.
      if (BigInt(entry.fee) > BigInt(entry.perCall)) {
        throw refuse('MALFORMED_CONFIG', `${field}.fee`, 'expected at most perCall, in which it counts');
      }
      if (entries.findIndex(({ tool, chain }) => tool === entry.tool && chain === entry.chain) !== i) {
        throw refuse('MALFORMED_CONFIG', field, `tool ${entry.tool} has two entries for chain ${entry.chain}`);
      }
    });
  }
  return { chains, agents: new Map(Object.entries(read.data.agents)) };
}

/**
 * The secret that wallets are derived from: `$TRACEBOND_WALLET_SECRET`, else the operator's key.
 *
 * @throws {@link WalletConfigError} `BAD_SECRET`
 */
export function walletSecret({ env }: Pick<Environment, 'env'>, operatorKey: () => Uint8Array): Uint8Array {
  const given = env['TRACEBOND_WALLET_SECRET'];
  if (given === undefined || given === '') return operatorKey();
  return readSecretKey(given, (reason) => new WalletConfigError('BAD_SECRET', `TRACEBOND_WALLET_SECRET: ${reason}`));
}

/** What the tools of an agent may spend, from its own wallet. */
export function walletLimitsOf({ agents }: WalletConfig, agent: string, wallets: Wallets): readonly WalletLimits[] {
  const address = wallets.addressOf(agent);
  return (agents.get(agent) ?? []).map((limits) => ({ ...limits, address }));
}

function rpcOf(variable: string, field: string, env: Environment['env']): string {
  const value = env[variable];
  if (value === undefined || value === '') throw refuse('MISSING_VARIABLE', field, `${variable} is not set`);
  if (!url.safeParse(value).success) throw refuse('MISSING_VARIABLE', field, `${variable} holds no http(s) URL`);
  return value;
}

function refuse(code: WalletConfigErrorCode, field: string, reason: string): WalletConfigError {
  return new WalletConfigError(code, `${field}: ${reason}`, { at: { field } });
}
