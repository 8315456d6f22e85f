import { expect, it } from 'vitest';
import { createProgress } from '../../../agents/setup/progress.mjs';

function record(isTTY: boolean, columns = 80) {
  const written: string[] = [];
  let time = 0;
  const stream = { write: (text: string) => written.push(text), isTTY, columns };
  return { written, progress: createProgress(stream, { now: () => time }), pass: (ms: number) => (time += ms) };
}

it('draws one line on a terminal, within its width, and wipes it', () => {
  const { written, progress, pass } = record(true, 60);
  const bar = progress.bar('Hugging Face hub', 100e6);
  for (let done = 0; done <= 100e6; done += 10e6) {
    bar.at(done);
    pass(200);
  }
  expect(written.join('')).not.toContain('\n');
  expect(written).toHaveLength(11);
  for (const text of written) expect(text.replace('\r\x1b[2K', '').length).toBeLessThan(60);
  expect(written.at(-1)).toMatch(/100%/);
  bar.end();
  expect(written.at(-1)).toBe('\r\x1b[2K');
});

it('does not redraw more often than ten times a second', () => {
  const { written, progress, pass } = record(true);
  const bar = progress.bar('x', 1_000);
  for (let done = 0; done < 1_000; done++) {
    bar.at(done);
    pass(1);
  }
  expect(written.length).toBeLessThanOrEqual(11);
});

it('writes a few whole lines where there is no terminal', () => {
  const { written, progress, pass } = record(false);
  const bar = progress.bar('Hugging Face hub', 100e6);
  for (let done = 0; done <= 100e6; done += 1e6) {
    bar.at(done);
    pass(50);
  }
  bar.end();
  expect(written).toEqual([25, 50, 75, 100].map((part) => `Hugging Face hub: ${part}% of 100.0 MB, 20.0 MB/s\n`));
});

it('gives a sign of life on a slow line', () => {
  const { written, progress, pass } = record(false);
  const bar = progress.bar('x', 100e6);
  for (let i = 0; i < 120; i++) {
    bar.at(i);
    pass(1_000);
  }
  expect(written).toHaveLength(7);
});
