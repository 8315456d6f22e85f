/**
 * Numbers as they are written: whole numbers up to 2^53 - 1, and fractions of at most 15 digits in all; no exponent, no
 * needless zero, no `-0`. Different texts are then different binary64 values, so that bounds that hold for the digits hold
 * for whoever reads them.
 *
 * @module
 */

import { type ByteDfa, byteDfa } from './byte-dfa.ts';
import { GRAMMAR_LIMITS } from './limits.ts';
import { PatternFault } from './pattern-syntax.ts';

/** What a number must satisfy; bounds may be infinite. */
export type NumberBounds = {
  readonly isWhole: boolean;
  readonly min: number;
  readonly max: number;
  readonly isMinExclusive: boolean;
  readonly isMaxExclusive: boolean;
  /** The number is a whole multiple of each. */
  readonly multiplesOf: readonly number[];
};

const MAX_DIGITS = 15;
const MAX_WHOLE_DIGITS = 16;
const MAX_STEP = 1000n;

/** A size: digits before and behind the point, without needless zeros; whether the bound itself is left out. */
type Size = { readonly whole: string; readonly part: string; readonly isExclusive: boolean };

/** From `low` to `high`; undefined stands for no bound. */
type Sizes = { readonly low: Size | undefined; readonly high: Size | undefined };

/** `numerator / 10^scale`. */
type Step = { readonly numerator: number; readonly scale: number };

/**
 * The automaton of the numbers within bounds; its start may accept nothing.
 *
 * @throws {@link PatternFault} `SCHEMA_TOO_LARGE` for steps of too many digits
 */
export function numberDfa(bounds: NumberBounds): ByteDfa {
  const key = keyOfBounds(bounds);
  const known = made.get(key);
  if (known !== undefined) return known;
  const dfa = makeDfa(bounds);
  if (made.size >= KEPT_DFAS) made.clear();
  made.set(key, dfa);
  return dfa;
}

/** Equal for equal bounds. */
export function keyOfBounds(bounds: NumberBounds): string {
  return JSON.stringify([bounds, String(bounds.min), String(bounds.max)]);
}

/** Most schemas ask for the same few: any number, any whole number, those from 0. */
const KEPT_DFAS = 64;
const made = new Map<string, ByteDfa>();

function makeDfa(bounds: NumberBounds): ByteDfa {
  const step = commonStep(bounds.multiplesOf);
  const plus = sizesOf(bounds.min, bounds.isMinExclusive, bounds.max, bounds.isMaxExclusive);
  const minus = sizesOf(-bounds.max, bounds.isMaxExclusive, -bounds.min, bounds.isMinExclusive, true);
  return explore(bounds.isWhole, step, plus, minus);
}

type State = {
  /** `sign` before anything, `first` before the first digit, then digits of the whole, after a sole zero, the point, the part. */
  readonly phase: 'sign' | 'first' | 'whole' | 'zero' | 'point' | 'part';
  readonly sizes: Sizes | undefined;
  readonly whole: number;
  readonly part: number;
  /** How the digits so far compare with as many digits of the bound: -1, 0, 1. */
  readonly low: number;
  readonly high: number;
  readonly rest: number;
  readonly isZeroLast: boolean;
};

function explore(isWhole: boolean, step: Step, plus: Sizes | undefined, minus: Sizes | undefined): ByteDfa {
  const start: State = { phase: 'sign', sizes: plus, whole: 0, part: 0, low: 0, high: 0, rest: 0, isZeroLast: false };
  const keyOf = (s: State) =>
    `${s.phase}${s.sizes === minus ? '-' : '+'}${s.whole},${s.part},${s.low},${s.high},${s.rest},${s.isZeroLast ? 1 : 0}`;
  const states: State[] = [start];
  const indexOf = new Map([[keyOf(start), 0]]);
  const edges: Map<number, number>[] = [];
  const accepts: boolean[] = [];
  for (let at = 0; at < states.length; at++) {
    const state = states[at] as State;
    const row = new Map<number, number>();
    for (const [byte, after] of followers(state, isWhole, step, minus)) {
      const key = keyOf(after);
      let index = indexOf.get(key);
      if (index === undefined) {
        index = states.length;
        if (index >= GRAMMAR_LIMITS.numberStates) throw new PatternFault('SCHEMA_TOO_LARGE', 'too fine a step');
        indexOf.set(key, index);
        states.push(after);
      }
      row.set(byte, index);
    }
    edges.push(row);
    accepts.push(isNumber(state, step, state.sizes === minus && minus !== plus));
  }
  return byteDfa(edges, accepts);
}

