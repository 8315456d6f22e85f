/**
 * What a text may still be, as a stack of frames: the frame on top is read first. A frame either reads bytes (a leaf) or
 * stands for other frames (a choice). Equal frames are one object, so that equal stacks are recognised.
 *
 * @module
 */

import { type ByteDfa, closeDfa } from './byte-dfa.ts';
import type { TextLanguage, TextPlace } from './text-language.ts';

type Common = {
  readonly id: number;
  /** Whether what stands above it lies inside an array or object of its own. */
  readonly isContainer: boolean;
  /** Bytes of the text that closes it. */
  length(): number;
  /** Appends the text that closes it: after the first of its bytes, the rest closes what is left. */
  close(out: number[]): void;
};

/** How bytes are read. */
export type Reading = {
  /** Nested so deep that only what is required is written. */
  readonly isForced: boolean;
  /** Names of additional properties are not kept: for looking ahead within one token. */
  readonly isAhead: boolean;
};

export type LeafFrame = Common & {
  readonly kind: 'leaf';
  /** Whether it may be left as it is. */
  readonly isWhole: boolean;
  readonly mayGoOn: boolean;
  /** The frames that take its place after a byte; undefined where the byte may not come. */
  step(byte: number, reading: Reading): readonly Frame[] | undefined;
  /** The same place for looking ahead. */
  ahead(): LeafFrame;
  /** Where any characters may follow: how many at least and at most. */
  readonly free: { readonly low: number; readonly high: number } | undefined;
};

export type ChoiceFrame = Common & {
  readonly kind: 'choice';
  /** Frames that may take its place, the top one first. */
  expand(isForced: boolean): readonly (readonly Frame[])[];
};

export type Frame = LeafFrame | ChoiceFrame;

/** Where frames are made once each. */
export type FrameTable = {
  /** The frame of a key; made when first asked for. */
  intern<F extends Frame>(key: string, make: (id: number) => F): F;
  /** A number for a language, automaton or rule, to make keys of. */
  nameOf(thing: object): number;
  readonly size: number;
  /** Forgets all frames; those in use stay what they are, and no number is given twice. */
  clear(): void;
};

/** Shared by all tables: a grammar may hold frames of several. */
let nextFrame = 1;

/** Opens a table. */
export function openFrames(): FrameTable {
  const frames = new Map<string, Frame>();
  const names = new WeakMap<object, number>();
  let nextName = 1;
  return {
    intern<F extends Frame>(key: string, make: (id: number) => F): F {
      let frame = frames.get(key);
      if (frame === undefined) {
        frame = make(nextFrame++);
        frames.set(key, frame);
      }
      return frame as F;
    },
    nameOf(thing) {
      let name = names.get(thing);
      if (name === undefined) {
        name = nextName++;
        names.set(thing, name);
      }
      return name;
    },
    get size() {
      return frames.size;
    },
    clear: () => frames.clear(),
  };
}

/** A state of an automaton over bytes. */
export function dfaFrame(table: FrameTable, dfa: ByteDfa, state = 0): LeafFrame {
  return table.intern(`d${table.nameOf(dfa)}:${state}`, (id) => {
    const row = dfa.edges[state] as ReadonlyMap<number, number>;
    const frame: LeafFrame = {
      id,
      kind: 'leaf',
      isContainer: false,
      isWhole: dfa.accepts[state] === true,
      mayGoOn: row.size > 0,
      free: undefined,
      length: () => dfa.distance[state] as number,
      close: (out) => closeDfa(dfa, state, out),
      step(byte) {
        const to = row.get(byte);
        return to === undefined ? undefined : [dfaFrame(table, dfa, to)];
      },
      ahead: () => frame,
    };
    return frame;
  });
}

const QUOTE = 0x22;

/** A place inside a JSON string, up to and with its closing quote. */
export function textFrame(table: FrameTable, language: TextLanguage, place: TextPlace): LeafFrame {
  const key = `t${table.nameOf(language)}:${place.state}:${place.node}:${place.low}:${place.high}`;
  return table.intern(key, (id) => {
    const frame: LeafFrame = {
      id,
      kind: 'leaf',
      isContainer: false,
      isWhole: false,
      mayGoOn: true,
      free: language.isFree && place.node === 0 ? { low: place.low, high: place.high } : undefined,
      length: () => language.length(place) + 1,
      close(out) {
        language.close(place, out);
        out.push(QUOTE);
      },
      step(byte) {
        if (byte === QUOTE && language.isWhole(place)) return [];
        const next = language.step(place, byte);
        return next === undefined ? undefined : [textFrame(table, language, next)];
      },
      ahead: () => frame,
    };
    return frame;
  });
}
