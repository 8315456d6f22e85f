import { describe, expect, it } from 'vitest';
import { utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { HOST_FAILURES, parseBody } from '../../../attest/trace/bodies.ts';
import { type Completion, deliveryOf, isCompletion } from '../../../attest/trace/deliveries.ts';
import { KIND_CODES, type Kind } from '../../../attest/trace/kinds.ts';
import { jsonPayload, type Payload, textPayload } from '../../../attest/trace/payload.ts';

const SALT = sha256(utf8('salt'));
const HEX = `0x${'11'.repeat(32)}`;
const text = (value: string) => textPayload(value, SALT);
const json = (value: Json) => jsonPayload(value, SALT);
const deliver = (kind: Kind, body: Json, payloads: Readonly<Record<string, Payload>> = {}) =>
  deliveryOf(parseBody(kind, body) as Completion, new Map(Object.entries(payloads)), 7);

const ids = { count: 1, ids: HEX, root: HEX };
const inferenceEnd = {
  bytes: '0',
  finish: 'stop',
  masks: null,
  output: ids,
  prompt: ids,
  receipt: `0x${'11'.repeat(65)}`,
  text: HEX,
};
const failure = { code: 'TRAP', message: HEX };
const checkpoint = { closed: true, root: HEX, signature: `0x${'11'.repeat(65)}`, size: '4', state: HEX };
const childEnd = { bytes: '0', checkpoint, error: null, output: HEX, run: HEX, status: 'done' };

describe('a delivery', () => {
  it('of an inference is its text and why it ended', () => {
    expect(deliver('inference.end', inferenceEnd, { 'body.text': text('hello') })).toEqual({
      id: 7,
      ok: true,
      value: { finishReason: 'stop', text: 'hello' },
    });
    expect(deliver('inference.end', inferenceEnd)).toBeUndefined();
  });

  it('of a tool is its result or its error', () => {
    const done = { bytes: '0', error: null, fuel: '1', result: HEX };
    expect(deliver('tool.end', done, { 'body.result': json([1, null]) })).toEqual({
      id: 7,
      ok: true,
      value: [1, null],
    });
    expect(deliver('tool.end', done, { 'body.result': json(null) })).toEqual({ id: 7, ok: true, value: null });
    expect(deliver('tool.end', done)).toBeUndefined();
    const failed = { ...done, error: failure, result: null };
    expect(deliver('tool.end', failed, { 'body.error.message': text('no') })).toEqual({
      id: 7,
      ok: false,
      error: { code: 'TRAP', message: 'no' },
    });
    expect(deliver('tool.end', failed)).toBeUndefined();
  });

  it('of a child run is its output or its error', () => {
    expect(deliver('run.child.end', childEnd, { 'body.output': json({ a: 1 }) })).toEqual({
      id: 7,
      ok: true,
      value: { a: 1 },
    });
    expect(deliver('run.child.end', childEnd)).toBeUndefined();
    const failed = { ...childEnd, error: failure, output: null, status: 'failed' };
    expect(deliver('run.child.end', failed, { 'body.error.message': text('no') })).toMatchObject({
      ok: false,
      error: { code: 'TRAP' },
    });
    expect(deliver('run.child.end', failed)).toBeUndefined();
  });

  it('of a host call is its response, or a code of the closed list and no other word', () => {
    const done = { bytes: '0', error: null, evidence: 'none', response: HEX };
    expect(deliver('host.end', done, { 'body.response': json('x') })).toEqual({ id: 7, ok: true, value: 'x' });
    expect(deliver('host.end', done)).toBeUndefined();
    for (const error of HOST_FAILURES) {
      expect(deliver('host.end', { ...done, error, response: null })).toEqual({
        id: 7,
        ok: false,
        error: { code: 'HOST_CALL_FAILED', message: error },
      });
    }
  });

  it('of a loss is its reason', () => {
    for (const kind of ['host.lost', 'tool.lost', 'inference.lost', 'run.child.lost'] as const) {
      for (const reason of ['CRASH', 'CANCELLED', 'DEADLINE', 'HOST_FAULT']) {
        expect(deliver(kind, { reason })).toEqual({
          id: 7,
          ok: false,
          error: { code: 'HOST_CALL_FAILED', message: reason },
        });
      }
    }
  });

  it('is none of a payload in another form', () => {
    const done = { bytes: '0', error: null, evidence: 'none', response: HEX };
    expect(() => deliver('host.end', done, { 'body.response': text('x') })).toThrow(
      expect.objectContaining({ code: 'MALFORMED_PAYLOAD' }),
    );
    expect(() => deliver('inference.end', inferenceEnd, { 'body.text': json('x') })).toThrow(
      expect.objectContaining({ code: 'MALFORMED_PAYLOAD' }),
    );
  });
});

it('ends and losses complete a start, and nothing else does', () => {
  const completing = Object.keys(KIND_CODES).filter((kind) => isCompletion({ kind, body: {} } as never));
  expect(completing.sort()).toEqual(
    ['host', 'inference', 'run.child', 'tool'].flatMap((name) => [`${name}.end`, `${name}.lost`]).sort(),
  );
});
