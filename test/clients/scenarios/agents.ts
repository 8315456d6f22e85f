/**
 * `@openai/agents`: its Runner over the Responses API and over chat completions.
 *
 * @module
 */

import { strict as assert } from 'node:assert';
import type * as Agents from '@openai/agents';
import type { OpenAI as Client } from 'openai';
import { present, type Scenario, type Target } from '../scenario.ts';
import {
  GREETING,
  NO_MODEL,
  RECIPE_QUESTION,
  recipe,
  TOOL_DESCRIPTION,
  TOOL_NAME,
  TOOL_QUESTION,
  TOOL_RESULT,
  weatherArguments,
  type ZodModule,
} from './shapes.ts';

export type AgentsModules = {
  readonly agents: typeof Agents;
  /** The `openai` that the agents' library uses. */
  readonly OpenAI: typeof Client;
  readonly z: ZodModule;
};

/** Newer versions take an answer that fills its tokens for a failure. */
const RUN_TOKENS = 256;

type AgentsScenario = Scenario<AgentsModules>;

const MODELS = ['OpenAIResponsesModel', 'OpenAIChatCompletionsModel'] as const;

type ModelName = (typeof MODELS)[number];

function openModel({ agents, OpenAI }: AgentsModules, target: Target, name: ModelName, model = target.model) {
  const { baseURL, fetch } = target;
  const client = new OpenAI({ baseURL, apiKey: 'unused', fetch, maxRetries: 0 });
  return new agents[name](client, model);
}

function runner({ agents }: AgentsModules) {
  return new agents.Runner({ tracingDisabled: true });
}

function textScenario(name: ModelName): AgentsScenario {
  return {
    name: `${name}: a run, and a streamed run says the same`,
    async run(modules, target) {
      const agent = new modules.agents.Agent({
        name: 'Brief',
        instructions: 'You are brief.',
        model: openModel(modules, target, name),
        modelSettings: { maxTokens: RUN_TOKENS, temperature: 0 },
      });
      const { finalOutput } = await runner(modules).run(agent, GREETING);
      assert.ok(present(finalOutput, 'final output').length > 0);
      const streamed = await runner(modules).run(agent, GREETING, { stream: true });
      let text = '';
      for await (const part of streamed.toTextStream()) text += part;
      await streamed.completed;
      assert.equal(text, finalOutput);
      assert.equal(streamed.finalOutput, finalOutput);
    },
  };
}

function toolScenario(name: ModelName): AgentsScenario {
  return {
    name: `${name}: a tool call, its result, an answer; whole and as a stream`,
    async run(modules, target) {
      const shape = weatherArguments(modules.z);
      let calls = 0;
      const makeAgent = () => {
        let isCalled = false;
        return new modules.agents.Agent({
          name: 'Weather',
          instructions: 'You tell the weather.',
          model: openModel(modules, target, name),
          modelSettings: { maxTokens: RUN_TOKENS, temperature: 0, toolChoice: 'required', parallelToolCalls: false },
          tools: [
            modules.agents.tool({
              name: TOOL_NAME,
              description: TOOL_DESCRIPTION,
              parameters: shape,
              // Else the model may call it until the run has had its turns.
              isEnabled: () => !isCalled,
              async execute(input) {
                shape.strict().parse(input);
                calls++;
                isCalled = true;
                return TOOL_RESULT;
              },
            }),
          ],
        });
      };
      const result = await runner(modules).run(makeAgent(), TOOL_QUESTION, { maxTurns: 3 });
      assert.equal(typeof result.finalOutput, 'string');
      assert.equal(calls, 1);
      assert.equal(result.rawResponses.length, 2);
      const streamed = await runner(modules).run(makeAgent(), TOOL_QUESTION, { maxTurns: 3, stream: true });
      await streamed.completed;
      assert.equal(calls, 2);
      assert.equal(streamed.finalOutput, result.finalOutput);
    },
  };
}

function freeToolScenario(name: ModelName): AgentsScenario {
  return {
    name: `${name}: the run may end by the first tool`,
    async run(modules, target) {
      const agent = new modules.agents.Agent({
        name: 'Weather',
        instructions: 'You tell the weather.',
        model: openModel(modules, target, name),
        modelSettings: { maxTokens: RUN_TOKENS, temperature: 0 },
        toolUseBehavior: 'stop_on_first_tool',
        tools: [
          modules.agents.tool({
            name: TOOL_NAME,
            description: TOOL_DESCRIPTION,
            parameters: weatherArguments(modules.z),
            execute: async () => TOOL_RESULT,
          }),
        ],
      });
      const { finalOutput, rawResponses } = await runner(modules).run(agent, TOOL_QUESTION, { maxTurns: 3 });
      assert.equal(typeof finalOutput, 'string');
      assert.equal(rawResponses.length, 1);
    },
  };
}

function outputScenario(name: ModelName): AgentsScenario {
  return {
    name: `${name}: outputType`,
    async run(modules, target) {
      const shape = recipe(modules.z);
      const agent = new modules.agents.Agent({
        name: 'Cook',
        instructions: 'You are brief.',
        model: openModel(modules, target, name),
        modelSettings: { maxTokens: RUN_TOKENS, temperature: 0 },
        outputType: shape,
      });
      const { finalOutput } = await runner(modules).run(agent, RECIPE_QUESTION);
      shape.strict().parse(finalOutput);
    },
  };
}

function handoffScenario(name: ModelName): AgentsScenario {
  return {
    name: `${name}: an agent hands over to another`,
    async run(modules, target) {
      const model = openModel(modules, target, name);
      const second = new modules.agents.Agent({
        name: 'Second',
        handoffDescription: 'Answers everything',
        instructions: 'You are brief.',
        model,
        modelSettings: { maxTokens: RUN_TOKENS, temperature: 0 },
      });
      const first = new modules.agents.Agent({
        name: 'First',
        instructions: 'Hand over to the other agent.',
        model,
        modelSettings: { maxTokens: RUN_TOKENS, temperature: 0, toolChoice: 'required', parallelToolCalls: false },
        handoffs: [second],
      });
      const { finalOutput, lastAgent } = await runner(modules).run(first, GREETING, { maxTurns: 3 });
      assert.equal(lastAgent?.name, 'Second');
      assert.equal(typeof finalOutput, 'string');
    },
  };
}

const faults: AgentsScenario = {
  name: 'a model that is not there',
  async run(modules, target) {
    for (const name of MODELS) {
      const agent = new modules.agents.Agent({
        name: 'Nobody',
        instructions: 'You are brief.',
        model: openModel(modules, target, name, NO_MODEL),
      });
      const isNotFound = (error: unknown) => (error as { status?: unknown }).status === 404;
      await assert.rejects(runner(modules).run(agent, GREETING), isNotFound);
    }
  },
};

export const agentsScenarios: readonly AgentsScenario[] = [
  ...MODELS.flatMap((name) => [
    textScenario(name),
    toolScenario(name),
    freeToolScenario(name),
    outputScenario(name),
    handoffScenario(name),
  ]),
  faults,
];
