import { expect, it } from 'vitest';
import { ProtobufWriter } from '../../../inference/onnx/protobuf.ts';

const hex = (write: (writer: ProtobufWriter) => void) => {
  const writer = new ProtobufWriter();
  write(writer);
  return Buffer.from(writer.finish()).toString('hex');
};

// The first three are the worked examples of protobuf.dev, "Encoding".
it.each<[string, string, (writer: ProtobufWriter) => void]>([
  ['150 in field 1', '089601', (w) => w.int(1, 150)],
  ['"testing" in field 2', '120774657374696e67', (w) => w.string(2, 'testing')],
  ['a message in field 3', '1a03089601', (w) => w.message(3, (inner) => inner.int(1, 150))],
  ['0', '0800', (w) => w.int(1, 0)],
  ['127 and 128', '087f088001', (w) => w.int(1, 127).int(1, 128)],
  ['-1', '08ffffffffffffffffff01', (w) => w.int(1, -1)],
  ['2^63 - 1', '08ffffffffffffffff7f', (w) => w.int(1, 2n ** 63n - 1n)],
  ['field 20', 'a00102', (w) => w.int(20, 2)],
  ['binary32 1', '150000803f', (w) => w.float(2, 1)],
  ['empty bytes', '0a00', (w) => w.bytes(1, new Uint8Array(0))],
])('%s', (_, expected, write) => {
  expect(hex(write)).toBe(expected);
});

it('grows', () => {
  const long = new Uint8Array(5000).fill(7);
  expect(hex((w) => w.bytes(1, long).int(2, 1))).toBe(`0a8827${'07'.repeat(5000)}1001`);
});

it('long values inside messages come out where they belong, and are kept by reference until the end', () => {
  const long = new Uint8Array(5000).fill(7);
  const longHex = '07'.repeat(5000);
  const writer = new ProtobufWriter()
    .int(1, 1)
    .message(3, (inner) =>
      inner
        .int(1, 2)
        .message(4, (deep) => deep.bytes(1, long).int(2, 3))
        .string(5, 'end'),
    )
    .bytes(1, long)
    .int(6, 1);
  const expected = (byte: string) => {
    const value = longHex.replace(/07/, byte);
    return `08011a9727080222${'8d27'}0a8827${value}10032a03656e640a8827${value}3001`;
  };
  expect(Buffer.from(writer.finish()).toString('hex')).toBe(expected('07'));
  long[0] = 9;
  expect(Buffer.from(writer.finish()).toString('hex')).toBe(expected('09'));
});
