/**
 * A loopback hub of models with one repository: its list of files with their hashes, and the files, each with a script of
 * faults. It answers single ranges, also with `If-Range`.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Answer, answer } from './file-server.ts';

export const REPOSITORY = 'owner/Tiny-Model';
export const COMMIT = 'c'.repeat(40);

export type ModelHub = AsyncDisposable & {
  /** For `HF_ENDPOINT`; files also lie under `ENDPOINT/files/NAME`. */
  readonly endpoint: string;
  /** `NAME RANGE` of every request for a file. */
  readonly asked: string[];
  /** What files hold; may be changed. */
  readonly files: Map<string, Uint8Array>;
  /** Answers to the next requests for a file, then honest ones. */
  readonly scripts: Map<string, Answer[]>;
  /** Changes what the hub says of its files. */
  listing: (value: Listing) => unknown;
  /** Called before a request for a file is answered, with its line of `asked`. */
  onAsked: (line: string) => void;
  /** Whether files have a strong ETag. */
  hasTags: boolean;
};

type Listing = { sha: string; siblings: Record<string, unknown>[] };

/** Starts a hub with these files; `.gguf` and `.safetensors` are large ones (LFS), with a SHA-256 in the list. */
export async function startModelHub(content: Iterable<readonly [string, Uint8Array]>): Promise<ModelHub> {
  const files = new Map(content);
  const scripts = new Map<string, Answer[]>();
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://hub');
    if (pathname.startsWith(`/api/models/${REPOSITORY}/revision/`)) {
      const known = ['main', COMMIT].includes(pathname.split('/').at(-1) ?? '');
      const body = known ? JSON.stringify(hub.listing(list(files))) : '{"error":"Revision Not Found"}';
      response.writeHead(known ? 200 : 404, { 'content-type': 'application/json' }).end(body);
      return;
    }
    if (pathname.startsWith('/hop/')) {
      response.writeHead(302, { location: '/hop/on' }).end();
      return;
    }
    const prefix = [`/${REPOSITORY}/resolve/${COMMIT}/`, '/files/'].find((start) => pathname.startsWith(start));
    const name = decodeURIComponent(pathname.slice(prefix?.length ?? 0));
    const line = `${name} ${request.headers.range ?? ''}`.trim();
    hub.onAsked(line);
    const bytes = prefix === undefined ? undefined : files.get(name);
    if (bytes === undefined) {
      response.writeHead(404).end('nothing');
      return;
    }
    asked.push(line);
    const tag = `"${gitBlob(bytes)}"`;
    if (hub.hasTags) response.setHeader('etag', tag);
    const ifRange = request.headers['if-range'];
    if (ifRange !== undefined && (ifRange !== tag || !hub.hasTags)) delete request.headers.range;
    const isProbe = request.headers.range === 'bytes=0-0';
    answer(bytes, (isProbe ? undefined : scripts.get(name)?.shift()) ?? { kind: 'honest' }, request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const hub: ModelHub = {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    files,
    scripts,
    listing: (value) => value,
    onAsked: () => undefined,
    hasTags: true,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return hub;
}

export function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function gitBlob(bytes: Uint8Array): string {
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
}

function list(files: ReadonlyMap<string, Uint8Array>): Listing {
  const siblings = [...files].map(([rfilename, bytes]) => ({
    rfilename,
    size: bytes.length,
    blobId: gitBlob(bytes),
    ...(/\.(gguf|safetensors)$/.test(rfilename)
      ? { lfs: { sha256: sha256Hex(bytes), size: bytes.length, pointerSize: 130 } }
      : {}),
  }));
  return { sha: COMMIT, siblings };
}
