/**
 * Secrets: values that the host adds to requests at the edge and that neither guests nor records ever see.
 *
 * A policy names a secret in a header template, `Bearer {{secret:BOOKS_TOKEN}}`. The value is put in right before the
 * request is sent; what comes back, and everything that is recorded or logged, goes through a {@link Redactor}.
 *
 * Spec: `runtime/spec/host-calls.md#secrets`.
 *
 * @module
 */

import { RuntimeError } from '../attest/core/error.ts';

/** Where secrets come from; names are those of templates. */
export type Secrets = { readonly get: (name: string) => string | undefined };

/** Takes secrets out of a text. */
export type Redactor = {
  /** The text with every occurrence of a secret, in any of the encodings of the spec, replaced by `[redacted:NAME]`. */
  readonly redact: (text: string) => string;
};

export type SecretErrorCode = 'MALFORMED_TEMPLATE' | 'UNKNOWN_SECRET' | 'UNSAFE_SECRET';

/** A template or a secret that cannot be used. Messages hold names, never values. */
export class SecretError extends RuntimeError<SecretErrorCode> {
  override readonly name = 'SecretError';
}

/** Fewest characters of a secret: a shorter one occurs by chance, and to redact it would tell where. */
export const MIN_SECRET_LENGTH = 6;

/** Most characters of a secret. */
export const MAX_SECRET_LENGTH = 4096;

const NAME = /^[A-Z][A-Z0-9_]{0,63}$/;

/**
 * Names of the secrets in a template, in the order in which they appear.
 *
 * @throws {@link SecretError} `MALFORMED_TEMPLATE` if `{{` begins anything but `{{secret:NAME}}`
 */
export function templateSecrets(template: string): readonly string[] {
  return splitTemplate(template).flatMap((part) => ('name' in part ? [part.name] : []));
}

/**
 * Puts secrets into a template.
 *
 * @returns the text, and the secrets that are in it
 * @throws {@link SecretError} `MALFORMED_TEMPLATE` as {@link templateSecrets}
 * @throws {@link SecretError} `UNKNOWN_SECRET` if there is no secret of a name
 * @throws {@link SecretError} `UNSAFE_SECRET` as {@link createRedactor}: what cannot be redacted is not sent
 */
export function renderTemplate(
  template: string,
  secrets: Secrets,
): { readonly text: string; readonly used: Readonly<Record<string, string>> } {
  const used: Record<string, string> = {};
  let text = '';
  for (const part of splitTemplate(template)) {
    if ('text' in part) {
      text += part.text;
      continue;
    }
    const value = secrets.get(part.name);
    if (value === undefined) {
      throw new SecretError('UNKNOWN_SECRET', `there is no secret ${part.name}`, { at: { secret: part.name } });
    }
    verifySecret(part.name, value);
    used[part.name] = value;
    text += value;
  }
  return { text, used };
}

/**
 * Makes a redactor of secrets, `{ NAME: value }`. Found are the value, the hexadecimal of its UTF-8, and its base64 of
 * either alphabet, also inside of a longer base64 text; each of them in the text as it is, and in what the text says once
 * its JSON escapes, percent encodings or HTML references are read. Where occurrences overlap, all of them go, under the
 * name of the first.
 *
 * @throws {@link SecretError} `MALFORMED_TEMPLATE` for a name that no template can hold
 * @throws {@link SecretError} `UNSAFE_SECRET` for a value of fewer than {@link MIN_SECRET_LENGTH} or more than
 *   {@link MAX_SECRET_LENGTH} characters, with a lone surrogate, or that a mark `[redacted:NAME]` would hold
 */
export function createRedactor(secrets: Readonly<Record<string, string>>): Redactor {
  const entries = Object.entries(secrets);
  const marks = entries.map(([name]) => `[redacted:${name}]`);
  const searches = entries.flatMap(([name, value]) => {
    if (!NAME.test(name)) throw new SecretError('MALFORMED_TEMPLATE', 'name of a secret is not in capitals');
    verifySecret(name, value);
    if (marks.some((mark) => mark.includes(value)) || value.includes('[redacted:')) {
      throw new SecretError('UNSAFE_SECRET', `secret ${name} is part of a mark`, { at: { secret: name } });
    }
    return needlesOf(value).map((needle) => ({ name, ...needle }));
  });
  return { redact: (text) => (searches.length === 0 ? text : replace(text, searches)) };
}

