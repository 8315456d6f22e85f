import fc from 'fast-check';
import { expect, it } from 'vitest';
import { LineMap } from '../../../attest/inspector/line-map.ts';

const LINES = {
  header: '{"format":"tracebond/trace","version":1}',
  record: '{"record":{}}',
  payload: '{"payload":{}}',
  withheld: '{"withheld":"0x"}',
  checkpoint: '{"checkpoint":{}}',
  empty: '',
  short: '{"',
} as const;

function mapOf(text: string, cuts: readonly number[] = []): LineMap {
  const bytes = Buffer.from(text);
  const map = new LineMap();
  let from = 0;
  for (const cut of [...cuts, bytes.length].map((at) => Math.min(at, bytes.length)).sort((a, b) => a - b)) {
    map.take(bytes.subarray(from, cut));
    from = cut;
  }
  return map;
}

it('gives each record its own lines, and checkpoints their place', () => {
  const text = ['header', 'record', 'payload', 'withheld', 'checkpoint', 'record', 'checkpoint']
    .map((name) => `${LINES[name as keyof typeof LINES]}\n`)
    .join('');
  const map = mapOf(text);
  const part = ({ start, end }: { readonly start: number; readonly end: number }) => text.slice(start, end);
  expect(map.records.map(part)).toEqual([
    `${LINES.record}\n${LINES.payload}\n${LINES.withheld}\n`,
    `${LINES.record}\n`,
  ]);
  expect(map.checkpoints.map((line) => [part(line), line.after])).toEqual([
    [`${LINES.checkpoint}\n`, 1],
    [`${LINES.checkpoint}\n`, 2],
  ]);
  expect(map.position).toBe(text.length);
});

it('does not count a line that is cut off', () => {
  expect(mapOf(`${LINES.header}\n${LINES.record}`).count).toBe(0);
});

it('is the same however the bytes come', () => {
  const line = fc.constantFrom(...Object.values(LINES));
  fc.assert(
    fc.property(fc.array(line, { maxLength: 12 }), fc.array(fc.nat({ max: 300 }), { maxLength: 20 }), (lines, cuts) => {
      const text = lines.map((one) => `${one}\n`).join('');
      const [whole, cut] = [mapOf(text), mapOf(text, cuts)];
      expect(cut.records).toEqual(whole.records);
      expect(cut.checkpoints).toEqual(whole.checkpoints);
      expect(whole.count).toBe(lines.filter((one) => one === LINES.record).length);
    }),
    { numRuns: 300 },
  );
});
