import { expect, it } from 'vitest';
import { convertModel } from '../../../inference/exact/convert.ts';
import { openGgufSource } from '../../../inference/gguf/gguf-source.ts';
import { describeSmolLM2 } from '../../support/smollm2.ts';

describeSmolLM2('the shipped model', (path) => {
  it('has the pinned commitment, and bounds far below the limits', { timeout: 120_000 }, () => {
    const source = openGgufSource(path);
    let bytes = 0;
    const { commitment, layout, ranges } = convertModel(source, (_, part) => {
      bytes += part.length;
    });
    source.close();
    expect(commitment).toBe('0x9ed3bd648143fabd1f482605dd9f386433b2450a4571ed6fa90894ca8232ddff');
    expect(layout.bytes).toBe(138_748_672);
    expect(layout.bytes - bytes).toBeLessThan(layout.matrices.length * 3 * 64);
    expect(ranges.every(({ integers, values }) => integers < 2n ** 38n && values < 2 ** 40)).toBe(true);
  });
});
