/**
 * What happens to a run while it waits, one thing at a time: whatever came first is taken first.
 *
 * @module
 */

/** A queue with one reader. */
export class Inbox<T> {
  readonly #items: T[] = [];
  #wake: (() => void) | undefined;

  /** Adds an item. */
  push(item: T): void {
    this.#items.push(item);
    this.#wake?.();
  }

  /** The next item, as soon as there is one. */
  async next(): Promise<T> {
    while (this.#items.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    return this.#items.shift() as T;
  }

  /** The next item, if it is there. */
  take(): T | undefined {
    return this.#items.shift();
  }
}
