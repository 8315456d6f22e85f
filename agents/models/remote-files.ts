/**
 * The files of a model at an address or on the hub: which there are, how long they are, and by what they are recognised.
 *
 * @module
 */

import { z } from 'zod';
import { type HttpOptions, httpGet } from '../../agents/setup/http-get.mjs';
import { SHIPPED_MODEL } from '../../inference/model-path.ts';
import { FILE_NAME } from '../../inference/models/manifest.ts';
import { ModelPullError } from './errors.ts';
import { checkAddress, type ModelSpec } from './spec.ts';

/** A file that can be fetched. */
export type RemoteFile = {
  /** Plain name that it gets here. */
  readonly name: string;
  readonly url: string;
  readonly sizeBytes: number;
  /** Lower-case hexadecimal, where it is known beforehand. */
  readonly sha256?: string;
  /** Git's name of its content (SHA-1), lower-case hexadecimal, where that is known beforehand. */
  readonly gitBlob?: string;
  /** Strong ETag, with its quotes. */
  readonly etag?: string;
};

/** The files of one model. */
export type RemoteModel = {
  readonly format: 'gguf' | 'safetensors';
  /** Full commit on a hub, empty for an address. */
  readonly revision: string;
  /** On a hub, the file that was chosen; null for many. */
  readonly file: string | null;
  readonly files: readonly RemoteFile[];
};

/** Most bytes of one file. */
export const MAX_FILE_BYTES = 2 ** 37;

/** Most bytes of a file that is no weights. */
const MAX_TEXT_BYTES = 1 << 26;

const MAX_ANSWER_BYTES = 1 << 23;

type Env = Readonly<Record<string, string | undefined>>;

const REQUIRED = ['config.json', 'tokenizer.json', 'tokenizer_config.json'];
const OPTIONAL = ['generation_config.json', 'chat_template.jinja'];
const SINGLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';

/** What a hub says of a revision; what else it says is not read. */
const REVISION = z.object({
  sha: z.string().regex(/^[0-9a-f]{40,64}$/),
  siblings: z
    .array(
      z.object({
        rfilename: z.string().max(1024),
        size: z.int().nonnegative().optional(),
        blobId: z
          .string()
          .regex(/^[0-9a-f]{40}$/)
          .optional(),
        lfs: z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/), size: z.int().nonnegative() }).nullish(),
      }),
    )
    .max(100_000),
});

type Listing = z.infer<typeof REVISION>;

/**
 * Asks a hub for the files of a model: the one named, the only GGUF file, or a folder of safetensors.
 *
 * @param env - `HF_ENDPOINT` names another hub; proxies as in `httpGet`
 * @throws {@link ModelPullError} `NOT_FOUND`, `NOT_ALLOWED`, `BAD_ANSWER`, `AMBIGUOUS_FILE`, `NO_MODEL_FILES`, `TOO_LARGE`
 * @throws what `httpGet` throws
 */
export async function listHubFiles(
  { repository, revision, file }: Extract<ModelSpec, { readonly kind: 'hub' }>,
  env: Env,
): Promise<RemoteModel> {
  const endpoint = (env['HF_ENDPOINT'] || SHIPPED_MODEL.hub.endpoint).replace(/\/+$/, '');
  const where = `${repository}@${revision}`;
  const listed = await readJson(
    `${endpoint}/api/models/${repository}/revision/${encodeURIComponent(revision)}?blobs=true`,
    where,
    env,
  );
  const parsed = REVISION.safeParse(listed);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new ModelPullError('BAD_ANSWER', `${where}: the hub's answer: ${issue?.path.join('.')}: ${issue?.message}`);
  }
  const { sha, siblings } = parsed.data;
  const resolved = (path: string) =>
    `${endpoint}/${repository}/resolve/${sha}/${path.split('/').map(encodeURIComponent).join('/')}`;
  const remote = (path: string) => {
    const found = siblings.find(({ rfilename }) => rfilename === path);
    if (found === undefined) throw new ModelPullError('NOT_FOUND', `${where} has no file ${path}`);
    return toRemoteFile(found, resolved(path), where);
  };
  const model = { revision: sha };
  if (file !== null) return { ...model, format: 'gguf', file, files: [remote(file)] };

  const names = new Set(siblings.map(({ rfilename }) => rfilename));
  const isFolder = REQUIRED.every((name) => names.has(name)) && (names.has(SINGLE) || names.has(INDEX));
  if (!isFolder) {
    const [only, ...others] = [...names].filter((name) => /\.gguf$/i.test(name)).sort();
    if (only !== undefined && others.length === 0)
      return { ...model, format: 'gguf', file: only, files: [remote(only)] };
    if (only !== undefined) {
      const some = [only, ...others]
        .slice(0, 40)
        .map((name) => `  hf:${where}:${name}`)
        .join('\n');
      throw new ModelPullError('AMBIGUOUS_FILE', `${where} has ${others.length + 1} GGUF files; name one:\n${some}`);
    }
    const wanted = `expected a GGUF file, or ${REQUIRED.join(', ')} and ${SINGLE}`;
    throw new ModelPullError('NO_MODEL_FILES', `${where} holds no model that can be read here: ${wanted}`);
  }
  const texts = [...REQUIRED, ...OPTIONAL.filter((name) => names.has(name))];
  if (names.has(SINGLE)) return { ...model, format: 'safetensors', file: null, files: [...texts, SINGLE].map(remote) };
  const shards = readShardNames(await readJson(resolved(INDEX), `${where}:${INDEX}`, env), where);
  return { ...model, format: 'safetensors', file: null, files: [...texts, INDEX, ...shards].map(remote) };
}

