import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameReader, frame } from '../../../runtime/sandbox/frames.ts';
import { HostFault } from '../../../runtime/sandbox/vm.ts';

describe('frames', () => {
  it('come out as they went in, however the pipe cuts them', () => {
    const payloads = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 });
    fc.assert(
      fc.property(payloads, fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }), (sent, cuts) => {
        const bytes = Buffer.concat(sent.flatMap((payload) => frame(payload)));
        const reader = new FrameReader(40);
        const got: Uint8Array[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const end = at + (cuts[i % cuts.length] ?? 1);
          got.push(...reader.push(bytes.subarray(at, end)));
          at = end;
        }
        expect(got.map((payload) => [...payload])).toEqual(sent.map((payload) => [...payload]));
      }),
    );
  });

  it('have the length of their payload in four bytes, little-endian', () => {
    expect(frame(new Uint8Array(0x0102)).map((piece) => piece.length)).toEqual([4, 0x0102]);
    expect([...frame(new Uint8Array(0x0102))[0]]).toEqual([2, 1, 0, 0]);
  });

  it('are refused by their length alone, and exactly beyond the limit', () => {
    expect(new FrameReader(3).push(Uint8Array.of(3, 0, 0, 0, 1, 2, 3))).toHaveLength(1);
    for (const header of [Uint8Array.of(4, 0, 0, 0), Uint8Array.of(255, 255, 255, 255)]) {
      expect(() => new FrameReader(3).push(header)).toThrow(HostFault);
    }
  });
});
