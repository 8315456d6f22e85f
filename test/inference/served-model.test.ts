/**
 * The whole server over a whole model: the tiny one, in a real child process, asked over HTTP and computed again here.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NO_PLACE, verifyReceipt } from '../../attest/sign/receipt.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import { computeInferenceSeed } from '../../attest/trace/run-seed.ts';
import { openInferenceClient } from '../../inference/client.ts';
import type { CheckingEngine } from '../../inference/engine.ts';
import { type InferenceServer, serveInference } from '../../inference/main.ts';
import { openEngine } from '../../inference/model.ts';
import { openRecomputer } from '../../inference/recompute.ts';
import { writeGguf } from '../support/gguf-writer.ts';
import { TEST_KEY, toyMessage, toyRequest } from '../support/receipt-facts.ts';
import { tinyModel } from '../support/tiny-model.ts';

/** Of an inference outside a run, with the seed 0. */
const SEED = computeInferenceSeed(NO_PLACE.runSeed, NO_PLACE.index, 0n);

const folder = mkdtempSync(join(tmpdir(), 'tracebond-test-'));
const path = join(folder, 'tiny.gguf');
let server: InferenceServer;
let verifier: CheckingEngine;

beforeAll(async () => {
  const { fields, tensors } = tinyModel();
  writeFileSync(path, writeGguf(fields, tensors));
  server = await serveInference({
    port: 0,
    models: [{ path, id: 'tiny' }],
    cacheDir: join(folder, 'one'),
    privateKey: TEST_KEY,
    threads: 1,
  });
  verifier = await openEngine({ path, id: 'tiny', cacheDir: join(folder, 'two'), threads: 1 });
});

afterAll(async () => {
  await server?.close();
  await verifier?.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('a served model', () => {
  it('has the identity that a verifier finds in the file', async () => {
    expect(server.identity).toEqual(verifier.identity);
    expect(await openInferenceClient({ url: server.url }).identity()).toEqual(verifier.identity);
  });

  it.each([
    ['text', { maxTokens: 12 }],
    ['choice', { responseFormat: { type: 'choice', choices: ['travel', 'meals', 'other'] } }],
  ] as const)('answers with %s what a verifier computes again', async (_, change) => {
    const { model, profile, engine } = server.identity;
    const messages = [toyMessage('Grüße <|im_end|>')];
    const request = toyRequest({ model, profile, engine, messages, ...change });
    const client = openInferenceClient({ url: server.url, signer: addressOf(TEST_KEY) });
    const answer = await client.complete(request, NO_PLACE);
    const again = await openRecomputer(verifier).complete(request, SEED);
    expect({ ...answer, receipt: undefined }).toEqual({ ...again, receipt: undefined });
    expect(answer.outputIds.length).toBeGreaterThan(0);
    verifyReceipt(answer.receipt, { ...NO_PLACE, request, completion: again }, addressOf(TEST_KEY));
  });

  it.each([
    ['text', { maxTokens: 12 }],
    ['text before a stop', { maxTokens: 40, stop: ['e', 'a', 'Q'] }],
    ['choice', { responseFormat: { type: 'choice', choices: ['travel', 'meals', 'tools', 'too'] } }],
    ['one choice', { responseFormat: { type: 'choice', choices: ['travel'] } }],
  ] as const)('is checked along its claimed output: %s', async (_, change) => {
    const { model, profile, engine } = server.identity;
    const request = toyRequest({ model, profile, engine, ...change });
    const recomputer = openRecomputer(verifier);
    const whole = await recomputer.complete(request, SEED);
    const { promptIds, outputIds } = whole;
    expect(await recomputer.check(request, SEED, outputIds)).toEqual(whole);
    // Beyond the end of an answer only the comparison is left.
    expect(await recomputer.check(request, SEED, [...outputIds, 1, 2 ** 32 - 1])).toEqual(whole);
    for (let at = 0; at <= outputIds.length; at++) {
      for (const id of [((outputIds[at] ?? 0) + 1) % 262, 2 ** 32 - 1, undefined]) {
        const claim = [...outputIds.slice(0, at), ...(id === undefined ? [] : [id]), ...outputIds.slice(at + 1)];
        const found = await recomputer.check(request, SEED, id === undefined ? outputIds.slice(0, at) : claim);
        // The right ids up to the first wrong one, or all of them: nothing else.
        if (found.finishReason !== null) expect(found).toEqual(whole);
        else
          expect(found).toEqual({
            promptIds,
            outputIds: outputIds.slice(0, at + 1),
            text: null,
            finishReason: null,
            masks: null,
          });
        if (at < outputIds.length) expect(found.outputIds.slice(0, at + 1)).toEqual(outputIds.slice(0, at + 1));
      }
    }
  });

  it('is checked in a batch with its prompt, and no longer than to the first wrong id', async () => {
    const { model, profile, engine } = server.identity;
    const request = toyRequest({ model, profile, engine, maxTokens: 60 });
    const recomputer = openRecomputer(verifier);
    const { outputIds } = await recomputer.complete(request, SEED);
    expect(outputIds.length).toBe(60);
    const found = await recomputer.check(request, SEED, [...outputIds.slice(0, 20), 5, 5, 5]);
    expect(found.outputIds.length).toBeLessThan(24);
    expect(found.finishReason).toBeNull();
    const garbage = Array.from({ length: 1_000_000 }, (_, i) => i * 977);
    expect((await recomputer.check(request, SEED, garbage)).outputIds).toEqual(outputIds.slice(0, 1));
    expect((await recomputer.check(request, SEED, [])).outputIds).toEqual(outputIds.slice(0, 1));
  });

  it('refuses a prompt beyond the context of the model', async () => {
    const response = await fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'tiny', messages: [{ role: 'user', content: 'x y '.repeat(200) }] }),
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { code: 'context_length_exceeded', param: 'messages' } });
  });

  it('goes on after its process is killed, with the same answer', async () => {
    const { model, profile, engine } = server.identity;
    const request = toyRequest({ model, profile, engine, maxTokens: 8 });
    const client = openInferenceClient({ url: server.url });
    const before = await client.complete(request, NO_PLACE);
    process.kill(server.enginePid() as number, 'SIGKILL');
    const after = await client.complete(request, NO_PLACE).catch(() => client.complete(request, NO_PLACE));
    expect(after).toEqual(before);
  });

  it('refuses a file that is no model, with the reason of the reader', async () => {
    const broken = join(folder, 'broken.gguf');
    writeFileSync(broken, 'GGUF');
    const models = [
      { path, id: 'tiny' },
      { path: broken, id: 'broken' },
    ];
    // Not the first model, and yet found at the start.
    await expect(
      serveInference({ port: 0, models, cacheDir: join(folder, 'one'), privateKey: TEST_KEY }),
    ).rejects.toMatchObject({ name: 'ModelError', code: 'TRUNCATED' });
  });
});
