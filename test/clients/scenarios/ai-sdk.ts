/**
 * The AI SDK: `@ai-sdk/openai-compatible`, and `@ai-sdk/openai` over the Responses API (its default) and chat completions.
 *
 * @module
 */

import { strict as assert } from 'node:assert';
import type * as OpenAIProvider from '@ai-sdk/openai';
import type * as CompatibleProvider from '@ai-sdk/openai-compatible';
import type * as AiSdk from 'ai';
import { present, type Scenario, type Target } from '../scenario.ts';
import {
  JSON_TOKENS,
  LONG_QUESTION,
  LONG_TOKENS,
  NO_MODEL,
  QUESTION,
  RECIPE_QUESTION,
  recipe,
  SEED,
  shapes,
  TEXT_TOKENS,
  TOOL_DESCRIPTION,
  TOOL_NAME,
  TOOL_QUESTION,
  TOOL_RESULT,
  weatherArguments,
  type ZodModule,
} from './shapes.ts';

export type AiSdkModules = {
  readonly ai: typeof AiSdk;
  readonly openai: typeof OpenAIProvider;
  readonly compatible: typeof CompatibleProvider;
  readonly z: ZodModule;
};

type AiSdkScenario = Scenario<AiSdkModules>;

type Provider = {
  readonly name: string;
  /** The Responses API has no seed; the client says so on every request. */
  readonly hasSeed: boolean;
  open(modules: AiSdkModules, target: Target, model?: string): AiSdk.LanguageModel;
};

const settings = ({ baseURL, fetch }: Target) => ({ baseURL, fetch, apiKey: 'unused' });

