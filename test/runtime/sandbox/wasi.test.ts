import { describe, expect, it } from 'vitest';
import { wasm } from '../../../attest/core/webassembly.ts';
import {
  CALL_FUEL,
  makeWasiImports,
  VECTOR_FUEL,
  WASI_FUNCTIONS,
  WasiExit,
  type WasiHost,
  wasiSignature,
} from '../../../runtime/sandbox/wasi.ts';
import { openGuestRandom } from '../../../runtime/sandbox/wasi-random.ts';

const SUCCESS = 0;
const EBADF = 8;
const EFAULT = 21;
const EINVAL = 28;
const ENOSYS = 52;
const EOVERFLOW = 61;
const ESPIPE = 70;
const PAGE = 65_536;

function open(some: Partial<WasiHost> = {}) {
  const memory = new wasm.Memory({ initial: 1, maximum: 2 });
  const view = new DataView(memory.buffer);
  const written: [number, string][] = [];
  const state = { fuel: 0 };
  const imports = makeWasiImports({
    memory: () => memory,
    bill: (fuel) => {
      state.fuel += fuel;
    },
    stdin: new TextEncoder().encode('{"a":1}'),
    write: (descriptor, bytes) => written.push([descriptor, new TextDecoder().decode(bytes)]),
    random: openGuestRandom(new Uint8Array(32)),
    timeMs: 1_700_000_000_123,
    ...some,
  });
  const call = (name: string, ...args: readonly (number | bigint)[]): unknown =>
    (imports[name] as unknown as (...values: readonly (number | bigint)[]) => unknown)(...args);
  const text = (at: number, length: number): string =>
    new TextDecoder().decode(new Uint8Array(memory.buffer, at, length));
  /** Writes a vector of buffers at 0. */
  const vector = (...buffers: readonly (readonly [at: number, length: number])[]): void => {
    for (const [i, [at, length]] of buffers.entries()) {
      view.setUint32(8 * i, at, true);
      view.setUint32(8 * i + 4, length, true);
    }
  };
  return { call, view, written, state, text, vector };
}

describe('streams', () => {
  it('reads stdin in parts, to its end and beyond', () => {
    const { call, view, text, vector } = open();
    vector([100, 2], [200, 3]);
    expect(call('fd_read', 0, 0, 2, 64)).toBe(SUCCESS);
    expect([view.getUint32(64, true), text(100, 2), text(200, 3)]).toEqual([5, '{"', 'a":']);
    expect(call('fd_read', 0, 0, 2, 64)).toBe(SUCCESS);
    expect([view.getUint32(64, true), text(100, 2)]).toEqual([2, '1}']);
    expect(call('fd_read', 0, 0, 2, 64)).toBe(SUCCESS);
    expect(view.getUint32(64, true)).toBe(0);
  });

  it('writes stdout and stderr, all buffers in order', () => {
    const { call, view, written, vector } = open();
    view.setUint8(100, 0x41);
    view.setUint8(101, 0x42);
    vector([100, 1], [101, 1], [100, 2]);
    expect(call('fd_write', 1, 0, 3, 64)).toBe(SUCCESS);
    expect(call('fd_write', 2, 0, 1, 64)).toBe(SUCCESS);
    expect(written).toEqual([
      [1, 'A'],
      [1, 'B'],
      [1, 'AB'],
      [2, 'A'],
    ]);
    expect(view.getUint32(64, true)).toBe(1);
  });

  it('bills what it does before it does it', () => {
    const { call, vector, state } = open();
    vector([100, 15], [100, 17]);
    call('fd_write', 1, 0, 2, 64);
    expect(state.fuel).toBe(CALL_FUEL + 2 * VECTOR_FUEL + 4);
    state.fuel = 0;
    call('random_get', 100, 1000);
    expect(state.fuel).toBe(CALL_FUEL + 1000);
    const poor = open({
      bill: (fuel) => {
        if (fuel !== CALL_FUEL) throw new Error('poor');
      },
    });
    poor.vector([100, 15]);
    expect(() => poor.call('fd_write', 1, 0, 1, 64)).toThrow('poor');
    expect(() => poor.call('random_get', 100, 8)).toThrow('poor');
    expect(poor.written).toEqual([]);
    expect(poor.view.getUint32(100, true)).toBe(0);
  });

  it('knows the descriptors 0 to 2 until they are closed', () => {
    const { call, vector, view } = open();
    vector([100, 1]);
    for (const fd of [-1, 3, 4, 0x7fff_ffff]) {
      for (const name of ['fd_close', 'fd_seek', 'fd_tell', 'fd_fdstat_get', 'fd_filestat_get', 'fd_prestat_get']) {
        expect([name, call(name, fd, 0, 0, 64)]).toEqual([name, EBADF]);
      }
      expect(call('fd_write', fd, 0, 1, 64)).toBe(EBADF);
    }
    expect(call('fd_write', 0, 0, 1, 64)).toBe(EBADF);
    expect(call('fd_read', 1, 0, 1, 64)).toBe(EBADF);
    expect(call('fd_seek', 1, 0n, 0, 64)).toBe(ESPIPE);
    expect(call('fd_fdstat_get', 0, 32)).toBe(SUCCESS);
    expect([view.getUint32(32, true), view.getBigUint64(40, true), view.getBigUint64(48, true)]).toEqual([0, 2n, 0n]);
    expect(call('fd_fdstat_get', 2, 32)).toBe(SUCCESS);
    expect(view.getBigUint64(40, true)).toBe(64n);
    expect(call('fd_close', 1)).toBe(SUCCESS);
    expect(call('fd_close', 1)).toBe(EBADF);
    expect(call('fd_write', 1, 0, 1, 64)).toBe(EBADF);
  });
});

