/**
 * Runs the scenarios of all client libraries, those that it finds in a folder, against a server; started with
 * `URL FOLDER [DOCUMENT]` under the Node that the libraries need, which strips the types of this file by itself.
 *
 * `FOLDER/load.mjs` exports `load(name)`, which imports a module as that folder sees it. Each line on standard output is a
 * {@link ScenarioReport}.
 *
 * @module
 */

import { pathToFileURL } from 'node:url';
import { firstModel, runScenario, type Scenario } from '../clients/scenario.ts';
import { type AgentsModules, agentsScenarios } from '../clients/scenarios/agents.ts';
import { type AiSdkModules, aiSdkScenarios } from '../clients/scenarios/ai-sdk.ts';
import { type LangChainModules, langChainScenarios } from '../clients/scenarios/langchain.ts';
import { openAIScenarios } from '../clients/scenarios/openai.ts';
import type { OpenAIModules } from '../clients/scenarios/openai-client.ts';
import { openAIResponsesScenarios } from '../clients/scenarios/openai-responses.ts';
import { type OpenAIDocument, openOpenAIDocument } from './openai-document.ts';

/** What became of one scenario. */
export type ScenarioReport = {
  readonly library: string;
  readonly scenario: string;
  /** Null when it is as it must be. */
  readonly fault: string | null;
  readonly ms: number;
};

/** Versions differ in types; that they behave alike is what is tested. */
type Load = (name: string) => Promise<never>;

const SCENARIO_MS = 240_000;

const [url, folder, path] = process.argv.slice(2);
if (url === undefined || folder === undefined) throw new TypeError('usage: clients-child.ts URL FOLDER [DOCUMENT]');
await main(url, folder, path);

async function main(server: string, modules: string, documentPath: string | undefined): Promise<void> {
  const { load } = (await import(pathToFileURL(`${modules}/load.mjs`).href)) as { load: Load };
  const document = documentPath === undefined ? undefined : openOpenAIDocument(documentPath);
  const model = await firstModel(server);
  const runAll = async <M>(library: string, scenarios: readonly Scenario<M>[], given: M) => {
    for (const scenario of scenarios) {
      const startedAt = performance.now();
      const fault = await faultOf(scenario, given, server, model, document);
      const ms = Math.round(performance.now() - startedAt);
      report({ library, scenario: scenario.name, fault, ms });
    }
  };
  const { z } = (await load('zod')) as Pick<OpenAIModules, 'z'>;
  const { OpenAI } = (await load('openai')) as Pick<OpenAIModules, 'OpenAI'>;
  const openai: OpenAIModules = { OpenAI, helpers: await load('openai/helpers/zod'), z };
  await runAll('openai', [...openAIScenarios, ...openAIResponsesScenarios], openai);
  const aiSdk: AiSdkModules = {
    ai: await load('ai'),
    openai: await load('@ai-sdk/openai'),
    compatible: await load('@ai-sdk/openai-compatible'),
    z,
  };
  await runAll('ai', aiSdkScenarios, aiSdk);
  const langchain: LangChainModules = {
    langchain: await load('@langchain/openai'),
    messages: await load('@langchain/core/messages'),
    tools: await load('@langchain/core/tools'),
    z,
  };
  await runAll('@langchain/openai', langChainScenarios, langchain);
  const agents: AgentsModules = { agents: await load('@openai/agents'), OpenAI, z };
  agents.agents.setTracingDisabled(true);
  await runAll('@openai/agents', agentsScenarios, agents);
}

async function faultOf<M>(
  scenario: Scenario<M>,
  modules: M,
  server: string,
  model: string,
  document: OpenAIDocument | undefined,
): Promise<string | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(() => resolve(`not done within ${SCENARIO_MS} ms`), SCENARIO_MS);
  });
  const run = runScenario(scenario, modules, server, model, document).then(
    () => null,
    (error: unknown) => (error instanceof Error ? `${error.name}: ${error.message}` : String(error)),
  );
  try {
    return await Promise.race([run, late]);
  } finally {
    clearTimeout(timer);
  }
}

function report(line: ScenarioReport): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
