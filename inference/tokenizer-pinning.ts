/**
 * The last step of every reader of tokenizers: whatever of a `tokenizer.json` would ask the JavaScript engine's Unicode
 * tables is spelled out or refused. What {@link pinTokenizer} returns is what is committed to.
 *
 * Byte-level splitting by the library's built-in pattern and splitting at digits become explicit splits. NFC, the form
 * that Qwen asks for, keeps its name and gets the digest of our own table, which is used in place of the engine's
 * (`normal-form.ts`); other forms, case mapping and trimming are refused.
 *
 * @module
 */

import { pinPattern } from './character-classes.ts';
import { ModelError } from './errors.ts';
import { NORMAL_FORM_TABLE } from './normal-form.ts';

/** Pattern of byte-level BPE where `use_regex` is set: the one of GPT-2's `encoder.py`. Matches cover any text. */
const GPT2_PATTERN = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** What vocabularies of SentencePiece write for a space. */
export const METASPACE = '▁';

/** The most parts of one sequence. */
const MAX_PARTS = 32;

type Part = { readonly [key: string]: unknown; readonly type: string };
type Rule = (part: Part, index: number) => readonly Part[];

const keep: Rule = (part) => [part];

const NORMALIZERS: Readonly<Record<string, Rule>> = {
  NFC: pinNormalForm,
  Replace: (part) => [{ ...part, pattern: pinSubject(part) }],
  Prepend: keep,
};

const PRE_TOKENIZERS: Readonly<Record<string, Rule>> = {
  Split: pinSplit,
  ByteLevel: pinByteLevel,
  // Every digit or run of digits, and what stands between.
  Digits: (part) => [matches(part['individual_digits'] === true ? '\\p{N}|\\P{N}+' : '\\p{N}+|\\P{N}+')],
  Metaspace: pinMetaspace,
};

const DECODERS: Readonly<Record<string, Rule>> = {
  Replace: (part) => [{ ...part, pattern: pinSubject(part) }],
  ByteLevel: keep,
  ByteFallback: keep,
  Fuse: keep,
  Strip: keep,
  Metaspace: keep,
};

/** What of a tokenizer's description is looked at. */
type Pinnable = {
  readonly json: {
    readonly normalizer: object | null;
    readonly pre_tokenizer: object | null;
    readonly decoder: object;
  };
};

/**
 * Makes a tokenizer independent of the engine's Unicode version. Giving it its own result changes nothing.
 *
 * @param description - parts of its `json` untrusted
 * @throws {@link ModelError} `UNSUPPORTED_TOKENIZER` for a part whose meaning depends on the engine or that the library
 * reads in another way than its reference, `MALFORMED_TOKENIZER` for what is no part at all
 */
export function pinTokenizer<T extends Pinnable>(description: T): T {
  const { json } = description;
  const normalizer = pinPart('normalizer', json.normalizer, 'normalizers', NORMALIZERS);
  const pre_tokenizer = pinPart('pre_tokenizer', json.pre_tokenizer, 'pretokenizers', PRE_TOKENIZERS);
  const decoder = pinPart('decoder', json.decoder, 'decoders', DECODERS) ?? json.decoder;
  if (withoutFirstSpace(pre_tokenizer).firstSpace && withoutNormalForm(normalizer).rest !== null) {
    throw refuse('Metaspace after a normalizer other than NFC');
  }
  return { ...description, json: { ...json, normalizer, pre_tokenizer, decoder } };
}

/**
 * A part, or a sequence of parts under `list`: one part that stays one part is left alone, all else becomes one flat
 * sequence.
 */
function pinPart(role: string, given: unknown, list: string, rules: Readonly<Record<string, Rule>>): Part | null {
  if (given === null) return null;
  const whole = asPart(role, given);
  const parts = flatten(role, whole, list).flatMap((part, index) => {
    const rule = Object.hasOwn(rules, part.type) ? rules[part.type] : undefined;
    if (rule === undefined) throw refuse(`${role} ${part.type.slice(0, 64)}`);
    return rule(part, index);
  });
  const [first] = parts;
  return parts.length === 1 && first !== undefined && whole.type !== 'Sequence'
    ? first
    : { type: 'Sequence', [list]: parts };
}

function flatten(role: string, whole: Part, list: string): readonly Part[] {
  if (whole.type !== 'Sequence') return [whole];
  const parts = whole[list];
  if (!Array.isArray(parts) || parts.length > MAX_PARTS) {
    throw new ModelError('MALFORMED_TOKENIZER', `the sequence of ${role} is no list of up to ${MAX_PARTS} parts`);
  }
  return parts.map((one) => {
    const part = asPart(role, one);
    if (part.type === 'Sequence') throw refuse(`${role} with a sequence in a sequence`);
    return part;
  });
}