describe('pointers', () => {
  it.each([
    ['a vector beyond the memory', [PAGE - 4, 1, 64]],
    ['a vector before it', [-8, 1, 64]],
    ['a count beyond the memory', [0, 1, PAGE - 3]],
  ] as const)('of fd_write and fd_read: %s', (_name, [vectors, count, done]) => {
    const { call, vector, written, text } = open();
    vector([100, 1]);
    expect(call('fd_write', 1, vectors, count, done)).toBe(EFAULT);
    expect(call('fd_read', 0, vectors, count, done)).toBe(EFAULT);
    expect(written).toEqual([]);
    expect(text(100, 1)).toBe('\0');
  });

  it('of buffers: nothing is written when one lies beyond', () => {
    const { call, vector, written } = open();
    vector([100, 4], [PAGE - 1, 2]);
    expect(call('fd_write', 1, 0, 2, 64)).toBe(EFAULT);
    vector([100, 4], [0xffff_ffff, 2]);
    expect(call('fd_write', 1, 0, 2, 64)).toBe(EFAULT);
    expect(written).toEqual([]);
  });

  it('of buffers over each other, of more bytes than a count can say', () => {
    const memory = new wasm.Memory({ initial: 100, maximum: 100 });
    const view = new DataView(memory.buffer);
    const { call, written, state } = open({ memory: () => memory });
    for (let i = 0; i < 1024; i++) {
      view.setUint32(8 * i, 0, true);
      view.setUint32(8 * i + 4, 4_194_304, true);
    }
    expect(call('fd_write', 1, 0, 1024, PAGE * 99)).toBe(EINVAL);
    expect(state.fuel).toBe(CALL_FUEL + 1024 * VECTOR_FUEL);
    for (const count of [1025, -1]) {
      expect(call('fd_write', 1, 0, count, PAGE * 99)).toBe(EINVAL);
      expect(call('fd_read', 0, 0, count, PAGE * 99)).toBe(EINVAL);
    }
    expect(written).toEqual([]);
  });

  it.each([
    ['args_get', PAGE - 3, 0],
    ['args_get', 0, PAGE - 4],
    ['args_sizes_get', PAGE, 0],
    ['args_sizes_get', 0, -1],
    ['environ_sizes_get', -1, 0],
    ['clock_res_get', 0, PAGE - 7],
    ['random_get', PAGE - 1, 2],
    ['random_get', 0, -1],
    ['fd_fdstat_get', 0, PAGE - 23],
    ['fd_filestat_get', 1, PAGE - 63],
  ] as const)('of %s(%d, %d)', (name, a, b) => {
    expect(open().call(name, a, b)).toBe(EFAULT);
  });
});

