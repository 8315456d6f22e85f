/**
 * Claimed outputs: a true one is found true, one changed token is found at its position, and a changed prompt token, seed or temperature at
 * the first position whose token it changes. What is right is computed by plain decoding, one row after the other: of random models
 * by the reference engine.
 *
 * Each case has one changed token and one changed input. One case in 50 is of SmolLM2, where its file is at hand.
 *
 * @module
 */

import { readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { readEnvironment } from '../../agents/cli/environment.ts';
import { toHex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { type CheckingModel, type CompletionClaim, checkCompletion } from '../../inference/check.ts';
import { openReference } from '../../inference/exact/reference/reference-decoder.ts';
import { openModel } from '../../inference/model.ts';
import { resolveModelPath, SHIPPED_MODEL } from '../../inference/model-path.ts';
import type { Sequences } from '../../inference/sequences.ts';
import type { CampaignOptions, CampaignResult } from '../support/campaign.ts';
import {
  checkModelOver,
  openCheckModel,
  type PlainAnswer,
  plainAnswer,
  plainSequences,
} from '../support/check-model.ts';
import { type Random, seededRandom } from '../support/random.ts';
import { EXACT_FAMILIES, randomExactModel, randomTokens } from '../support/random-exact-model.ts';

/** A model under test, and what is right. */
type Subject = {
  readonly name: 'tiny' | 'smollm2';
  readonly model: CheckingModel;
  /** For plain decoding. */
  readonly plain: Sequences;
  readonly prompt: (random: Random) => number[];
  readonly longest: number;
};

const CHANGES = ['prompt token', 'seed', 'temperature'] as const;
const SMOLLM2_EVERY = 50;

/** Models with more numbers are left to the tests of engines: the reference takes long for them. */
const FAMILIES = EXACT_FAMILIES.filter(({ options }) => (options.embedding ?? 0) < 2000);

type Tally = Record<string, number>;

export async function run({ seed, count }: CampaignOptions): Promise<CampaignResult> {
  const failures: string[] = [];
  const tally: Tally = {};
  const subjects = new Subjects();
  try {
    for (let index = 0; index < count; index++) {
      const random = seededRandom((seed * 1_000_003 + index) >>> 0);
      const isLarge = index % SMOLLM2_EVERY === SMOLLM2_EVERY - 1;
      const subject = (isLarge ? await subjects.smolLM2() : undefined) ?? (await subjects.tiny(random));
      const change = CHANGES[index % CHANGES.length] as (typeof CHANGES)[number];
      const fault = await runCase(random, subject, change, tally).catch((error: unknown) => `threw ${String(error)}`);
      if (fault !== '') failures.push(`case ${index}, ${change}: ${fault}`);
    }
  } finally {
    await subjects.close();
  }
  const of = (name: string) => tally[name] ?? 0;
  const changed = CHANGES.map(
    (name) =>
      `${name} ${of(`${name} found`)}/${of(`${name} found`) + of(`${name} missed`)} (${of(`${name} same`)} changed none)`,
  );
  const summary = [
    `${of('true')}/${count} true ones match`,
    `one changed token found at its position ${of('token')}/${count}`,
    `at the first position that they change: ${changed.join(', ')}`,
    subjects.isWithout ? 'SmolLM2 is not at hand' : `${of('smollm2')} of SmolLM2`,
  ].join('; ');
  return { cases: count, failures, summary };
}

async function runCase(
  random: Random,
  subject: Subject,
  change: (typeof CHANGES)[number],
  tally: Tally,
): Promise<string> {
  const { name, model, plain, longest } = subject;
  const vocabulary = model.identity.vocabularySize;
  const { endIds } = model.tokenizer.description;
  const add = (name: string) => {
    tally[name] = (tally[name] ?? 0) + 1;
  };
  add(name);
  const promptIds = subject.prompt(random);
  // Mostly of one batch, some of several.
  const maxTokens = 1 + random.below(random.chance(10) ? longest : 32);
  const question = { promptIds, maxTokens, sampling: sampler(random) };
  const answer = (asked: typeof question) => plainAnswer(plain, asked.promptIds, asked, endIds);
  const honest = await answer(question);
  const claim: CompletionClaim = { ...question, outputIds: honest.ids };

  const whole = await checkCompletion(model, claim);
  if (whole.firstWrong !== null) return `true, found wrong: ${JSON.stringify(whole.firstWrong)}`;
  if (whole.logitsDigest !== honest.digest) return 'true, with another digest';
  if (whole.finishReason !== honest.finish) return `true, finished by ${whole.finishReason}`;
  if (whole.text !== model.tokenizer.decode(honest.ids)) return 'true, with another text';
  add('true');

  const index = random.below(honest.ids.length);
  const correct = honest.ids[index] as number;
  const claimed = otherToken(random, correct, vocabulary);
  const outputIds = honest.ids.map((id, at) => (at === index ? claimed : id));
  const fault = await expectWrong(model, { ...claim, outputIds }, { index, claimed, correct });
  if (fault !== '') return `token ${index} changed: ${fault}`;
  add('token');

  const changed = changeInput(random, question, change, vocabulary);
  const right = await answer(changed);
  const at = firstChange(honest, right);
  if (at === undefined) {
    const { firstWrong, logitsDigest } = await checkCompletion(model, { ...changed, outputIds: honest.ids });
    if (firstWrong !== null) return `no token changed, found wrong: ${JSON.stringify(firstWrong)}`;
    if (logitsDigest !== right.digest) return 'no token changed, with another digest';
    add(`${change} same`);
    return '';
  }
  const expected = { index: at, claimed: honest.ids[at] ?? null, correct: right.ids[at] ?? null };
  const missed = await expectWrong(model, { ...changed, outputIds: honest.ids }, expected);
  add(`${change} ${missed === '' ? 'found' : 'missed'}`);
  return missed;
}

async function expectWrong(
  model: CheckingModel,
  claim: CompletionClaim,
  expected: { readonly index: number; readonly claimed: number | null; readonly correct: number | null },
): Promise<string> {
  const { firstWrong } = await checkCompletion(model, claim);
  const wanted = JSON.stringify({
    index: expected.index,
    position: claim.promptIds.length + expected.index,
    claimed: expected.claimed,
    correct: expected.correct,
  });
  return JSON.stringify(firstWrong) === wanted ? '' : `expected ${wanted}, got ${JSON.stringify(firstWrong)}`;
}

function firstChange(claimed: PlainAnswer, right: PlainAnswer): number | undefined {
  for (let at = 0; at < claimed.ids.length || at < right.ids.length; at++) {
    if (claimed.ids[at] !== right.ids[at]) return at;
  }
  return undefined;
}

function sampler(random: Random): NonNullable<CompletionClaim['sampling']> {
  return {
    temperature: random.chance(15) ? 0 : random.pick([500, 7_000, 10_000, 15_000, 1 + random.below(20_000), 20_000]),
    topP: random.pick([10_000, 10_000, 9_500, 5_000, 1 + random.below(10_000)]),
    topK: random.pick([0, 0, 0, 2, 5, 40, 1 + random.below(1_000_000)]),
    seed: toHex(random.bytes(32)),
  };
}

function otherToken(random: Random, token: number, vocabulary: number): number {
  // An id that no model has is a lie like any other.
  if (random.chance(5)) return vocabulary + random.below(1_000_000);
  return (token + 1 + random.below(vocabulary - 1)) % vocabulary;
}

function changeInput<
  Q extends { readonly promptIds: number[]; readonly sampling: NonNullable<CompletionClaim['sampling']> },
>(random: Random, question: Q, change: (typeof CHANGES)[number], vocabulary: number): Q {
  const { promptIds, sampling } = question;
  switch (change) {
    case 'prompt token': {
      const place = random.below(promptIds.length);
      const token = ((promptIds[place] as number) + 1 + random.below(vocabulary - 1)) % vocabulary;
      return { ...question, promptIds: promptIds.map((id, at) => (at === place ? token : id)) };
    }
    case 'seed':
      return { ...question, sampling: { ...sampling, seed: toHex(random.bytes(32)) } };
    case 'temperature': {
      const temperature = (sampling.temperature + 1 + random.below(20_000)) % 20_001;
      return { ...question, sampling: { ...sampling, temperature } };
    }
  }
}

/** Models, opened when they are first needed. */
class Subjects {
  isWithout = false;
  readonly #tiny = new Map<string, Subject>();
  #smolLM2: Subject | undefined;

  /** A random model, kept for the next case. */
  async tiny(random: Random): Promise<Subject> {
    const family = random.below(FAMILIES.length);
    const engine = random.pick(['wasm', 'wasm', 'wasm', 'wasm', 'wasm', 'reference']);
    const key = `${family} ${engine}`;
    const known = this.#tiny.get(key);
    if (known !== undefined) return known;
    const exact = randomExactModel({ ...FAMILIES[family]?.options, seed: family + 1 });
    const { vocabulary } = exact.shape;
    // Some texts end by a token.
    const endIds = random.chance(60) ? [] : [random.below(vocabulary)];
    const model =
      engine === 'wasm'
        ? await openCheckModel(exact, endIds)
        : checkModelOver(openReference(exact, { maxRows: random.pick([1, 5, 512]) }), endIds);
    const subject: Subject = {
      name: 'tiny',
      model,
      plain: plainSequences(exact),
      prompt: (draw) => randomTokens(draw, vocabulary, 1 + draw.below(16)),
      longest: 80,
    };
    this.#tiny.set(key, subject);
    return subject;
  }

  /** The shipped model on the engine that is used by default; undefined where its file is not at hand. */
  async smolLM2(): Promise<Subject | undefined> {
    if (this.#smolLM2 !== undefined || this.isWithout) return this.#smolLM2;
    try {
      const { cache, env } = readEnvironment();
      const { id, path } = resolveModelPath(SHIPPED_MODEL.id, env, homedir());
      const model = await openModel({ id, path, cacheDir: cache });
      const text = new URL('../bench/text/', import.meta.url);
      const [file = ''] = readdirSync(text).filter((name) => name.endsWith('.txt'));
      const ids = model.tokenizer.encodeText(readFileSync(new URL(file, text), 'utf8'));
      this.#smolLM2 = {
        name: 'smollm2',
        model,
        plain: model.sequences,
        prompt: (draw) => {
          const from = draw.below(ids.length - 64);
          return ids.slice(from, from + 1 + draw.below(32));
        },
        longest: 100,
      };
    } catch (error) {
      if (!RuntimeError.is(error)) throw error;
      this.isWithout = true;
    }
    return this.#smolLM2;
  }

  async close(): Promise<void> {
    await this.#smolLM2?.model.sequences.close();
    for (const { model, plain } of this.#tiny.values()) {
      await model.sequences.close();
      await plain.close();
    }
  }
}
