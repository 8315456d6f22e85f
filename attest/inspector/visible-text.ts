/**
 * Makes characters visible that a browser does not show, or that change how others are shown: controls, directions, zero widths, tags.
 * A name that reads like another one must not be able to hide how it differs.
 *
 * @module
 * @see Unicode Technical Report 36, "Unicode Security Considerations"
 */

/** A part of a text: `mark` stands for a character that is not shown itself, by its name. */
export type TextPart = { readonly text: string } | { readonly mark: string };

/** Directions, line and paragraph separators, interlinear marks, tags, and halves of pairs: marked everywhere. */
const ALWAYS =
  '[\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb\\u{e0000}-\\u{e01ef}\\p{Cs}]';

/** What else a name or a digest has no use for: line ends, joiners, odd spaces, fillers. */
const IN_NAMES =
  '[\\t\\n\\r\\u00a0\\u00ad\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u2000-\\u200a\\u200c\\u200d\\u202f\\u205f\\u3000\\u3164\\ufe00-\\ufe0f\\uffa0]';

const PAYLOAD = new RegExp(`(?:${ALWAYS}|\\r)+`, 'gu');
const NAME = new RegExp(`(?:${ALWAYS}|${IN_NAMES})+`, 'gu');

/** Most parts of one text: each is a node of the page. */
const MAX_PARTS = 4000;

/** Most characters of a row of unseen ones that are named one by one. */
const MAX_NAMED = 8;

/**
 * Cuts a text into what is shown as it is and what is shown by its number; unseen characters in a row are one part.
 *
 * @param text - untrusted
 * @param use - `payload` keeps tabs, line ends and the joiners of scripts and emoji
 * @param maxLength - characters that are shown at most; what is left out is said in a mark at the end
 */
export function visibleParts(
  text: string,
  use: 'name' | 'payload',
  maxLength = Number.POSITIVE_INFINITY,
): readonly TextPart[] {
  const parts: TextPart[] = [];
  const whole = text.length > maxLength ? text.slice(0, maxLength) : text;
  let from = 0;
  for (const found of whole.matchAll(use === 'name' ? NAME : PAYLOAD)) {
    if (parts.length >= MAX_PARTS) break;
    if (found.index > from) parts.push({ text: whole.slice(from, found.index) });
    parts.push({ mark: marksOf([...found[0]]) });
    from = found.index + found[0].length;
  }
  const end = parts.length >= MAX_PARTS ? from : whole.length;
  if (from < end || (parts.length === 0 && text === '')) parts.push({ text: whole.slice(from, end) });
  if (end < text.length) parts.push({ mark: `… ${text.length - end} more characters` });
  return parts;
}

/** A text of one line in which nothing is hidden, for places that hold no markup: titles, labels, choices. */
export function visibleText(text: string, maxLength: number): string {
  return visibleParts(text, 'name', maxLength)
    .map((part) => ('mark' in part ? `[${part.mark}]` : part.text))
    .join('');
}

function marksOf(characters: readonly string[]): string {
  const names = characters.slice(0, MAX_NAMED).map((character) => {
    const code = character.codePointAt(0) ?? 0;
    return `U+${code.toString(16).toUpperCase().padStart(4, '0')}`;
  });
  const more = characters.length - names.length;
  return more > 0 ? `${names.join(' ')} and ${more} more` : names.join(' ');
}
