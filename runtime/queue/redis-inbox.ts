/**
 * What is said to runs, through a Redis server: a list of words for each run, which whoever works on it takes, and replies as events.
 *
 * I1. A word is in the list until it is on record or refused; `cancel` and `pause` until the run that heard them ends.
 * I2. Whether a run hears is decided where the word is added: the run that ends lets go of its ear and looks whether words wait in one step.
 * I3. A word is given to a run when its process has heard all that was told before it was said: who hears that a child run has ended finds it so.
 * I4. Only the holder of a run's newest claim takes words away; one that was fenced leaves them for who has it now.
 *
 * Spec: `runtime/spec/machines.md#inbox`.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import type { Hex } from '../../attest/core/bytes.ts';
import { ControlError, type ControlErrorCode, type RunControl } from '../control.ts';
import type { RunInbox, RunWord } from './ports.ts';
import type { RedisArgument, RedisScript } from './redis-connect.ts';
import type { RedisEvent } from './redis-events.ts';
import { storeCall } from './redis-journal.ts';
import { encodeWord, readWord } from './redis-keys.ts';
import * as scripts from './redis-scripts.ts';
import type { RedisShared } from './redis-store.ts';

export declare namespace openRedisInbox {
  type Options = {
    /** Milliseconds after which a word that nobody heard is `NOT_HEARD`; it still waits. */
    readonly patienceMs: number;
  };
}

/** An inbox, and what the events of others do to it. */
export type RedisInbox = RunInbox & {
  /** Takes an event of kind `word` or `reply`. */
  heard(event: RedisEvent): Promise<void>;
  /** Events were missed: looks at everything again. */
  resync(): Promise<void>;
};

type Asked = { readonly run: Hex; readonly settle: (code: string, message: string) => void };

/** A run that hears in this process. */
type Ear = {
  readonly control: RunControl;
  readonly ear: string;
  /** Ids of words that were given to it. */
  readonly given: Set<string>;
  /** Entries of `cancel` and `pause`, which it gives back when it ends. */
  readonly kept: string[];
  /** Replies that are being sent. */
  readonly under: Set<Promise<unknown>>;
};

const RUN_OVER = 'the run is over';

