/**
 * Masks: which tokens may come where, so that the text stays in the language and can be closed within the tokens left.
 *
 * M1. A mask depends on the grammar, the vocabulary, the text so far and, where they are few, the tokens left: on no
 *     cache and on no other request.
 * M2. From a place of cost k > 0 some token of the mask leads to one of cost k - 1 at most.
 *
 * @module
 */

import { type Digest, sha256 } from '../../attest/core/hash.ts';
import { ModelError } from '../errors.ts';
import { Cutter } from './cut.ts';
import { type Grammar, readerOf } from './grammar.ts';
import type { ReadState, StackReader } from './stack.ts';
import { isToken, isWritable, type TokenTrie } from './trie.ts';

/** A set of ids. */
export type Mask = {
  /** Bit `id % 32` of word `id >> 5`. */
  readonly bits: Uint32Array;
  readonly count: number;
  /** The one id, where it is one alone. */
  readonly only: number | undefined;
  has(id: number): boolean;
  /** SHA-256 of the words as little-endian bytes. */
  readonly digest: Digest;
};

/** Where a text stands; never changes. */
export type MaskState = {
  /** Whether the text so far is in the language. */
  readonly isWhole: boolean;
  /** Whether it is, and nothing can follow: decoding stops here without an end token. */
  readonly isEnd: boolean;
  /** Fewest tokens of a closing text; 0 if whole. */
  readonly cost: number;
  /**
   * Tokens after which a closing text fits what is left, and end ids where the text is whole.
   *
   * @param remaining - tokens left with the next one, at least 1 and at least the cost
   * @throws RangeError if no token is left to allow
   */
  mask(remaining: number): Mask;
  /**
   * The place after a token.
   *
   * @throws RangeError for a token that is not in {@link MaskState.mask} with any number of tokens left
   */
  take(id: number): MaskState;
};

/** Masks over one vocabulary. */
export type Masks = { start(grammar: Grammar): MaskState };

/** Masks that are kept, 6 KiB each for 49,152 tokens. */
const KEPT_MASKS = 2_048;

/** What is kept of a state. */
type Known = {
  /** All tokens that the language allows, and the most bytes that closing may take after one of them. */
  full: { readonly mask: Mask; readonly worst: number } | undefined;
  cost: number | undefined;
  readonly tight: Map<number, Mask>;
};

/**
 * Opens masks over a vocabulary.
 *
 * @throws {@link ModelError} `UNSUPPORTED_TOKENIZER` if a byte that texts may need is no token by itself
 */
