/**
 * `openai`: completions, embeddings, receipts.
 *
 * @module
 */

import { strict as assert } from 'node:assert';
import { decodeFloats } from '../../support/openai-document.ts';
import { present } from '../scenario.ts';
import { type OpenAIScenario, openAIClient, plain } from './openai-client.ts';
import { SEED, TEXT_TOKENS } from './shapes.ts';

const completions: OpenAIScenario = {
  name: 'completions.create, whole and as a stream',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const asked = {
      model: target.model,
      prompt: 'The capital of France is',
      max_tokens: TEXT_TOKENS,
      temperature: 0.5,
      seed: SEED,
    };
    const whole = await client.completions.create(asked);
    const { text, finish_reason: finish } = present(whole.choices[0], 'choice');
    assert.ok(text.length > 0);
    assert.ok(present(whole.usage, 'usage').completion_tokens <= TEXT_TOKENS);
    let streamed = '';
    let ended: string | null = null;
    for await (const chunk of await client.completions.create({
      ...asked,
      stream: true,
      stream_options: { include_usage: true },
    })) {
      streamed += chunk.choices[0]?.text ?? '';
      ended = chunk.choices[0]?.finish_reason ?? ended;
    }
    assert.equal(streamed, text);
    assert.equal(ended, finish);
  },
};

const embeddings: OpenAIScenario = {
  name: "embeddings.create: floats, base64 and the client's own choice",
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const input = ['the cat sat on the mat', 'stock prices fell', 'the cat sat on the mat'];
    const asked = { model: target.model, input };
    // The client asks for base64 by itself and decodes it.
    const own = await client.embeddings.create(asked);
    const floats = await client.embeddings.create({ ...asked, encoding_format: 'float' });
    const base64 = await client.embeddings.create({ ...asked, encoding_format: 'base64' });
    const vectors = floats.data.map(({ embedding }) => embedding);
    assert.deepEqual(
      floats.data.map(({ index }) => index),
      [0, 1, 2],
    );
    assert.deepEqual(vectors[0], vectors[2], 'one text, one vector');
    assert.notDeepEqual(vectors[0], vectors[1]);
    const [first = []] = vectors;
    assert.ok(first.length > 0 && vectors.every((vector) => vector.length === first.length));
    assert.ok(first.every(Number.isFinite) && first.some((value) => value !== 0));
    const binary32 = vectors.map((vector) => vector.map(Math.fround));
    assert.deepEqual(
      own.data.map(({ embedding }) => [...embedding]),
      binary32,
    );
    assert.deepEqual(
      base64.data.map(({ embedding }) => decodeFloats(embedding as unknown as string)),
      binary32,
    );
    const single = await client.embeddings.create({ ...asked, input: present(input[0], 'text') });
    assert.deepEqual(
      single.data.map(({ embedding }) => [...embedding]),
      binary32.slice(0, 1),
      'neighbours change nothing',
    );
    const { prompt_tokens: prompt, total_tokens: total } = floats.usage;
    assert.ok(prompt > 0 && total === prompt);
  },
};

const receipts: OpenAIScenario = {
  name: 'the receipt of an answer is found again',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const completion = await client.chat.completions.create({ model: target.model, ...plain });
    const { tracebond } = completion as unknown as { tracebond: { id: string; receipt: unknown } };
    const found = await client.get<{ receipt?: unknown }>(`/receipts/${tracebond.id}`);
    assert.deepEqual(found.receipt, tracebond.receipt);
    await assert.rejects(client.get('/receipts/rcpt_none'), modules.OpenAI.NotFoundError);
  },
};

export const otherScenarios: readonly OpenAIScenario[] = [completions, embeddings, receipts];
