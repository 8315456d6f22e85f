/**
 * A bundle as the worker tells of it.
 *
 * @module
 */

import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import type { BundleCheck } from '../bundle-check.ts';
import type { RecordDetail } from '../record-detail.ts';
import type { SourcedReport } from '../report.ts';
import type { Row } from '../row.ts';
import type { Found } from '../search.ts';
import type { Answer, Question } from './messages.ts';
import { bundleUrl, executeAgain, fetchReport } from './server-client.ts';

/** What is known of a run so far. */
export type Run = {
  /** Grows in place; a new `Run` comes with every growth. */
  readonly rows: readonly Row[];
  /** Undefined while the bundle is being read. */
  readonly check: BundleCheck | undefined;
  readonly sourced: SourcedReport | undefined;
  readonly detail: RecordDetail | undefined;
  /** Where the text that was last looked for stands; undefined while it is looked for. */
  readonly found: Found | undefined;
  /** What this computer or server refused; no fault of the bundle. */
  readonly trouble: string | undefined;
  readonly isExecuting: boolean;
};

const NOTHING: Run = {
  rows: [],
  check: undefined,
  sourced: undefined,
  detail: undefined,
  found: undefined,
  trouble: undefined,
  isExecuting: false,
};

/** Reads and checks a bundle. */
export function useRun(id: string): Run & {
  readonly look: (index: number) => void;
  readonly search: (text: string) => void;
  readonly execute: () => void;
} {
  const [run, setRun] = useState(NOTHING);
  const worker = useRef<Worker>();
  const asked = useRef(-1);
  const wanted = useRef('');
  useEffect(() => {
    const rows: Row[] = [];
    let isOpen = true;
    let drawn = 0;
    const change = (part: Partial<Run>) => {
      if (isOpen) setRun((before) => ({ ...before, ...part }));
    };
    const say = (error: unknown) => change({ trouble: error instanceof Error ? error.message : String(error) });
    setRun({ ...NOTHING, rows });
    const own = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
    worker.current = own;
    own.onerror = (event) => change({ trouble: `the check failed to start: ${event.message}` });
    own.onmessage = ({ data }: MessageEvent<Answer>) => {
      if (data.type === 'rows') {
        for (const row of data.rows) rows.push(row);
        // Each drawing costs as much as there are records: a long run is drawn at each quarter more.
        if (rows.length < drawn * 1.25) return;
        drawn = rows.length;
        change({ rows });
      } else if (data.type === 'checked') change({ rows, check: data.check });
      else if (data.type === 'failed') change({ trouble: data.message });
      else if (data.type === 'found') {
        if (data.text === wanted.current) change({ found: data.found });
      } else if (data.detail.index === asked.current) change({ detail: data.detail });
    };
    tell(own, { type: 'check', url: bundleUrl(id) });
    fetchReport(id).then((sourced) => change({ sourced }), say);
    return () => {
      isOpen = false;
      own.terminate();
    };
  }, [id]);
  const look = useCallback((index: number) => {
    asked.current = index;
    if (worker.current !== undefined) tell(worker.current, { type: 'detail', index });
  }, []);
  const search = useCallback((text: string) => {
    wanted.current = text;
    setRun((before) => (before.found === undefined ? before : { ...before, found: undefined }));
    if (worker.current !== undefined) tell(worker.current, { type: 'search', text });
  }, []);
  const execute = useCallback(() => {
    setRun((before) => ({ ...before, isExecuting: true, trouble: undefined }));
    executeAgain(id).then(
      (sourced) => setRun((before) => ({ ...before, isExecuting: false, sourced })),
      (error: unknown) =>
        setRun((before) => ({ ...before, isExecuting: false, trouble: `not executed: ${String(error)}` })),
    );
  }, [id]);
  return { ...run, look, search, execute };
}

function tell(worker: Worker, question: Question): void {
  worker.postMessage(question);
}
