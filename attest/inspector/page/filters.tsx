/**
 * Which records the list shows.
 *
 * @module
 */

import type { JSX } from 'preact';
import { useEffect, useMemo } from 'preact/hooks';
import type { Row } from '../row.ts';
import type { Found } from '../search.ts';
import { visibleText } from '../visible-text.ts';

/** A choice; empty texts choose all. */
export type Filter = { readonly kind: string; readonly class: string; readonly text: string };

/** All records. */
export const NO_FILTER: Filter = { kind: '', class: '', text: '' };

/** A shorter text is not looked for in payloads: it would be everywhere. */
const MIN_SEARCHED = 2;

/** Milliseconds after the last key until payloads are searched. */
const PATIENCE = 300;

/** The text that payloads are searched for, some time after it was written; empty for none. */
export function useSearched(filter: Filter, search: (text: string) => void): string {
  const text = filter.text.trim();
  const wanted = text.length < MIN_SEARCHED ? '' : text;
  useEffect(() => {
    // What runs is ended at once, what is new waits.
    search('');
    if (wanted === '') return;
    const timer = setTimeout(() => search(wanted), PATIENCE);
    return () => clearTimeout(timer);
  }, [wanted, search]);
  return wanted;
}

/**
 * The rows that a filter chooses, in order.
 *
 * @param found - where its text stands in payloads
 */
export function filterRows(
  rows: readonly Row[],
  filter: Filter,
  found: ReadonlyMap<number, string> | undefined,
): readonly Row[] {
  const text = filter.text.trim().toLowerCase();
  if (filter.kind === '' && filter.class === '' && text === '') return rows.slice();
  return rows.filter(
    (row) =>
      (filter.kind === '' || row.kind === filter.kind) &&
      (filter.class === '' || row.class === filter.class) &&
      (text === '' ||
        found?.has(row.index) ||
        row.label.toLowerCase().includes(text) ||
        row.kind.includes(text) ||
        String(row.index) === text),
  );
}

/** The fields of a filter. `length` is that of `rows`, which grow in place. */
export function Filters(props: {
  readonly rows: readonly Row[];
  readonly length: number;
  readonly filter: Filter;
  readonly onChange: (filter: Filter) => void;
  readonly shown: number;
  /** What the search in payloads found; null: nothing is looked for; undefined: it goes on. */
  readonly found: Found | null | undefined;
}): JSX.Element {
  const { rows, length, filter, onChange, shown, found } = props;
  const kinds = useMemo(() => [...new Set(rows.map((row) => row.kind))].sort(), [rows, length]);
  const classes = useMemo(() => [...new Set(rows.map((row) => row.class))].sort(), [rows, length]);
  const choice = (label: string, name: 'kind' | 'class', values: readonly string[]) => (
    <label>
      {label}
      <select
        value={filter[name]}
        onChange={({ currentTarget }) => onChange({ ...filter, [name]: currentTarget.value })}
      >
        <option value="">all</option>
        {values.slice(0, 100).map((value) => (
          <option key={value} value={value}>
            {visibleText(value, 80)}
          </option>
        ))}
      </select>
    </label>
  );
  return (
    <search class="filters">
      {choice('Kind', 'kind', kinds)}
      {choice('Class', 'class', classes)}
      <label>
        Name, number or payload text
        <input
          type="search"
          value={filter.text}
          maxLength={200}
          onInput={({ currentTarget }) => onChange({ ...filter, text: currentTarget.value })}
        />
      </label>
      <span role="status">
        {shown} of {length} shown
        {found === undefined && '; searching payloads …'}
        {found?.isCut === true && `; the search ended after ${found.places.size} records`}
      </span>
    </search>
  );
}
