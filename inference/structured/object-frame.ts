/**
 * Objects as they are read: the members after `{`, and a member's name.
 *
 * @module
 */

import { utf8 } from '../../attest/core/bytes.ts';
import { literalDfa } from './byte-dfa.ts';
import { dfaFrame, type FrameTable, type LeafFrame } from './frame.ts';
import {
  isEndless,
  type KeyNode,
  keysBelow,
  leadsToKey,
  type NamedKey,
  type ObjectPlace,
  type ObjectRule,
  type Options,
  type OtherPlaces,
  objectLength,
  optionsOf,
  planOf,
  restsAfter,
  shortestOther,
  startOthers,
  stepOthers,
  wholeOther,
} from './object-rule.ts';
import { type Part, type Rule, ruleFrame } from './rule.ts';

const [QUOTE, COMMA, SPACE, BRACE] = [0x22, 0x2c, 0x20, 0x7d];
const COLON = literalDfa([utf8(':')], true);

/** An object of the rule, without its opening brace. */
export function objectPart(table: FrameTable, rule: ObjectRule): Part {
  return {
    length: () => objectLength(rule),
    inner: () => [
      ...rule.keys.filter(({ isRequired }) => isRequired || rule.min > 0).map(({ value }) => value),
      ...(rule.min > 0 ? rule.others.map(({ value }) => value) : []),
    ],
    frame: () => membersFrame(table, rule, { index: 0, count: 0, used: [], unknown: 0 }, 'value'),
  };
}

/** What was read last: a value or the opening brace, a comma, the space after it. */
type After = 'value' | 'comma' | 'space';

function membersFrame(table: FrameTable, rule: ObjectRule, at: ObjectPlace, after: After): LeafFrame {
  // Members beyond every bound are not counted: places with the same future are one.
  const count = rule.max === Number.POSITIVE_INFINITY ? Math.min(at.count, Math.max(rule.min, 1)) : at.count;
  const place: ObjectPlace = { ...at, count };
  const key = `m${placeKey(table, rule, place)}:${after}`;
  return table.intern(key, (id) => {
    const name = (isAhead: boolean) => keyFrame(table, rule, place, startOf(rule, place, isAhead));
    let length: number | undefined;
    const frame: LeafFrame = {
      id,
      kind: 'leaf',
      isContainer: true,
      isWhole: false,
      mayGoOn: true,
      free: undefined,
      length() {
        if (length === undefined) {
          const plan = planOf(rule, place);
          if (after === 'value' && plan === 'end') length = 1;
          else if (after === 'value' && plan === 'dead') length = Number.POSITIVE_INFINITY;
          else length = (after === 'value' && place.count > 0 ? 2 : 1) + name(true).length();
        }
        return length;
      },
      close(out) {
        if (after === 'value' && planOf(rule, place) === 'end') {
          out.push(BRACE);
          return;
        }
        if (after === 'value' && place.count > 0) out.push(COMMA);
        out.push(QUOTE);
        // The names that the closing text adds are not kept in `ahead`: it needs them to tell the next from them.
        name(false).close(out);
      },
      step(byte, { isForced, isAhead }) {
        const options = isForced ? optionsOf(rule, place, true) : openOptions(rule, place);
        const mayName = options.mayOther || leadsToKey(rule, rule.trie, options);
        if (byte === BRACE) return after === 'value' && options.mayEnd ? [] : undefined;
        if (byte === QUOTE) return mayName && (after !== 'value' || place.count === 0) ? [name(isAhead)] : undefined;
        if (byte === COMMA && after === 'value' && place.count > 0 && mayName) {
          return [membersFrame(table, rule, place, 'comma')];
        }
        return byte === SPACE && after === 'comma' ? [membersFrame(table, rule, place, 'space')] : undefined;
      },
      ahead: () => frame,
    };
    return frame;
  });
}

/** A name as far as it is written. */
type Name = {
  readonly node: KeyNode | undefined;
  readonly others: OtherPlaces;
  /** Bytes so far; null where they are not kept. Empty where no additional name may come. */
  readonly typed: string | null;
  /** Rests of the names in use that begin like this one. */
  readonly rests: readonly string[] | undefined;
};

function startOf(rule: ObjectRule, place: ObjectPlace, isAhead: boolean): Name {
  const isKept = !isAhead || candidatesOf(rule, place).length > 0;
  return { node: rule.trie, others: startOthers(rule), typed: isKept ? '' : null, rests: undefined };
}

