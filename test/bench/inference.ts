/**
 * Tokens a second of the exact engine beside llama.cpp and the binary32 engine: the same model and ids, each in a process
 * of its own, taking turns round by round, so that what else the computer does meets all of them alike.
 *
 * `decode` and `prefill` are the exact engine over llama.cpp `Q8_0` at equal threads; `verify` is the time of checking an output over the
 * time of making it, nothing computed ahead; each is the worse of one and two threads. `exactOverFloat` is decoding of the exact engine over
 * `float-same-isa` at two threads, the only number that profile knows. All are medians of the ratios of single rounds.
 *
 * @module
 */

import type { ProfileName } from '../../inference/engine.ts';
import { type BenchResult, type Measure, median } from '../support/bench.ts';
import { EngineAbsent } from '../support/bench-engine.ts';
import { type ShippedModel, say, shippedModel } from '../support/bench-model.ts';
import { type BenchEntry, BenchProcess } from '../support/bench-process.ts';
import { ensureGguf, ensureLlama } from '../support/llama-cpp.ts';
import { waitForQuiet } from '../support/quiet.ts';

const ROUNDS = 5;
/** No further round is started after it: on a busy computer two spinning threads wait for each other's core. */
const MOST_MS = 240_000;
/** Longest wait for a quiet computer before each turn. */
const QUIET_MS = 5000;
const PROMPT_TOKENS = 64;
const NEXT_TOKENS = 128;
const PREFILL_TOKENS = 256;
const CHECK_TOKENS = 256;
const MB = 1e6;

const TEXT = `The lighthouse stood at the end of the long stone pier, and every evening its keeper climbed the stairs to
light the lamp. She wrote down the weather, the ships that passed and the hour at which each of them passed, and when the
book was full she sent it to the harbour office and began another one. `.repeat(6);

type Plan = {
  readonly name: 'exact' | 'float-same-isa' | 'llama.cpp Q8_0' | 'llama.cpp of the same file';
  readonly entry: BenchEntry;
  readonly profile?: ProfileName;
  readonly path: string;
  readonly threads: readonly number[];
};

/** An open engine and what its rounds gave, in tokens a second. */
type Side = {
  readonly name: Plan['name'];
  readonly threads: number;
  readonly engine: BenchProcess;
  readonly decode: number[];
  readonly prefill: number[];
  /** Milliseconds of making an output and of checking it; empty for engines of others. */
  readonly make: number[];
  readonly check: number[];
};

export async function run(): Promise<BenchResult> {
  const model = shippedModel();
  const sides: Side[] = [];
  try {
    await openSides(model, sides);
    const busy = await measure(model, sides);
    return { measures: [...(await figures(sides)), ...busy], ratios: ratios(sides) };
  } finally {
    for (const { engine } of sides) engine.close();
  }
}

async function openSides(model: ShippedModel, sides: Side[]): Promise<void> {
  const { path, cache } = model;
  const plans: Plan[] = [
    { name: 'exact', entry: 'own', profile: 'exact', path, threads: [1, 2] },
    { name: 'float-same-isa', entry: 'own', profile: 'float-same-isa', path, threads: [2] },
  ];
  const packages = await orAbsent(() => ensureLlama(cache, say));
  if (packages !== undefined) {
    const q8 = ensureGguf(path, model.name, 'Q8_0', cache, say);
    plans.splice(1, 0, { name: 'llama.cpp Q8_0', entry: 'llama', path: q8, threads: [1, 2] });
    plans.push({ name: 'llama.cpp of the same file', entry: 'llama', path, threads: [1, 2] });
  }
  const folders = { cacheDir: cache, ...(packages === undefined ? {} : { packages }) };
  for (const { name, entry, path: file, threads: counts, profile = 'exact' } of plans) {
    for (const threads of counts) {
      const engine = await orAbsent(() => BenchProcess.start(entry, { ...folders, path: file, threads, profile }));
      if (engine !== undefined) sides.push({ name, threads, engine, decode: [], prefill: [], make: [], check: [] });
    }
  }
  // Those that are compared take their turns next to each other.
  sides.sort((a, b) => a.threads - b.threads);
}

/** What is made, or undefined with the reason on standard error where this installation cannot have it. */
async function orAbsent<T>(make: () => Promise<T>): Promise<T | undefined> {
  try {
    return await make();
  } catch (error) {
    if (!(error instanceof EngineAbsent)) throw error;
    say(`not measured: ${error.message}`);
    return undefined;
  }
}

