import { describe, expect, it } from 'vitest';
import { parseReport, parseReports, ReportError } from '../../../attest/inspector/report.ts';

const REPORT = {
  verdict: 'DIVERGED',
  code: 'STEP_DIVERGED',
  step: 1,
  field: 'body.result',
  claimed: '1',
  recomputed: '2',
  run: `0x${'1'.repeat(64)}`,
  size: 2,
  root: `0x${'2'.repeat(64)}`,
  signer: `0x${'3'.repeat(40)}`,
  opened: null,
  bonded: null,
  seedFrom: 'caller',
  status: 'done',
  lost: 0,
  classes: { recomputable: 2, attested: 0, opaque: 0 },
  checked: 1,
  steps: [
    { index: 0, kind: 'run.open', class: 'recomputable', verdict: 'MATCH' },
    {
      index: 1,
      kind: 'tool.end',
      class: 'recomputable',
      verdict: 'DIVERGED',
      field: 'body.result',
      claimed: '1',
      recomputed: '2',
    },
  ],
  timing: { totalMs: 3, reexecutionMs: 1 },
};

const placeOf = (value: unknown): unknown => {
  try {
    parseReport(value);
  } catch (error) {
    if (error instanceof ReportError) return error.at['field'];
    throw error;
  }
  return 'none';
};

describe('a report', () => {
  it('is taken as the verifier prints it', () => {
    expect(parseReport({ file: 'a.trace', ...REPORT })).toMatchObject(REPORT);
  });

  it.each<readonly [path: string, value: unknown]>([
    ['verdict', 'GOOD'],
    ['verdict', undefined],
    ['code', 7],
    ['step', '1'],
    ['claimed', {}],
    ['run', 7],
    ['run', undefined],
    ['opened', 'yes'],
    ['bonded', 7],
    ['size', -1],
    ['size', 1.5],
    ['lost', '0'],
    ['checked', null],
    ['steps', {}],
  ])('with another %s (%j) is refused', (path, value) => {
    expect(placeOf({ ...REPORT, [path]: value })).toBe(path);
  });

  it.each<readonly [place: string, step: unknown]>([
    ['steps.0.index', null],
    ['steps.0.index', { ...REPORT.steps[0], index: -1 }],
    ['steps.0.kind', { ...REPORT.steps[0], kind: 7 }],
    ['steps.0.verdict', { ...REPORT.steps[0], verdict: 'FINE' }],
    ['steps.0.recomputed', { ...REPORT.steps[0], recomputed: [] }],
  ])('with a step that is none is refused at %s', (place, step) => {
    expect(placeOf({ ...REPORT, steps: [step] })).toBe(place);
  });

  it.each([null, undefined, 7, 'MATCH', [], [REPORT]])('is not %j', (value) => {
    expect(placeOf(value)).not.toBe('none');
  });
});

describe('what the command prints', () => {
  it('is one line for each file', () => {
    const text = `${JSON.stringify({ file: 'a.trace', ...REPORT })}\n${JSON.stringify({ file: 'b.trace', ...REPORT })}\n`;
    expect(parseReports(text).map(({ file }) => file)).toEqual(['a.trace', 'b.trace']);
  });

  it('may be one object over many lines, without a file', () => {
    expect(parseReports(JSON.stringify(REPORT, null, 2))).toMatchObject([{ file: '' }]);
  });

  it.each(['', 'no', '{}', '{"verdict":"MATCH"}', `${JSON.stringify(REPORT)}\nno`])('is not %j', (text) => {
    if (text === '') expect(parseReports(text)).toEqual([]);
    else expect(() => parseReports(text)).toThrow(ReportError);
  });
});