function compatibleProvider({ compatible }: AiSdkModules, target: Target) {
  return compatible.createOpenAICompatible({
    ...settings(target),
    name: 'tracebond',
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
}

const PROVIDERS: readonly Provider[] = [
  {
    name: '@ai-sdk/openai-compatible',
    hasSeed: true,
    open: (modules, target, model = target.model) => compatibleProvider(modules, target)(model),
  },
  {
    name: '@ai-sdk/openai',
    hasSeed: false,
    open: (modules, target, model = target.model) => modules.openai.createOpenAI(settings(target))(model),
  },
  {
    name: '@ai-sdk/openai .chat()',
    hasSeed: true,
    open: (modules, target, model = target.model) => modules.openai.createOpenAI(settings(target)).chat(model),
  },
];

const NO_RETRY = { maxRetries: 0 };

function textScenario({ name, hasSeed, open }: Provider): AiSdkScenario {
  return {
    name: `${name}: generateText, and streamText says the same`,
    async run(modules, target) {
      const asked = {
        ...NO_RETRY,
        model: open(modules, target),
        system: 'You are brief.',
        prompt: QUESTION,
        maxOutputTokens: TEXT_TOKENS,
        ...(hasSeed ? { temperature: 0.8, seed: SEED } : { temperature: 0 }),
      };
      const { text, usage, finishReason } = await modules.ai.generateText(asked);
      assert.ok(text.length > 0);
      assert.ok(finishReason === 'stop' || finishReason === 'length', finishReason);
      assert.ok(present(usage.inputTokens, 'input tokens') > 0);
      assert.ok(present(usage.outputTokens, 'output tokens') <= TEXT_TOKENS);
      const streamed = modules.ai.streamText(asked);
      const deltas: string[] = [];
      for await (const delta of streamed.textStream) deltas.push(delta);
      assert.equal(deltas.join(''), text);
      assert.ok(deltas.length > 1, 'a stream of one part');
      assert.equal(await streamed.finishReason, finishReason);
      const { inputTokens, outputTokens } = await streamed.usage;
      assert.deepEqual([inputTokens, outputTokens], [usage.inputTokens, usage.outputTokens]);
    },
  };
}

function objectScenario({ name, open }: Provider): AiSdkScenario {
  return {
    name: `${name}: Output.object`,
    async run(modules, target) {
      for (const { name: title, question, shape } of shapes(modules.z)) {
        const { output } = await modules.ai.generateText({
          ...NO_RETRY,
          model: open(modules, target),
          prompt: question,
          maxOutputTokens: JSON_TOKENS,
          output: modules.ai.Output.object({ schema: shape, name: title }),
        });
        shape.strict().parse(output);
      }
    },
  };
}

function objectStreamScenario({ name, open }: Provider): AiSdkScenario {
  return {
    name: `${name}: streamText with Output.object, generateObject`,
    async run(modules, target) {
      const shape = recipe(modules.z);
      const asked = {
        ...NO_RETRY,
        model: open(modules, target),
        prompt: RECIPE_QUESTION,
        temperature: 0,
        maxOutputTokens: JSON_TOKENS,
      };
      const streamed = modules.ai.streamText({ ...asked, output: modules.ai.Output.object({ schema: shape }) });
      let parts = 0;
      for await (const _ of streamed.partialOutputStream) parts++;
      assert.ok(parts > 1, 'an object in one part');
      shape.strict().parse(await streamed.output);
      // Newer versions no longer have it.
      if (!('generateObject' in modules.ai)) return;
      const { object } = await modules.ai.generateObject({ ...asked, schema: shape });
      shape.strict().parse(object);
    },
  };
}

function toolScenario({ name, open }: Provider): AiSdkScenario {
  return {
    name: `${name}: a required tool call, its result, an answer; whole and as a stream`,
    async run(modules, target) {
      const shape = weatherArguments(modules.z);
      let calls = 0;
      const asked = {
        ...NO_RETRY,
        model: open(modules, target),
        prompt: TOOL_QUESTION,
        temperature: 0,
        maxOutputTokens: JSON_TOKENS,
        tools: {
          [TOOL_NAME]: modules.ai.tool({
            description: TOOL_DESCRIPTION,
            inputSchema: shape,
            async execute(input) {
              shape.strict().parse(input);
              calls++;
              return TOOL_RESULT;
            },
          }),
        },
        stopWhen: stepCount(modules, 3),
        prepareStep: ({ stepNumber }: { stepNumber: number }) => ({
          toolChoice: stepNumber === 0 ? ('required' as const) : ('none' as const),
        }),
      };
      const { steps, finishReason, text } = await modules.ai.generateText(asked);
      assert.equal(steps.length, 2);
      assert.equal(steps[0]?.finishReason, 'tool-calls');
      assert.equal(steps[0].toolResults[0]?.output, TOOL_RESULT);
      assert.notEqual(finishReason, 'tool-calls');
      assert.ok(calls > 0);
      const streamed = modules.ai.streamText(asked);
      await streamed.consumeStream();
      assert.equal((await streamed.steps).length, 2);
      assert.equal(await streamed.text, text);
    },
  };
}

function freeToolScenario({ name, open }: Provider): AiSdkScenario {
  return {
    name: `${name}: the model may call tools, and the loop ends`,
    async run(modules, target) {
      const shape = weatherArguments(modules.z);
      const { steps } = await modules.ai.generateText({
        ...NO_RETRY,
        model: open(modules, target),
        prompt: TOOL_QUESTION,
        temperature: 0,
        maxOutputTokens: JSON_TOKENS,
        tools: {
          [TOOL_NAME]: modules.ai.tool({
            description: TOOL_DESCRIPTION,
            inputSchema: shape,
            execute: async () => TOOL_RESULT,
          }),
        },
        stopWhen: stepCount(modules, 2),
      });
      assert.ok(steps.length <= 2);
      for (const { input } of steps.flatMap(({ toolCalls }) => toolCalls)) shape.strict().parse(input);
    },
  };
}

function faultScenario({ name, open }: Provider): AiSdkScenario {
  return {
    name: `${name}: errors, and a stream that the client leaves`,
    async run(modules, target) {
      const { ai } = modules;
      const missing = ai.generateText({ ...NO_RETRY, model: open(modules, target, NO_MODEL), prompt: QUESTION });
      await assert.rejects(missing, (error) => ai.APICallError.isInstance(error) && error.statusCode === 404);
      const tooWarm = ai.generateText({ ...NO_RETRY, model: open(modules, target), prompt: QUESTION, temperature: 3 });
      await assert.rejects(
        tooWarm,
        (error) =>
          ai.APICallError.isInstance(error) &&
          error.statusCode === 400 &&
          !error.isRetryable &&
          /temperature/.test(error.message),
      );
      const leaving = new AbortController();
      const streamed = ai.streamText({
        ...NO_RETRY,
        model: open(modules, target),
        prompt: LONG_QUESTION,
        maxOutputTokens: LONG_TOKENS,
        abortSignal: leaving.signal,
        onError: () => {},
      });
      let parts = 0;
      for await (const { type } of streamed.fullStream) {
        if (type === 'text-delta' && ++parts === 3) leaving.abort();
      }
      const next = await ai.generateText({
        ...NO_RETRY,
        model: open(modules, target),
        prompt: QUESTION,
        maxOutputTokens: 4,
      });
      assert.equal(typeof next.text, 'string');
    },
  };
}

/** Version 7 calls it `isStepCount`. */
function stepCount({ ai }: AiSdkModules, steps: number) {
  const { stepCountIs, isStepCount } = ai as typeof ai & { isStepCount?: typeof AiSdk.stepCountIs };
  return present(stepCountIs ?? isStepCount, 'condition on the number of steps')(steps);
}

const embeddings: AiSdkScenario = {
  name: 'embed and embedMany, both providers',
  async run(modules, target) {
    const values = ['the cat sat on the mat', 'stock prices fell'];
    const openai = modules.openai.createOpenAI(settings(target));
    const models = [compatibleProvider(modules, target), openai].map((provider) =>
      embeddingModel(provider, target.model),
    );
    const found = [];
    for (const model of models) {
      const { embedding } = await modules.ai.embed({ ...NO_RETRY, model, value: present(values[0], 'text') });
      const { embeddings: many } = await modules.ai.embedMany({ ...NO_RETRY, model, values });
      assert.equal(many.length, 2);
      assert.deepEqual(many[0], embedding);
      found.push(many);
    }
    assert.deepEqual(found[0], found[1]);
  },
};

type Embedders = Pick<CompatibleProvider.OpenAICompatibleProvider, 'embeddingModel' | 'textEmbeddingModel'>;

/** Versions differ in its name. */
function embeddingModel(provider: Embedders, model: string) {
  return 'embeddingModel' in provider
    ? provider.embeddingModel(model)
    : (provider as Embedders).textEmbeddingModel(model);
}

const completion: AiSdkScenario = {
  name: '@ai-sdk/openai .completion() and openai-compatible completionModel()',
  async run(modules, target) {
    const { ai } = modules;
    const models = [
      modules.openai.createOpenAI(settings(target)).completion(target.model),
      compatibleProvider(modules, target).completionModel(target.model),
    ];
    const texts = [];
    for (const model of models) {
      const asked = {
        ...NO_RETRY,
        model,
        prompt: 'The capital of France is',
        temperature: 0,
        maxOutputTokens: TEXT_TOKENS,
      };
      const { text } = await ai.generateText(asked);
      assert.equal(await ai.streamText(asked).text, text);
      texts.push(text);
    }
    assert.equal(texts[0], texts[1]);
  },
};

export const aiSdkScenarios: readonly AiSdkScenario[] = [
  ...PROVIDERS.flatMap((provider) => [
    textScenario(provider),
    objectScenario(provider),
    objectStreamScenario(provider),
    toolScenario(provider),
    freeToolScenario(provider),
    faultScenario(provider),
  ]),
  completion,
  embeddings,
];
