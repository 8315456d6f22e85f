import { describe, expect, it } from 'vitest';
import { utf8 } from '../../../attest/core/bytes.ts';
import { encodeLine, MAX_LINE_BYTES, MAX_LINE_VALUES, parseLine } from '../../../attest/trace/lines.ts';
import { textPayload } from '../../../attest/trace/payload.ts';

const header = '{"format":"tracebond/trace","version":1}';

describe('lines', () => {
  it('are read as they are written', () => {
    expect(new TextDecoder().decode(encodeLine({ type: 'header' }))).toBe(`${header}\n`);
    expect(parseLine(utf8(header))).toEqual({ type: 'header' });
    const withheld = { type: 'withheld', commitment: `0x${'11'.repeat(32)}` } as const;
    expect(parseLine(encodeLine(withheld).slice(0, -1))).toEqual(withheld);
  });

  it('hold the largest payload', () => {
    const payload = { ...textPayload('', new Uint8Array(32)), data: new Uint8Array(16 * 1024 * 1024) };
    const bytes = encodeLine({ type: 'payload', commitment: `0x${'00'.repeat(32)}`, payload }).slice(0, -1);
    expect(bytes.length).toBeLessThan(MAX_LINE_BYTES);
    expect(parseLine(bytes)).toMatchObject({ type: 'payload' });
  });

  it.each<[string, string, string]>([
    ['nothing', '', 'MALFORMED_LINE'],
    ['no object', '[]', 'MALFORMED_LINE'],
    ['an empty object', '{}', 'MALFORMED_LINE'],
    ['another version', '{"format":"tracebond/trace","version":2}', 'UNSUPPORTED_VERSION'],
    ['another format', '{"format":"trace","version":1}', 'UNSUPPORTED_VERSION'],
    ['two kinds at once', '{"record":{},"withheld":1}', 'MALFORMED_LINE'],
    ['keys joined in one', '{"format,version":1}', 'UNSUPPORTED_VERSION'],
    ['an unknown kind', '{"note":1}', 'MALFORMED_LINE'],
    ['a space', '{"format": "tracebond/trace","version":1}', 'MALFORMED_LINE'],
    ['keys out of order', '{"version":1,"format":"tracebond/trace"}', 'MALFORMED_LINE'],
    ['a key twice', '{"format":"tracebond/trace","format":"tracebond/trace","version":1}', 'MALFORMED_LINE'],
    ['an escape too many', '{"form\\u0061t":"tracebond/trace","version":1}', 'MALFORMED_LINE'],
    ['a float', '{"record":{"body":{},"head":1.5}}', 'MALFORMED_LINE'],
    ['a record without a head', '{"record":{"body":{}}}', 'MALFORMED_LINE'],
    ['a commitment in upper case', `{"withheld":"0x${'AA'.repeat(32)}"}`, 'MALFORMED_LINE'],
    ['a checkpoint without fields', '{"checkpoint":{}}', 'MALFORMED_CHECKPOINT'],
    ['a payload without fields', '{"payload":{}}', 'MALFORMED_PAYLOAD'],
    ['33 levels', `{"record":${'['.repeat(40)}${']'.repeat(40)}}`, 'MALFORMED_LINE'],
    ['very many values', `{"record":[${'"padding, to be counted",'.repeat(MAX_LINE_VALUES)}0]}`, 'MALFORMED_LINE'],
  ])('refuse %s', (_, text, code) => {
    expect(() => parseLine(utf8(text))).toThrow(expect.objectContaining({ code }));
  });

  it('count values before they are read, texts apart', () => {
    const line = (item: string) => utf8(`{"record":[${item.repeat(2 * MAX_LINE_VALUES)}0]}`);
    expect(() => parseLine(line('"a text to count",'))).toThrow(/more than 65536 values/);
    expect(() => parseLine(line('[],[],[],[],'))).toThrow(/more than 65536 values/);
    const text = utf8(`{"note":"${'\\",[{'.repeat(1 << 18)}"}`);
    expect(() => parseLine(text)).toThrow(/unknown fields note/);
  });

  it('refuse bytes that are no UTF-8, and a line beyond the longest', () => {
    expect(() => parseLine(Uint8Array.of(0x7b, 0xff, 0x7d))).toThrow(/not canonical JSON/);
    expect(() => parseLine(new Uint8Array(MAX_LINE_BYTES + 1))).toThrow(/longer than/);
  });
});
