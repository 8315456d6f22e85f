/**
 * The tables of `inference/spec/unicode-classes.json`, computed from the JavaScript engine's own Unicode tables; equal
 * to the file where the engine has the file's Unicode version.
 *
 * @module
 */

/** Names as in patterns, and what the engine calls them. */
const CLASSES: Readonly<Record<string, string>> = {
  White_Space: 'White_Space',
  L: 'L',
  Lu: 'Lu',
  Ll: 'Ll',
  Lt: 'Lt',
  Lm: 'Lm',
  Lo: 'Lo',
  M: 'M',
  N: 'N',
  Nd: 'Nd',
  P: 'P',
  S: 'S',
};

/** Unicode version of this engine, such as `17.0`. */
export function engineUnicode(): string {
  return String(process.versions['unicode']);
}

/** The file's content by this engine. */
export function computeClasses(): { readonly unicode: string; readonly classes: Record<string, string> } {
  const classes = Object.entries(CLASSES).map(([name, property]) => [name, ranges(property)]);
  return { unicode: engineUnicode(), classes: Object.fromEntries(classes) as Record<string, string> };
}

/** All code points with a property as `41-5a 61-7a aa ...`: ascending, neither touching nor overlapping. */
function ranges(property: string): string {
  const has = new RegExp(`^\\p{${property}}$`, 'u');
  const found: string[] = [];
  let first = -1;
  for (let point = 0; point <= 0x110000; point++) {
    const inside = point <= 0x10ffff && has.test(String.fromCodePoint(point));
    if (inside && first < 0) first = point;
    if (!inside && first >= 0) {
      const last = point - 1;
      found.push(first === last ? first.toString(16) : `${first.toString(16)}-${last.toString(16)}`);
      first = -1;
    }
  }
  return found.join(' ');
}
