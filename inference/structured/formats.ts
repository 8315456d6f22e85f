/**
 * What is written for each `format`. Every text of these patterns has the format by its RFC, by ajv-formats and by zod; not
 * every text of a format is written (no leap seconds, no quoted local parts, no user names in URIs).
 *
 * @module
 */

const DATE =
  '(?:(?:\\d\\d[2468][048]|\\d\\d[13579][26]|\\d\\d0[48]|[02468][048]00|[13579][26]00)-02-29|\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8])))';
const CLOCK = '(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)';
/** Units follow each other without a gap (RFC 3339, appendix A). */
const DAYS = '(?:\\d+D|\\d+M(?:\\d+D)?|\\d+Y(?:\\d+M(?:\\d+D)?)?)';
const HOURS = '(?:\\d+S|\\d+M(?:\\d+S)?|\\d+H(?:\\d+M(?:\\d+S)?)?)';
const BYTE = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]\\d|\\d)';
const IPV4 = `(?:${BYTE}\\.){3}${BYTE}`;
const H = '[0-9a-fA-F]{1,4}';
const IPV6 = `(?:(?:${H}:){7}${H}|(?:${H}:){1,7}:|(?:${H}:){1,6}:${H}|(?:${H}:){1,5}(?::${H}){1,2}|(?:${H}:){1,4}(?::${H}){1,3}|(?:${H}:){1,3}(?::${H}){1,4}|(?:${H}:){1,2}(?::${H}){1,5}|${H}:(?::${H}){1,6}|:(?:(?::${H}){1,7}|:))`;
const LABEL = '[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*';
const PATH = "(?:[a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})*";
/** The last label starts with a letter: one that looks like a number would make the whole an IPv4 address. */
const HOST = `(?:${LABEL}\\.)*[a-zA-Z][a-zA-Z0-9]*(?:-[a-zA-Z0-9]+)*`;

const PATTERNS: Readonly<Record<string, string>> = {
  date: `^${DATE}$`,
  time: `^${CLOCK}$`,
  'date-time': `^${DATE}T${CLOCK}$`,
  duration: `^P(?:\\d+W|${DAYS}(?:T${HOURS})?|T${HOURS})$`,
  email: `^[A-Za-z0-9_+-]+(?:\\.[A-Za-z0-9_+-]+)*@(?:${LABEL}\\.)+[A-Za-z]{2,}$`,
  // Two hyphens together would announce an internationalised label.
  hostname:
    '^(?=.{1,253}$)(?!.*--)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$',
  ipv4: `^${IPV4}$`,
  ipv6: `^${IPV6}$`,
  uri: `^(?:https?|ftp|wss?)://${HOST}(?::[1-9]\\d{0,3})?(?:/${PATH})*(?:\\?(?:[/?]|${PATH}))?(?:#(?:[/?]|${PATH}))?$`,
  uuid: '^[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$',
  // The others are names of zod's.
  base64: '^(?:[0-9a-zA-Z+/]{4})*(?:[0-9a-zA-Z+/]{2}==|[0-9a-zA-Z+/]{3}=)?$',
  base64url: '^(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2,3})?$',
  cidrv4: `^${IPV4}/(?:\\d|[12]\\d|3[0-2])$`,
  cidrv6: `^${IPV6}/(?:12[0-8]|1[01]\\d|[1-9]?\\d)$`,
  cuid: '^[cC][0-9a-z]{6,}$',
  cuid2: '^[0-9a-z]+$',
  e164: '^\\+[1-9]\\d{6,14}$',
  ksuid: '^[A-Za-z0-9]{27}$',
  // A header that names an algorithm and the type.
  jwt: '^eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+$',
  lowercase: '^[^A-Z]*$',
  mac: '^(?:[0-9A-F]{2}:){5}[0-9A-F]{2}$|^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}$',
  nanoid: '^[a-zA-Z0-9_-]{21}$',
  ulid: '^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$',
  uppercase: '^[^a-z]*$',
  xid: '^[0-9a-vA-V]{20}$',
};

/** Names that zod puts beside patterns that say all. */
const BESIDE_PATTERN: ReadonlySet<string> = new Set([
  ...['regex', 'includes', 'starts_with', 'ends_with', 'template_literal', 'hex'],
  ...['md5', 'sha1', 'sha256', 'sha384', 'sha512'].flatMap((hash) => [
    `${hash}_hex`,
    `${hash}_base64`,
    `${hash}_base64url`,
  ]),
]);

/** Formats of numbers, by OpenAPI: whether one is whole, and its bounds. Every number that is written is a `double`. */
const OF_NUMBERS: Readonly<Record<string, { readonly isWhole: boolean; readonly min: number; readonly max: number }>> =
  {
    int32: { isWhole: true, min: -(2 ** 31), max: 2 ** 31 - 1 },
    int64: { isWhole: true, min: -(2 ** 63), max: 2 ** 63 },
    float: { isWhole: false, min: -Number.MAX_VALUE, max: Number.MAX_VALUE },
    double: { isWhole: false, min: -Number.MAX_VALUE, max: Number.MAX_VALUE },
  };

/** Whether a name is that of any format, of texts or of numbers. */
export function isKnownFormat(format: string): boolean {
  return BESIDE_PATTERN.has(format) || Object.hasOwn(PATTERNS, format) || Object.hasOwn(OF_NUMBERS, format);
}

/** What a format says of numbers; nothing where it is one of texts. */
export function numberFormat(format: string | undefined): (typeof OF_NUMBERS)[string] | undefined {
  return format !== undefined && Object.hasOwn(OF_NUMBERS, format) ? OF_NUMBERS[format] : undefined;
}

/**
 * Pattern of a format.
 *
 * @param hasPattern - whether the schema, or a part of it, has a pattern of its own
 * @returns undefined for one that says nothing of texts by itself, an empty text for one that adds nothing to the pattern
 */
export function formatPattern(format: string, hasPattern: boolean): string | undefined {
  if (hasPattern && BESIDE_PATTERN.has(format)) return '';
  return Object.hasOwn(PATTERNS, format) ? PATTERNS[format] : undefined;
}
