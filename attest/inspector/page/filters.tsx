/**
 * Which records the list shows.
 *
 * @module
 */

import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import type { Row } from '../row.ts';
import { visibleText } from '../visible-text.ts';

/** A choice; empty texts choose all. */
export type Filter = { readonly kind: string; readonly class: string; readonly text: string };

/** All records. */
export const NO_FILTER: Filter = { kind: '', class: '', text: '' };

/** The rows that a filter chooses, in order. */
export function filterRows(rows: readonly Row[], filter: Filter): readonly Row[] {
  const text = filter.text.trim().toLowerCase();
  if (filter.kind === '' && filter.class === '' && text === '') return rows.slice();
  return rows.filter(
    (row) =>
      (filter.kind === '' || row.kind === filter.kind) &&
      (filter.class === '' || row.class === filter.class) &&
      (text === '' || row.label.toLowerCase().includes(text) || row.kind.includes(text) || String(row.index) === text),
  );
}

/** The fields of a filter. `length` is that of `rows`, which grow in place. */
export function Filters(props: {
  readonly rows: readonly Row[];
  readonly length: number;
  readonly filter: Filter;
  readonly onChange: (filter: Filter) => void;
  readonly shown: number;
}): JSX.Element {
  const { rows, length, filter, onChange, shown } = props;
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
        Name or number
        <input
          type="search"
          value={filter.text}
          maxLength={200}
          onInput={({ currentTarget }) => onChange({ ...filter, text: currentTarget.value })}
        />
      </label>
      <span role="status">
        {shown} of {length} shown
      </span>
    </search>
  );
}
