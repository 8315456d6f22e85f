/**
 * The inference server under load, on the shipped model and through HTTP on loopback, as its clients meet it.
 *
 * 1. Throughput: the same prompts one after the other, and eight at a time.
 * 2. So many streams at a time (32, fewer with `--count`) for a minute, each compared byte by byte with the same request alone.
 * 3. The process of the engine is killed in the middle of streams: each ends with an error, and the server answers again.
 *
 * It fails where a stream differs or ends otherwise than it should, where eight at a time bring less than twice the tokens of one, where the
 * memory grows, or where it takes more than 5 seconds to answer again.
 *
 * @module
 */

import type { CampaignOptions, CampaignResult } from '../support/campaign.ts';
import { type Random, seededRandom } from '../support/random.ts';
import { type Served, startServed } from '../support/served.ts';

/** Streams at a time. */
const STREAMS = 32;
const LOAD_MS = 60_000;
const TOGETHER = 8;
const LEAST_RATIO = 2;
/** Milliseconds until the server must answer again. */
const BACK_MS = 5000;
/** Growth of memory between the second and the last quarter of the load that is still flat. */
const FLAT = 1.1;
const SAMPLE_MS = 1000;

/** A request whose answer is known. */
type Question = { readonly body: Readonly<Record<string, unknown>>; text: string };

/** What became of a stream. */
type Streamed = {
  readonly text: string;
  readonly tokens: number;
  readonly firstByteMs: number;
  readonly firstTextMs: number;
  readonly hasReceipt: boolean;
  readonly isDone: boolean;
  readonly error: string | undefined;
};

export async function run({ seed, count }: CampaignOptions): Promise<CampaignResult> {
  const streams = Math.min(count, STREAMS);
  const random = seededRandom(seed);
  const failures: string[] = [];
  const server = await startServed({ args: ['--max-active', String(streams)] });
  try {
    const questions = Array.from({ length: 24 }, () => makeQuestion(random));
    for (const question of questions) {
      const alone = await stream(server, question);
      if (!isWhole(alone)) failures.push(`alone: ${describe(alone)}`);
      question.text = alone.text;
    }
    const throughput = await compareThroughput(server, questions, failures);
    const load = await loadFor(server, questions, streams, random, failures);
    const back = await killAndReturn(server, questions, failures);
    const summary = [throughput, load.summary, back].join('; ');
    return { cases: load.streams, failures, summary };
  } finally {
    await server.close();
  }
}

async function compareThroughput(server: Served, questions: readonly Question[], failures: string[]): Promise<string> {
  // In turns, since a shared machine is faster at one time than at another.
  const rates: { one: number; eight: number }[] = [];
  for (let round = 0; round < 3; round++) {
    const part = questions.slice(round * TOGETHER, (round + 1) * TOGETHER);
    const one = await rateOf(async () => {
      const found: Streamed[] = [];
      for (const question of part) found.push(await stream(server, question));
      return found;
    });
    const eight = await rateOf(() => Promise.all(part.map((question) => stream(server, question))));
    rates.push({ one, eight });
  }
  const ratios = rates.map(({ one, eight }) => eight / one).sort((a, b) => a - b);
  const ratio = ratios[1] as number;
  const median = (name: 'one' | 'eight') => rates.map((rate) => rate[name]).sort((a, b) => a - b)[1] as number;
  if (ratio < LEAST_RATIO) failures.push(`eight at a time bring ${ratio.toFixed(2)} times the tokens of one`);
  return `${median('one').toFixed(0)} tokens/s one at a time, ${median('eight').toFixed(0)} eight at a time (${ratio.toFixed(2)} x)`;
}

async function rateOf(work: () => Promise<readonly Streamed[]>): Promise<number> {
  const startedAt = performance.now();
  const tokens = (await work()).reduce((sum, one) => sum + one.tokens, 0);
  return (1000 * tokens) / (performance.now() - startedAt);
}

async function loadFor(
  server: Served,
  questions: readonly Question[],
  streams: number,
  random: Random,
  failures: string[],
): Promise<{ readonly streams: number; readonly summary: string }> {
  const endsAt = performance.now() + LOAD_MS;
  const found: Streamed[] = [];
  const memory: number[] = [];
  const sample = () => memory.push(server.residentBytes() ?? 0);
  const sampler = setInterval(sample, SAMPLE_MS);
  const order = Array.from({ length: 4096 }, () => random.below(questions.length));
  let next = 0;
  let equal = 0;
  const client = async () => {
    while (performance.now() < endsAt) {
      const question = questions[order[next++ % order.length] as number] as Question;
      const streamed = await stream(server, question);
      found.push(streamed);
      if (!isWhole(streamed)) failures.push(describe(streamed));
      else if (streamed.text !== question.text) failures.push(`another text than alone: ${streamed.text.slice(0, 80)}`);
      else equal += 1;
    }
  };
  await Promise.all(Array.from({ length: streams }, client));
  clearInterval(sampler);
  const quarter = Math.floor(memory.length / 4);
  const most = (from: number) => Math.max(...memory.slice(from, from + quarter));
  const [early, late] = [most(quarter), most(memory.length - quarter)];
  if (late > FLAT * early) failures.push(`memory grew from ${megabytes(early)} to ${megabytes(late)} MB`);
  const firsts = (field: 'firstByteMs' | 'firstTextMs') => found.map((one) => one[field]).sort((a, b) => a - b);
  const at99 = (values: readonly number[]) => Math.round(values[Math.ceil(0.99 * values.length) - 1] ?? 0);
  const tokens = found.reduce((sum, one) => sum + one.tokens, 0);
  const summary =
    `${streams} streams for ${LOAD_MS / 1000} s: ${equal}/${found.length} equal to themselves alone, ` +
    `${Math.round((1000 * tokens) / LOAD_MS)} tokens/s, p99 first byte ${at99(firsts('firstByteMs'))} ms, ` +
    `p99 first text ${at99(firsts('firstTextMs'))} ms, memory ${megabytes(early)} then ${megabytes(late)} MB`;
  return { streams: found.length, summary };
}

