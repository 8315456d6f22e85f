import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { main } from '../../../agents/cli/main.ts';

const ADDRESS = `0x${'12'.repeat(20)}`;
let home: string;
let bundle: string;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'tracebond-verify-'));
  bundle = join(home, 'odd.trace');
  await writeFile(bundle, '{}\n');
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});
afterAll(() => rm(home, { recursive: true, force: true }));

/** Exit code and standard error of `tracebond verify --structure`. */
async function verify(...args: readonly string[]): Promise<{ readonly code: number; readonly said: string }> {
  const error = vi.spyOn(console, 'error').mockImplementation(() => {});
  vi.spyOn(console, 'log').mockImplementation(() => {});
  const code = await main(['node', 'tracebond', 'verify', '--structure', ...args]);
  return { code, said: error.mock.calls.flat().join('\n') };
}

it('names the file of a folder that cannot be read', async () => {
  vi.stubEnv('TRACEBOND_HOME', home);
  const folder = join(home, 'folder');
  await mkdir(join(folder, 'x.trace'), { recursive: true });
  const { code, said } = await verify(folder);
  expect(code).toBe(1);
  expect(said).toBe(`tracebond: NO_SUCH_BUNDLE: ${join(folder, 'x.trace')} cannot be read (EISDIR)`);
});

it('tells a faulty bundle from an unreadable one', async () => {
  vi.stubEnv('TRACEBOND_HOME', home);
  expect(await verify(bundle)).toEqual({ code: 2, said: '' });
});

it('says with its code what the system refused, such as a trust file that is a folder', async () => {
  const other = join(home, 'other');
  await mkdir(join(other, 'trust.json'), { recursive: true });
  vi.stubEnv('TRACEBOND_HOME', other);
  const folder = await verify(bundle);
  expect(folder.code).toBe(1);
  expect(folder.said).toMatch(/^tracebond: EISDIR: /);
  vi.stubEnv('TRACEBOND_HOME', bundle);
  expect((await verify(bundle)).said).toMatch(/ENOTDIR: .*trust\.json/);
});

it('takes one source of trust, not two of which one is passed over', async () => {
  vi.stubEnv('TRACEBOND_HOME', home);
  const { code, said } = await verify(
    bundle,
    '--signer',
    ADDRESS,
    '--rpc',
    'http://127.0.0.1:1',
    '--contract',
    ADDRESS,
  );
  expect(code).toBe(1);
  expect(said).toContain('BAD_OPTION: --signer and --rpc');
});
