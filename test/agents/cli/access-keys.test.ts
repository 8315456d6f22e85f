import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { accessKeysPath, registerAccessKeys } from '../../../agents/cli/access-keys.ts';
import { readEnvironment } from '../../../agents/cli/environment.ts';
import { openAccessKeys } from '../../../inference/access-key-file.ts';
import { temporaryFolder } from '../../support/temporary.ts';

function terminal() {
  const lines: string[] = [];
  const notes: string[] = [];
  const home = temporaryFolder();
  const environment = readEnvironment({ TRACEBOND_HOME: home }, '/nowhere');
  const io = {
    environment,
    print: (line: string) => void lines.push(line),
    note: (line: string) => void notes.push(line),
    now: () => Date.UTC(2026, 0, 2),
    random: randomBytes,
  };
  const run = async (...args: string[]) => {
    const quiet = (command: Command): Command => {
      command.exitOverride().configureOutput({ writeErr: () => {} });
      command.commands.forEach(quiet);
      return command;
    };
    const program = new Command();
    registerAccessKeys(program, io);
    await quiet(program).parseAsync(['access-keys', ...args], { from: 'user' });
    return lines.at(-1) ?? '';
  };
  return { environment, home, lines, notes, run };
}

describe('tracebond access-keys', () => {
  it('makes a key that opens the server, lists it, and ends it', async () => {
    const { environment, lines, notes, run } = terminal();
    const secret = await run('create', 'web shop', '--active', '4', '--tokens-per-minute', '6000');
    const path = accessKeysPath(environment);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const keys = openAccessKeys(path);
    const key = keys.authenticate(secret);
    expect(key?.limits).toEqual({ active: 4, waiting: null, requestsPerMinute: null, tokensPerMinute: 6000 });
    expect(notes.join()).toContain(key?.id);
    expect(await run('list')).toBe(`${key?.id} 2026-01-02T00:00:00.000Z active=4 tokensPerMinute=6000 web shop`);
    expect(JSON.parse(await run('list', '--json'))).toMatchObject([{ id: key?.id, name: 'web shop' }]);
    await run('revoke', key?.id ?? '');
    expect(keys.authenticate(secret)).toBeUndefined();
    expect(await run('list', '--json')).toBe('[]');
    expect(lines.slice(1).join()).not.toContain(secret.slice(3));
  });

  it('takes another file, and prints JSON', async () => {
    const { home, run } = terminal();
    const file = join(home, 'other.jsonl');
    const made = JSON.parse(await run('create', 'a', '--file', file, '--json'));
    expect(openAccessKeys(file).authenticate(made.key)?.id).toBe(made.id);
    expect(await run('list', '--file', file)).toContain(made.id);
    expect(await run('list', '--json')).toBe('[]');
    await expect(run('list', '--file', join(home, 'none.jsonl'))).rejects.toMatchObject({ code: 'KEYS_UNREADABLE' });
  });

  it('refuses what is no name, limit or id', async () => {
    const { run } = terminal();
    await run('create', 'a');
    await expect(run('create', 'a')).rejects.toMatchObject({ code: 'NAME_TAKEN' });
    await expect(run('create', '')).rejects.toMatchObject({ code: 'NAME_MALFORMED' });
    await expect(run('revoke', 'ak-0')).rejects.toMatchObject({ code: 'KEY_UNKNOWN' });
    for (const value of ['0', '-1', '1.5', 'x', '', '1e3', '9999999999999999']) {
      await expect(run('create', 'b', '--active', value), value).rejects.toMatchObject({ exitCode: 1 });
    }
  });
});
