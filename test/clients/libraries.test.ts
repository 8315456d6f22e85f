/**
 * The client libraries, each with scenarios of its own, against one server with the shipped model.
 */

import * as aiSdkOpenAI from '@ai-sdk/openai';
import * as compatible from '@ai-sdk/openai-compatible';
import * as messages from '@langchain/core/messages';
import * as tools from '@langchain/core/tools';
import * as langchain from '@langchain/openai';
import * as agents from '@openai/agents';
import * as ai from 'ai';
import { OpenAI } from 'openai';
import * as helpers from 'openai/helpers/zod';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { z } from 'zod';
import { type Served, startServed } from '../support/served.ts';
import { describeSmolLM2 } from '../support/smollm2.ts';
import { findDocument } from './find-document.ts';
import { firstModel, runScenario, type Scenario } from './scenario.ts';
import { agentsScenarios } from './scenarios/agents.ts';
import { aiSdkScenarios } from './scenarios/ai-sdk.ts';
import { langChainScenarios } from './scenarios/langchain.ts';
import { openAIScenarios } from './scenarios/openai.ts';
import { openAIResponsesScenarios } from './scenarios/openai-responses.ts';

const START_MS = 240_000;
const SCENARIO_MS = 180_000;

agents.setTracingDisabled(true);

describeSmolLM2('against tracebond serve inference', () => {
  const document = findDocument();
  let served: Served;
  let model: string;
  beforeAll(async () => {
    // One thread: the other core has other tests, and threads that wait for it would only burn it.
    served = await startServed({ args: ['--threads', '1'] });
    model = await firstModel(served.url);
  }, START_MS);
  afterAll(() => served?.close());

  /** A group of tests; holds every exchange to OpenAI's document too, where that is at hand. */
  function describeLibrary<M>(library: string, scenarios: readonly Scenario<M>[], modules: M): void {
    describe(library, () => {
      it.each(scenarios.map((scenario) => [scenario.name, scenario] as const))(
        '%s',
        (_, scenario) => runScenario(scenario, modules, served.url, model, document),
        SCENARIO_MS,
      );
    });
  }

  describeLibrary('openai', [...openAIScenarios, ...openAIResponsesScenarios], { OpenAI, helpers, z });
  describeLibrary('ai', aiSdkScenarios, { ai, openai: aiSdkOpenAI, compatible, z });
  describeLibrary('@langchain/openai', langChainScenarios, { langchain, messages, tools, z });
  describeLibrary('@openai/agents', agentsScenarios, { agents, OpenAI, z });
});
