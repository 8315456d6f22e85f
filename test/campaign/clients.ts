/**
 * The newest client libraries, under the Node that they need, against the server with the shipped model: the scenarios of
 * `test/clients`, every exchange held to OpenAI's document where that is at hand. Seed and count change nothing.
 *
 * @module
 */

import { join } from 'node:path';
import { readEnvironment } from '../../agents/cli/environment.ts';
import type { CampaignResult } from '../support/campaign.ts';
import { ensureClients, NODE_PACKAGE, type Pins, runClients } from '../support/newest-clients.ts';
import { startServed } from '../support/served.ts';
import { vectorsDir } from '../support/vectors.ts';

const PINS: Pins = {
  [NODE_PACKAGE]: '24.21.0',
  openai: '7.57.0',
  ai: '7.0.173',
  '@ai-sdk/openai': '4.0.118',
  '@ai-sdk/openai-compatible': '3.0.92',
  '@langchain/core': '1.4.0',
  '@langchain/openai': '1.6.0',
  '@openai/agents': '0.20.0',
  zod: '4.6.7',
};

export async function run(): Promise<CampaignResult> {
  const folder = await ensureClients(PINS, readEnvironment().cache, say);
  const vectors = vectorsDir();
  const document = vectors === undefined ? undefined : join(vectors, 'openai-openapi', 'openapi.json');
  const served = await startServed();
  const failures: string[] = [];
  const passed = new Map<string, number>();
  let cases = 0;
  try {
    await runClients(folder, served.url, document, ({ library, scenario, fault, ms }) => {
      cases++;
      say(`${fault === null ? 'ok' : 'FAILED'} ${library}: ${scenario} (${ms} ms)`);
      if (fault !== null) failures.push(`${library}: ${scenario}: ${fault}`);
      passed.set(library, (passed.get(library) ?? 0) + (fault === null ? 1 : 0));
    });
  } finally {
    await served.close();
  }
  const versions = [...passed].map(([library, count]) => `${library} ${PINS[library]}: ${count}`).join(', ');
  const held = document === undefined ? "not held to OpenAI's document" : "held to OpenAI's document";
  return { cases, failures, summary: `passed under Node ${PINS[NODE_PACKAGE]}: ${versions}; ${held}` };
}

/** The summary is standard output's; progress goes beside. */
function say(message: string): void {
  console.error(message);
}