/** Opens an inbox. */
export function openRedisInbox(shared: RedisShared, { patienceMs }: openRedisInbox.Options): RedisInbox {
  const { link, keys, self, tokens, caughtUp, onFault } = shared;
  const asked = new Map<string, Asked>();
  const ears = new Map<Hex, Ear>();

  const runScript = (run: Hex, script: RedisScript, ...args: readonly RedisArgument[]) =>
    storeCall(run, () => link.run(script, keys.ofRun(run), [run.slice(2), self, ...args]));

  /** Gives a run the words that it has not been given; of `only`, that one alone. */
  const give = (run: Hex, one: Ear, entries: unknown, only?: string): void => {
    for (const bytes of Array.isArray(entries) ? entries : []) {
      if (!Buffer.isBuffer(bytes)) continue;
      const id = bytes.subarray(0, scripts.WORD_ID_LENGTH).toString('latin1');
      if (one.given.has(id) || (only !== undefined && only !== id)) continue;
      one.given.add(id);
      giveOne(run, one, id, bytes).catch((error: unknown) => onFault(run, error));
    }
  };

  /** Sends a reply, which a run that ends waits for. */
  const reply = async (
    run: Hex,
    one: Ear,
    id: string,
    error: ControlError | undefined,
    entry: string,
  ): Promise<void> => {
    const sent = runScript(run, scripts.REPLY_TO, id, error?.code ?? '', error?.message ?? '', entry);
    one.under.add(sent);
    try {
      await sent;
    } finally {
      one.under.delete(sent);
    }
  };

  const giveOne = async (run: Hex, one: Ear, id: string, bytes: Buffer): Promise<void> => {
    const entry = bytes.toString('utf8');
    const word = readWord(bytes.subarray(scripts.WORD_ID_LENGTH));
    if (word === undefined) {
      // None of our processes said that; it would wait for ever.
      await reply(run, one, id, new ControlError('NOT_WAITING', 'the word cannot be read'), entry);
      return;
    }
    if (word.type === 'cancel' || word.type === 'pause' || word.type === 'resume') {
      // A run that looks no more hears it when it is taken up again.
      if (one.control.over) return;
      if (word.type === 'cancel') one.control.cancel();
      if (word.type === 'pause') one.control.pause();
      if (word.type !== 'resume') one.kept.push(entry);
      await reply(run, one, id, undefined, word.type === 'resume' ? entry : '');
      return;
    }
    const { index, ...rest } = word;
    let refused: ControlError | undefined;
    try {
      // A run that fails over a word neither takes nor refuses it: it waits in the list.
      await one.control.say(index, rest);
    } catch (error) {
      if (!(error instanceof ControlError)) throw error;
      // It was put aside before it took the word: that waits for the next to take it up.
      if (error.code === 'RUN_OVER') return;
      refused = error;
    }
    await reply(run, one, id, refused, entry);
  };

  const listen = async (run: Hex, only?: string): Promise<void> => {
    const one = ears.get(run);
    if (one === undefined) return;
    const entries = await storeCall(run, () => link.call('LRANGE', keys.ofRun(run)[3] as string, 0, -1));
    if (ears.get(run) === one) give(run, one, entries, only);
  };

  const settle = (body: Buffer): void => {
    const text = body.toString('utf8');
    const id = text.slice(0, scripts.WORD_ID_LENGTH);
    const [, code, message] = /^([A-Z_]*) (.*)$/s.exec(text.slice(scripts.WORD_ID_LENGTH)) ?? [];
    asked.get(id)?.settle(code ?? '', message ?? '');
  };

  /** Looks whether a word was replied to; the event of it may have been missed. */
  const lookUp = async (id: string, run: Hex): Promise<void> => {
    const body = await storeCall(run, () => link.call('GET', keys.reply(run, id)));
    if (Buffer.isBuffer(body)) settle(body);
  };

  return {
    async say(run, word: RunWord) {
      const id = randomBytes(scripts.WORD_ID_LENGTH / 2).toString('hex');
      const heard = new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => {
          const give = () => asked.get(id)?.settle('NOT_HEARD', 'nobody has taken the run up so far; the word waits');
          lookUp(id, run).then(give, give);
        }, patienceMs);
        asked.set(id, {
          run,
          settle(code, message) {
            clearTimeout(timer);
            asked.delete(id);
            if (code === '') resolve();
            else reject(new ControlError(readCode(code), message));
          },
        });
      });
      // Whoever said it hears of it; until then it is nobody's.
      heard.catch(() => undefined);
      let answer: string;
      try {
        answer = String(await runScript(run, scripts.SAY, `${id}${encodeWord(word)}`));
      } catch (error) {
        asked.get(id)?.settle('NOT_HEARD', 'it could not be said');
        throw error;
      }
      if (answer === 'over') asked.get(id)?.settle('RUN_OVER', RUN_OVER);
      if (answer === 'full') asked.get(id)?.settle('NOT_HEARD', 'too many words wait for the run');
      return { heard, isAttached: answer !== 'waits' };
    },
    async attach(run, control) {
      const token = tokens.get(run) ?? '';
      const ear = `${token}:${randomBytes(8).toString('hex')}`;
      const one: Ear = { control, ear, given: new Set(), kept: [], under: new Set() };
      ears.set(run, one);
      try {
        const entries = await runScript(run, scripts.ATTACH, token, ear);
        if (Array.isArray(entries) && entries.length > 0) await storeCall(run, caughtUp);
        give(run, one, entries);
      } catch (error) {
        if (ears.get(run) === one) ears.delete(run);
        throw error;
      }
      return {
        async close() {
          control.end();
          if (ears.get(run) === one) ears.delete(run);
          // The refusals of what it did not take arrive a moment after it ended.
          await new Promise((resolve) => setImmediate(resolve));
          // What cannot be replied to is told where it is sent.
          await Promise.allSettled(one.under);
          // A run that was left has it on no record that it heard them.
          const done = control.left ? [] : one.kept;
          return Number(await runScript(run, scripts.HUSH, token, ear, ...done)) > 0;
        },
      };
    },
    async refuse(run) {
      await runScript(run, scripts.REFUSE, 'RUN_OVER', RUN_OVER);
    },
    async heard({ kind, run, body }) {
      // Others in the list may have been said after something that is still to be heard.
      if (kind === 'word') await listen(run, body.toString('latin1'));
      if (kind === 'reply') settle(body);
    },
    async resync() {
      for (const run of ears.keys()) await listen(run);
      for (const [id, { run }] of asked) await lookUp(id, run);
    },
    async close() {
      for (const { settle: end } of [...asked.values()])
        end('NOT_HEARD', 'this program ends before the run was taken up; the word waits');
    },
  };
}

const CODES: readonly ControlErrorCode[] = ['NOT_WAITING', 'APPROVAL_INVALID', 'RUN_OVER', 'NOT_HEARD'];

/** @param code - untrusted */
function readCode(code: string): ControlErrorCode {
  return CODES.find((known) => known === code) ?? 'NOT_WAITING';
}
