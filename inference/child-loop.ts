/**
 * The engine's side of the channel: opens the model that the server names, answers messages, several at once, and never
 * outlives the server.
 *
 * C1. When the channel ends, for whatever reason, this process ends.
 * C2. SIGTERM ends it after the engine is closed; SIGINT is the server's to decide, since a terminal sends it to both.
 * C3. An engine that is closed though nobody asked for it has failed: this process ends, and the server starts another.
 *
 * @module
 */

import type { PartialAnswer } from '../attest/verify/executor.ts';
import type { FromChild, ToChild } from './child-messages.ts';
import { toWireError } from './child-messages.ts';
import type { CheckingEngine, Completion, Delta, Embeddings } from './engine.ts';
import { InferenceError } from './errors.ts';
import type { openModel } from './model.ts';

/** Milliseconds that the engine has to close before the process ends all the same. */
const CLOSE_MS = 3000;

/**
 * Serves an engine to the parent process until it is told to close.
 *
 * @param open - makes the engine, as `openEngine` of `model.ts`
 * @throws TypeError if this process was not started with an IPC channel
 */
export function answerParent(open: (options: openModel.Options) => Promise<CheckingEngine>): void {
  if (process.send === undefined) throw new TypeError('expected to be started by the inference server');
  let engine: CheckingEngine | undefined;
  let leaving = false;
  const running = new Map<number, AbortController>();

  const send = (message: FromChild) => {
    // A failed write means that the server is gone (C1).
    process.send?.(message, undefined, undefined, (error) => {
      if (error !== null) process.exit(1);
    });
  };
  const leave = () => {
    if (leaving) return;
    leaving = true;
    setTimeout(() => process.exit(1), CLOSE_MS);
    for (const stop of running.values()) stop.abort();
    const closed = engine === undefined ? Promise.resolve() : engine.close();
    closed.then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };

  process.on('disconnect', () => process.exit(0));
  process.on('SIGTERM', leave);
  process.on('SIGINT', () => {});
  process.on('message', (message: ToChild) => {
    switch (message.type) {
      case 'open':
        open({ ...message.model, onProgress: (text) => send({ type: 'progress', message: text }) }).then(
          (opened) => {
            engine = opened;
            send({ type: 'ready', identity: opened.identity });
          },
          (error) => send({ type: 'failed', error: toWireError(error) }),
        );
        break;
      case 'complete':
      case 'check':
      case 'embed': {
        const { job } = message;
        const stop = new AbortController();
        running.set(job, stop);
        const answer =
          engine === undefined
            ? Promise.reject(new TypeError('no model is open'))
            : answerOne(engine, message, stop.signal, (delta) => send({ type: 'delta', job, delta }));
        answer
          .then(
            (found) => send({ type: 'done', job, answer: found }),
            (error) => {
              if (!leaving && error instanceof InferenceError && error.code === 'ENGINE_CLOSED') process.exit(1);
              send({ type: 'refused', job, error: toWireError(error) });
            },
          )
          .finally(() => running.delete(job));
        break;
      }
      case 'cancel':
        running.get(message.job)?.abort();
        break;
      case 'close':
        leave();
        break;
    }
  });
}

function answerOne(
  engine: CheckingEngine,
  message: Extract<ToChild, { readonly job: number; readonly type: 'complete' | 'check' | 'embed' }>,
  signal: AbortSignal,
  onDelta: (delta: Delta) => void,
): Promise<Completion | PartialAnswer | Embeddings> {
  switch (message.type) {
    case 'complete':
      return engine.complete(message.request, signal, message.deltas ? onDelta : undefined);
    case 'check':
      return engine.check(message.request, message.claim, signal);
    case 'embed':
      return engine.embed(message.texts, signal);
  }
}
