import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { readEnvironment } from '../../../agents/cli/environment.ts';
import { keysFolder, openUserKey, registerKeys } from '../../../agents/cli/keys.ts';
import { readPassword } from '../../../agents/cli/password.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { temporaryFolder } from '../../support/temporary.ts';

function terminal(env: Record<string, string>, answers: string[] = []) {
  const lines: string[] = [];
  const asked: string[] = [];
  const io = {
    environment: readEnvironment(env, '/nowhere'),
    print: (line: string) => void lines.push(line),
    ask: async (question: string) => {
      asked.push(question);
      return answers.shift() ?? '';
    },
  };
  const run = async (...args: string[]) => {
    const program = new Command().exitOverride();
    registerKeys(program, io);
    await program.parseAsync(['keys', ...args], { from: 'user' });
  };
  return { io, lines, asked, run };
}

describe('tracebond keys', () => {
  it('makes, lists and names keys under $TRACEBOND_HOME, with the password of the environment', async () => {
    const home = temporaryFolder();
    const { io, lines, asked, run } = terminal({ TRACEBOND_HOME: home, TRACEBOND_PASSWORD: 'secret' });
    await run('new', 'operator');
    await run('list');
    await run('address', 'operator');
    await run('list', '--json');
    const [made, listed, address, json] = lines as [string, string, string, string];
    expect(made).toMatch(/^operator 0x[0-9a-f]{40}$/);
    expect(listed).toBe(made);
    expect(made).toBe(`operator ${address}`);
    expect(JSON.parse(json)).toEqual([{ name: 'operator', address }]);
    expect(asked).toEqual([]);
    expect(addressOf(await openUserKey('operator', io))).toBe(address);
    await expect(run('new', 'operator')).rejects.toMatchObject({ code: 'KEY_EXISTS' });
  });

  it('asks for the password twice on the terminal', async () => {
    const home = temporaryFolder();
    const right = terminal({ TRACEBOND_HOME: home }, ['secret', 'secret', 'secret', 'wrong']);
    await right.run('new', 'a');
    expect(right.asked).toHaveLength(2);
    await openUserKey('a', right.io);
    await expect(openUserKey('a', right.io)).rejects.toMatchObject({ code: 'PASSWORD_WRONG' });
    const differs = terminal({ TRACEBOND_HOME: home }, ['secret', 'Secret']);
    await expect(differs.run('new', 'b')).rejects.toMatchObject({ code: 'PASSWORD_WRONG' });
    await expect(terminal({ TRACEBOND_HOME: home }).run('address', 'b')).rejects.toMatchObject({
      code: 'KEY_NOT_FOUND',
    });
  });

  it('refuses an empty password, from the environment, the terminal, or where there is none', async () => {
    const home = temporaryFolder();
    for (const io of [
      terminal({ TRACEBOND_HOME: home, TRACEBOND_PASSWORD: '' }),
      terminal({ TRACEBOND_HOME: home }, ['']),
    ]) {
      await expect(io.run('new', 'a')).rejects.toMatchObject({ code: 'PASSWORD_EMPTY' });
    }
    if (!process.stdin.isTTY) await expect(readPassword('?')).rejects.toMatchObject({ code: 'PASSWORD_EMPTY' });
  });

  it('keeps keys in ~/.tracebond without $TRACEBOND_HOME', () => {
    expect(keysFolder(readEnvironment({}, '/home/somebody'))).toBe('/home/somebody/.tracebond/keys');
  });
});
