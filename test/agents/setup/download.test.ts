import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import * as realFs from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type DownloadFile, downloadFile, hashFile, partPath } from '../../../agents/setup/download.mjs';
import { run as downloadCampaign } from '../../campaign/download.ts';
import { type Answer, startFileServer } from '../../support/file-server.ts';
import { temporaryFolder } from '../../support/temporary.ts';

const CONTENT = Uint8Array.from({ length: 400_000 }, (_, i) => (i * 31) ^ (i >> 7));
const SHA256 = createHash('sha256').update(CONTENT).digest('hex');
const QUICK = { stallMs: 100, sleep: async () => undefined };

function target(): Omit<DownloadFile, 'url'> {
  return { target: join(temporaryFolder(), 'model.gguf'), sizeBytes: CONTENT.length, sha256: SHA256 };
}

async function fetchWith(
  script: readonly Answer[],
  file: Omit<DownloadFile, 'url'> = target(),
): Promise<{ readonly ranges: readonly string[]; readonly file: Omit<DownloadFile, 'url'> }> {
  await using server = await startFileServer(CONTENT, script);
  try {
    await downloadFile({ ...file, url: server.url }, QUICK);
  } finally {
    expect(existsSync(partPath(file)) && existsSync(file.target)).toBe(false);
  }
  expect(readFileSync(file.target).equals(CONTENT)).toBe(true);
  return { ranges: server.ranges, file };
}