/** @throws {@link SecretError} `UNSAFE_SECRET` unless a value can be told apart in a text */
function verifySecret(name: string, value: string): void {
  const at = { secret: name };
  if (value.length < MIN_SECRET_LENGTH || value.length > MAX_SECRET_LENGTH) {
    const range = `${MIN_SECRET_LENGTH} to ${MAX_SECRET_LENGTH} characters`;
    throw new SecretError('UNSAFE_SECRET', `secret ${name} does not have ${range}`, { at });
  }
  if (/\p{Surrogate}/u.test(value)) {
    throw new SecretError('UNSAFE_SECRET', `secret ${name} is no well-formed text`, { at });
  }
}

type Part = { readonly text: string } | { readonly name: string };

function splitTemplate(template: string): readonly Part[] {
  const parts: Part[] = [];
  let from = 0;
  for (let open = template.indexOf('{{'); open >= 0; open = template.indexOf('{{', from)) {
    const close = template.indexOf('}}', open);
    const inner = close < 0 ? '' : template.slice(open + 2, close);
    const name = inner.startsWith('secret:') ? inner.slice('secret:'.length) : '';
    if (!NAME.test(name)) {
      throw new SecretError('MALFORMED_TEMPLATE', 'template holds {{ that begins no {{secret:NAME}}', {
        at: { offset: open },
      });
    }
    parts.push({ text: template.slice(from, open) }, { name });
    from = close + 2;
  }
  parts.push({ text: template.slice(from) });
  return parts;
}

/** One way in which a secret is written; `left` and `right`: base64 digits beside it that hold some of its bits. */
type Needle = { readonly text: string; readonly left: boolean; readonly right: boolean };
type Search = Needle & { readonly name: string };
type Span = { start: number; end: number; readonly name: string };

/** A text with its escapes read, and where in the source an offset of it lies. */
type View = { readonly text: string; readonly toSource: (offset: number) => number };

function replace(text: string, searches: readonly Search[]): string {
  const views = [{ text, toSource: (offset: number) => offset }, ...ESCAPES.flatMap((kind) => read(text, kind))];
  const spans = searches
    .flatMap((search) => views.flatMap((view) => spansOf(view, search)))
    .sort((a, b) => a.start - b.start || b.end - a.end);
  let result = '';
  let from = 0;
  for (const { start, end, name } of spans) {
    if (end <= from) continue;
    if (start >= from) result += `${text.slice(from, start)}[redacted:${name}]`;
    from = end;
  }
  return result + text.slice(from);
}

/** Places in the source where a view holds a secret in one spelling, those that overlap taken together; in order. */
function spansOf(view: View, { text, left, right, name }: Search): Span[] {
  const spans: Span[] = [];
  let last: Span | undefined;
  // An occurrence may begin inside of another.
  for (let i = view.text.indexOf(text); i >= 0; i = view.text.indexOf(text, i + 1)) {
    const before = left && isBase64Digit(view.text[i - 1]) ? 1 : 0;
    const after = right && isBase64Digit(view.text[i + text.length]) ? 1 : 0;
    const start = view.toSource(i - before);
    const end = view.toSource(i + text.length + after);
    if (last !== undefined && start < last.end) last.end = Math.max(last.end, end);
    else {
      last = { start, end, name };
      spans.push(last);
    }
  }
  return spans;
}

function isBase64Digit(character: string | undefined): boolean {
  return character !== undefined && /^[A-Za-z0-9+/_-]$/.test(character);
}

function needlesOf(value: string): readonly Needle[] {
  const bytes = Buffer.from(value, 'utf8');
  const hex = bytes.toString('hex');
  // A form writes a blank as `+`.
  const whole = new Set([value, value.replaceAll(' ', '+'), hex, hex.toUpperCase()]);
  return [
    ...[...whole].map((text) => ({ text, left: false, right: false })),
    ...[0, 1, 2].flatMap((offset) => base64Needles(bytes, offset)),
  ];
}

