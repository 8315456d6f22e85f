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

const PAYLOAD = new RegExp(`${ALWAYS}|\\r`, 'gu');
const NAME = new RegExp(`${ALWAYS}|${IN_NAMES}`, 'gu');

/**
 * Cuts a text into what is shown as it is and what is shown by its number.
 *
 * @param text - untrusted
 * @param use - `payload` keeps tabs, line ends and the joiners of scripts and emoji
 */
export function visibleParts(text: string, use: 'name' | 'payload'): readonly TextPart[] {
  const parts: TextPart[] = [];
  let from = 0;
  for (const found of text.matchAll(use === 'name' ? NAME : PAYLOAD)) {
    if (found.index > from) parts.push({ text: text.slice(from, found.index) });
    const code = found[0].codePointAt(0) ?? 0;
    parts.push({ mark: `U+${code.toString(16).toUpperCase().padStart(4, '0')}` });
    from = found.index + found[0].length;
  }
  if (from < text.length || parts.length === 0) parts.push({ text: text.slice(from) });
  return parts;
}