export function openMasks(trie: TokenTrie, endIds: readonly number[]): Masks {
  assertAlphabet(trie);
  const words = Math.ceil(trie.vocabulary / 32);
  const known = new WeakMap<ReadState, Known>();
  // The most recently used last.
  const kept = new Map<Known, true>();
  const plain = plainTokens(trie, words);
  const joining = joiningTokens(trie);
  const cutter = new Cutter(trie);

  const knownOf = (state: ReadState): Known => {
    let found = known.get(state);
    if (found === undefined) {
      found = { full: undefined, cost: undefined, tight: new Map() };
      known.set(state, found);
    }
    return found;
  };
  const touch = (found: Known) => {
    kept.delete(found);
    kept.set(found, true);
    const [oldest] = kept.keys();
    if (kept.size <= KEPT_MASKS || oldest === undefined) return;
    kept.delete(oldest);
    oldest.full = undefined;
    oldest.tight.clear();
  };
  const costOf = (reader: StackReader, state: ReadState): number => {
    if (state.isWhole) return 0;
    const found = knownOf(state);
    found.cost ??= Math.min(...reader.closings(state).map((text) => cutter.fewestTokens(text)));
    return found.cost;
  };
  const addEnds = (state: ReadState, bits: Uint32Array) => {
    if (state.isWhole) for (const id of endIds) bits[id >> 5] = (bits[id >> 5] as number) | (1 << (id & 31));
  };
  const full = (reader: StackReader, state: ReadState) => {
    const found = knownOf(state);
    touch(found);
    if (found.full !== undefined) return found.full;
    const bits = new Uint32Array(words);
    let worst = 0;
    const free = freeOf(state);
    if (free !== undefined) {
      const most = Math.min(free.high, plain.longest);
      (plain.upTo[most] as Uint32Array).forEach((word, i) => {
        bits[i] = word;
      });
      // Plain characters bring a text nearer to its least length, never further from its end.
      worst = state.length;
    }
    walk(trie, reader, state, free === undefined ? undefined : plain.skips, (node, after) => {
      worst = Math.max(worst, after.length);
      setIds(trie, node, bits);
    });
    addEnds(state, bits);
    found.full = { mask: maskOf(bits), worst };
    return found.full;
  };
  const tight = (reader: StackReader, state: ReadState, remaining: number): Mask => {
    const found = knownOf(state);
    const kept = found.tight.get(remaining);
    if (kept !== undefined) return kept;
    const bits = new Uint32Array(words);
    walk(trie, reader, state, undefined, (node, after) => {
      if (after.length < remaining || costOf(reader, after) < remaining) setIds(trie, node, bits);
    });
    addEnds(state, bits);
    const mask = maskOf(bits);
    if (found.tight.size > 1) found.tight.clear();
    found.tight.set(remaining, mask);
    return mask;
  };
  /** A mask from looking ahead, put right for the tokens of which looking ahead forgets too much. */
  const joined = (reader: StackReader, state: ReadState, remaining: number, mask: Mask): Mask => {
    let bits: Uint32Array | undefined;
    for (const id of joining) {
      const after = afterToken(reader, state, id);
      const isIn = after !== undefined && (after.length < remaining || costOf(reader, after) < remaining);
      if (isIn === mask.has(id)) continue;
      bits ??= Uint32Array.from(mask.bits);
      bits[id >> 5] = (bits[id >> 5] as number) ^ (1 << (id & 31));
    }
    return bits === undefined ? mask : maskOf(bits);
  };
  const afterToken = (reader: StackReader, state: ReadState, id: number): ReadState | undefined => {
    const bytes = isWritable(trie, id) ? trie.tokens[id] : undefined;
    let after: ReadState | undefined = bytes ? state : undefined;
    for (const byte of bytes ?? []) after = after === undefined ? undefined : reader.step(after, byte);
    return after;
  };
  const place = (reader: StackReader, state: ReadState): MaskState => {
    const ahead = reader.ahead(state);
    const isEnd = state.isWhole && state.stacks.length === 0;
    return {
      isWhole: state.isWhole,
      isEnd,
      get cost() {
        return costOf(reader, state);
      },
      mask(remaining) {
        const all = full(reader, ahead);
        const mask = joined(
          reader,
          state,
          remaining,
          remaining > all.worst ? all.mask : tight(reader, ahead, remaining),
        );
        if (remaining < 1 || mask.count === 0) throw new RangeError(`no token to take with ${remaining} left`);
        return mask;
      },
      take(id) {
        const after = afterToken(reader, state, id);
        if (after === undefined) throw new RangeError(`token ${id} may not come here`);
        return place(reader, after);
      },
    };
  };
  return {
    start(grammar) {
      const reader = readerOf(grammar);
      return place(reader, reader.start);
    },
  };
}

/** Calls `visit` for every token that a state allows, with the state after it. */
function walk(
  trie: TokenTrie,
  reader: StackReader,
  from: ReadState,
  skips: Uint8Array | undefined,
  visit: (node: number, after: ReadState) => void,
): void {
  const { bytes, depths, ends } = trie;
  const states: ReadState[] = [from];
  for (let node = 1; node < bytes.length; ) {
    const depth = depths[node] as number;
    if (skips?.[node] === SKIP_BELOW) {
      node = ends[node] as number;
      continue;
    }
    const after = reader.step(states[depth - 1] as ReadState, bytes[node] as number);
    if (after === undefined) {
      node = ends[node] as number;
      continue;
    }
    states[depth] = after;
    if (isToken(trie, node) && skips?.[node] !== SKIP_TOKEN) visit(node, after);
    node++;
  }
}

/** Tokens in which one name of an object may end and another begin: there names matter that looking ahead does not keep. */
function joiningTokens(trie: TokenTrie): readonly number[] {
  return trie.tokens.flatMap((bytes, id) =>
    bytes !== null && isWritable(trie, id) && /":.*,.*"/s.test(Buffer.from(bytes).toString('latin1')) ? [id] : [],
  );
}

/** A token of plain characters alone; one with only such tokens below it. */
const [SKIP_TOKEN, SKIP_BELOW] = [1, 2];

type Plain = {
  /** Bits of the tokens that are at most so many whole characters, none of them escaped; by that number. */
  readonly upTo: readonly Uint32Array[];
  readonly longest: number;
  /** What a walk need not visit. */
  readonly skips: Uint8Array;
};