/** Fills the sides; how many rounds there were, and how busy others kept the computer. */
async function measure(model: ShippedModel, sides: readonly Side[]): Promise<Measure[]> {
  const ids = model.encode(TEXT).slice(0, PREFILL_TOKENS);
  if (ids.length !== PREFILL_TOKENS) throw new RangeError(`the text has ${ids.length} tokens`);
  const prompt = ids.slice(0, PROMPT_TOKENS);
  for (const { engine } of sides) {
    await engine.decode(prompt, 16);
    await engine.prefill(ids);
  }
  const end = performance.now() + MOST_MS;
  const shares: number[] = [];
  for (let round = 1; round <= ROUNDS && (round === 1 || performance.now() < end); round++) {
    for (const { name, engine, decode, prefill, make, check } of sides) {
      shares.push(100 * (await waitForQuiet(QUIET_MS)));
      decode.push(NEXT_TOKENS / ((await engine.decode(prompt, NEXT_TOKENS)).ms / 1000));
      prefill.push(PREFILL_TOKENS / ((await engine.prefill(ids)) / 1000));
      if (name !== 'exact') continue;
      await waitForQuiet(QUIET_MS);
      const made = await engine.make(prompt, CHECK_TOKENS);
      make.push(made.ms);
      check.push(await engine.check(prompt, made.ids));
    }
    const row = sides.map(({ name, threads, decode }) => `${name}/${threads} ${decode.at(-1)?.toFixed(1)}`);
    say(`round ${round} of ${ROUNDS}, decode tokens/s: ${row.join(', ')}`);
  }
  return [
    { name: 'rounds', value: sides[0]?.decode.length ?? 0, unit: 'rounds' },
    { name: 'cores that others took before a turn, median', value: median(shares), unit: '%' },
    { name: 'cores that others took before a turn, most', value: Math.max(...shares), unit: '%' },
  ];
}

async function figures(sides: readonly Side[]): Promise<Measure[]> {
  const measures: Measure[] = [];
  for (const { name, threads, engine, decode, prefill, make, check } of sides) {
    const what = `${name}, ${threads} thread${threads === 1 ? '' : 's'}`;
    const { rssBytes, peakBytes } = await engine.memory();
    measures.push(
      { name: `${what}, decode`, value: median(decode), unit: 'tokens/s' },
      { name: `${what}, decode, best round`, value: Math.max(...decode), unit: 'tokens/s' },
      { name: `${what}, prefill of ${PREFILL_TOKENS}`, value: median(prefill), unit: 'tokens/s' },
      ...(check.length === 0 ? [] : checking(what, make, check)),
      { name: `${what}, ready from the start of the process`, value: engine.readyMs, unit: 'ms' },
      { name: `${what}, ready, without starting Node`, value: engine.openMs, unit: 'ms' },
      { name: `${what}, resident memory of the process`, value: rssBytes / MB, unit: 'MB' },
      { name: `${what}, most resident memory`, value: peakBytes / MB, unit: 'MB' },
    );
  }
  for (const threads of [1, 2]) {
    measures.push(...spread('llama.cpp Q8_0', 'decode', threads, sides));
    measures.push(...spread('llama.cpp Q8_0', 'prefill', threads, sides));
  }
  measures.push(...spread('float-same-isa', 'decode', 2, sides), ...spread('float-same-isa', 'prefill', 2, sides));
  return measures;
}

function checking(what: string, make: readonly number[], check: readonly number[]): Measure[] {
  const task = `${CHECK_TOKENS} tokens after ${PROMPT_TOKENS}`;
  const speeds = check.map((ms) => CHECK_TOKENS / (ms / 1000));
  return [
    { name: `${what}, making ${task}`, value: median(make), unit: 'ms' },
    { name: `${what}, checking ${task}`, value: median(check), unit: 'ms' },
    { name: `${what}, checking`, value: median(speeds), unit: 'positions/s' },
    { name: `${what}, checking over making`, value: median(overMaking(make, check)), unit: 'x' },
  ];
}

function overMaking(make: readonly number[], check: readonly number[]): number[] {
  return check.map((ms, round) => ms / (make[round] ?? Number.NaN));
}

/** Median, least and greatest ratio of the rounds. */
function spread(other: Side['name'], what: 'decode' | 'prefill', threads: number, sides: readonly Side[]): Measure[] {
  const rounds = roundRatios(other, what, threads, sides);
  if (rounds.length === 0) return [];
  const name = `exact over ${other}, ${threads} thread${threads === 1 ? '' : 's'}, ${what}`;
  return [
    { name, value: median(rounds), unit: 'x' },
    { name: `${name}, least round`, value: Math.min(...rounds), unit: 'x' },
    { name: `${name}, best round`, value: Math.max(...rounds), unit: 'x' },
  ];
}

function ratios(sides: readonly Side[]): BenchResult['ratios'] {
  const worst = (what: 'decode' | 'prefill') =>
    Math.min(...[1, 2].map((threads) => median(roundRatios('llama.cpp Q8_0', what, threads, sides))));
  const checks = sides.filter(({ name }) => name === 'exact').map(({ make, check }) => median(overMaking(make, check)));
  const overFloat = median(roundRatios('float-same-isa', 'decode', 2, sides));
  const known = (value: number) => (Number.isFinite(value) ? value : null);
  return {
    decode: known(worst('decode')),
    prefill: known(worst('prefill')),
    verify: known(Math.max(...checks)),
    exactOverFloat: known(overFloat),
  };
}

/** The exact engine over another at equal threads, round by round; empty where one of them is absent. */
function roundRatios(
  other: Side['name'],
  what: 'decode' | 'prefill',
  threads: number,
  sides: readonly Side[],
): number[] {
  const find = (name: Side['name']) => sides.find((side) => side.name === name && side.threads === threads)?.[what];
  const ours = find('exact');
  const theirs = find(other);
  if (ours === undefined || theirs === undefined) return [];
  return ours.map((value, round) => value / (theirs[round] ?? Number.NaN));
}
