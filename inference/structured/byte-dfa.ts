/**
 * Automata over bytes, for texts that are the same wherever they stand: literals, lists of values, numbers.
 *
 * @module
 */

/** A deterministic automaton; state 0 is the start. */
export type ByteDfa = {
  readonly edges: readonly ReadonlyMap<number, number>[];
  readonly accepts: readonly boolean[];
  /** Bytes of the shortest way to an accepting state. */
  readonly distance: readonly number[];
};

/** Completes an automaton: leaves out edges to states that accept nothing. State 0 may accept nothing at all. */
export function byteDfa(edges: readonly ReadonlyMap<number, number>[], accepts: readonly boolean[]): ByteDfa {
  const before: number[][] = edges.map(() => []);
  edges.forEach((all, from) => {
    for (const to of all.values()) before[to]?.push(from);
  });
  const distance = accepts.map((isWhole) => (isWhole ? 0 : Number.POSITIVE_INFINITY));
  const queue = accepts.flatMap((isWhole, state) => (isWhole ? [state] : []));
  for (let at = 0; at < queue.length; at++) {
    const state = queue[at] as number;
    for (const from of before[state] as number[]) {
      if ((distance[from] as number) <= (distance[state] as number) + 1) continue;
      distance[from] = (distance[state] as number) + 1;
      queue.push(from);
    }
  }
  const live = edges.map(
    (all) => new Map([...all].filter(([, to]) => (distance[to] as number) < Number.POSITIVE_INFINITY)),
  );
  return { edges: live, accepts, distance };
}

/**
 * Any one of the given byte strings.
 *
 * @param thenSpace - whether one space may follow
 */
export function literalDfa(literals: readonly Uint8Array[], thenSpace = false): ByteDfa {
  const edges: Map<number, number>[] = [new Map()];
  const accepts: boolean[] = [false];
  for (const literal of literals) {
    let state = 0;
    for (const byte of literal) {
      const row = edges[state] as Map<number, number>;
      let to = row.get(byte);
      if (to === undefined) {
        to = edges.length;
        row.set(byte, to);
        edges.push(new Map());
        accepts.push(false);
      }
      state = to;
    }
    accepts[state] = true;
  }
  if (thenSpace) {
    const end = edges.push(new Map()) - 1;
    accepts.push(true);
    accepts.forEach((isWhole, state) => {
      if (isWhole && state !== end) (edges[state] as Map<number, number>).set(0x20, end);
    });
  }
  return byteDfa(edges, accepts);
}

/** Appends the shortest way to an accepting state, the smallest among equals. */
export function closeDfa(dfa: ByteDfa, from: number, out: number[]): void {
  let state = from;
  while ((dfa.distance[state] as number) > 0) {
    let best = 256;
    for (const [byte, to] of dfa.edges[state] as ReadonlyMap<number, number>) {
      if (dfa.distance[to] === (dfa.distance[state] as number) - 1) best = Math.min(best, byte);
    }
    if (best === 256) throw new RangeError('no text ends here');
    out.push(best);
    state = dfa.edges[state]?.get(best) as number;
  }
}
