/**
 * A link to a record of the run, from further up on the page.
 *
 * @module
 */

import type { ComponentChildren, JSX } from 'preact';
import { linkTo } from './route.ts';
import { Name } from './text.tsx';

/** Opens a record, and goes to where it is shown. */
export function RecordLink(props: {
  readonly id: string;
  readonly step: number;
  readonly children?: ComponentChildren;
}): JSX.Element {
  const { id, step, children } = props;
  return (
    <a href={linkTo({ id, step })} onClick={goToRecord}>
      {children ?? `record ${step}`}
    </a>
  );
}

/** What is said of a run, with a link to the record that it is said of. */
export function Finding(props: {
  readonly text: string;
  readonly id: string;
  readonly step: number | undefined;
}): JSX.Element {
  const { text, id, step } = props;
  return (
    <p>
      <Name text={text} />
      {step !== undefined && (
        <>
          {' '}
          <RecordLink id={id} step={step}>
            Show record {step}
          </RecordLink>
        </>
      )}
    </p>
  );
}

/** What follows `#` in the address names a run, so that the browser does not go there by itself. */
function goToRecord(event: MouseEvent): void {
  // In another window or tab nothing is to be moved here.
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  requestAnimationFrame(() => {
    const detail = document.getElementById('detail');
    if (detail === null) return;
    detail.focus({ preventScroll: true });
    // Where the record stands beside the list, both are shown; below it, on a narrow page, the record.
    const isBeside = detail.offsetTop === (detail.parentElement?.offsetTop ?? -1);
    (isBeside ? detail.parentElement : detail)?.scrollIntoView({ block: 'start' });
  });
}
