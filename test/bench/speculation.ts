/**
 * What computing ahead and known beginnings of prompts save: the same tokens with and without, in turns, in this process.
 *
 * `ratios` are times without over times with, the worse of one and two threads: decoding of an answer that copies from its prompt, decoding of prose,
 * and all requests of the expense auditor from prompt to answer.
 *
 * @module
 */

import { readFile } from 'node:fs/promises';
import auditor from '../../agents/examples/expense-auditor/agent.ts';
import { CompletionEngine } from '../../inference/completion-engine.ts';
import type { CompletionRequest } from '../../inference/engine.ts';
import { generate } from '../../inference/generate.ts';
import { type OpenModel, openModel } from '../../inference/model.ts';
import { SHIPPED_MODEL } from '../../inference/model-path.ts';
import { type BenchResult, type Measure, median } from '../support/bench.ts';
import { say, shippedModel } from '../support/bench-model.ts';
import { waitForQuiet } from '../support/quiet.ts';

const ROUNDS = 5;
/** Longest wait for a quiet computer before each turn. */
const QUIET_MS = 3000;
const NEXT_TOKENS = 128;

const LEDGER = new URL('../../agents/examples/expense-auditor/ledger.csv', import.meta.url);

const TEXTS = {
  copies: {
    chat: false,
    prompt: (ledger: string) => `The ledger:\n${ledger}\nThe ledger:\n${ledger}\nThe ledger:\n`,
  },
  prose: {
    chat: false,
    prompt: () =>
      'The lighthouse stood at the end of the long stone pier, and every evening its keeper climbed the stairs to light the lamp. One night, when',
  },
} as const;

export async function run(): Promise<BenchResult> {
  const ledger = await readFile(LEDGER, 'utf8');
  const requests = await auditorRequests(ledger);
  const { path, cache } = shippedModel();
  const measures: Measure[] = [];
  const gains = new Map<string, number[]>();
  for (const threads of [1, 2]) {
    const model = await openModel({ path, id: SHIPPED_MODEL.id, cacheDir: cache, threads });
    try {
      const note = (what: string, pairs: readonly (readonly [number, number])[]) => {
        const gain = median(pairs.map(([without, with_]) => without / with_));
        gains.set(what, [...(gains.get(what) ?? []), gain]);
        const name = `${what}, ${threads} thread${threads === 1 ? '' : 's'}`;
        measures.push(
          { name: `${name}, plain`, value: median(pairs.map(([without]) => without)), unit: 'ms' },
          { name: `${name}, ahead`, value: median(pairs.map(([, with_]) => with_)), unit: 'ms' },
          { name: `${name}, gain`, value: gain, unit: 'x' },
        );
        say(`${name}: ${gain.toFixed(2)} x`);
      };
      for (const [what, { chat, prompt }] of Object.entries(TEXTS)) {
        const pairs: [number, number][] = [];
        for (let round = 0; round < ROUNDS; round++) {
          pairs.push([
            await decodeMs(model, prompt(ledger), chat, false),
            await decodeMs(model, prompt(ledger), chat, true),
          ]);
        }
        note(what, pairs);
      }
      const pairs: [number, number][] = [];
      for (let round = 0; round < ROUNDS; round++) {
        pairs.push([await auditMs(model, requests, round, false), await auditMs(model, requests, round, true)]);
      }
      note('expense auditor', pairs);
    } finally {
      await model.sequences.close();
    }
  }
  const worst = (what: string) => Math.min(...(gains.get(what) ?? []));
  return {
    measures,
    ratios: { copies: worst('copies'), prose: worst('prose'), auditor: worst('expense auditor') },
  };
}

/** Milliseconds behind the prompt. */
async function decodeMs(model: OpenModel, prompt: string, chat: boolean, speculate: boolean): Promise<number> {
  await waitForQuiet(QUIET_MS);
  return (await generate(model, { prompt, chat, maxTokens: NEXT_TOKENS, speculate })).decodeMs;
}

/** Milliseconds of all requests; each round has another beginning, so that none is known from the round before. */
async function auditMs(
  model: OpenModel,
  requests: readonly CompletionRequest[],
  round: number,
  speculate: boolean,
): Promise<number> {
  const { identity, tokenizer, sequences } = model;
  // Without the prompt nothing of it is known.
  const open = speculate ? sequences.open : (capacity: number) => sequences.open(capacity);
  const engine = new CompletionEngine(identity, tokenizer, { ...sequences, open }, { speculate });
  await waitForQuiet(QUIET_MS);
  const startedAt = performance.now();
  for (const request of requests) {
    const [system, ...others] = request.messages;
    if (system === undefined) throw new TypeError('a request has no messages');
    const first = { ...system, content: `Audit ${round}${speculate ? 'a' : 'b'}. ${system.content}` };
    await engine.complete({ ...request, messages: [first, ...others] });
  }
  return performance.now() - startedAt;
}

/** What the agent asks its model for one ledger; every answer is the first choice. */
async function auditorRequests(ledger: string): Promise<CompletionRequest[]> {
  const rows = ledger
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split(','))
    .map(([id, date, employee, description, cents]) => ({ id, date, employee, description, cents: Number(cents) }));
  const requests: CompletionRequest[] = [];
  const context = {
    tool: async (tool: { readonly name: string }) =>
      tool.name === 'read_ledger' ? rows : tool.name === 'audit_expenses' ? { totals: [], flags: [] } : [],
    infer: async (request: {
      readonly messages: CompletionRequest['messages'];
      readonly maxTokens: number;
      readonly responseFormat: { readonly choices: readonly string[] };
    }) => {
      const { messages, maxTokens, responseFormat } = request;
      requests.push({ messages, maxTokens, choices: responseFormat.choices });
      return { text: responseFormat.choices[0] ?? '' };
    },
    kv: { put: async () => {} },
    now: async () => 0,
  };
  await auditor.run(context as never, { ledgerUrl: '', policyUrl: '' } as never);
  return requests;
}
