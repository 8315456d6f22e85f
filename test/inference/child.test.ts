import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { childEntry } from '../../attest/core/entry.ts';
import { openChildEngine } from '../../inference/child.ts';
import { fromWireError, toWireError } from '../../inference/child-messages.ts';
import type { CompletionRequest } from '../../inference/engine.ts';
import { InferenceError, ModelError } from '../../inference/errors.ts';
import { ServerError } from '../../inference/server-errors.ts';
import { bundledEntry } from '../support/bundled.ts';
import { TOY_IDENTITY, toyAnswer } from '../support/toy-engine.ts';

const ENTRY = bundledEntry('test/support/toy-engine-child.ts');
const ask = (content: string): CompletionRequest => ({ messages: [{ role: 'user', content }], maxTokens: 50 });

async function open(options: openChildEngine.Options = {}, path = 'toy.gguf') {
  const model = { path, id: 'toy/echo', cacheDir: '/nowhere' };
  const engine = await openChildEngine(model, { entry: ENTRY, ...options });
  onTestFinished(() => engine.close());
  return engine;
}

const isRunning = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

async function until(holds: () => boolean) {
  for (let i = 0; i < 500 && !holds(); i++) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(holds()).toBe(true);
}

describe('child engine', () => {
  it('answers from another process, one that ends with close', async () => {
    const progress: string[] = [];
    const engine = await open({ onProgress: (message) => progress.push(message) });
    expect(engine.identity).toEqual(TOY_IDENTITY);
    expect(engine.isReady).toBe(true);
    const { pid = 0 } = engine;
    expect(progress).toEqual([`pid ${pid}`]);
    expect(pid).not.toBe(process.pid);
    expect(await engine.complete(ask('Grüße'))).toEqual(toyAnswer(ask('Grüße')));
    await engine.close();
    expect(isRunning(pid)).toBe(false);
    await expect(engine.complete(ask('a'))).rejects.toMatchObject({ code: 'SERVER_CLOSED' });
    await engine.close();
  });

  it('computes along a claimed output in the other process', async () => {
    const engine = await open();
    const whole = toyAnswer(ask('Grüße'));
    const { promptIds, outputIds } = whole;
    expect(await engine.check(ask('Grüße'), outputIds)).toEqual(whole);
    const partial = { promptIds, outputIds: outputIds.slice(0, 4), text: null, finishReason: null, masks: null };
    expect(await engine.check(ask('Grüße'), [...outputIds.slice(0, 3), Number.NaN])).toEqual(partial);
    expect(await engine.check(ask('Grüße'), outputIds.slice(0, 3))).toEqual(partial);
    // Only what an answer may have crosses the channel.
    expect(await engine.check(ask('Grüße'), [...outputIds, ...Array(1_000_000).fill(1)])).toEqual(whole);
    await expect(engine.check(ask('fail PROMPT_EMPTY'), [])).rejects.toMatchObject({ code: 'PROMPT_EMPTY' });
    const stop = new AbortController();
    const waiting = engine.check(ask('wait'), [], stop.signal);
    stop.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  it('hands on refusals as they are', async () => {
    const engine = await open();
    const refused = await engine.complete(ask('fail CHOICE_TOO_LONG')).catch((error) => error);
    expect(refused).toBeInstanceOf(InferenceError);
    expect(refused.code).toBe('CHOICE_TOO_LONG');
    const bug = await engine.complete(ask('bug')).catch((error) => error);
    expect(bug).not.toBeInstanceOf(InferenceError);
    expect(bug.message).toContain('TypeError');
    expect((await engine.complete(ask('a'))).text).toBe('echo: a');
  });

  it('starts another process where the engine was closed by a failure of its own', async () => {
    const engine = await open();
    const { pid = 0 } = engine;
    await expect(engine.complete(ask('fail ENGINE_CLOSED'))).rejects.toMatchObject({ code: 'ENGINE_DIED' });
    expect((await engine.complete(ask('a'))).text).toBe('echo: a');
    expect(engine.pid).not.toBe(pid);
    expect(isRunning(pid)).toBe(false);
  });

  it('cancels in the process, which goes on', async () => {
    const engine = await open();
    const { pid } = engine;
    const stop = new AbortController();
    const waiting = engine.complete(ask('wait'), stop.signal);
    await new Promise((resolve) => setImmediate(resolve));
    stop.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' });
    expect((await engine.complete(ask('a'))).text).toBe('echo: a');
    expect(engine.pid).toBe(pid);
  });

  it('kills a process that is deaf to a cancelled request', async () => {
    const engine = await open({ cancelGraceMs: 50 });
    const { pid } = engine;
    const stop = new AbortController();
    const hanging = engine.complete(ask('hang'), stop.signal);
    await new Promise((resolve) => setImmediate(resolve));
    stop.abort();
    await expect(hanging).rejects.toMatchObject({ code: 'ENGINE_DIED' });
    expect((await engine.complete(ask('a'))).text).toBe('echo: a');
    expect(engine.pid).not.toBe(pid);
  });

  it('fails the request in a process that is killed, and answers the next from a new one (E1)', async () => {
    const engine = await open();
    const pid = engine.pid as number;
    const waiting = engine.complete(ask('wait')).catch((error) => error);
    process.kill(pid, 'SIGKILL');
    const died = await waiting;
    expect(died).toBeInstanceOf(ServerError);
    expect(died.code).toBe('ENGINE_DIED');
    expect(died.message).toContain('SIGKILL');
    expect((await engine.complete(ask('a'))).text).toBe('echo: a');
    expect(engine.pid).not.toBe(pid);
  });

  it('starts again by itself when idle, until it has died too often (E2)', async () => {
    const engine = await open();
    for (let death = 1; death <= 3; death++) {
      const pid = engine.pid as number;
      process.kill(pid, 'SIGKILL');
      await until(() => engine.pid !== pid && (death === 3 || engine.isReady));
    }
    expect(engine.isReady).toBe(false);
    expect((await engine.complete(ask('a'))).text).toBe('echo: a');
    expect(engine.isReady).toBe(true);
    const pid = engine.pid as number;
    process.kill(pid, 'SIGKILL');
    await until(() => engine.isReady && engine.pid !== pid);
  });

  it('says why a model is refused', async () => {
    const refused = await open({}, 'missing.gguf').catch((error) => error);
    expect(refused).toBeInstanceOf(ModelError);
    expect(refused).toMatchObject({ code: 'FILE_UNREADABLE', at: { path: 'missing.gguf' } });
  });

  it('says what a process wrote that ended too early', async () => {
    const ended = await open({}, 'crash').catch((error) => error);
    expect(ended).toMatchObject({ code: 'ENGINE_UNAVAILABLE' });
    expect(ended.message).toMatch(/exit code 7.*out of luck/);
  });

  it('gives up on a process that says nothing', async () => {
    await expect(open({ startTimeoutMs: 1500 }, 'silent')).rejects.toMatchObject({ code: 'ENGINE_UNAVAILABLE' });
  });

  it('says that an entry does not exist', async () => {
    const entry = { ...ENTRY, url: new URL('nothing.ts', ENTRY.url) };
    await expect(open({ entry })).rejects.toMatchObject({ code: 'ENGINE_UNAVAILABLE' });
  });

  it('sees no secret of the environment', async () => {
    process.env['TRACEBOND_SIGNING_KEY'] = 'secret';
    onTestFinished(() => {
      delete process.env['TRACEBOND_SIGNING_KEY'];
    });
    if (process.platform !== 'linux') return;
    const { readFileSync } = await import('node:fs');
    const engine = await open();
    expect(readFileSync(`/proc/${engine.pid}/environ`, 'utf8')).not.toContain('secret');
  });

  it('does not outlive a parent that is killed while it works (C1)', async () => {
    const loader = childEntry(import.meta.url, './child.test.ts').execArgv;
    const child = pathToFileURL(fileURLToPath(new URL('../../inference/child.ts', import.meta.url))).href;
    const script = `
      const { openChildEngine } = await import(${JSON.stringify(child)});
      const entry = { url: new URL(${JSON.stringify(ENTRY.url.href)}), execArgv: ${JSON.stringify(ENTRY.execArgv)} };
      const engine = await openChildEngine({ path: 'x', id: 'toy', cacheDir: '/nowhere' }, { entry });
      void engine.complete(${JSON.stringify(ask('hang'))});
      setTimeout(() => console.log(engine.pid), 100);`;
    const parent = spawn(process.execPath, [...loader, '--input-type=module', '--eval', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void parent.kill('SIGKILL'));
    const [line] = await once(parent.stdout, 'data');
    const pid = Number(String(line));
    expect(isRunning(pid)).toBe(true);
    parent.kill('SIGKILL');
    await until(() => !isRunning(pid));
  });
});

describe('errors over the channel', () => {
  it('keep class, code and place', () => {
    for (const error of [
      new ModelError('TRUNCATED', 'cut', { at: { offset: 3 } }),
      new InferenceError('PROMPT_TOO_LONG', 'long', { at: { limit: 8 } }),
    ]) {
      const back = fromWireError(JSON.parse(JSON.stringify(toWireError(error))));
      expect(back).toBeInstanceOf(error.constructor);
      expect(back).toMatchObject({ code: error.code, message: error.message, at: error.at });
    }
    expect(fromWireError(toWireError('text')).message).toContain('text');
  });
});
