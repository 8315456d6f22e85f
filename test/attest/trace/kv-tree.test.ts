import { describe, expect, it } from 'vitest';
import { toHex, utf8 } from '../../../attest/core/bytes.ts';
import { type Digest, sha256, taggedHash, ZERO_DIGEST } from '../../../attest/core/hash.ts';
import { KvTree } from '../../../attest/trace/kv-tree.ts';

const value = (i: number) => sha256(utf8(`value ${i}`));

/** The definition, level by level, over all entries at once. */
function rootByDefinition(entries: ReadonlyMap<string, Digest>): Digest {
  const leaves = [...entries].map(([key, commitment]) => {
    const path = KvTree.pathOf(key);
    return { path, leaf: taggedHash('payload', path, commitment) };
  });
  const root = (some: typeof leaves, level: number): Digest => {
    if (some.length === 0) return ZERO_DIGEST;
    if (level === 256) return (some[0] as (typeof leaves)[number]).leaf;
    const bit = (path: Digest) => ((path[level >> 3] as number) >> (7 - (level & 7))) & 1;
    const left = root(
      some.filter(({ path }) => bit(path) === 0),
      level + 1,
    );
    const right = root(
      some.filter(({ path }) => bit(path) === 1),
      level + 1,
    );
    return taggedHash('node', left, right);
  };
  return root(leaves, 0);
}

describe('KvTree', () => {
  it('is zero while it is empty', () => {
    const tree = new KvTree();
    expect(tree.root()).toEqual(ZERO_DIGEST);
    expect(tree.get('nothing')).toEqual(ZERO_DIGEST);
  });

  it('has the root of the definition after every write, new keys and old', () => {
    const tree = new KvTree();
    const entries = new Map<string, Digest>();
    for (let i = 0; i < 24; i++) {
      const key = `key ${i % 17}`;
      tree.set(key, value(i));
      entries.set(key, value(i));
      expect(toHex(tree.root()), `write ${i}`).toBe(toHex(rootByDefinition(entries)));
      expect(tree.get(key)).toEqual(value(i));
    }
  });

  it('does not depend on the order of writes', () => {
    const [there, back] = [new KvTree(), new KvTree()];
    for (let i = 0; i < 40; i++) there.set(`key ${i}`, value(i));
    for (let i = 39; i >= 0; i--) back.set(`key ${i}`, value(i));
    expect(there.root()).toEqual(back.root());
    back.set('key 7', value(8));
    expect(there.root()).not.toEqual(back.root());
    expect(there.get('key')).toEqual(ZERO_DIGEST);
  });

  it('takes keys that name parts of objects', () => {
    const tree = new KvTree();
    for (const key of ['__proto__', 'constructor', '', '\0']) {
      tree.set(key, value(1));
      expect(tree.get(key)).toEqual(value(1));
    }
  });
});
