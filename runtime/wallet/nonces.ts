/**
 * Nonces of one wallet on one chain, in one process: given one at a time, and none twice while a send holds it. A nonce that
 * nobody holds any more and that the chain has not used is given next, so that no gap stays.
 *
 * @module
 */

/** Nonces that sends of this process hold. */
export class Nonces {
  readonly #held = new Map<bigint, number>();
  #last: Promise<unknown> = Promise.resolve();

  /** Whether a send holds a nonce. */
  isHeld(nonce: bigint): boolean {
    return this.#held.has(nonce);
  }

  /** The next nonce to give, where the chain has `count` transactions with those that wait. */
  next(count: bigint): bigint {
    let nonce = count;
    while (this.#held.has(nonce)) nonce += 1n;
    return nonce;
  }

  hold(nonce: bigint): void {
    this.#held.set(nonce, (this.#held.get(nonce) ?? 0) + 1);
  }

  release(nonce: bigint): void {
    const left = (this.#held.get(nonce) ?? 0) - 1;
    if (left > 0) this.#held.set(nonce, left);
    else this.#held.delete(nonce);
  }

  /** Does one piece of work after the other. */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }
}