describe('downloadFile', () => {
  it('fetches a file and leaves nothing else', async () => {
    const { ranges, file } = await fetchWith([]);
    expect(ranges).toEqual(['']);
    expect(existsSync(partPath(file))).toBe(false);
  });

  it('goes on where a broken connection stopped', async () => {
    const { ranges } = await fetchWith([{ kind: 'drop', after: 300_000 }]);
    expect(ranges).toHaveLength(2);
    expect(ranges[1]).toMatch(/^bytes=[1-9]\d*-$/);
  });

  it('goes on with what an earlier process left', async () => {
    const file = target();
    writeFileSync(partPath(file), CONTENT.subarray(0, 12_345));
    expect((await fetchWith([], file)).ranges).toEqual(['bytes=12345-']);
  });

  it('asks nobody when the earlier process had only missed the rename', async () => {
    const file = target();
    writeFileSync(partPath(file), CONTENT);
    expect((await fetchWith([], file)).ranges).toEqual([]);
  });

  it('starts again when what an earlier process left is wrong', async () => {
    const file = target();
    writeFileSync(partPath(file), new Uint8Array(12_345));
    expect((await fetchWith([], file)).ranges).toEqual(['bytes=12345-', '']);
  });

  it('does not keep more bytes than the file has', async () => {
    const file = target();
    writeFileSync(partPath(file), new Uint8Array(CONTENT.length + 1));
    expect((await fetchWith([], file)).ranges).toEqual(['']);
  });

  it('replaces a folder that lies in the way of the unfinished file', async () => {
    const file = target();
    mkdirSync(join(partPath(file), 'inner'), { recursive: true });
    expect((await fetchWith([], file)).ranges).toEqual(['']);
  });

  it.each<[string, Answer]>([
    ['ignores the range', { kind: 'ignore-range' }],
    ['sends 206 without Content-Range', { kind: 'no-content-range' }],
    ['sends another total', { kind: 'wrong-total', by: 1 }],
    ['answers 416', { kind: 'status', status: 416 }],
    ['answers 503', { kind: 'status', status: 503 }],
    ['answers 429', { kind: 'status', status: 429 }],
    ['resets the connection', { kind: 'reset' }],
    ['falls silent', { kind: 'stall', after: 10 }],
    ['ends too early', { kind: 'short', after: 10 }],
    ['corrupts a byte', { kind: 'corrupt', at: 5 }],
    ['redirects', { kind: 'redirect', hops: 3 }],
  ])('comes through when the server, asked to resume, once %s', async (_, answer) => {
    const file = target();
    writeFileSync(partPath(file), CONTENT.subarray(0, 1_000));
    await fetchWith([answer], file);
  });

  it('does not take bytes from another place than it asked for', async () => {
    const file = target();
    writeFileSync(partPath(file), CONTENT.subarray(0, 1_000));
    expect((await fetchWith([{ kind: 'shifted-range', by: 3 }], file)).ranges).toEqual(['bytes=1000-', '']);
  });

  it.each<[string, readonly Answer[], string]>([
    ['404', [{ kind: 'status', status: 404 }], 'HTTP_STATUS'],
    ['401', [{ kind: 'status', status: 401 }], 'HTTP_STATUS'],
    ['more bytes than expected', [{ kind: 'long', extra: 9 }], 'WRONG_SIZE'],
    ['a longer Content-Length', [{ kind: 'lie-length', by: 5 }], 'WRONG_SIZE'],
    ['a shorter Content-Length', [{ kind: 'lie-length', by: -5 }], 'WRONG_SIZE'],
    ['an encoded body', [{ kind: 'encoded' }], 'WRONG_ENCODING'],
    ['redirects without end', [{ kind: 'loop' }], 'BAD_REDIRECT'],
    ['a redirect to another protocol', [{ kind: 'to-nowhere' }], 'BAD_URL'],
    ['a wrong file twice', [0, 1].map((at) => ({ kind: 'corrupt', at })), 'CHECKSUM_MISMATCH'],
    ['503 each time', Array.from({ length: 9 }, () => ({ kind: 'status', status: 503 })), 'DOWNLOAD_BROKEN'],
    ['resets each time', Array.from({ length: 9 }, () => ({ kind: 'reset' })), 'DOWNLOAD_BROKEN'],
  ])('refuses %s and leaves no file', async (_, script, code) => {
    const file = target();
    await expect(fetchWith(script, file)).rejects.toMatchObject({ name: 'SetupError', code });
    expect(existsSync(file.target)).toBe(false);
  });

  it('gives up on a server that sends a byte at a time and breaks off', async () => {
    const script = Array.from({ length: 60 }, (): Answer => ({ kind: 'drop', after: 1 }));
    await expect(fetchWith(script)).rejects.toMatchObject({ code: 'DOWNLOAD_BROKEN' });
  });

  it('says so when nobody listens', async () => {
    const server = await startFileServer(CONTENT);
    await server[Symbol.asyncDispose]();
    await expect(downloadFile({ ...target(), url: server.url }, QUICK)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('reports the bytes that lie on the disk', async () => {
    await using server = await startFileServer(CONTENT);
    const seen: number[] = [];
    await downloadFile({ ...target(), url: server.url }, { ...QUICK, onProgress: (size) => seen.push(size) });
    expect(seen.at(0)).toBe(0);
    expect(seen.at(-1)).toBe(CONTENT.length);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  it('stops before the rename when its lock is lost', async () => {
    await using server = await startFileServer(CONTENT);
    const file = target();
    const assertHeld = async () => {
      throw new Error('lock lost');
    };
    await expect(downloadFile({ ...file, url: server.url }, { ...QUICK, assertHeld })).rejects.toThrow('lock lost');
    expect(existsSync(file.target)).toBe(false);
  });

  it.each([
    ['ENOSPC', 'DISK_FULL'],
    ['EDQUOT', 'DISK_FULL'],
    ['EROFS', 'NOT_WRITABLE'],
  ])('says in words that the disk refuses (%s), and no other source can help', async (fault, code) => {
    await using server = await startFileServer(CONTENT);
    const file = target();
    const fs = {
      ...realFs,
      open: async (path: string, flags: string, mode: number) => {
        const handle = await realFs.open(path, flags, mode);
        const write = async () => {
          throw Object.assign(new Error('write failed'), { code: fault });
        };
        return { write, sync: () => handle.sync(), close: () => handle.close() } as unknown as typeof handle;
      },
    };
    const attempt = downloadFile({ ...file, url: server.url }, { ...QUICK, fs });
    await expect(attempt).rejects.toMatchObject({ name: 'SetupError', code, fatal: true });
    await expect(attempt).rejects.toThrow(/TRACEBOND_CACHE/);
    expect(existsSync(file.target)).toBe(false);
    expect(server.ranges).toHaveLength(1);
  });
});

it('hashFile is SHA-256', async () => {
  const path = join(temporaryFolder(), 'x');
  writeFileSync(path, 'abc');
  expect(await hashFile(path)).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});

it('a small campaign of broken downloads finds nothing', async () => {
  const { cases, failures } = await downloadCampaign({ seed: 7, count: 150 });
  expect(failures).toEqual([]);
  expect(cases).toBe(150);
});
