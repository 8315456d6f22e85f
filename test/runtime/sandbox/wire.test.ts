import { describe, expect, it } from 'vitest';
import { HostFault, type VmOptions } from '../../../runtime/sandbox/vm.ts';
import {
  decodeCommand,
  encodeAnswer,
  encodeCommand,
  MAX_MESSAGE_BYTES,
  maxAnswerBytes,
  parseAnswer,
  type SandboxAnswer,
} from '../../../runtime/sandbox/wire.ts';
import { guestOptions } from '../../support/sandbox-programs.ts';

const options = guestOptions('return 1;', { fuel: 1000n });
const bytes = (value: unknown): Uint8Array => new Uint8Array(Buffer.from(JSON.stringify(value)));
const state = (fields: object): object => ({
  type: 'state',
  state: { status: 'done', value: 1, calls: [], fuelUsed: '5', ...fields },
  lines: [],
});
const nested = (levels: number): unknown => (levels === 0 ? 1 : [nested(levels - 1)]);

describe('a command', () => {
  it('arrives as it was sent', () => {
    const { fuel, seed } = options;
    const start = {
      type: 'start',
      options: { ...options, entry: { tool: 'a' }, input: { a: ['\ud800', 1] } },
    } as const;
    expect(decodeCommand(encodeCommand(start))).toEqual(start);
    expect([fuel, seed]).toEqual([1000n, new Uint8Array(32).fill(7)]);
    for (const timeMs of [undefined, 5]) {
      const deliver = { type: 'deliver', delivery: { id: 0, ok: true, value: [1] }, timeMs } as const;
      expect(decodeCommand(encodeCommand(deliver))).toEqual(deliver);
    }
  });
});

describe('an answer', () => {
  it.each<SandboxAnswer>([
    { type: 'ready' },
    { type: 'fault', code: 'HOST_STACK', message: 'x' },
    {
      type: 'state',
      state: { status: 'waiting', calls: [{ id: 3, method: 'kv.get', args: { a: 1 } }], fuelUsed: 1000n },
      lines: ['a', ''],
    },
    {
      type: 'state',
      state: { status: 'done', value: { __proto__: null, a: [1] }, calls: [], fuelUsed: 0n },
      lines: [],
    },
    {
      type: 'state',
      state: { status: 'failed', error: { code: 'TRAP', message: 'ä' }, calls: [], fuelUsed: 7n },
      lines: [],
    },
  ])('arrives as it was sent: $type', (answer) => {
    expect(parseAnswer(encodeAnswer(answer), options)).toEqual(answer);
  });

  it.each<[string, unknown]>([
    ['no object', []],
    ['nothing', null],
    ['another type', { type: 'start' }],
    ['an inherited type', { type: '__proto__' }],
    ['a fault of no known code', { type: 'fault', code: 'OUT_OF_FUEL', message: '' }],
    ['a fault without message', { type: 'fault', code: 'HOST_STACK' }],
    ['no state', { type: 'state', lines: [] }],
    ['a state that is a list', { type: 'state', state: [], lines: [] }],
    ['no lines', { type: 'state', state: { status: 'waiting', calls: [], fuelUsed: '1' } }],
    ['a line that is no text', { ...state({}), lines: [1] }],
    ['a line too long', { ...state({}), lines: ['x'.repeat(4097)] }],
    ['another status', state({ status: 'waited' })],
    ['no value', state({ value: undefined })],
    ['fuel as a number', state({ fuelUsed: 5 })],
    ['fuel below zero', state({ fuelUsed: '-1' })],
    ['more fuel than was given', state({ fuelUsed: '1001' })],
    ['fuel with a leading zero', state({ fuelUsed: '05' })],
    ['a value that is a fraction', state({ value: 0.5 })],
    ['a value that is a large number', state({ value: 2 ** 53 })],
    ['a value too deep', state({ value: nested(25) })],
    ['calls that are no list', state({ calls: {} })],
    ['a call that is no object', state({ calls: [1] })],
    ['a call without id', state({ calls: [{ method: 'a', args: 1 }] })],
    ['a call whose id is a fraction', state({ calls: [{ id: 0.5, method: 'a', args: 1 }] })],
    ['a call of an odd name', state({ calls: [{ id: 0, method: '../a', args: 1 }] })],
    ['a call without arguments', state({ calls: [{ id: 0, method: 'a' }] })],
    ['a call of a fraction', state({ calls: [{ id: 0, method: 'a', args: [0.5] }] })],
    ['no error', state({ status: 'failed' })],
    ['an error of no known code', state({ status: 'failed', error: { code: 'HOST_STACK', message: '' } })],
    ['an error without message', state({ status: 'failed', error: { code: 'TRAP' } })],
    [
      'a long message',
      state({ status: 'failed', error: { code: 'TRAP', message: 'x'.repeat(MAX_MESSAGE_BYTES + 1) } }),
    ],
  ])('is refused: %s', (_, answer) => {
    expect(() => parseAnswer(bytes(answer), options)).toThrow(HostFault);
    expect(() => parseAnswer(bytes(answer), options)).toThrow(/^sandbox answers out of form/);
  });

  it.each([
    ['no JSON', Buffer.from('{')],
    ['no UTF-8', Buffer.from([0x22, 0xff, 0x22])],
    ['nothing', Buffer.alloc(0)],
    ['a key twice', Buffer.from('{"type":"ready","type":"ready"}')],
    ['nesting without end', Buffer.from('['.repeat(1e6))],
  ])('is refused: %s', (_, answer) => {
    expect(() => parseAnswer(answer, options)).toThrow(HostFault);
  });

  it('may hold fractions and more levels where no record will hold it', () => {
    const completion: Pick<VmOptions, 'entry' | 'fuel'> = { entry: 'completion', fuel: 1000n };
    for (const value of [0.5, nested(200)]) {
      expect(parseAnswer(bytes(state({ value })), completion)).toMatchObject({ state: { value } });
    }
    expect(() => parseAnswer(bytes(state({ value: nested(203) })), completion)).toThrow(HostFault);
  });

  it('has room for what may leave', () => {
    const outputBytes = 6400;
    // As many of the smallest things as may leave, each counting 64 bytes and its own.
    const calls = Array.from({ length: 100 }, (_, id) => ({ id, method: 'a'.repeat(64), args: 1 }));
    expect(bytes(state({ calls })).length).toBeLessThan(maxAnswerBytes({ outputBytes }));
  });
});