function keyFrame(table: FrameTable, rule: ObjectRule, place: ObjectPlace, given: Name): LeafFrame {
  const open = openOptions(rule, place);
  const rests = given.rests ?? place.used;
  // What can no longer become an additional name is one with every other such beginning.
  const name: Name = open.mayOther ? { ...given, rests } : { node: given.node, others: [], typed: null, rests: [] };
  const others = name.others.map((at) => (at === undefined ? '' : `${at.state}.${at.node}`)).join();
  const known = name.typed === null ? `~${listKey(rests)}` : `=${name.typed}`;
  const node = name.node === undefined ? 0 : table.nameOf(name.node);
  const key = `k${placeKey(table, rule, place)}:${node}:${others}:${open.mayOther ? known : ''}`;
  return table.intern(key, (id) => {
    const target = () => targetOf(table, rule, place, name, open, rests);
    let found: ReturnType<typeof target> | undefined;
    const frame: LeafFrame = {
      id,
      kind: 'leaf',
      isContainer: true,
      isWhole: false,
      mayGoOn: true,
      free: freeOf(rule, name, rests, open),
      length() {
        found ??= target();
        if (found === undefined) return Number.POSITIVE_INFINITY;
        const after = membersFrame(table, rule, found.place, 'value');
        return found.rest.length + 2 + found.value.length + after.length();
      },
      close(out) {
        found ??= target();
        if (found === undefined) throw new RangeError('no name ends here');
        for (const byte of found.rest) out.push(byte);
        out.push(QUOTE, 0x3a);
        ruleFrame(table, found.value).close(out);
        membersFrame(table, rule, found.place, 'value').close(out);
      },
      step(byte, { isForced, isAhead }) {
        const options = isForced ? forcedOptions(rule, place, name, open) : open;
        const next = stepName(rule, place, name, rests, byte, options, isAhead);
        if (next !== undefined) return [keyFrame(table, rule, place, next)];
        if (byte !== QUOTE) return undefined;
        const end = endName(rule, place, name, rests, options);
        return end === undefined
          ? undefined
          : [dfaFrame(table, COLON), ruleFrame(table, end.value), membersFrame(table, rule, end.place, 'value')];
      },
      ahead: () =>
        name.typed === null || isCandidate(rule, place, name.typed)
          ? frame
          : keyFrame(table, rule, place, { ...name, typed: null, rests }),
    };
    return frame;
  });
}

const candidatesByPlace = new WeakMap<ObjectPlace, readonly string[]>();

/**
 * The additional names that the closing text may have to write after the name that comes here. A name that is none of them
 * need not be kept in looking ahead: it changes no closing text.
 */
function candidatesOf(rule: ObjectRule, place: ObjectPlace): readonly string[] {
  let names = candidatesByPlace.get(place);
  if (names === undefined) {
    const found: string[] = [];
    for (let missing = rule.min - place.count - 1; missing > 0 && rule.others.length > 0; missing--) {
      const next = shortestOther(rule, startOthers(rule), rule.trie, [...place.used, ...found]);
      if (next === undefined) break;
      found.push(String.fromCharCode(...next));
    }
    names = found;
    candidatesByPlace.set(place, names);
  }
  return names;
}

function isCandidate(rule: ObjectRule, place: ObjectPlace, typed: string): boolean {
  return candidatesOf(rule, place).some((name) => name.startsWith(typed));
}

const optionsByPlace = new WeakMap<ObjectPlace, Options>();

/** {@link optionsOf} without a limit of nesting, once for each place. */
function openOptions(rule: ObjectRule, place: ObjectPlace): Options {
  let options = optionsByPlace.get(place);
  if (options === undefined) {
    options = optionsOf(rule, place, false);
    optionsByPlace.set(place, options);
  }
  return options;
}

/** Under a limit of nesting, only what the closing text writes. */
function forcedOptions(rule: ObjectRule, place: ObjectPlace, name: Name, open: Options): Options {
  const forced = optionsOf(rule, place, true);
  if (forced.mayOther || forced.high >= forced.low) return forced;
  // The name was begun before the limit: it ends as it may.
  return name.node === rule.trie ? forced : open;
}

function stepName(
  rule: ObjectRule,
  place: ObjectPlace,
  name: Name,
  rests: readonly string[],
  byte: number,
  options: Options,
  isAhead: boolean,
): Name | undefined {
  const node = name.node?.next.get(byte);
  const others = options.mayOther ? stepOthers(rule, name.others, byte) : undefined;
  const isNamed = node !== undefined && leadsToKey(rule, node, options);
  const left = restsAfter(rests, byte);
  // Of few names the one that nobody kept may be the only one that this could become.
  const mayExhaust = () => place.unknown > 0 || shortestOther(rule, others ?? [], node, left) === undefined;
  if (others !== undefined && (isEndless(rule, others) || !mayExhaust())) {
    const typed = name.typed === null ? null : name.typed + String.fromCharCode(byte);
    const isKept = typed !== null && !(isAhead && !isCandidate(rule, place, typed));
    return { node, others, typed: isKept ? typed : null, rests: left };
  }
  if (!isNamed) return undefined;
  return { node, others: rule.others.map(() => undefined), typed: null, rests: [] };
}