async function killAndReturn(server: Served, questions: readonly Question[], failures: string[]): Promise<string> {
  const running = questions.slice(0, TOGETHER).map((question) => stream(server, question));
  await new Promise((resolve) => setTimeout(resolve, 700));
  const below = server.descendants();
  const engine = below.find((pid) => pid !== server.pid);
  if (engine === undefined) return 'no process of the engine was found';
  process.kill(engine, 'SIGKILL');
  const killedAt = performance.now();
  const ended = await Promise.all(running);
  const errors = ended.filter(({ error }) => error !== undefined).length;
  if (errors !== ended.length)
    failures.push(`${ended.length - errors} of ${ended.length} streams ended without an error`);
  const [question] = questions;
  let backMs = Number.POSITIVE_INFINITY;
  while (question !== undefined && performance.now() - killedAt < 60_000) {
    const again = await stream(server, question);
    if (isWhole(again) && again.text === question.text) {
      backMs = performance.now() - killedAt;
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  if (backMs > BACK_MS) failures.push(`the server answered again after ${Math.round(backMs)} ms`);
  return `engine killed in ${ended.length} streams: ${errors} ended with an error, answered whole again after ${Math.round(backMs)} ms`;
}

const SUBJECTS: readonly [string, ...string[]] = [
  'the sea',
  'a clock',
  'rain in spring',
  'old bridges',
  'a small village',
  'winter',
  'bread',
  'the moon',
];
const TASKS: readonly [string, ...string[]] = [
  'Write a few sentences about',
  'Tell a short story of',
  'Explain to a child',
  'List some facts about',
];

function makeQuestion(random: Random): Question {
  const content = `${random.pick(TASKS)} ${random.pick(SUBJECTS)} (${random.below(1000)}).`;
  const body = {
    model: 'smollm2-135m-instruct',
    messages: [{ role: 'user', content }],
    max_completion_tokens: 64,
    temperature: random.chance(50) ? 0 : 0.7,
    seed: random.below(1_000_000),
    stream: true,
    stream_options: { include_usage: true },
  };
  return { body, text: '' };
}

async function stream(server: Served, { body }: Question): Promise<Streamed> {
  const startedAt = performance.now();
  const since = () => performance.now() - startedAt;
  const found = { text: '', tokens: 0, firstByteMs: 0, firstTextMs: 0, hasReceipt: false, isDone: false };
  let error: string | undefined;
  try {
    const response = await fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!response.ok || response.body === null) {
      return { ...found, error: `status ${response.status}: ${(await response.text()).slice(0, 200)}` };
    }
    let held = '';
    for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
      if (found.firstByteMs === 0) found.firstByteMs = since();
      held += piece;
      for (let end = held.indexOf('\n\n'); end >= 0; end = held.indexOf('\n\n')) {
        const line = held.slice(0, end);
        held = held.slice(end + 2);
        if (!line.startsWith('data: ')) continue;
        if (line === 'data: [DONE]') {
          found.isDone = true;
          continue;
        }
        const event = JSON.parse(line.slice('data: '.length)) as StreamEvent;
        if (event.error !== undefined) error = event.error.message;
        const text = event.choices?.[0]?.delta?.content ?? '';
        if (text !== '' && found.firstTextMs === 0) found.firstTextMs = since();
        found.text += text;
        found.tokens = event.usage?.completion_tokens ?? found.tokens;
        found.hasReceipt ||= event.tracebond !== undefined;
      }
    }
  } catch (cause) {
    error = `connection: ${String((cause as Error).message)}`;
  }
  return { ...found, error };
}

type StreamEvent = {
  readonly choices?: readonly { readonly delta?: { readonly content?: string | null } }[];
  readonly usage?: { readonly completion_tokens: number } | null;
  readonly tracebond?: unknown;
  readonly error?: { readonly message: string };
};

function isWhole({ error, isDone, hasReceipt }: Streamed): boolean {
  return error === undefined && isDone && hasReceipt;
}

function describe({ error, isDone, hasReceipt }: Streamed): string {
  if (error !== undefined) return error;
  if (!hasReceipt) return 'a stream without a receipt';
  return isDone ? 'a stream' : 'a stream without its end';
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1e6);
}
