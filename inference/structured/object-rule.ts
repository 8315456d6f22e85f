/**
 * Objects: which property may be written next. Those that the schema names are written in its order, then additional
 * ones, no name twice.
 *
 * @module
 */

import type { Rule } from './rule.ts';
import { escapedBytes } from './string-bytes.ts';
import type { TextLanguage, TextPlace } from './text-language.ts';

export type ObjectRule = {
  readonly keys: readonly NamedKey[];
  /** Other names: languages that exclude each other, with the rule of the value. */
  readonly others: readonly { readonly language: TextLanguage; readonly value: Rule; readonly count: number }[];
  readonly min: number;
  readonly max: number;
  readonly trie: KeyNode;
  /** How many of the keys at `i` and after are required. */
  readonly requiredFrom: readonly number[];
  /** The first required key at `i` or after; -1 where there is none. */
  readonly nextRequired: readonly number[];
  /** How many named keys are also among the other names. */
  readonly shadowed: number;
};

/** A name that the schema gives; `bytes` as it is written, without quotes. */
export type NamedKey = { readonly bytes: Uint8Array; readonly value: Rule; readonly isRequired: boolean };

/** Names by their bytes. */
export type KeyNode = {
  readonly next: Map<number, KeyNode>;
  /** The key that ends here; -1 where none does. */
  key: number;
  /** All keys that go through here, ascending. */
  readonly below: number[];
};

/** How far an object is written. */
export type ObjectPlace = {
  /** Named keys before this one are written or left out for good. */
  readonly index: number;
  readonly count: number;
  /** Additional names, as written. */
  readonly used: readonly string[];
  /** Additional names written ahead, that nobody kept. */
  readonly unknown: number;
};

/** What the closing text writes next: the end, a named key, an additional one; `dead` where nothing helps. */
export type Plan = 'end' | 'other' | 'dead' | number;

/** Completes an object's rule. */
export function objectRule(
  keys: readonly { readonly name: string; readonly value: Rule; readonly isRequired: boolean }[],
  others: ObjectRule['others'],
  bounds: { readonly min: number; readonly max: number },
  shadowed: number,
): ObjectRule {
  const trie: KeyNode = { next: new Map(), key: -1, below: [] };
  const named = keys.map(({ name, value, isRequired }) => ({ bytes: escapedBytes(name), value, isRequired }));
  const requiredFrom = [0];
  const nextRequired = [-1];
  for (let i = named.length - 1; i >= 0; i--) {
    const isRequired = named[i]?.isRequired === true;
    requiredFrom.unshift((requiredFrom[0] as number) + (isRequired ? 1 : 0));
    nextRequired.unshift(isRequired ? i : (nextRequired[0] as number));
  }
  named.forEach(({ bytes }, key) => {
    let node = trie;
    node.below.push(key);
    for (const byte of bytes) {
      let next = node.next.get(byte);
      if (next === undefined) {
        next = { next: new Map(), key: -1, below: [] };
        node.next.set(byte, next);
      }
      node = next;
      node.below.push(key);
    }
    node.key = key;
  });
  return { keys: named, others, ...bounds, trie, requiredFrom, nextRequired, shadowed };
}

function isLive({ value }: { readonly value: Rule }): boolean {
  return value.length < Number.POSITIVE_INFINITY;
}

/** How many additional names may still be written. */
function otherCount(rule: ObjectRule, place: ObjectPlace): number {
  const live = rule.others.filter(isLive);
  if (live.length === 0) return 0;
  const all = live.reduce((sum, { count }) => sum + count, 0);
  return all === Number.POSITIVE_INFINITY ? all : Math.max(0, all - rule.shadowed - place.used.length - place.unknown);
}

