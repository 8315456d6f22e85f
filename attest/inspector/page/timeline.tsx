/**
 * A run over its time: a lane for each family of kinds, a bar from each start to its end. A picture of the list, which says the same in
 * words.
 *
 * @module
 */

import type { JSX } from 'preact';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Row } from '../row.ts';
import { familyOf } from './record-list.tsx';
import type { Standing } from './standing.ts';
import type { Level } from './text.tsx';

const LANES = ['run', 'agent', 'policy', 'inference', 'tool', 'host'] as const;
const LANE = 14;
const LABELS = 76;

/** From `index`, a start, to the record that ends it; both are the same record where nothing lies between. */
type Bar = {
  readonly lane: number;
  readonly from: number;
  readonly to: number;
  readonly index: number;
  readonly end: number;
};

/** `length` is that of `rows`, which grow in place. */
export function Timeline(props: {
  readonly rows: readonly Row[];
  readonly length: number;
  readonly step?: number;
  readonly standing: (index: number) => Standing;
  readonly choose: (index: number) => void;
}): JSX.Element | null {
  const { rows, length, step, standing, choose } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [scheme, setScheme] = useState(0);
  const { bars, first, last } = useMemo(() => layOut(rows), [rows, length]);
  useEffect(() => {
    const node = canvas.current;
    if (node === null) return;
    const observer = new ResizeObserver(() => setWidth(node.clientWidth));
    observer.observe(node);
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const onScheme = () => setScheme((before) => before + 1);
    dark.addEventListener('change', onScheme);
    return () => {
      observer.disconnect();
      dark.removeEventListener('change', onScheme);
    };
  }, [length === 0]);
  useEffect(() => {
    const node = canvas.current;
    if (node !== null && width > 0) draw(node, width, { bars, first, last, step, standing });
  }, [bars, first, last, width, step, standing, scheme]);
  if (length === 0) return null;
  const seconds = ((last - first) / 1000).toFixed(3);
  return (
    <canvas
      ref={canvas}
      class="timeline"
      role="img"
      aria-label={`${length} records over ${seconds} seconds of the operator's clock; the list below has each of them`}
      onClick={(event) => {
        const box = event.currentTarget.getBoundingClientRect();
        const at = first + ((event.clientX - box.left - LABELS) / (box.width - LABELS)) * (last - first);
        const lane = Math.floor((event.clientY - box.top) / LANE);
        const found = nearest(bars, lane, at);
        if (found !== undefined) choose(standing(found.end).level === 'bad' ? found.end : found.index);
      }}
    />
  );
}

function layOut(rows: readonly Row[]): {
  readonly bars: readonly Bar[];
  readonly first: number;
  readonly last: number;
} {
  const starts = new Map<number, { readonly at: number; readonly lane: number }>();
  const bars: Bar[] = [];
  let [first, last] = [Number.POSITIVE_INFINITY, 0];
  for (const row of rows) {
    const { at } = row;
    if (at === undefined) continue;
    if (at < first) first = at;
    if (at > last) last = at;
    const lane = LANES.indexOf(familyOf(row.kind) as (typeof LANES)[number]);
    if (lane < 0) continue;
    const start = row.of === row.index ? undefined : starts.get(row.of);
    if (row.kind.endsWith('.start')) starts.set(row.index, { at, lane });
    else {
      const index = start === undefined ? row.index : row.of;
      bars.push({ lane, from: start?.at ?? at, to: at, index, end: row.index });
    }
  }
  return {
    bars,
    first: Number.isFinite(first) ? first : 0,
    last: Math.max(last, Number.isFinite(first) ? first + 1 : 1),
  };
}

function draw(
  node: HTMLCanvasElement,
  width: number,
  picture: {
    readonly bars: readonly Bar[];
    readonly first: number;
    readonly last: number;
    readonly step: number | undefined;
    readonly standing: (index: number) => Standing;
  },
): void {
  const { bars, first, last, step, standing } = picture;
  const scale = devicePixelRatio;
  node.width = Math.round(width * scale);
  node.height = Math.round(LANES.length * LANE * scale);
  const context = node.getContext('2d');
  if (context === null) return;
  context.scale(scale, scale);
  const style = getComputedStyle(node);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  context.font = '11px system-ui, sans-serif';
  context.textBaseline = 'middle';
  LANES.forEach((name, lane) => {
    context.fillStyle = colour('soft');
    context.fillText(name, 0, lane * LANE + LANE / 2);
    context.fillStyle = colour('lane');
    context.fillRect(LABELS, lane * LANE + 2, width - LABELS, LANE - 4);
  });
  const place = (at: number) => LABELS + ((at - first) / (last - first)) * (width - LABELS - 2);
  const colours = { good: colour('good'), part: colour('part'), bad: colour('bad'), none: colour('soft') };
  const put = (bar: Bar, fill: string, grow = 0) => {
    const [x, end] = [place(bar.from), place(bar.to)];
    context.fillStyle = fill;
    context.fillRect(x, bar.lane * LANE + 2 - grow, Math.max(1.5, end - x) + grow, LANE - 4 + 2 * grow);
  };
  const bad: Bar[] = [];
  // Short bars that would lie on the same pixel as the one before, in the same colour, are not drawn again.
  const before = LANES.map(() => '');
  for (const bar of bars) {
    const level = worseLevel(standing(bar.index).level, standing(bar.end).level);
    if (level === 'bad') bad.push(bar);
    const where = `${Math.round(place(bar.from))} ${Math.round(place(bar.to))} ${level}`;
    if (before[bar.lane] === where) continue;
    before[bar.lane] = where;
    put(bar, colours[level]);
  }
  // What is false is never covered by what is not.
  for (const bar of bad) put(bar, colours.bad, 2);
  const chosen = bars.find((bar) => bar.index === step || bar.end === step);
  if (chosen !== undefined) {
    context.strokeStyle = colour('text');
    context.lineWidth = 1.5;
    const x = place(chosen.from);
    context.strokeRect(x - 1, chosen.lane * LANE + 1, Math.max(3, place(chosen.to) - x) + 2, LANE - 2);
  }
}

/** Colour of a bar: what is wrong with its start or its end is wrong with it. */
function worseLevel(a: Level, b: Level): Level {
  const order: readonly Level[] = ['bad', 'none', 'part', 'good'];
  return order.find((level) => level === a || level === b) ?? a;
}

function nearest(bars: readonly Bar[], lane: number, at: number): Bar | undefined {
  let best: Bar | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const bar of bars) {
    if (bar.lane !== lane) continue;
    const distance = at < bar.from ? bar.from - at : at > bar.to ? at - bar.to : 0;
    if (distance < least) {
      least = distance;
      best = bar;
    }
  }
  return best;
}
