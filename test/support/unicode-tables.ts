/**
 * The tables of `inference/spec/unicode-classes.json` and `unicode-normal-form.json`, computed from the JavaScript
 * engine's own Unicode tables; equal to the files where the engine has their Unicode version.
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

/** The content of `unicode-normal-form.json` by this engine; `inference/normal-form.ts` says what it means. */
export function computeNormalForm(): {
  readonly unicode: string;
  readonly combining: string;
  readonly decompositions: string;
} {
  return { unicode: engineUnicode(), combining: combining(), decompositions: decompositions() };
}

const FIRST_HANGUL = 0xac00;
const LAST_HANGUL = 0xd7a3;
const hex = (text: string) => [...text].map((char) => (char.codePointAt(0) as number).toString(16));

function decompositions(): string {
  const found: string[] = [];
  for (let point = 0x80; point <= 0x10ffff; point++) {
    if (point >= FIRST_HANGUL && point <= LAST_HANGUL) continue;
    const char = String.fromCodePoint(point);
    const apart = char.normalize('NFD');
    if (apart === char) continue;
    if (apart.normalize('NFC') !== char) {
      found.push(`${point.toString(16)}=${hex(apart).join(',')}`);
      continue;
    }
    const parts = [...apart];
    const last = parts.pop() as string;
    const first = parts.join('').normalize('NFC');
    if ([...first].length !== 1) throw new Error(`U+${point.toString(16)} is no pair`);
    found.push(`${point.toString(16)}=${hex(first + last).join('+')}`);
  }
  return found.join(' ');
}

/**
 * The order of combining marks, found by watching which of two is put first: marks of one class are never exchanged,
 * marks of two classes always stand in the order of the classes.
 */
function combining(): string {
  const exchanged = (a: string, b: string) => a !== b && (a + b).normalize('NFD') === b + a;
  const same = (a: string, b: string) => !exchanged(a, b) && !exchanged(b, a);
  // U+0334 is of the lowest class, U+0345 of the highest.
  const orders = (char: string) => exchanged(char, '\u0334') || exchanged('\u0345', char);
  const marks: string[] = [];
  for (let point = 0x300; point <= 0x10ffff; point++) {
    const char = String.fromCodePoint(point);
    if (char.normalize('NFD') === char && orders(char)) marks.push(char);
  }
  const classes: string[] = [];
  for (const mark of marks) {
    if (classes.some((one) => same(one, mark))) continue;
    const place = classes.findIndex((one) => exchanged(one, mark));
    classes.splice(place === -1 ? classes.length : place, 0, mark);
  }
  const runs: { first: number; last: number; rank: number }[] = [];
  for (const mark of marks) {
    const point = mark.codePointAt(0) as number;
    const rank = 1 + classes.findIndex((one) => same(one, mark));
    const run = runs.at(-1);
    if (run?.last === point - 1 && run.rank === rank) run.last = point;
    else runs.push({ first: point, last: point, rank });
  }
  return runs
    .map(({ first, last, rank }) => {
      const end = first === last ? '' : `-${last.toString(16)}`;
      return `${first.toString(16)}${end}:${rank}`;
    })
    .join(' ');
}