type End = { readonly value: Rule; readonly place: ObjectPlace };

function endName(
  rule: ObjectRule,
  place: ObjectPlace,
  name: Name,
  rests: readonly string[],
  options: Options,
): End | undefined {
  const key = name.node?.key ?? -1;
  const count = place.count + 1;
  if (key >= 0) {
    const { value } = rule.keys[key] as NamedKey;
    if (key < options.low || key > options.high || value.length === Number.POSITIVE_INFINITY) return undefined;
    return { value, place: { ...place, index: key + 1, count } };
  }
  const language = options.mayOther ? wholeOther(rule, name.others) : -1;
  const value = rule.others[language]?.value;
  if (value === undefined || rests.includes('')) return undefined;
  const index = rule.keys.length;
  if (name.typed !== null) return { value, place: { ...place, index, count, used: [...place.used, name.typed] } };
  // A second name of which nobody knows whether it differs from the first: no token reaches this far.
  if (place.unknown > 0) return undefined;
  return { value, place: { ...place, index, count, unknown: 1 } };
}

/** What the closing text makes of a name. */
function targetOf(
  table: FrameTable,
  rule: ObjectRule,
  place: ObjectPlace,
  name: Name,
  open: Options,
  rests: readonly string[],
): (End & { readonly rest: readonly number[] | Uint8Array }) | undefined {
  const plan = planOf(rule, place);
  const typedLength = depthOf(rule, name.node);
  const named = (key: number) => {
    const { bytes, value } = rule.keys[key] as NamedKey;
    return { value, rest: bytes.subarray(typedLength), place: { ...place, index: key + 1, count: place.count + 1 } };
  };
  const other = () => {
    if (!open.mayOther) return undefined;
    const rest = shortestOther(rule, name.others, name.node, rests);
    if (rest === undefined) return undefined;
    let places: OtherPlaces | undefined = name.others;
    for (const byte of rest) places = places === undefined ? undefined : stepOthers(rule, places, byte);
    const language = name.others.length === 0 || places === undefined ? -1 : wholeOther(rule, places);
    const value = rule.others[language]?.value;
    if (value === undefined) return undefined;
    const full = (name.typed ?? '') + String.fromCharCode(...rest);
    const used = name.typed === null ? place.used : [...place.used, full];
    const unknown = name.typed === null ? place.unknown + 1 : place.unknown;
    return { value, rest, place: { index: rule.keys.length, count: place.count + 1, used, unknown } };
  };
  const below = name.node === undefined ? [] : [...keysBelow(rule, name.node, open.low, open.high)];
  if (typeof plan === 'number' && below.includes(plan)) return named(plan);
  const additional = other();
  if (plan === 'other' && additional !== undefined) return additional;
  const cost = (key: number) => (rule.keys[key] as NamedKey).bytes.length + (rule.keys[key] as NamedKey).value.length;
  const [best] = below.sort((a, b) => cost(a) - cost(b) || a - b);
  if (best === undefined) return additional;
  const ours = named(best);
  if (additional === undefined) return ours;
  const lengthWith = ({ rest, value, place: next }: typeof ours | typeof additional) =>
    rest.length + value.length + membersFrame(table, rule, next, 'value').length();
  return lengthWith(additional) < lengthWith(ours) ? additional : ours;
}

/** Number of bytes that lead to a node. */
function depthOf(rule: ObjectRule, node: KeyNode | undefined): number {
  const key = node?.below[0];
  if (node === undefined || key === undefined) return 0;
  let at = rule.trie;
  let depth = 0;
  for (const byte of (rule.keys[key] as NamedKey).bytes) {
    if (at === node) return depth;
    at = at.next.get(byte) as KeyNode;
    depth++;
  }
  return depth;
}

/** Whether any characters may follow, each leaving the place as it is: nothing named and nothing in use is near. */
function freeOf(rule: ObjectRule, name: Name, rests: readonly string[], open: Options): LeafFrame['free'] {
  if (!open.mayOther || name.typed !== null || name.node !== undefined || rests.length > 0) return undefined;
  const [only, ...more] = rule.others;
  const place = name.others[0];
  const isFree = more.length === 0 && only?.language.isFree === true && place?.node === 0;
  return isFree ? { low: 0, high: Number.POSITIVE_INFINITY } : undefined;
}

function placeKey(table: FrameTable, rule: ObjectRule, { index, count, used, unknown }: ObjectPlace): string {
  return `${table.nameOf(rule)}:${index}:${count}:${unknown}:${listKey(used)}`;
}

/** A list of names as one text: no name holds a line feed as it is written, and none at all is not the empty one. */
function listKey(list: readonly string[]): string {
  return list.map((one) => `${one}\n`).join('');
}