function* followers(
  state: State,
  isWhole: boolean,
  step: Step,
  minus: Sizes | undefined,
): Generator<readonly [number, State]> {
  const { phase, sizes } = state;
  if (phase === 'sign' && minus !== undefined) yield [0x2d, { ...state, phase: 'first', sizes: minus }];
  if (sizes === undefined) return;
  if (phase === 'sign' || phase === 'first' || phase === 'whole') {
    if (state.whole < MAX_WHOLE_DIGITS) {
      for (let digit = 0; digit < 10; digit++) {
        const after = digitOfWhole(state, digit, step);
        if (isBelow(after)) yield [0x30 + digit, after];
      }
    }
  }
  if (!isWhole && step.scale > 0 && (phase === 'whole' || phase === 'zero') && state.whole < MAX_DIGITS) {
    // The whole parts are compared in full only here, where their number of digits is known.
    yield [0x2e, { ...state, phase: 'point', low: compareWhole(state, 'low'), high: compareWhole(state, 'high') }];
  }
  if ((phase === 'point' || phase === 'part') && state.whole + state.part < MAX_DIGITS && state.part < step.scale) {
    for (let digit = 0; digit < 10; digit++) {
      const low = state.low || compareDigit(digit, sizes.low?.part[state.part] ?? '0');
      const high = state.high || compareDigit(digit, sizes.high?.part[state.part] ?? '0');
      if (low < 0 || high > 0) continue;
      const after: State = {
        ...state,
        phase: 'part',
        part: state.part + 1,
        low,
        high,
        rest: (state.rest * 10 + digit) % step.numerator,
        isZeroLast: digit === 0,
      };
      yield [0x30 + digit, after.low > 0 && after.high < 0 && step.numerator === 1 ? settled(after, step) : after];
    }
  }
}

/** Where nothing is left to compare, only how many digits may follow tells states apart. */
function settled(state: State, step: Step): State {
  const left = Math.min(MAX_DIGITS - state.whole - state.part, step.scale - state.part);
  const part = step.scale - left;
  return { ...state, part, whole: MAX_DIGITS - left - part };
}

function digitOfWhole(state: State, digit: number, step: Step): State {
  const { sizes, whole } = state;
  return {
    ...state,
    phase: digit === 0 && whole === 0 ? 'zero' : 'whole',
    whole: whole + 1,
    // Beyond the bound's digits the number of digits decides, whatever the comparison says.
    low: state.low || compareDigit(digit, sizes?.low?.whole[whole] ?? String(digit)),
    high: state.high || compareDigit(digit, sizes?.high?.whole[whole] ?? String(digit)),
    rest: (state.rest * 10 + digit) % step.numerator,
  };
}

/** Whether a whole part may still be within its upper bound; keeps the automaton small. */
function isBelow(state: State): boolean {
  const high = state.sizes?.high;
  return high === undefined || state.whole <= high.whole.length;
}

function compareWhole(state: State, side: 'low' | 'high'): number {
  const digits = state.sizes?.[side]?.whole.length;
  if (digits === undefined) return side === 'low' ? 1 : -1;
  return Math.sign(state.whole - digits) || state[side];
}

function compareDigit(digit: number, other: string): number {
  return Math.sign(digit - Number(other));
}

