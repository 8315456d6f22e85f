/**
 * What the operator of a runtime allows, as options of the commands that run agents: read before anything is opened.
 *
 * @module
 */

import { join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import ipaddr from 'ipaddr.js';
import type { Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import type { Limits } from '../../attest/trace/bodies.ts';
import type { ProfileName } from '../../inference/engine.ts';
import type { McpConfig } from '../../runtime/mcp/config.ts';
import { createRedactor, SecretError } from '../../runtime/secrets.ts';
import type { OperatorGrants } from '../guest-policy.ts';
import type { Environment } from './environment.ts';
import { readMcpConfig } from './mcp-config.ts';
import { readWalletConfig, type WalletConfig } from './wallet-config.ts';

export type RuntimeUsageCode =
  | 'NO_AGENT'
  /** Two agents with one name. */
  | 'DUPLICATE_AGENT'
  | 'BAD_ORIGIN'
  | 'BAD_ADDRESS'
  | 'BAD_SECRET'
  | 'BAD_APPROVER'
  | 'BAD_LIMIT'
  | 'BAD_URL'
  | 'BAD_DAYS'
  | 'BAD_INPUT'
  | 'BAD_RUN'
  | 'BAD_REDIS'
  | 'BAD_OPERATOR_KEY';

/** A command that runs agents was called wrongly. */
export class RuntimeUsageError extends RuntimeError<RuntimeUsageCode> {
  override readonly name = 'RuntimeUsageError';
}

/** Options of every command that runs agents. */
export type RuntimeOptions = {
  readonly folder?: string;
  readonly inference?: string;
  readonly model?: string;
  readonly profile: ProfileName;
  readonly allowOrigin?: readonly string[];
  readonly allowMethod?: readonly string[];
  readonly allowAddress?: readonly string[];
  readonly secret?: readonly string[];
  readonly approver?: readonly string[];
  readonly limit?: readonly string[];
  readonly otlp?: string;
  readonly mcpConfig?: string;
  readonly walletConfig?: string;
  readonly redis?: string;
};

type Method = NonNullable<OperatorGrants['methods']>[number];

const METHODS: readonly Method[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'];

/** Most of one run unless told; a person may be waited for as long as 30 days. */
const LIMITS: Limits = {
  bytes: '64000000',
  fuel: '100000000000',
  steps: '1000',
  tokens: '1000000',
  wallMs: '2592000000',
};

/** Largest response that a tool may be given, in bytes. */
const MAX_RESPONSE = 1 << 20;

/** An option that may be given several times. */
function many(flags: string, description: string): Option {
  return new Option(flags, `${description}; several times`).argParser(
    (value: string, values: readonly string[] = []) => [...values, value],
  );
}

/** Adds the options to a command. */
export function addRuntimeOptions(command: Command, folder: string): Command {
  return command
    .option(`${folder} <folder>`, 'where journals are kept; $TRACEBOND_HOME/runtime by default')
    .option('--inference <url>', 'inference server; one of its own, with the shipped model, by default')
    .option('--model <name>', 'model of that server of its own')
    .addOption(new Option('--profile <name>', 'numerics of it').choices(['exact', 'float-same-isa']).default('exact'))
    .addOption(many('--allow-origin <url>', 'origin that tools may fetch from if they declare it'))
    .addOption(many('--allow-method <name>', 'method that tools may use if they declare it; GET and HEAD by default'))
    .addOption(many('--allow-address <cidr>', 'addresses that may be reached though they are not public'))
    .addOption(
      many(
        '--secret <name=variable>',
        'secret from a variable of the environment; `@origin,…` behind it says where it may go, all allowed origins else',
      ),
    )
    .addOption(many('--approver <address>', 'whose signature approves'))
    .addOption(many('--limit <name=number>', 'most of a run: bytes, fuel, steps, tokens, wallMs'))
    .option(
      '--mcp-config <file>',
      'MCP servers whose tools agents may call if they pinned them; $TRACEBOND_MCP_CONFIG by default',
    )
    .option(
      '--wallet-config <file>',
      'chains, and what tools may spend of the wallets of their agents if they declare it; $TRACEBOND_WALLET_CONFIG by default',
    )
    .option(
      '--redis <url>',
      'Redis server through which many machines share runs; $REDIS_URL by default (the place for one with a password), else runs are of this process alone',
    )
    .option('--otlp <url>', 'collector of spans; $OTEL_EXPORTER_OTLP_ENDPOINT by default, else none are made');
}

/** What options and environment say. */
export type RuntimeSettings = {
  readonly folder: string;
  readonly grants: Omit<OperatorGrants, 'agents'>;
  readonly limits: Limits;
  /** Values by name. */
  readonly secrets: ReadonlyMap<string, string>;
  readonly inference: string | undefined;
  readonly otlp: string | undefined;
  readonly mcp: McpConfig;
  readonly wallet: WalletConfig;
};

/**
 * Reads options.
 *
 * @throws {@link RuntimeUsageError} which never quotes a secret
 * @throws {@link McpError} `MALFORMED_CONFIG`
 * @throws {@link WalletConfigError}
 */
export function readRuntimeOptions(options: RuntimeOptions, { env, tracebondHome }: Environment): RuntimeSettings {
  const origins = (options.allowOrigin ?? []).map(readOrigin);
  const secrets = (options.secret ?? []).map((text) => readSecret(text, origins, env));
  const methods = options.allowMethod?.map((name) => {
    const method = METHODS.find((known) => known === name);
    if (method === undefined)
      throw usage('BAD_ORIGIN', `--allow-method: expected one of ${METHODS.join(', ')}, got ${name}`);
    return method;
  });
  const otlp = options.otlp ?? env['OTEL_EXPORTER_OTLP_ENDPOINT'];
  const mcp = readMcpConfig(options.mcpConfig, { env });
  return {
    folder: options.folder === undefined ? join(tracebondHome, 'runtime') : resolve(options.folder),
    grants: {
      origins,
      maxBytes: MAX_RESPONSE,
      addresses: (options.allowAddress ?? []).map(readAddress),
      secrets: Object.fromEntries(secrets.map(({ name, allowed }) => [name, allowed])),
      approvers: (options.approver ?? []).map(readApprover),
      mcp: [...mcp.keys()],
      ...(methods === undefined ? {} : { methods }),
    },
    limits: { ...LIMITS, ...Object.fromEntries((options.limit ?? []).map(readLimit)) },
    secrets: new Map(secrets.map(({ name, value }) => [name, value])),
    inference: options.inference === undefined ? undefined : readUrl('--inference', options.inference),
    otlp: otlp === undefined || otlp === '' ? undefined : readUrl('--otlp', otlp),
    mcp,
    wallet: readWalletConfig(options.walletConfig, { env }),
  };
}

/** Secrets by name, wherever they may go. @throws {@link RuntimeUsageError} `BAD_SECRET` */
export function readSecrets(options: readonly string[] = [], env: Environment['env']): ReadonlyMap<string, string> {
  return new Map(options.map((text) => readSecret(text, [], env)).map(({ name, value }) => [name, value]));
}

function readOrigin(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isOrigin = url !== undefined && /^https?:$/.test(url.protocol) && url.href === `${url.origin}/`;
  if (!isOrigin)
    throw usage('BAD_ORIGIN', `--allow-origin: expected an origin such as https://example.com, got ${text}`);
  return url.origin;
}

function readAddress(text: string): string {
  if (!ipaddr.isValidCIDR(text)) {
    throw usage('BAD_ADDRESS', `--allow-address: expected a range such as 127.0.0.1/32, got ${text}`);
  }
  return text;
}

function readSecret(text: string, origins: readonly string[], env: Environment['env']) {
  const [, name, variable, at] = /^([A-Z][A-Z0-9_]{0,63})=([A-Za-z_][A-Za-z0-9_]*)(?:@(.+))?$/.exec(text) ?? [];
  if (name === undefined || variable === undefined) {
    throw usage(
      'BAD_SECRET',
      '--secret: expected NAME=VARIABLE, the name in capitals; the value stays in the environment',
    );
  }
  const value = env[variable];
  if (value === undefined || value === '') throw usage('BAD_SECRET', `--secret ${name}: ${variable} is not set`);
  try {
    createRedactor({ [name]: value });
  } catch (error) {
    if (!(error instanceof SecretError)) throw error;
    throw usage('BAD_SECRET', `--secret: ${error.message}`);
  }
  const allowed = at === undefined ? origins : at.split(',').map(readOrigin);
  return { name, value, allowed };
}

function readApprover(text: string): Hex {
  const address = text.toLowerCase();
  if (!/^0x[0-9a-f]{40}$/.test(address)) {
    throw usage('BAD_APPROVER', `--approver: expected an address of 20 bytes in hexadecimal, got ${text}`);
  }
  return address as Hex;
}

function readLimit(text: string): readonly [string, string] {
  const [, name, value] = /^(\w+)=([1-9][0-9]{0,18})$/.exec(text) ?? [];
  if (name === undefined || value === undefined || !Object.hasOwn(LIMITS, name)) {
    const names = Object.keys(LIMITS).join(', ');
    throw usage('BAD_LIMIT', `--limit: expected NAME=NUMBER with a name of ${names}, got ${text}`);
  }
  return [name, value];
}

function readUrl(option: string, text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw usage('BAD_URL', `${option}: expected an http or https URL, got ${text}`);
  }
  return text.replace(/\/+$/, '');
}

function usage(code: RuntimeUsageCode, message: string): RuntimeUsageError {
  return new RuntimeUsageError(code, message);
}
