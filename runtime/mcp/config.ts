/**
 * Which MCP servers there are: the file form that MCP clients share, `{"mcpServers": {"NAME": {…}}}`.
 *
 * Spec: `runtime/spec/mcp.md#configuration`.
 *
 * @module
 */

import { z } from 'zod';
import { RuntimeError } from '../../attest/core/error.ts';
import { parseJson } from '../../attest/encoding/canonical-json.ts';
import { createRedactor, type Redactor, renderTemplate, SecretError, type Secrets } from '../secrets.ts';
import { McpError } from './errors.ts';

/** Most bytes of the file. */
const MAX_BYTES = 1 << 20;
/** Most milliseconds that a server may be given for one call. */
const MAX_TIMEOUT_MS = 600_000;

const text = z.string().max(4096);
const shared = { timeoutMs: z.int().min(1).max(MAX_TIMEOUT_MS).optional() };

const stdioSchema = z.strictObject({
  ...shared,
  type: z.literal('stdio').optional(),
  command: text.min(1),
  args: z.array(text).max(256).optional(),
  env: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), text).optional(),
  cwd: text.optional(),
});

const httpSchema = z.strictObject({
  ...shared,
  type: z.enum(['http', 'streamable-http']),
  url: text.refine((url) => URL.canParse(url) && /^https?:$/.test(new URL(url).protocol), 'expected an http(s) URL'),
  headers: z.record(z.string().regex(/^[A-Za-z0-9-]{1,64}$/), text).optional(),
  /** OAuth without a person: `client_credentials`, by secret or by a signed assertion. */
  auth: z
    .strictObject({
      type: z.literal('client_credentials'),
      clientId: text.min(1),
      clientSecret: text.min(1).optional(),
      /** PKCS #8 in PEM. */
      privateKey: z.string().max(16_384).optional(),
      algorithm: z.string().max(16).optional(),
      /** The authorization server that may see these credentials; without it the MCP server would name one. */
      issuer: text.refine((url) => URL.canParse(url), 'expected a URL'),
      scope: text.optional(),
    })
    .refine(({ clientSecret, privateKey }) => (clientSecret === undefined) !== (privateKey === undefined), {
      message: 'expected clientSecret or privateKey',
    })
    .optional(),
});

/** One server as the file holds it; texts of `env`, `headers` and `auth` may hold `{{secret:NAME}}`. */
export type McpServerConfig = z.output<typeof stdioSchema> | z.output<typeof httpSchema>;

/** How a server is reached over HTTP. */
export type HttpServerConfig = Extract<McpServerConfig, { readonly url: string }>;

/** Servers by name. */
export type McpConfig = ReadonlyMap<string, McpServerConfig>;

/**
 * Reads the file of servers. Members beside `mcpServers` belong to other programs and are ignored.
 *
 * @param bytes - untrusted
 * @throws {@link McpError} `MALFORMED_CONFIG` with the place as `at.field`
 */
export function parseMcpConfig(bytes: Uint8Array): McpConfig {
  let value: unknown;
  try {
    value = parseJson(bytes, { maxBytes: MAX_BYTES, maxDepth: 16 });
  } catch (cause) {
    if (!RuntimeError.is(cause)) throw cause;
    throw malformed('$', cause.message, cause);
  }
  const servers = z.object({ mcpServers: z.record(z.string(), z.unknown()) }).safeParse(value);
  if (!servers.success) throw malformed('mcpServers', 'expected an object of servers');
  return new Map(
    Object.entries(servers.data.mcpServers).map(([name, entry]) => {
      if (!isServerName(name)) {
        throw malformed(`mcpServers.${name}`, 'name of a server: expected 1 to 64 of A-Z, a-z, 0-9, ".", "_", "-"');
      }
      return [name, readServer(name, entry)] as const;
    }),
  );
}

/** Whether a text can name a server. */
export function isServerName(name: string): boolean {
  return /^[A-Za-z0-9._-]{1,64}$/.test(name);
}

function readServer(name: string, entry: unknown): McpServerConfig {
  const place = `mcpServers.${name}`;
  const isHttp =
    typeof entry === 'object' && entry !== null && ('url' in entry || ('type' in entry && entry.type !== 'stdio'));
  // A file of another program may leave the type out where there is a url.
  const typed = isHttp && !('type' in entry) ? { type: 'http', ...entry } : entry;
  const read = (isHttp ? httpSchema : stdioSchema).safeParse(typed);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  const field = [place, ...(issue?.path ?? []).map(String)].join('.');
  throw malformed(field, issue?.message ?? 'malformed');
}

function malformed(field: string, message: string, cause?: unknown): McpError {
  return new McpError('MALFORMED_CONFIG', `${field}: ${message}`, {
    at: { field },
    ...(cause === undefined ? {} : { cause }),
  });
}

/**
 * Puts the secrets into a server's texts.
 *
 * @returns the server, and what takes those secrets out of its answers
 * @throws {@link McpError} `MALFORMED_CONFIG` for a template that is none or a secret that is not there, with the place
 */
export function renderServer(
  name: string,
  config: McpServerConfig,
  secrets: Secrets,
): { readonly config: McpServerConfig; readonly redactor: Redactor } {
  const used: Record<string, string> = {};
  const render = (place: string, template: string): string => {
    try {
      const rendered = renderTemplate(template, secrets);
      Object.assign(used, rendered.used);
      return rendered.text;
    } catch (error) {
      if (!(error instanceof SecretError)) throw error;
      throw malformed(`mcpServers.${name}.${place}`, error.message, error);
    }
  };
  const renderAll = (place: string, texts: Readonly<Record<string, string>> | undefined) =>
    Object.fromEntries(Object.entries(texts ?? {}).map(([key, value]) => [key, render(`${place}.${key}`, value)]));
  if (!('url' in config)) {
    const rendered = { ...config, env: renderAll('env', config.env) };
    return { config: rendered, redactor: createRedactor(used) };
  }
  const headers = renderAll('headers', config.headers);
  for (const [header, value] of Object.entries(headers)) {
    if (!/^[\t\x20-\x7e]*$/.test(value)) throw malformed(`mcpServers.${name}.headers.${header}`, 'is no header value');
  }
  const { auth, ...rest } = config;
  const rendered = { ...rest, headers, ...(auth === undefined ? {} : { auth: renderAuth(auth, render) }) };
  return { config: rendered, redactor: createRedactor(used) };
}

function renderAuth(
  auth: NonNullable<HttpServerConfig['auth']>,
  render: (place: string, template: string) => string,
): NonNullable<HttpServerConfig['auth']> {
  const { clientSecret, privateKey } = auth;
  return {
    ...auth,
    ...(clientSecret === undefined ? {} : { clientSecret: render('auth.clientSecret', clientSecret) }),
    ...(privateKey === undefined ? {} : { privateKey: render('auth.privateKey', privateKey) }),
  };
}