/** The closing strategy: what is required, the cheapest named keys that `minProperties` asks for, then others. */
export function planOf(rule: ObjectRule, place: ObjectPlace): Plan {
  const { index, count } = place;
  const required = rule.requiredFrom[index] as number;
  const next = rule.nextRequired[index] as number;
  if (count + required > rule.max || rule.min > rule.max) return 'dead';
  const live = (key: number): Plan => (isLive(rule.keys[key] as NamedKey) ? key : 'dead');
  const missing = rule.min - count - required;
  if (missing <= 0) return next >= 0 ? live(next) : 'end';
  const cost = (key: number) => lengthOf(rule.keys[key] as NamedKey);
  const optional: number[] = [];
  for (let key = index; key < rule.keys.length; key++) {
    const named = rule.keys[key] as NamedKey;
    if (!named.isRequired && isLive(named)) optional.push(key);
  }
  if (optional.length + otherCount(rule, place) < missing) return 'dead';
  const chosen = optional.sort((a, b) => cost(a) - cost(b) || a - b).slice(0, missing);
  const first = Math.min(...chosen, next >= 0 ? next : Number.POSITIVE_INFINITY);
  return first === Number.POSITIVE_INFINITY ? 'other' : live(first);
}

/** What may be written next. */
export type Options = {
  readonly mayEnd: boolean;
  /** Named keys from `low` to `high` that some value satisfies. */
  readonly low: number;
  readonly high: number;
  readonly mayOther: boolean;
};

/** What may be written next at a place from which the object can be completed. */
export function optionsOf(rule: ObjectRule, place: ObjectPlace, isForced: boolean): Options {
  const { index, count } = place;
  const next = rule.nextRequired[index] as number;
  const mayEnd = next < 0 && count >= rule.min;
  if (isForced) {
    const plan = planOf(rule, place);
    const key = typeof plan === 'number' ? plan : undefined;
    return { mayEnd, low: key ?? 0, high: key ?? -1, mayOther: plan === 'other' };
  }
  const others = otherCount(rule, place);
  const mayOther = next < 0 && count < rule.max && others > 0;
  let low = index;
  let high = next >= 0 ? next : rule.keys.length - 1;
  if (count + 1 + (rule.requiredFrom[index] as number) > rule.max) [low, high] = [Math.max(next, 0), next];
  let liveAfter = 0;
  for (let key = rule.keys.length - 1; key > high; key--) liveAfter += isLive(rule.keys[key] as NamedKey) ? 1 : 0;
  // Keys that are jumped over are lost: enough must be left for the minimum.
  while (high >= low && count + 1 + liveAfter + others < rule.min) {
    liveAfter += isLive(rule.keys[high] as NamedKey) ? 1 : 0;
    high--;
  }
  return { mayEnd, low, high, mayOther };
}

/** Whether a key from `low` to `high` with values goes through a node. */
export function leadsToKey(rule: ObjectRule, node: KeyNode, { low, high }: Options): boolean {
  return keysBelow(rule, node, low, high).next().done !== true;
}

/** The keys from `low` to `high` with values that go through a node, ascending. */
export function* keysBelow(rule: ObjectRule, node: KeyNode, low: number, high: number): Generator<number> {
  let [from, to] = [0, node.below.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if ((node.below[middle] as number) < low) from = middle + 1;
    else to = middle;
  }
  for (; from < node.below.length && (node.below[from] as number) <= high; from++) {
    const key = node.below[from] as number;
    if (isLive(rule.keys[key] as NamedKey)) yield key;
  }
}

/** Additional names, part of one being written: where each language is; undefined where it is left. */
export type OtherPlaces = readonly (TextPlace | undefined)[];

/** Where additional names start. */
export function startOthers(rule: ObjectRule): OtherPlaces {
  return rule.others.map((other) => (isLive(other) ? other.language.start : undefined));
}

/** After one more byte; undefined where no language goes on. */
export function stepOthers(rule: ObjectRule, places: OtherPlaces, byte: number): OtherPlaces | undefined {
  const after = places.map((place, i) =>
    place === undefined ? undefined : rule.others[i]?.language.step(place, byte),
  );
  return after.some((place) => place !== undefined) ? after : undefined;
}

/** The language that a name written so far is in; -1 where it is in none. */
export function wholeOther(rule: ObjectRule, places: OtherPlaces): number {
  return places.findIndex((place, i) => place !== undefined && rule.others[i]?.language.isWhole(place) === true);
}