function isNumber(state: State, step: Step, isNegative: boolean): boolean {
  const { phase, sizes } = state;
  if (sizes === undefined || !(phase === 'whole' || phase === 'zero' || phase === 'part') || state.isZeroLast)
    return false;
  if (phase === 'zero' && isNegative) return false;
  const compare = (side: 'low' | 'high'): number => {
    const size = sizes[side];
    const so = phase === 'part' ? state[side] : compareWhole(state, side);
    if (so !== 0 || size === undefined) return so;
    return size.part.length > (phase === 'part' ? state.part : 0) ? -1 : 0;
  };
  const [low, high] = [compare('low'), compare('high')];
  if (low < 0 || (low === 0 && sizes.low?.isExclusive === true)) return false;
  if (high > 0 || (high === 0 && sizes.high?.isExclusive === true)) return false;
  // As a whole number of the smallest decimals of the step.
  let rest = state.rest;
  for (let i = state.part; i < step.scale && rest !== 0; i++) rest = (rest * 10) % step.numerator;
  return rest === 0;
}

/** Sizes between two bounds; undefined where no size is in between. */
function sizesOf(
  min: number,
  isMinExclusive: boolean,
  max: number,
  isMaxExclusive: boolean,
  isNegative = false,
): Sizes | undefined {
  if (max < 0 || min > Number.MAX_SAFE_INTEGER || (isNegative && max === 0)) return undefined;
  const high =
    max > Number.MAX_SAFE_INTEGER
      ? { ...sizeOf(Number.MAX_SAFE_INTEGER), isExclusive: false }
      : { ...sizeOf(max), isExclusive: isMaxExclusive };
  if (min < 0) return { low: undefined, high };
  return { low: { ...sizeOf(min), isExclusive: isMinExclusive }, high };
}

function sizeOf(value: number): { whole: string; part: string } {
  const { digits, scale } = decimalOf(value);
  const padded = digits.toString().padStart(scale + 1, '0');
  const whole = padded.slice(0, padded.length - scale);
  return { whole, part: padded.slice(padded.length - scale) };
}

/** A finite number that is not negative, as `digits / 10^scale` with the fewest digits that mean it. */
export function decimalOf(value: number): { readonly digits: bigint; readonly scale: number } {
  const match = /^(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(String(Math.abs(value)));
  if (match === null) throw new RangeError(`${value} is not finite`);
  const part = match[2] ?? '';
  const exponent = Number(match[3] ?? 0) - part.length;
  const digits = BigInt((match[1] as string) + part);
  return exponent >= 0 ? { digits: digits * 10n ** BigInt(exponent), scale: 0 } : { digits, scale: -exponent };
}

/** The least common multiple of the steps; `1 / 10^14` where there are none. */
function commonStep(steps: readonly number[]): Step {
  if (steps.length === 0) return { numerator: 1, scale: MAX_DIGITS - 1 };
  let [numerator, scale] = [1n, 0];
  let isFirst = true;
  for (const step of steps) {
    const { digits, scale: own } = decimalOf(step);
    const common = Math.max(scale, own);
    // attacker-controlled: a step of very many digits
    if (common > 30) throw new PatternFault('SCHEMA_TOO_LARGE', 'a step of too many digits');
    const a = numerator * 10n ** BigInt(common - scale);
    const b = digits * 10n ** BigInt(common - own);
    numerator = isFirst ? b : (a / gcd(a, b)) * b;
    scale = common;
    isFirst = false;
  }
  while (scale > 0 && numerator % 10n === 0n) {
    numerator /= 10n;
    scale--;
  }
  if (numerator > MAX_STEP) throw new PatternFault('SCHEMA_TOO_LARGE', `a step of more than ${MAX_STEP} units`);
  return { numerator: Number(numerator), scale };
}

function gcd(a: bigint, b: bigint): bigint {
  return b === 0n ? a : gcd(b, a % b);
}
