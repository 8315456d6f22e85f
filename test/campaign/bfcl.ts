/**
 * Tool calls of the shipped model through the HTTP API, on the Berkeley Function Calling Leaderboard's simple JavaScript cases: every call
 * must parse and be valid by its schema. How many are right depends on the model and is told.
 *
 * Seed changes nothing; `--count` takes that many of the 50 cases.
 *
 * @module
 */

import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { type BfclCase, isRight, readBfcl } from '../support/bfcl.ts';
import type { CampaignOptions, CampaignResult } from '../support/campaign.ts';
import { startServed } from '../support/served.ts';
import { vectorsDir } from '../support/vectors.ts';

type Message = {
  readonly tool_calls?: readonly { readonly function: { readonly name: string; readonly arguments: string } }[];
};

export async function run({ count }: CampaignOptions): Promise<CampaignResult> {
  const vectors = vectorsDir();
  if (vectors === undefined)
    return { cases: 0, failures: ['the folder of vectors is not there'], summary: 'nothing ran' };
  const cases = readBfcl(join(vectors, 'bfcl')).slice(0, count);
  const failures: string[] = [];
  const right = { required: 0, auto: 0 };
  let calledByItself = 0;
  const server = await startServed();
  try {
    for (const one of cases) {
      const required = await callOf(server.url, one, 'required');
      const fault = required === undefined ? 'no call' : faultOf(one, required);
      if (fault === undefined) right.required += Number(isRight(one, argumentsOf(required)));
      else failures.push(`${one.id}: ${fault}`);
      const auto = await callOf(server.url, one, 'auto');
      if (auto === undefined) continue;
      calledByItself += 1;
      const wrong = faultOf(one, auto);
      if (wrong === undefined) right.auto += Number(isRight(one, argumentsOf(auto)));
      else failures.push(`${one.id}, auto: ${wrong}`);
    }
  } finally {
    await server.close();
  }
  const summary =
    `${cases.length - failures.length}/${cases.length} required calls parse and are valid, ${right.required} are right; ` +
    `left to itself the model calls in ${calledByItself}, ${right.auto} are right`;
  return { cases: cases.length, failures, summary };
}

type Call = { readonly name: string; readonly arguments: string };

async function callOf(
  url: string,
  { messages, tool }: BfclCase,
  choice: 'required' | 'auto',
): Promise<Call | undefined> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model: 'smollm2-135m-instruct',
      messages,
      tools: [{ type: 'function', function: tool }],
      tool_choice: choice,
      parallel_tool_calls: false,
      max_completion_tokens: 256,
    }),
  });
  const body = await response.json();
  if (!response.ok) return { name: `status ${response.status}`, arguments: JSON.stringify(body) };
  const { choices } = body as { readonly choices: readonly { readonly message: Message }[] };
  return choices[0]?.message.tool_calls?.[0]?.function;
}

function faultOf({ tool }: BfclCase, call: Call | undefined): string | undefined {
  if (call?.name !== tool.name) return `calls ${call?.name}: ${call?.arguments}`;
  let args: unknown;
  try {
    args = JSON.parse(call.arguments);
  } catch (error) {
    return `arguments are no JSON: ${String(error)}: ${call.arguments}`;
  }
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  return ajv.validate(tool.parameters, args)
    ? undefined
    : `arguments are not valid: ${ajv.errorsText()}: ${call.arguments}`;
}

function argumentsOf(call: Call | undefined): Readonly<Record<string, unknown>> {
  return JSON.parse(call?.arguments ?? '{}') as Readonly<Record<string, unknown>>;
}
