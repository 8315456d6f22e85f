import { describe, expect, it } from 'vitest';
import { childEntry } from '../../../attest/core/entry.ts';

describe('childEntry', () => {
  it('starts a source file through tsx', () => {
    const { url, execArgv } = childEntry(import.meta.url, './main.ts');
    expect(url.href).toBe(new URL('./main.ts', import.meta.url).href);
    expect(execArgv[0]).toBe('--import');
    expect(execArgv[1]).toMatch(/^data:text\/javascript,.*tsx/);
  });

  it('starts a built file as it is', () => {
    const { url, execArgv } = childEntry('file:///package/dist/runtime/sandbox/pool.js', '../worker.ts');
    expect(url.href).toBe('file:///package/dist/runtime/worker.js');
    expect(execArgv).toEqual([]);
  });

  it.each(['worker.ts', './worker.js', '/worker.ts', 'file:///worker.ts', ''])('refuses %s', (specifier) => {
    expect(() => childEntry(import.meta.url, specifier)).toThrow(TypeError);
  });
});