/**
 * Asks an address for the length of its file.
 *
 * @throws {@link ModelPullError} `NOT_FOUND`, `NOT_ALLOWED`, `BAD_ANSWER` if the server does not tell it, `TOO_LARGE`
 * @throws what `httpGet` throws
 */
export async function probeUrl(url: string, name: string, env: Env): Promise<RemoteModel> {
  const headers = { range: 'bytes=0-0', 'accept-encoding': 'identity' };
  const response = await httpGet(url, { headers, env, check: checkAddress });
  try {
    checkStatus(response.statusCode ?? 0, url);
    const range = /^bytes 0-0\/(\d+)$/.exec(response.headers['content-range'] ?? '')?.[1];
    const length = response.statusCode === 206 ? range : response.headers['content-length'];
    const sizeBytes = Number(length);
    if (length === undefined || !Number.isSafeInteger(sizeBytes) || sizeBytes < 1) {
      throw new ModelPullError('BAD_ANSWER', `${url}: the server does not say how long the file is`);
    }
    checkSize(name, sizeBytes, MAX_FILE_BYTES);
    const { etag } = response.headers;
    // Only a strong one names the bytes (RFC 9110, 8.8.1).
    const isStrong = etag !== undefined && /^"[\x21\x23-\x7e]{1,200}"$/.test(etag);
    return {
      format: 'gguf',
      revision: '',
      file: null,
      files: [{ name, url, sizeBytes, ...(isStrong ? { etag } : {}) }],
    };
  } finally {
    response.destroy();
  }
}

function toRemoteFile(entry: Listing['siblings'][number], url: string, where: string): RemoteFile {
  const { rfilename, size, blobId, lfs } = entry;
  const name = rfilename.split('/').at(-1) ?? '';
  if (!FILE_NAME.test(name))
    throw new ModelPullError('NO_MODEL_FILES', `${where}: ${JSON.stringify(name)} is no plain name`);
  const sizeBytes = lfs?.size ?? size;
  if (sizeBytes === undefined || (lfs == null && blobId === undefined)) {
    throw new ModelPullError('BAD_ANSWER', `${where}: the hub does not say what ${rfilename} is`);
  }
  checkSize(rfilename, sizeBytes, /\.(gguf|safetensors)$/i.test(name) ? MAX_FILE_BYTES : MAX_TEXT_BYTES);
  if (lfs != null) return { name, url, sizeBytes, sha256: lfs.sha256 };
  return { name, url, sizeBytes, ...(blobId === undefined ? {} : { gitBlob: blobId, etag: `"${blobId}"` }) };
}

function readShardNames(index: unknown, where: string): string[] {
  const parsed = z.object({ weight_map: z.record(z.string(), z.string()) }).safeParse(index);
  const names = [...new Set(Object.values(parsed.data?.weight_map ?? {}))].sort();
  // The reader of such folders takes as many.
  const isUsable = names.length > 0 && names.length <= 512;
  if (!isUsable || !names.every((name) => FILE_NAME.test(name) && name.endsWith('.safetensors'))) {
    throw new ModelPullError('BAD_ANSWER', `${where}:${INDEX} names no files of weights`);
  }
  return names;
}

function checkStatus(status: number, what: string): void {
  if (status === 200 || status === 206) return;
  if (status === 404) throw new ModelPullError('NOT_FOUND', `${what}: there is nothing (HTTP 404)`);
  if (status === 401 || status === 403) {
    // A hub says so of what does not exist, too.
    const hint = 'absent, or behind a login: fetch it by hand and pull its path';
    throw new ModelPullError('NOT_ALLOWED', `${what}: HTTP ${status}, ${hint}`);
  }
  throw new ModelPullError('SOURCE_FAILED', `${what}: HTTP ${status}`, { at: { reason: 'HTTP_STATUS' } });
}

function checkSize(name: string, sizeBytes: number, most: number): void {
  if (sizeBytes <= most) return;
  throw new ModelPullError('TOO_LARGE', `${name} has ${sizeBytes} bytes, at most ${most} are taken`);
}

async function readJson(url: string, what: string, env: Env): Promise<unknown> {
  const options: HttpOptions = {
    headers: { accept: 'application/json', 'accept-encoding': 'identity' },
    env,
    check: checkAddress,
  };
  const response = await httpGet(url, options);
  try {
    checkStatus(response.statusCode ?? 0, what);
    const chunks: Buffer[] = [];
    let size = 0;
    response.setTimeout(30_000, () => response.destroy(new Error('no data for 30 s')));
    for await (const chunk of response as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > MAX_ANSWER_BYTES)
        throw new ModelPullError('BAD_ANSWER', `${what}: an answer of over ${MAX_ANSWER_BYTES} bytes`);
      chunks.push(chunk);
    }
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new ModelPullError('BAD_ANSWER', `${what}: the answer is no JSON`, { cause });
  } finally {
    response.destroy();
  }
}
