/**
 * A vocabulary as a tree of bytes, its nodes in the order of a walk that visits a node before those below it: leaving out
 * all that begins with some bytes is one step.
 *
 * @module
 */

/** Node 0 is the root, without a byte. */
export type TokenTrie = {
  /** Number of ids, with those that have no bytes. */
  readonly vocabulary: number;
  readonly tokens: readonly (Uint8Array | null)[];
  /** Last byte of each node. */
  readonly bytes: Uint8Array;
  readonly depths: Uint16Array;
  /** The first node that is not below. */
  readonly ends: Int32Array;
  /** Ids of node `n` are `ids[firstId[n]]` up to `ids[firstId[n + 1]]`, without the latter. */
  readonly firstId: Int32Array;
  readonly ids: Int32Array;
};

/** Longer tokens are left out: they would cost more than they could be worth. */
const MAX_TOKEN_BYTES = 1024;

function isOfLength(bytes: Uint8Array): boolean {
  return bytes.length > 0 && bytes.length <= MAX_TOKEN_BYTES;
}

/** Whether an id is one of the tree's. */
export function isWritable(trie: TokenTrie, id: number): boolean {
  const bytes = trie.tokens[id];
  return bytes !== null && bytes !== undefined && isOfLength(bytes);
}

/**
 * Makes the tree.
 *
 * @param tokens - bytes of each id; null for one that is never written
 */
export function makeTrie(tokens: readonly (Uint8Array | null)[]): TokenTrie {
  const entries: { id: number; bytes: Uint8Array }[] = [];
  tokens.forEach((bytes, id) => {
    if (bytes !== null && isOfLength(bytes)) entries.push({ id, bytes });
  });
  entries.sort((a, b) => Buffer.compare(a.bytes, b.bytes) || a.id - b.id);
  const bytes: number[] = [0];
  const depths: number[] = [0];
  const ends: number[] = [0];
  const firstId: number[] = [0];
  const ids: number[] = [];
  // Nodes on the way to the last entry.
  const path: number[] = [0];
  let last: Uint8Array = new Uint8Array(0);
  for (const entry of entries) {
    let common = 0;
    while (common < last.length && common < entry.bytes.length && last[common] === entry.bytes[common]) common++;
    for (const node of path.splice(common + 1)) ends[node] = bytes.length;
    for (let depth = common; depth < entry.bytes.length; depth++) {
      path.push(bytes.length);
      bytes.push(entry.bytes[depth] as number);
      depths.push(depth + 1);
      ends.push(0);
      firstId.push(ids.length);
    }
    ids.push(entry.id);
    last = entry.bytes;
  }
  for (const node of path) ends[node] = bytes.length;
  firstId.push(ids.length);
  return {
    vocabulary: tokens.length,
    tokens,
    bytes: Uint8Array.from(bytes),
    depths: Uint16Array.from(depths),
    ends: Int32Array.from(ends),
    firstId: Int32Array.from(firstId),
    ids: Int32Array.from(ids),
  };
}

/** The node below another by a byte; -1 where there is none. */
export function childOf(trie: TokenTrie, node: number, byte: number): number {
  const end = trie.ends[node] as number;
  for (let at = node + 1; at < end; at = trie.ends[at] as number) {
    const found = trie.bytes[at] as number;
    if (found === byte) return at;
    if (found > byte) return -1;
  }
  return -1;
}

/** Whether a node is a token. */
export function isToken(trie: TokenTrie, node: number): boolean {
  return (trie.firstId[node + 1] as number) > (trie.firstId[node] as number);
}