function plainTokens(trie: TokenTrie, words: number): Plain {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const lengths = trie.tokens.map((bytes) => (bytes === null ? 0 : plainLength(decoder, bytes)));
  const longest = lengths.reduce((most, length) => Math.max(most, length), 0);
  const upTo = [new Uint32Array(words)];
  const byLength: number[][] = Array.from({ length: longest + 1 }, () => []);
  lengths.forEach((length, id) => {
    if (length > 0) byLength[length]?.push(id);
  });
  for (let length = 1; length <= longest; length++) {
    const bits = Uint32Array.from(upTo[length - 1] as Uint32Array);
    for (const id of byLength[length] as number[]) bits[id >> 5] = (bits[id >> 5] as number) | (1 << (id & 31));
    upTo.push(bits);
  }
  const skips = new Uint8Array(trie.bytes.length);
  for (let node = skips.length - 1; node > 0; node--) {
    const [from, to] = [trie.firstId[node] as number, trie.firstId[node + 1] as number];
    const isPlain = to > from && (lengths[trie.ids[from] as number] as number) > 0;
    let isAllBelow = isPlain || to === from;
    for (let at = node + 1; at < (trie.ends[node] as number) && isAllBelow; at = trie.ends[at] as number) {
      isAllBelow = skips[at] === SKIP_BELOW;
    }
    skips[node] = isAllBelow ? SKIP_BELOW : isPlain ? SKIP_TOKEN : 0;
  }
  return { upTo, longest, skips };
}

/** Number of characters of a token that stand for themselves within a JSON string; 0 for any other token. */
function plainLength(decoder: InstanceType<typeof TextDecoder>, bytes: Uint8Array): number {
  for (const byte of bytes) {
    // F1 and F2 begin characters of unassigned planes, as some of F0 and F3 do: those tokens are walked.
    if (byte < 0x20 || byte === 0x22 || byte === 0x5c || byte >= 0xf0) return 0;
  }
  try {
    return [...decoder.decode(bytes)].length;
  } catch {
    // Part of a character.
    return 0;
  }
}

function freeOf(state: ReadState): { readonly low: number; readonly high: number } | undefined {
  return state.stacks.length === 1 && !state.isWhole ? state.stacks[0]?.top.free : undefined;
}

function setIds(trie: TokenTrie, node: number, bits: Uint32Array): void {
  const end = trie.firstId[node + 1] as number;
  for (let at = trie.firstId[node] as number; at < end; at++) {
    const id = trie.ids[at] as number;
    bits[id >> 5] = (bits[id >> 5] as number) | (1 << (id & 31));
  }
}

function maskOf(bits: Uint32Array): Mask {
  let count = 0;
  let last = -1;
  bits.forEach((word, i) => {
    for (let rest = word; rest !== 0; rest &= rest - 1) {
      count++;
      last = 32 * i + 31 - Math.clz32(rest & -rest);
    }
  });
  let digest: Digest | undefined;
  return {
    bits,
    count,
    only: count === 1 ? last : undefined,
    has: (id) => (((bits[id >> 5] ?? 0) >>> (id & 31)) & 1) === 1,
    get digest() {
      digest ??= digestOf(bits);
      return digest;
    },
  };
}

function digestOf(bits: Uint32Array): Digest {
  const bytes = new Uint8Array(4 * bits.length);
  const view = new DataView(bytes.buffer);
  bits.forEach((word, i) => {
    view.setUint32(4 * i, word, true);
  });
  return sha256(bytes);
}

/** Every byte of the characters that texts are made of: without one of them a text could not be closed by bytes alone. */
function assertAlphabet(trie: TokenTrie): void {
  const single = new Set(trie.tokens.flatMap((bytes) => (bytes?.length === 1 ? [bytes[0] as number] : [])));
  const needed = (byte: number) =>
    byte === 0x0a || (byte >= 0x20 && byte <= 0xbf) || (byte >= 0xc2 && byte <= 0xf4 && byte !== 0xf1 && byte !== 0xf2);
  for (let byte = 0; byte < 256; byte++) {
    if (!needed(byte) || single.has(byte)) continue;
    throw new ModelError('UNSUPPORTED_TOKENIZER', `no token is the byte 0x${byte.toString(16)} alone`, {
      at: { byte },
    });
  }
}
