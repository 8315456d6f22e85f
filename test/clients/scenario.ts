/**
 * What a client library is asked to do against the server: plain functions over the library's modules, so that the same
 * run in the tests and, with the newest libraries, under a newer Node.
 *
 * @module
 */

import { strict as assert } from 'node:assert';
import type { OpenAIDocument } from '../support/openai-document.ts';
import { checkExchange } from './exchange-rules.ts';
import { createRecorder, type Exchange } from './exchanges.ts';

/** The server under test, as a scenario sees it. */
export type Target = {
  /** With `/v1`. */
  readonly baseURL: string;
  readonly model: string;
  /** Records what goes between; clients must use it. */
  readonly fetch: typeof fetch;
  /** What went between so far, in this scenario. */
  readonly exchanges: readonly Exchange[];
};

/** @typeParam M - modules of the client library */
export type Scenario<M> = {
  readonly name: string;
  /** Fails by throwing, else all is as it must be. */
  run(modules: M, target: Target): Promise<void>;
};

/**
 * Runs a scenario, then holds every exchange of it to the rules.
 *
 * @param url - of the server, without a path
 * @throws whatever the scenario throws; AssertionError and DocumentMismatch for broken rules, or when nothing was exchanged
 */
export async function runScenario<M>(
  { run }: Scenario<M>,
  modules: M,
  url: string,
  model: string,
  document: OpenAIDocument | undefined,
): Promise<void> {
  const recorder = createRecorder();
  const { exchanges } = recorder;
  try {
    await run(modules, { baseURL: `${url}/v1`, model, fetch: recorder.fetch, exchanges });
  } finally {
    // An answer against the rules is often why the scenario failed, and says it better.
    await recorder.settled();
    for (const exchange of exchanges) checkExchange(exchange, document);
  }
  assert.ok(exchanges.length > 0, 'the client did not use the recording fetch');
}

/** The first model that the server lists. */
export async function firstModel(url: string): Promise<string> {
  const response = await fetch(`${url}/v1/models`);
  const { data } = (await response.json()) as { data?: { id?: unknown }[] };
  const id = data?.[0]?.id;
  assert.equal(typeof id, 'string', 'the server lists no model');
  return String(id);
}

/** What must be there, or fails. */
export function present<T>(value: T | null | undefined, what: string): T {
  assert.ok(value !== null && value !== undefined, `no ${what}`);
  return value;
}