function asPart(role: string, given: unknown): Part {
  if (typeof given !== 'object' || given === null || !('type' in given) || typeof given.type !== 'string') {
    throw new ModelError('MALFORMED_TOKENIZER', `${role} has no type`);
  }
  return given as Part;
}

/**
 * Takes NFC out of a pinned normaliser, for whoever does it by our own table.
 *
 * @param normalizer - as {@link pinTokenizer} leaves it
 * @returns whether a text is normalised first, and what the library has to do after that
 */
export function withoutNormalForm(normalizer: object | null): {
  readonly normalForm: boolean;
  readonly rest: object | null;
} {
  const whole = normalizer as (Part & { readonly normalizers?: readonly Part[] }) | null;
  const [first, ...rest] = whole?.normalizers ?? (whole === null ? [] : [whole]);
  if (first?.type !== 'NFC') return { normalForm: false, rest: normalizer };
  return { normalForm: true, rest: rest.length === 0 ? null : { type: 'Sequence', normalizers: rest } };
}

/**
 * Takes the space out of a pinned pre-tokenizer that stands before the first piece of a prompt only: the library counts
 * pieces of one text, and is given them one by one.
 *
 * @param preTokenizer - as {@link pinTokenizer} leaves it
 * @returns whether a prompt gets a space in front unless it has one, and what is left to the library
 */
export function withoutFirstSpace(preTokenizer: object | null): {
  readonly firstSpace: boolean;
  readonly rest: object | null;
} {
  const whole = preTokenizer as (Part & { readonly pretokenizers?: readonly Part[] }) | null;
  const [first, ...others] = whole?.pretokenizers ?? (whole === null ? [] : [whole]);
  if (first?.type !== 'Metaspace' || first['prepend_scheme'] !== 'first')
    return { firstSpace: false, rest: preTokenizer };
  const rest = { ...first, prepend_scheme: 'never' };
  return { firstSpace: true, rest: { type: 'Sequence', pretokenizers: [rest, ...others] } };
}

/** The library would take the pieces of another part for the first piece. */
function pinMetaspace(part: Part, index: number): readonly Part[] {
  if (part['prepend_scheme'] === 'first' && (index > 0 || (part['replacement'] ?? METASPACE) !== METASPACE)) {
    throw refuse('Metaspace of another kind');
  }
  return [part];
}

/** A table named in the part has to be ours: another one makes other tokens. */
function pinNormalForm(part: Part, index: number): readonly Part[] {
  if (index > 0) throw refuse('NFC after another normalizer');
  const { digest } = NORMAL_FORM_TABLE;
  if ('table' in part && part['table'] !== digest) throw refuse('NFC by another table');
  return [{ ...part, table: digest }];
}

/** `pattern` of a part: a text, or a pattern with its classes spelled out. */
function pinSubject(part: Part): { readonly String: string } | { readonly Regex: string } {
  const { pattern } = part;
  if (typeof pattern === 'object' && pattern !== null) {
    if ('Regex' in pattern && typeof pattern.Regex === 'string') return { Regex: pinPattern(pattern.Regex) };
    if ('String' in pattern && typeof pattern.String === 'string') return { String: pattern.String };
  }
  throw new ModelError('MALFORMED_TOKENIZER', `${part.type} has no pattern`);
}

/** The library isolates matches, or keeps nothing but matches; it takes every other behaviour for the first. */
function pinSplit(part: Part): readonly Part[] {
  const pattern = pinSubject(part);
  const { behavior, invert = false } = part;
  const isolates = behavior === 'Isolated' && invert === false;
  const keepsMatches = behavior === 'Removed' && invert === true;
  if (!isolates && !keepsMatches) throw refuse(`Split with behavior ${String(behavior).slice(0, 64)}`);
  return [{ ...part, pattern, invert }];
}

function pinByteLevel(part: Part): readonly Part[] {
  if (part['use_regex'] === false) return [part];
  // The space would have to come before the split, once.
  if (part['add_prefix_space'] !== false) throw refuse('ByteLevel with a space put in front');
  return [matches(GPT2_PATTERN), { ...part, use_regex: false }];
}

/**
 * A split by a pattern whose matches cover any text: keeping them is as good as isolating them, and the library then
 * does not copy the pattern for every piece.
 */
function matches(pattern: string): Part {
  return { type: 'Split', pattern: { Regex: pinPattern(pattern) }, behavior: 'Removed', invert: true };
}

function refuse(what: string): ModelError {
  return new ModelError('UNSUPPORTED_TOKENIZER', `${what} is not read here`);
}