/**
 * Bytes that begin `offset` bytes after a group of three of a base64 text: the digits that hold nothing but their bits,
 * in both alphabets (RFC 4648 §4, §5), and whether a digit before and after holds some of them.
 */
function base64Needles(bytes: Uint8Array, offset: number): readonly Needle[] {
  const digits = Buffer.concat([new Uint8Array(offset), bytes])
    .toString('base64')
    .replace(/=+$/, '');
  const partial = (offset + bytes.length) % 3 !== 0;
  const text = digits.slice(Math.ceil((offset * 8) / 6), partial ? -1 : undefined);
  const spellings = new Set([text, text.replaceAll('+', '-').replaceAll('/', '_')]);
  return [...spellings].map((spelling) => ({ text: spelling, left: offset !== 0, right: partial }));
}

/** A kind of escape: how one is found, and what it stands for (`undefined`: nothing, it stays). */
type Escape = { readonly mark: string; readonly regex: RegExp; readonly read: (found: string) => string | undefined };

const ESCAPES: readonly Escape[] = [
  {
    // RFC 8259 §7
    mark: '\\',
    regex: /\\(?:u[0-9a-fA-F]{4}|["\\/bfnrt])/g,
    read: (found) =>
      found.length === 6 ? String.fromCharCode(Number.parseInt(found.slice(2), 16)) : SHORT_ESCAPES.get(found),
  },
  {
    // RFC 3986 §2.1, the bytes of one character of UTF-8 at a time
    mark: '%',
    regex:
      /%(?:[0-7][0-9a-f]|[cd][0-9a-f]%[89ab][0-9a-f]|e[0-9a-f](?:%[89ab][0-9a-f]){2}|f[0-7](?:%[89ab][0-9a-f]){3})/gi,
    read: (found) => Buffer.from(found.replaceAll('%', ''), 'hex').toString('utf8'),
  },
  {
    // References of the HTML standard that escaping functions write
    mark: '&',
    regex: /&(?:#[0-9]{1,10}|#[xX][0-9a-fA-F]{1,8}|amp|lt|gt|quot|apos);/g,
    read: (found) => {
      if (!found.startsWith('&#')) return ENTITIES.get(found);
      const point = /[xX]/.test(found) ? Number.parseInt(found.slice(3), 16) : Number.parseInt(found.slice(2), 10);
      return point > 0x10ffff ? undefined : String.fromCodePoint(point);
    },
  },
];

const SHORT_ESCAPES: ReadonlyMap<string, string> = new Map([
  ['\\"', '"'],
  ['\\\\', '\\'],
  ['\\/', '/'],
  ['\\b', '\b'],
  ['\\f', '\f'],
  ['\\n', '\n'],
  ['\\r', '\r'],
  ['\\t', '\t'],
]);

const ENTITIES: ReadonlyMap<string, string> = new Map([
  ['&amp;', '&'],
  ['&lt;', '<'],
  ['&gt;', '>'],
  ['&quot;', '"'],
  ['&apos;', "'"],
]);

/** The view of a text with one kind of escape read; none if the text has no such escape. */
function read(text: string, kind: Escape): readonly View[] {
  if (!text.includes(kind.mark)) return [];
  const pieces: string[] = [];
  // Behind escape `i`, offset `inView[i]` of the view is offset `inSource[i]` of the source.
  const inView = [0];
  const inSource = [0];
  let length = 0;
  let from = 0;
  for (const match of text.matchAll(kind.regex)) {
    const character = kind.read(match[0]);
    if (character === undefined) continue;
    pieces.push(text.slice(from, match.index), character);
    length += match.index - from + character.length;
    from = match.index + match[0].length;
    inView.push(length);
    inSource.push(from);
  }
  pieces.push(text.slice(from));
  const toSource = (offset: number): number => {
    let low = 0;
    for (let high = inView.length; high - low > 1; ) {
      const middle = (low + high) >> 1;
      if ((inView[middle] ?? 0) <= offset) low = middle;
      else high = middle;
    }
    return (inSource[low] ?? 0) + offset - (inView[low] ?? 0);
  };
  return [{ text: pieces.join(''), toSource }];
}
