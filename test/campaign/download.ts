/**
 * Downloads from a server that breaks off, lies and corrupts, into a folder where an earlier try left something: the file
 * is right or absent, every failure is a `SetupError`, and an honest server always heals what is left.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { downloadFile, partPath } from '../../agents/setup/download.mjs';
import type { CampaignOptions, CampaignResult } from '../support/campaign.ts';
import { type Answer, startFileServer } from '../support/file-server.ts';
import { type Random, seededRandom } from '../support/random.ts';

const STALL_MS = 60;

export async function run({ seed, count }: CampaignOptions): Promise<CampaignResult> {
  const failures: string[] = [];
  const tally = { whole: 0, refused: 0 };
  const folder = mkdtempSync(join(tmpdir(), 'tracebond-download-'));
  try {
    for (let index = 0; index < count; index++) {
      const random = seededRandom((seed * 1_000_003 + index) >>> 0);
      const script = makeScript(random);
      const fault = await runCase(folder, random, script, tally);
      if (fault !== '') failures.push(`case ${index}: ${fault}; script ${JSON.stringify(script)}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const summary = `${tally.whole} came whole, ${tally.refused} were refused with a code and healed by an honest server`;
  return { cases: count, failures, summary };
}

async function runCase(
  folder: string,
  random: Random,
  script: readonly Answer[],
  tally: { whole: number; refused: number },
): Promise<string> {
  const content = random.bytes(1 + random.below(random.chance(20) ? 200_000 : 3_000));
  const sha256 = createHash('sha256').update(content).digest('hex');
  const file = { target: join(folder, 'model.gguf'), sizeBytes: content.length, sha256 };
  const part = partPath(file);
  rmSync(file.target, { force: true });
  rmSync(part, { force: true });
  const leftover = makeLeftover(random, content);
  if (leftover !== undefined) writeFileSync(part, leftover);

  const options = { stallMs: STALL_MS, sleep: async () => undefined };
  await using server = await startFileServer(content, script);
  try {
    await downloadFile({ ...file, url: server.url }, options);
    tally.whole++;
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'SetupError') return `not a SetupError: ${String(error)}`;
    if (existsSync(file.target)) return `a file appeared although the download failed: ${error.message}`;
    tally.refused++;
    await using honest = await startFileServer(content);
    try {
      await downloadFile({ ...file, url: honest.url }, options);
    } catch (second) {
      return `an honest server did not heal it: ${String(second)}`;
    }
  }
  if (!existsSync(file.target)) return 'no file although the download succeeded';
  if (!readFileSync(file.target).equals(content)) return 'the file is wrong';
  return existsSync(part) ? 'the unfinished file was left behind' : '';
}

function makeLeftover(random: Random, content: Uint8Array): Uint8Array | undefined {
  const cut = content.slice(0, random.below(content.length + 1));
  switch (random.below(6)) {
    case 0:
      return cut;
    case 1:
      cut[0] = (cut[0] ?? 0) ^ 1;
      return cut;
    case 2:
      return random.bytes(content.length);
    case 3:
      return random.bytes(content.length + 1 + random.below(100));
    case 4:
      // A file system that lost its data but not the length.
      return new Uint8Array(cut.length);
    default:
      return undefined;
  }
}

function makeScript(random: Random): Answer[] {
  return Array.from({ length: random.below(7) }, () => makeAnswer(random));
}

function makeAnswer(random: Random): Answer {
  const after = random.below(random.chance(50) ? 4_000 : 200_000);
  // Silence costs real time, so it is rare.
  if (random.chance(2)) return { kind: 'stall', after };
  return random.pick<Answer>([
    { kind: 'drop', after },
    { kind: 'drop', after },
    { kind: 'short', after },
    { kind: 'corrupt', at: after },
    { kind: 'ignore-range' },
    { kind: 'no-content-range' },
    { kind: 'reset' },
    { kind: 'encoded' },
    { kind: 'loop' },
    { kind: 'to-nowhere' },
    { kind: 'redirect', hops: random.below(6) },
    { kind: 'long', extra: 1 + random.below(1_000) },
    { kind: 'lie-length', by: random.below(2_000) - 1_000 },
    { kind: 'shifted-range', by: random.below(4) },
    { kind: 'wrong-total', by: 1 + random.below(9) },
    { kind: 'status', status: random.pick([400, 401, 403, 404, 408, 410, 416, 418, 429, 500, 502, 503]) },
  ]);
}
