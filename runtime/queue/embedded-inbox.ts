/**
 * The inbox of a program that is alone with its runs: what is said waits in memory, and whoever said it with it.
 *
 * @module
 */

import type { Hex } from '../../attest/core/bytes.ts';
import { ControlError, type RunControl } from '../control.ts';
import type { RunInbox, RunWord } from './ports.ts';

type Waiting = { readonly word: RunWord; readonly heard: () => void; readonly refused: (error: unknown) => void };

/** Opens an inbox in this process. */
export function openEmbeddedInbox(): RunInbox {
  const waiting = new Map<Hex, Waiting[]>();
  const attached = new Map<Hex, RunControl>();

  const wait = (run: Hex, one: Waiting) => {
    waiting.set(run, [...(waiting.get(run) ?? []), one]);
  };
  const give = (run: Hex, control: RunControl, one: Waiting) => {
    const { word, heard, refused } = one;
    if (word.type === 'cancel' || word.type === 'pause' || word.type === 'resume') {
      // A run that looks no more hears it when it is taken up again.
      if (control.over) return wait(run, one);
      if (word.type === 'cancel') control.cancel();
      if (word.type === 'pause') control.pause();
      return heard();
    }
    const { index, ...rest } = word;
    control.say(index, rest).then(heard, (error) => {
      if (isLate(error)) wait(run, one);
      else refused(error);
    });
  };

  return {
    async say(run, word) {
      const control = attached.get(run);
      const heard = new Promise<void>((resolve, reject) => {
        const one = { word, heard: resolve, refused: reject };
        if (control === undefined) wait(run, one);
        else give(run, control, one);
      });
      // Whoever said it hears of it; until then it is nobody's.
      heard.catch(() => undefined);
      return { heard, isAttached: control !== undefined };
    },
    async attach(run, control) {
      attached.set(run, control);
      const told = waiting.get(run) ?? [];
      waiting.delete(run);
      for (const one of told) give(run, control, one);
      return {
        async close() {
          control.end();
          attached.delete(run);
          // The refusals of what it did not take arrive a moment after it ended.
          await new Promise((resolve) => setImmediate(resolve));
          return waiting.has(run);
        },
      };
    },
    async refuse(run) {
      const told = waiting.get(run) ?? [];
      waiting.delete(run);
      for (const { refused } of told) refused(new ControlError('RUN_OVER', 'the run is over'));
    },
    async close() {
      for (const run of [...waiting.keys()]) {
        for (const { refused } of waiting.get(run) ?? []) {
          refused(new ControlError('NOT_HEARD', 'the program ends before the run was taken up'));
        }
      }
      waiting.clear();
    },
  };
}

function isLate(error: unknown): boolean {
  return error instanceof ControlError && error.code === 'RUN_OVER';
}