describe('what a tool sees of the world', () => {
  it('is one argument and no environment', () => {
    const { call, view, text } = open();
    expect(call('args_sizes_get', 0, 4)).toBe(SUCCESS);
    expect([view.getUint32(0, true), view.getUint32(4, true)]).toEqual([1, 5]);
    expect(call('args_get', 8, 100)).toBe(SUCCESS);
    expect([view.getUint32(8, true), text(100, 5)]).toEqual([100, 'tool\0']);
    expect(call('environ_sizes_get', 0, 4)).toBe(SUCCESS);
    expect([view.getUint32(0, true), view.getUint32(4, true)]).toEqual([0, 0]);
  });

  it('is a time that stands still', () => {
    const { call, view } = open();
    for (const clock of [0, 1, 2, 3]) {
      expect(call('clock_time_get', clock, 1n, 0)).toBe(SUCCESS);
      expect(view.getBigUint64(0, true)).toBe(1_700_000_000_123_000_000n);
    }
    expect(call('clock_res_get', 0, 0)).toBe(SUCCESS);
    expect(view.getBigUint64(0, true)).toBe(1_000_000n);
    expect(call('clock_time_get', 4, 1n, 0)).toBe(EINVAL);
    expect(call('clock_time_get', -1, 1n, 0)).toBe(EINVAL);
    expect(open({ timeMs: 8.64e15 }).call('clock_time_get', 0, 1n, 0)).toBe(EOVERFLOW);
  });

  it('is nothing more: every other function says so', () => {
    const { call } = open();
    const known =
      /^(args|environ|clock)_|^(random_get|sched_yield|proc_exit)$|^fd_(read|write|close|seek|tell)$|stat_get$/;
    const others = WASI_FUNCTIONS.filter((name) => !known.test(name) || /^(path_|fd_prestat)/.test(name));
    expect(others).toHaveLength(30);
    for (const name of others) {
      const args = (wasiSignature(name)?.params ?? []).map((type) => (type === 0x7e ? 0n : 0));
      expect([name, call(name, ...args)]).toEqual([name, /^(fd|path|sock)_/.test(name) ? EBADF : ENOSYS]);
    }
    expect(call('sched_yield')).toBe(SUCCESS);
  });

  it('ends with an exit code of 32 bits', () => {
    const codeOf = (value: number): number => {
      try {
        open().call('proc_exit', value);
      } catch (error) {
        if (error instanceof WasiExit) return error.exitCode;
        throw error;
      }
      return Number.NaN;
    };
    expect([codeOf(0), codeOf(7), codeOf(-1)]).toEqual([0, 7, 0xffff_ffff]);
  });

  it('has the signatures of preview 1, and no function besides', () => {
    expect(WASI_FUNCTIONS).toHaveLength(46);
    expect(wasiSignature('fd_write')).toEqual({ params: [0x7f, 0x7f, 0x7f, 0x7f], results: [0x7f] });
    expect(wasiSignature('fd_seek')).toEqual({ params: [0x7f, 0x7e, 0x7f, 0x7f], results: [0x7f] });
    expect(wasiSignature('proc_exit')).toEqual({ params: [0x7f], results: [] });
    for (const name of ['', 'constructor', 'toString', '__proto__', 'fd_writes']) {
      expect(wasiSignature(name)).toBeUndefined();
    }
  });
});

describe('random bytes', () => {
  it('are xoshiro128** from the seed, little-endian words, each request from a new one', () => {
    // Computed apart: SHA-256("tracebond/guest-random/1" || 32 zero bytes), reference code of Blackman and Vigna.
    const first = openGuestRandom(new Uint8Array(32));
    const whole = [...first(16)];
    const parts = openGuestRandom(new Uint8Array(32));
    expect([...parts(3), ...parts(0), ...parts(5)]).toEqual([...whole.slice(0, 3), ...whole.slice(4, 9)]);
    expect([...openGuestRandom(new Uint8Array(32).fill(1))(16)]).not.toEqual(whole);
    expect(Buffer.from(Uint8Array.from(whole)).toString('hex')).toBe('01bd10f80c4deef98a4a6ab7bb2a7bb6');
  });
});
