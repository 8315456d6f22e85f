import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { childEntry } from '../../attest/core/entry.ts';
import { lockJournal } from '../../runtime/journal-lock.ts';
import { temporaryFolder } from '../support/temporary.ts';

describe('the lock of a journal', () => {
  it('has one holder, and is free when it is given back', async () => {
    const path = join(temporaryFolder(), 'a.trace');
    const lock = await lockJournal(path);
    await expect(lockJournal(path)).rejects.toMatchObject({ code: 'JOURNAL_IN_USE', at: { path } });
    await lock.release();
    await (await lockJournal(path)).release();
  });

  it('is one for each journal, by whatever name its folder is reached', async () => {
    const folder = temporaryFolder();
    const lock = await lockJournal(join(folder, 'a.trace'));
    const other = await lockJournal(join(folder, 'b.trace'));
    const link = join(temporaryFolder(), 'link');
    symlinkSync(folder, link);
    await expect(lockJournal(join(link, 'a.trace'))).rejects.toMatchObject({ code: 'JOURNAL_IN_USE' });
    await lock.release();
    await other.release();
    const again = await lockJournal(join(link, 'a.trace'));
    await again.release();
  });

  it('needs the folder, not the file', async () => {
    const path = join(temporaryFolder(), 'none', 'a.trace');
    await expect(lockJournal(path)).rejects.toMatchObject({ code: 'JOURNAL_MISSING', at: { path } });
  });

  it('is taken by one of many who ask at once', async () => {
    const path = join(temporaryFolder(), 'a.trace');
    const asked = await Promise.allSettled(Array.from({ length: 8 }, () => lockJournal(path)));
    const held = asked.filter((one) => one.status === 'fulfilled');
    expect(held).toHaveLength(1);
    await held[0]?.value.release();
  });

  it('is free as soon as its holder is dead', async () => {
    const path = join(temporaryFolder(), 'a.trace');
    const { execArgv } = childEntry(import.meta.url, './journal-lock.test.ts');
    const module = new URL('../../runtime/journal-lock.ts', import.meta.url).href;
    const code = `import(${JSON.stringify(module)}).then(({ lockJournal }) => lockJournal(process.argv[1]))
      .then(() => console.log('held'), (error) => console.log(error.code)); setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, [...execArgv, '-e', code, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    onTestFinished(() => void child.kill('SIGKILL'));
    const [said] = (await once(child.stdout, 'data')) as [Buffer];
    expect(said.toString()).toBe('held\n');
    await expect(lockJournal(path)).rejects.toMatchObject({ code: 'JOURNAL_IN_USE' });
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    await (await lockJournal(path)).release();
  });
});