/** Whether endlessly many names go on from here, so that those in use exhaust nothing. */
export function isEndless(rule: ObjectRule, places: OtherPlaces): boolean {
  return places.some((place, i) => place !== undefined && rule.others[i]?.language.isEndless(place) === true);
}

/**
 * The shortest rest of an additional name (the smallest among equals) that makes neither a named key nor one in use.
 *
 * @param node - named keys with the bytes so far; undefined where there are none
 * @param used - rests of the names in use with the bytes so far
 */
export function shortestOther(
  rule: ObjectRule,
  places: OtherPlaces,
  node: KeyNode | undefined,
  used: readonly string[],
): readonly number[] | undefined {
  if (node === undefined && used.length === 0) {
    const ways = places.flatMap((place, i) => {
      const language = rule.others[i]?.language;
      return place === undefined || language === undefined ? [] : [{ language, place, length: language.length(place) }];
    });
    const length = Math.min(...ways.map((way) => way.length));
    if (length === Number.POSITIVE_INFINITY) return undefined;
    const rests = ways.flatMap((way) => {
      const out: number[] = [];
      if (way.length === length) way.language.close(way.place, out);
      return way.length === length ? [out] : [];
    });
    return rests.reduce((best, rest) => (Buffer.compare(Buffer.from(rest), Buffer.from(best)) < 0 ? rest : best));
  }
  if (wholeOther(rule, places) >= 0 && (node === undefined || node.key < 0) && !used.includes('')) return [];
  let best: readonly number[] | undefined;
  for (let byte = 0x20; byte < 0xf5; byte++) {
    const after = stepOthers(rule, places, byte);
    if (after === undefined) continue;
    const rest = shortestOther(rule, after, node?.next.get(byte), restsAfter(used, byte));
    if (rest !== undefined && (best === undefined || rest.length + 1 < best.length)) best = [byte, ...rest];
  }
  return best;
}

/** Of the texts that begin with a byte, what follows it. */
export function restsAfter(texts: readonly string[], byte: number): readonly string[] {
  return texts.length === 0 ? texts : texts.flatMap((text) => (text.charCodeAt(0) === byte ? [text.slice(1)] : []));
}

/** Bytes of the closing text of an object without members, by the lengths that rules have so far. */
export function objectLength(rule: ObjectRule): number {
  const start: ObjectPlace = { index: 0, count: 0, used: [], unknown: 0 };
  if (planOf(rule, start) === 'dead') return Number.POSITIVE_INFINITY;
  const missing = Math.max(0, rule.min - (rule.requiredFrom[0] as number));
  const optional = rule.keys.filter((key) => !key.isRequired && isLive(key)).map(lengthOf);
  const chosen = missing === 0 ? [] : optional.sort((a, b) => a - b).slice(0, missing);
  const members = [...rule.keys.filter(({ isRequired }) => isRequired).map(lengthOf), ...chosen];
  const used: string[] = [];
  for (let others = missing - chosen.length; others > 0; others--) {
    const name = shortestOther(rule, startOthers(rule), rule.trie, used) ?? [];
    const { length = Number.POSITIVE_INFINITY } = rule.others[languageOf(rule, name)]?.value ?? {};
    members.push(name.length + length);
    used.push(String.fromCharCode(...name));
  }
  // A brace; of each member its quotes and colon, and a comma but before the first.
  return members.reduce((sum, length) => sum + length + 4, members.length === 0 ? 1 : 0);
}

/** Bytes of a name and its value. */
function lengthOf({ bytes, value }: NamedKey): number {
  return bytes.length + value.length;
}

/** The language of a whole additional name. */
export function languageOf(rule: ObjectRule, name: readonly number[]): number {
  let places: OtherPlaces | undefined = startOthers(rule);
  for (const byte of name) places = places === undefined ? undefined : stepOthers(rule, places, byte);
  return places === undefined ? -1 : wholeOther(rule, places);
}
