/**
 * A group of tests: the scenarios of one client library against one server with the shipped model.
 *
 * @module
 */

import { join } from 'node:path';
import { afterAll, beforeAll, it } from 'vitest';
import { type OpenAIDocument, openOpenAIDocument } from '../support/openai-document.ts';
import { type Served, startServed } from '../support/served.ts';
import { describeSmolLM2 } from '../support/smollm2.ts';
import { vectorsDir } from '../support/vectors.ts';
import { firstModel, runScenario, type Scenario } from './scenario.ts';

const START_MS = 240_000;
const SCENARIO_MS = 180_000;

/** Also tests every exchange against OpenAI's document, where that is at hand; where it is not, says so. */
export function describeClients<M>(library: string, scenarios: readonly Scenario<M>[], modules: M): void {
  describeSmolLM2(`${library} against tracebond serve inference`, () => {
    const document = findDocument();
    let served: Served;
    let model: string;
    beforeAll(async () => {
      served = await startServed();
      model = await firstModel(served.url);
    }, START_MS);
    afterAll(() => served?.close());

    it.each(scenarios.map((scenario) => [scenario.name, scenario] as const))(
      '%s',
      (_, scenario) => runScenario(scenario, modules, served.url, model, document),
      SCENARIO_MS,
    );
  });
}

/** OpenAI's document; undefined, and said so, where third-party vectors are not at hand. */
export function findDocument(): OpenAIDocument | undefined {
  const folder = vectorsDir();
  if (folder === undefined) {
    console.warn("SKIPPED: answers are not held to OpenAI's document (set TRACEBOND_VECTORS)");
    return undefined;
  }
  return openOpenAIDocument(join(folder, 'openai-openapi', 'openapi.json'));
}
