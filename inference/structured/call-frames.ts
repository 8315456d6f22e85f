/**
 * Frames of an answer with tool calls: free text in which a marker may begin, and one of several beginnings that decide
 * what follows.
 *
 * @module
 */

import type { Frame, FrameTable, LeafFrame } from './frame.ts';
import type { CharacterBytes } from './string-bytes.ts';

/** Beginnings by their bytes, none the beginning of another, each with the frames that follow it. */
export type Beginnings = {
  readonly next: Map<number, Beginnings>;
  /** Frames after the beginning that ends here. */
  follow: (() => readonly Frame[]) | undefined;
};

/** Makes the tree of beginnings. */
export function beginnings(
  list: readonly { readonly bytes: Uint8Array; readonly follow: () => readonly Frame[] }[],
): Beginnings {
  const root: Beginnings = { next: new Map(), follow: undefined };
  for (const { bytes, follow } of list) {
    let node = root;
    for (const byte of bytes) {
      let next = node.next.get(byte);
      if (next === undefined) {
        next = { next: new Map(), follow: undefined };
        node.next.set(byte, next);
      }
      node = next;
    }
    node.follow = follow;
  }
  return root;
}

type Ending = { readonly length: number; readonly byte: number };

/** A place in a tree of beginnings. */
export function beginningFrame(table: FrameTable, node: Beginnings): LeafFrame {
  return table.intern(`b${table.nameOf(node)}`, (id) => {
    const after = (next: Beginnings): readonly Frame[] => next.follow?.() ?? [beginningFrame(table, next)];
    let ending: Ending | undefined;
    const shortest = (): Ending => {
      if (ending === undefined) {
        ending = { length: Number.POSITIVE_INFINITY, byte: -1 };
        for (const [byte, next] of [...node.next].sort(([a], [b]) => a - b)) {
          const length = 1 + after(next).reduce((sum, frame) => sum + frame.length(), 0);
          if (length < ending.length) ending = { length, byte };
        }
      }
      return ending;
    };
    const frame: LeafFrame = {
      id,
      kind: 'leaf',
      isContainer: false,
      isWhole: false,
      mayGoOn: true,
      free: undefined,
      length: () => shortest().length,
      close(out) {
        const { byte } = shortest();
        out.push(byte);
        for (const next of after(node.next.get(byte) as Beginnings)) next.close(out);
      },
      step(byte) {
        const next = node.next.get(byte);
        if (next === undefined) return undefined;
        const frames = after(next);
        return frames.some((one) => one.length() === Number.POSITIVE_INFINITY) ? undefined : frames;
      },
      ahead: () => frame,
    };
    return frame;
  });
}

/** Any well-formed text, until a marker comes after which `follow` stands. */
export type FreeText = {
  readonly marker: Uint8Array;
  readonly follow: () => readonly Frame[];
  /** Bytes of characters as they are, not escaped. */
  readonly characters: CharacterBytes;
};

/** A place in free text: node within a character, how much of the marker the text ends in. */
export function freeTextFrame(table: FrameTable, text: FreeText, node = 0, matched = 0): LeafFrame {
  return table.intern(`f${table.nameOf(text)}:${node}:${matched}`, (id) => {
    const rest = text.characters.bytesTo(node).find((path) => path !== undefined) ?? [];
    const frame: LeafFrame = {
      id,
      kind: 'leaf',
      isContainer: false,
      isWhole: node === 0,
      mayGoOn: true,
      free: undefined,
      length: () => (node === 0 ? 0 : rest.length),
      close(out) {
        if (node !== 0) out.push(...rest);
      },
      step(byte) {
        const value = text.characters.next[256 * node + byte] as number;
        if (value === 0) return undefined;
        // No two beginnings of the marker overlap but at its first byte.
        const next = text.marker[matched] === byte ? matched + 1 : text.marker[0] === byte ? 1 : 0;
        if (next === text.marker.length) return text.follow();
        return [freeTextFrame(table, text, Math.max(value, 0), next)];
      },
      ahead: () => frame,
    };
    return frame;
  });
}
