/**
 * One run: its claims, its time line, its records.
 *
 * @module
 */

import type { JSX } from 'preact';
import { useCallback, useEffect, useMemo, useState } from 'preact/hooks';
import type { BundleCheck } from '../bundle-check.ts';
import type { BundleEntry } from '../bundles.ts';
import { isSimulatedChain } from '../claims.ts';
import { headlineOf } from '../headline.ts';
import type { SourcedReport } from '../report.ts';
import { Claims } from './claims-view.tsx';
import { DetailPane } from './detail-pane.tsx';
import { type Filter, Filters, filterRows, NO_FILTER, useSearched } from './filters.tsx';
import { Finding } from './record-link.tsx';
import { RecordList } from './record-list.tsx';
import { linkTo, replaceRoute } from './route.ts';
import { divergedOf, standingOf, stepsOf } from './standing.ts';
import { SummaryView } from './summary-view.tsx';
import { Digest, Name, Sign, sizeText } from './text.tsx';
import { Timeline } from './timeline.tsx';
import { useRun } from './use-run.ts';

/** A run. */
export function RunView(props: {
  readonly entry: BundleEntry;
  readonly step?: number;
  readonly canVerify: boolean;
  readonly hasList: boolean;
}): JSX.Element {
  const { entry, step, canVerify, hasList } = props;
  const { rows, check, sourced, detail, trouble, isExecuting, found, look, search, execute } = useRun(entry.id);
  const [filter, setFilter] = useState<Filter>(NO_FILTER);
  const steps = useMemo(() => stepsOf(check, sourced), [check, sourced]);
  // Rows grow in place: their number says that there are new ones.
  const searched = useSearched(filter, search);
  const places = searched === '' ? undefined : found?.places;
  const shown = useMemo(() => filterRows(rows, filter, places), [rows, rows.length, filter, places]);
  const isHere = step !== undefined && step < rows.length;
  useEffect(() => {
    if (isHere && step !== undefined) look(step);
  }, [isHere, step, look]);
  const { id } = entry;
  const choose = useCallback((index: number) => replaceRoute({ id, step: index }), [id]);
  const show = useCallback((wanted: Filter) => {
    setFilter(wanted);
    document.getElementById('records')?.scrollIntoView({ block: 'start' });
    document.querySelector<HTMLElement>('.filters select')?.focus({ preventScroll: true });
  }, []);
  const standing = useCallback(
    (index: number) => {
      const row = rows[index];
      return row === undefined
        ? ({ level: 'none', word: '' } as const)
        : standingOf(row, check, steps, sourced?.source);
    },
    [rows, check, steps, sourced],
  );
  const selected = isHere && step !== undefined ? rows[step] : undefined;
  return (
    <>
      {hasList && (
        <nav aria-label="Runs">
          <a href={linkTo({})}>All runs</a>
        </nav>
      )}
      <h1>
        <Name text={entry.name} />
      </h1>
      <p class="soft">
        {check?.run != null && (
          <>
            Run <Digest text={check.run} what="the id of the run" />
          </>
        )}
        {check?.records ?? rows.length} records, {sizeText(entry.bytes)}
        {check !== undefined && check.records > rows.length && `; the first ${rows.length} are listed`}
      </p>
      {check !== undefined && isSimulatedChain(check) && (
        <p class="simulated">
          <strong>SIMULATED</strong>: chain {check.open?.chain} is a development chain. Its coins, keys and time are
          worth nothing.
        </p>
      )}
      {trouble !== undefined && (
        <p class="trouble" role="alert">
          <Name text={trouble} />
        </p>
      )}
      <div role="status" class={`headline ${check === undefined ? 'none' : headlineOf(check, sourced).level}`}>
        {check !== undefined && <Head check={check} sourced={sourced} id={id} />}
        {check === undefined && (
          <p>{trouble === undefined ? `Checking in your browser … ${rows.length} records so far` : 'Not checked.'}</p>
        )}
      </div>
      {check !== undefined && <SummaryView check={check} id={id} diverged={divergedOf(steps)} show={show} />}
      {check !== undefined && (
        <Claims
          check={check}
          sourced={sourced}
          id={id}
          execute={canVerify ? execute : undefined}
          isExecuting={isExecuting}
        />
      )}
      <section aria-labelledby="records" class="records">
        <h2 id="records">Records</h2>
        <Timeline
          rows={rows}
          length={rows.length}
          standing={standing}
          choose={choose}
          {...(step === undefined ? {} : { step })}
        />
        <Filters
          rows={rows}
          length={rows.length}
          filter={filter}
          onChange={setFilter}
          shown={shown.length}
          found={searched === '' ? null : found}
        />
        <div class="split">
          <RecordList
            rows={shown}
            places={places}
            standing={standing}
            choose={choose}
            {...(step === undefined ? {} : { step })}
          />
          <DetailPane
            id={id}
            row={selected}
            detail={detail?.index === step ? detail : undefined}
            fault={[check?.fault, check?.beyondLimit, check?.falsehood].find((found) => found?.step === step)}
            report={step === undefined ? undefined : steps.get(step)}
            standing={selected === undefined ? undefined : standing(selected.index)}
            rows={rows}
          />
        </div>
      </section>
    </>
  );
}

function Head({
  check,
  sourced,
  id,
}: {
  readonly check: BundleCheck;
  readonly sourced: SourcedReport | undefined;
  readonly id: string;
}) {
  const { level, word, text, step } = headlineOf(check, sourced);
  return (
    <>
      <p class="word">
        <Sign level={level} word={word} />
      </p>
      <Finding text={text} id={id} step={step} />
      <p class="soft">
        Checked here in {check.elapsedMs} ms: {check.sound} of {check.records} records fit together.
      </p>
    </>
  );
}
