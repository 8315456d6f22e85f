/**
 * Texts of a bundle on the page: never markup, and nothing in them hidden.
 *
 * @module
 */

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { visibleParts, visibleText } from '../visible-text.ts';

/** Characters of a name or message that are shown. */
const MAX_NAME = 2000;

/** Characters of a payload that are shown. */
const MAX_SAID = 128 * 1024;

/** A name, digest or message; `bdi` keeps its direction to itself. */
export function Name({ text }: { readonly text: string }): JSX.Element {
  return <bdi class="name">{marked(text, 'name', MAX_NAME)}</bdi>;
}

/** What was said, line by line. */
export function Said({ text, label }: { readonly text: string; readonly label: string }): JSX.Element {
  return (
    // A region that scrolls must be reachable by the keyboard.
    // biome-ignore lint/a11y/noNoninteractiveTabindex: see above
    <section class="said" tabIndex={0} aria-label={label}>
      <pre dir="auto">{marked(text, 'payload', MAX_SAID)}</pre>
    </section>
  );
}

function marked(text: string, use: 'name' | 'payload', maxLength: number) {
  return visibleParts(text, use, maxLength).map((part, i) =>
    'mark' in part ? (
      <span class="mark" key={i}>
        {part.mark}
      </span>
    ) : (
      part.text
    ),
  );
}

/** A digest or address, whole, with a button that copies it. */
export function Digest({ text, what }: { readonly text: string; readonly what: string }): JSX.Element {
  const [isCopied, setCopied] = useState(false);
  const copy = () => {
    // Where the browser refuses, the text can still be selected.
    navigator.clipboard?.writeText(text).then(
      () => setCopied(true),
      () => setCopied(false),
    );
  };
  return (
    <span class="hash">
      <Name text={text} />{' '}
      <button type="button" class="copy" onClick={copy} aria-label={`Copy ${visibleText(what, 80)}`}>
        {isCopied ? 'Copied' : 'Copy'}
      </button>
    </span>
  );
}

/** A mark with its word: never colour alone. */
export function Sign({ level, word }: { readonly level: Level; readonly word: string }): JSX.Element {
  return (
    <span class={`sign ${level}`}>
      <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">
        <path d={SHAPES[level]} />
      </svg>
      <span>{word}</span>
    </span>
  );
}

/** `none`: nothing was found out. */
export type Level = 'good' | 'part' | 'bad' | 'none';

/** A tick, a triangle with its mark, a cross, a ring. */
const SHAPES: Readonly<Record<Level, string>> = {
  good: 'M6.4 12.6 1.8 8l1.5-1.5 3.1 3.1 6.3-6.3 1.5 1.5z',
  part: 'M8 1.5 15.2 14H.8zM7.2 6v4h1.6V6zm0 5v1.5h1.6V11z',
  bad: 'm3.4 1.9 4.6 4.6 4.6-4.6 1.5 1.5L9.5 8l4.6 4.6-1.5 1.5L8 9.5l-4.6 4.6-1.5-1.5L6.5 8 1.9 3.4z',
  none: 'M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2m0 1.6a4.4 4.4 0 1 1 0 8.8 4.4 4.4 0 0 1 0-8.8',
};

/** A number of bytes for people. */
export function sizeText(bytes: number): string {
  if (bytes < 1024) return `${bytes} bytes`;
  return bytes < 1 << 20 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / (1 << 20)).toFixed(1)} MiB`;
}
