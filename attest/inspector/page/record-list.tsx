/**
 * The records of a run as a list of which only what is in view is drawn.
 *
 * L1. One record has the focus of the list (roving `tabIndex`) and is always drawn, in view or not: the keyboard never loses its place.
 * L2. Every drawn record says its place and the length of the whole list, since the others are not there to be counted.
 *
 * @module
 */

import type { JSX } from 'preact';
import { memo } from 'preact/compat';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { Row } from '../row.ts';
import type { Standing } from './standing.ts';
import { Name, Sign } from './text.tsx';

/** Height of a record in pixels, as in the style sheet. */
const ROW = 52;
const OVERSCAN = 8;

/** A list of records. */
export function RecordList(props: {
  readonly rows: readonly Row[];
  /** Payloads in which the text of the filter stands, by record. */
  readonly places: ReadonlyMap<number, string> | undefined;
  readonly step?: number;
  readonly standing: (index: number) => Standing;
  readonly choose: (index: number) => void;
}): JSX.Element {
  const { rows, places, step, standing, choose } = props;
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  /** The record that a key led to and that has not been drawn as chosen yet: keys come faster than that. */
  const wanted = useRef<number>();
  const place = step === undefined ? -1 : placeOf(rows, step);
  const active = Math.max(0, place);
  useLayoutEffect(() => {
    const node = box.current;
    if (node === null) return;
    const observer = new ResizeObserver(() => setHeight(node.clientHeight));
    observer.observe(node);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    const node = box.current;
    if (node === null || place < 0) return;
    if (place * ROW < node.scrollTop) node.scrollTop = place * ROW;
    else if ((place + 1) * ROW > node.scrollTop + node.clientHeight) {
      node.scrollTop = (place + 1) * ROW - node.clientHeight;
    }
    if (wanted.current !== undefined && wanted.current === step) {
      wanted.current = undefined;
      node.querySelector<HTMLElement>(`[data-place="${place}"]`)?.focus({ preventScroll: true });
    }
  }, [place]);
  const go = (to: number) => {
    const row = rows[Math.min(rows.length - 1, Math.max(0, to))];
    if (row === undefined) return;
    // The place of what is chosen already does not change: nothing would be left to wait for.
    wanted.current = row.index === step ? undefined : row.index;
    choose(row.index);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor(height / ROW) - 1);
    const pending = wanted.current === undefined ? -1 : placeOf(rows, wanted.current);
    const at = pending < 0 ? place : pending;
    const current = Math.max(0, at);
    const moves: Readonly<Record<string, number>> = {
      ArrowDown: current + 1,
      ArrowUp: current - 1,
      PageDown: current + page,
      PageUp: current - page,
      Home: 0,
      End: rows.length - 1,
    };
    const to = moves[event.key];
    if (to !== undefined) {
      event.preventDefault();
      go(at < 0 && event.key.startsWith('Arrow') ? 0 : to);
    } else if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      if (at < 0) go(current);
      // The focus goes to what the record holds, and is not taken back.
      wanted.current = undefined;
      document.getElementById('detail')?.focus();
    }
  };
  // A list that became shorter is scrolled back by the browser only later.
  const shownTop = Math.min(top, Math.max(0, rows.length * ROW - height));
  const from = Math.max(0, Math.floor(shownTop / ROW) - OVERSCAN);
  const to = Math.min(rows.length, Math.ceil((shownTop + height) / ROW) + OVERSCAN);
  const drawn = Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
  if (rows.length > 0 && (active < from || active >= to)) drawn.push(active);
  return (
    <div class="list" ref={box} onScroll={({ currentTarget }) => setTop(currentTarget.scrollTop)}>
      {rows.length === 0 && <p>No record to show.</p>}
      {rows.length > 0 && (
        <div
          role="listbox"
          aria-label="Records"
          class="canvas"
          ref={(node) => {
            if (node !== null) node.style.height = `${rows.length * ROW}px`;
          }}
          onKeyDown={onKeyDown}
        >
          {drawn.map((i) => {
            const row = rows[i];
            if (row === undefined) return null;
            const { level, word } = standing(row.index);
            return (
              <RecordRow
                key={row.index}
                row={row}
                found={places?.get(row.index)}
                place={i}
                count={rows.length}
                level={level}
                word={word}
                isSelected={i === place}
                isActive={i === active}
                choose={choose}
              />
            );
          })}
        </div>
      )}
    </div>
  );
}

const RecordRow = memo(function RecordRow(props: {
  readonly row: Row;
  readonly found: string | undefined;
  readonly place: number;
  readonly count: number;
  readonly level: Standing['level'];
  readonly word: string;
  readonly isSelected: boolean;
  readonly isActive: boolean;
  readonly choose: (index: number) => void;
}) {
  const { row, found, place, count, level, word, isSelected, isActive, choose } = props;
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the list listens to the keyboard
    <div
      role="option"
      class={`row ${level}${row.by === null ? '' : ' inner'}${isSelected ? ' selected' : ''}`}
      data-place={place}
      data-index={row.index}
      data-level={level}
      aria-selected={isSelected}
      aria-posinset={place + 1}
      aria-setsize={count}
      tabIndex={isActive ? 0 : -1}
      ref={(node) => {
        if (node !== null) node.style.transform = `translateY(${place * ROW}px)`;
      }}
      onClick={() => choose(row.index)}
    >
      <span class="number">{row.index}</span>
      <span class="what">
        <span class={`kind ${familyOf(row.kind)}`}>
          <Name text={row.kind} />
        </span>{' '}
        <Name text={row.label} />
        {row.by !== null && <span class="soft"> in {row.by}</span>}
      </span>
      <span class="meta soft">
        {found !== undefined && (
          <>
            in <Name text={found} /> ·{' '}
          </>
        )}
        {metaOf(row)}
      </span>
      <Sign level={level} word={word} />
    </div>
  );
});

/** What a record cost, in short. */
function metaOf(row: Row): string {
  const parts = [
    row.at === undefined ? '' : new Date(row.at).toISOString().slice(11, 23),
    row.of === row.index ? '' : `ends ${row.of}`,
    row.fuel === undefined ? '' : `${row.fuel.slice(0, 20)} fuel`,
    row.tokens === undefined ? '' : `${row.tokens} tokens`,
    row.class,
  ];
  return parts.filter((part) => part !== '').join(' · ');
}

/** Kinds that belong together have one colour, beside their name. */
export function familyOf(kind: string): string {
  return /^(agent|policy|inference|tool|host|run)\b/.exec(kind)?.[1] ?? 'other';
}

/** Place of a record in rows that are in the order of their indices, -1 if it is not among them. */
function placeOf(rows: readonly Row[], index: number): number {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((rows[middle]?.index ?? 0) < index) low = middle + 1;
    else high = middle;
  }
  return rows[low]?.index === index ? low : -1;
}
