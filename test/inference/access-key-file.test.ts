import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { addAccessKey, openAccessKeys, readAccessKeys, revokeAccessKey } from '../../inference/access-key-file.ts';
import { temporaryFolder } from '../support/temporary.ts';

let drawn = 0;
const ports = {
  now: () => Date.UTC(2026, 0, 2),
  random: (bytes: number) => Uint8Array.from({ length: bytes }, (_, i) => (37 * drawn++ + i) % 256),
};
const newPath = () => join(temporaryFolder(), 'deep', 'keys.jsonl');

describe('a file of access keys', () => {
  it('is its owner’s alone, and holds no secret', () => {
    const path = newPath();
    const { key, secret } = addAccessKey(path, 'a', { active: 3 }, ports);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(path, '..')).mode & 0o777).toBe(0o700);
    expect(readFileSync(path, 'utf8')).not.toContain(secret.slice(3));
    expect(readAccessKeys(path)).toEqual([key]);
    expect(openAccessKeys(path).authenticate(secret)).toEqual(key);
  });

  it('lets a new key in and a revoked one no more, while it is open', () => {
    const path = newPath();
    const one = addAccessKey(path, 'a', {}, ports);
    const keys = openAccessKeys(path);
    const two = addAccessKey(path, 'b', {}, ports);
    expect(keys.authenticate(two.secret)?.id).toBe(two.key.id);
    expect(revokeAccessKey(path, one.key.id, ports.now)).toEqual(one.key);
    expect(keys.authenticate(one.secret)).toBeUndefined();
    expect(keys.authenticate(two.secret)?.id).toBe(two.key.id);
    expect(() => revokeAccessKey(path, one.key.id, ports.now)).toThrow(
      expect.objectContaining({ code: 'KEY_UNKNOWN' }),
    );
    // The name is free again.
    addAccessKey(path, 'a', {}, ports);
    expect(() => addAccessKey(path, 'a', {}, ports)).toThrow(expect.objectContaining({ code: 'NAME_TAKEN' }));
  });

  it('lets nobody in while it is missing, damaged or not safe, and all again when it is mended (K1)', () => {
    const path = newPath();
    const { secret } = addAccessKey(path, 'a', {}, ports);
    const text = readFileSync(path);
    const keys = openAccessKeys(path);
    const refuses = (code: string) => {
      for (let i = 0; i < 2; i++) expect(() => keys.authenticate(secret)).toThrow(expect.objectContaining({ code }));
    };
    appendFileSync(path, '{"id":\n');
    refuses('KEYS_MALFORMED');
    rmSync(path);
    refuses('KEYS_UNREADABLE');
    writeFileSync(path, text, { mode: 0o600 });
    expect(keys.authenticate(secret)).toMatchObject({ name: 'a' });
    chmodSync(path, 0o620);
    refuses('KEYS_UNSAFE');
    chmodSync(path, 0o644);
    expect(keys.authenticate(secret)).toMatchObject({ name: 'a' });
  });

  it('is refused where it is none', () => {
    const path = newPath();
    expect(() => openAccessKeys(path)).toThrow(expect.objectContaining({ code: 'KEYS_UNREADABLE' }));
    expect(() => revokeAccessKey(path, 'ak-000000000000', ports.now)).toThrow(
      expect.objectContaining({ code: 'KEYS_UNREADABLE' }),
    );
    mkdirSync(path, { recursive: true });
    expect(() => readAccessKeys(path)).toThrow(expect.objectContaining({ code: 'KEYS_UNREADABLE' }));
    expect(() => addAccessKey(path, 'a', {}, ports)).toThrow(expect.objectContaining({ code: 'KEYS_UNREADABLE' }));
  });

  it.skipIf(process.platform === 'win32')(
    'is refused where it is a pipe that nobody writes to, and holds up nothing',
    () => {
      const path = join(temporaryFolder(), 'keys.jsonl');
      const made = spawnSync('/usr/bin/env', ['mkfifo', '-m', '600', path]);
      expect(made.status).toBe(0);
      // In a process of its own: one that waits for a writer would wait for ever.
      const module = new URL('../../inference/access-key-file.ts', import.meta.url).href;
      const script = `import(${JSON.stringify(module)}).then(({ readAccessKeys }) => readAccessKeys(${JSON.stringify(path)}))
      .catch(({ code }) => console.log(code))`;
      const run = spawnSync(process.execPath, ['--import', import.meta.resolve('tsx'), '-e', script], {
        timeout: 20_000,
      });
      expect(String(run.stdout).trim()).toBe('KEYS_UNREADABLE');
    },
  );

  it('is refused beyond its size before it is read', () => {
    const path = join(temporaryFolder(), 'keys.jsonl');
    writeFileSync(path, Buffer.alloc(16 * 2 ** 20 + 1), { mode: 0o600 });
    expect(() => readAccessKeys(path)).toThrow(expect.objectContaining({ code: 'KEYS_UNREADABLE' }));
  });

  it.skipIf(process.platform !== 'linux')('leaves nothing open, whatever it holds', () => {
    const path = newPath();
    const { secret } = addAccessKey(path, 'a', {}, ports);
    const keys = openAccessKeys(path);
    const before = readdirSync('/proc/self/fd').length;
    for (let i = 0; i < 20; i++) {
      const { key } = addAccessKey(path, 'b', {}, ports);
      revokeAccessKey(path, key.id, ports.now);
      expect(keys.authenticate(secret)).toMatchObject({ name: 'a' });
    }
    chmodSync(path, 0o620);
    for (let i = 0; i < 20; i++) expect(() => keys.authenticate(secret)).toThrow();
    expect(readdirSync('/proc/self/fd').length).toBeLessThan(before + 10);
  });

  it('keeps a line that was never finished apart from the next', () => {
    const path = newPath();
    addAccessKey(path, 'a', {}, ports);
    const whole = readFileSync(path, 'utf8');
    writeFileSync(path, whole.trimEnd());
    const { secret } = addAccessKey(path, 'b', {}, ports);
    expect(readAccessKeys(path).map(({ name }) => name)).toEqual(['a', 'b']);
    expect(openAccessKeys(path).authenticate(secret)).toMatchObject({ name: 'b' });
  });

  it('is not touched where the key is refused', () => {
    const path = newPath();
    expect(() => addAccessKey(path, '', {}, ports)).toThrow(expect.objectContaining({ code: 'NAME_MALFORMED' }));
    expect(() => addAccessKey(path, 'a', { active: 0 }, ports)).toThrow(
      expect.objectContaining({ code: 'LIMIT_MALFORMED' }),
    );
    expect(() => statSync(path)).toThrow();
  });
});
