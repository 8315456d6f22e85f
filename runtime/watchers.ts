/**
 * Whoever follows the records of a run: told when its journal has grown.
 *
 * @module
 */

import type { Hex } from '../attest/core/bytes.ts';
import type { Growth } from './record-feed.ts';

/** Followers by run. */
export class Watchers {
  readonly #byRun = new Map<Hex, Set<() => void>>();

  /** Tells the followers of a run, or all, to look again. */
  notify(run?: Hex): void {
    const told = run === undefined ? [...this.#byRun.values()] : [this.#byRun.get(run) ?? new Set<() => void>()];
    for (const watchers of told) for (const notify of watchers) notify();
  }

  /**
   * Follows a run until {@link unwatch} is called.
   *
   * @param isAtEnd - whether nothing will be written any more
   */
  watch(
    run: Hex,
    isAtEnd: () => boolean,
    signal?: AbortSignal,
  ): { readonly growth: Growth; readonly unwatch: () => void } {
    let grown = false;
    let wake: (() => void) | undefined;
    const notify = () => {
      grown = true;
      wake?.();
    };
    const watchers = this.#byRun.get(run) ?? new Set();
    this.#byRun.set(run, watchers.add(notify));
    signal?.addEventListener('abort', notify);
    return {
      growth: {
        next: async () => {
          if (!grown && !isAtEnd()) {
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
          }
          grown = false;
          return signal?.aborted !== true && !isAtEnd();
        },
      },
      unwatch: () => {
        watchers.delete(notify);
        if (watchers.size === 0) this.#byRun.delete(run);
        signal?.removeEventListener('abort', notify);
      },
    };
  }
}
