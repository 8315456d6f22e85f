/**
 * Frequencies of rotary positions as real numbers: base^(-2i/d), changed by the model's scaling. Base, factors and
 * divisors are the exact values of their binary64 numbers; every operation is over the reals.
 *
 * @module
 */

import type { DecoderConfig, RotaryScaling } from '../decoder-config.ts';
import { ModelError } from '../errors.ts';
import {
  type Approximation,
  type Fraction,
  fixed,
  minus,
  over,
  pi,
  plus,
  power,
  scaled,
  times,
  toFraction,
  withEnoughBits,
} from './fixed-point.ts';

/** What the frequencies of a decoder follow from. */
export type RotaryConfig = Pick<DecoderConfig, 'headSize' | 'rotaryBase' | 'rotaryScaling'>;

/** Largest extent of a head whose tables are made. */
export const MAX_HEAD_SIZE = 4096;

/**
 * Checks what {@link rotaryFrequency} relies on.
 *
 * @param config - untrusted
 * @throws {@link ModelError} `MALFORMED_METADATA` if the extent is not even and in 2..4096, the base not a number above
 *   1, a factor or divisor not a positive number, the number of divisors not half the extent, or the low factor of
 *   Llama 3's rule not below its high one
 */
export function checkRotary(config: RotaryConfig): void {
  const { headSize, rotaryBase, rotaryScaling: scaling } = config;
  if (!Number.isInteger(headSize) || headSize < 2 || headSize > MAX_HEAD_SIZE || headSize % 2 !== 0) {
    throw malformed(`extent of a head must be even and in 2..${MAX_HEAD_SIZE}, got ${headSize}`);
  }
  if (!(rotaryBase > 1 && Number.isFinite(rotaryBase))) {
    throw malformed(`rotary base must be a number above 1, got ${rotaryBase}`);
  }
  if (scaling.kind === 'divisors' && scaling.divisors.length !== headSize / 2) {
    throw malformed(`expected ${headSize / 2} rotary divisors, got ${scaling.divisors.length}`);
  }
  for (const value of numbersOf(scaling)) {
    if (!(value > 0 && Number.isFinite(value))) {
      throw malformed(`rotary scaling takes positive numbers, got ${value}`);
    }
  }
  if (scaling.kind === 'llama3' && scaling.lowFrequencyFactor >= scaling.highFrequencyFactor) {
    throw malformed('low frequency factor must be below the high one');
  }
}

/**
 * Frequency of one pair, in radians a position.
 *
 * @param config - as {@link checkRotary} accepts it
 * @param pair - `[0, headSize / 2)`
 */
export function rotaryFrequency(config: RotaryConfig, pair: number, bits: number): Approximation {
  const { rotaryScaling: scaling } = config;
  const plain = plainFrequency(config, pair, bits);
  switch (scaling.kind) {
    case 'none':
      return plain;
    case 'linear':
      return scaled(plain, inverse(scaling.factor));
    case 'divisors':
      return scaled(plain, inverse(scaling.divisors[pair] ?? Number.NaN));
    case 'llama3':
      return llama3(config, scaling, pair, plain);
  }
}

type Llama3 = Extract<RotaryScaling, { kind: 'llama3' }>;

/** As `_compute_llama3_parameters` of transformers, over the reals. */
function llama3(config: RotaryConfig, scaling: Llama3, pair: number, plain: Approximation): Approximation {
  const { bits } = plain;
  const low = toFraction(scaling.lowFrequencyFactor);
  const high = toFraction(scaling.highFrequencyFactor);
  // never on a limit: frequencies are algebraic and pi is not, so some number of bits decides
  const place = withEnoughBits((more) => {
    const turns = turnsOf(scaling, more === bits ? plain : plainFrequency(config, pair, more));
    const overHigh = isAbove(turns, high);
    return overHigh === true ? 'short' : overHigh === undefined ? undefined : placeByLow(isAbove(turns, low));
  }, bits);
  if (place === 'short') return plain;
  const divided = scaled(plain, inverse(scaling.factor));
  if (place === 'long') return divided;
  const above = minus(turnsOf(scaling, plain), fixed(low, bits));
  const share = scaled(above, reciprocal(difference(high, low)));
  const rest = minus(fixed(ONE, bits), share);
  return plus(times(rest, divided), times(share, plain));
}

function placeByLow(isOver: boolean | undefined): 'between' | 'long' | undefined {
  return isOver === undefined ? undefined : isOver ? 'between' : 'long';
}

/** Turns that the plain frequency makes in the original context: context / wavelength. */
function turnsOf(scaling: Llama3, plain: Approximation): Approximation {
  const angle = scaled(plain, toFraction(scaling.originalContext));
  return over(angle, scaled(pi(plain.bits), { numerator: 2n, denominator: 1n }));
}

/** base^(-2 pair / d). */
function plainFrequency({ headSize, rotaryBase }: RotaryConfig, pair: number, bits: number): Approximation {
  const exponent = { numerator: BigInt(-2 * pair), denominator: BigInt(headSize) };
  return power(toFraction(rotaryBase), exponent, bits);
}

/** Whether x is above the limit, if its interval decides it. */
function isAbove(x: Approximation, limit: Fraction): boolean | undefined {
  const { mid, error } = minus(x, fixed(limit, x.bits));
  return mid > error ? true : mid < -error ? false : undefined;
}

function inverse(value: number): Fraction {
  return reciprocal(toFraction(value));
}

/** 1 / value of a positive value. */
function reciprocal({ numerator, denominator }: Fraction): Fraction {
  return { numerator: denominator, denominator: numerator };
}

function difference(a: Fraction, b: Fraction): Fraction {
  return {
    numerator: a.numerator * b.denominator - b.numerator * a.denominator,
    denominator: a.denominator * b.denominator,
  };
}

function numbersOf(scaling: RotaryScaling): readonly number[] {
  switch (scaling.kind) {
    case 'none':
      return [];
    case 'linear':
      return [scaling.factor];
    case 'divisors':
      return scaling.divisors;
    case 'llama3':
      return [scaling.factor, scaling.lowFrequencyFactor, scaling.highFrequencyFactor, scaling.originalContext];
  }
}

function malformed(message: string): ModelError {
  return new ModelError('MALFORMED_METADATA', message);
}

const ONE: Fraction = { numerator: 1n, denominator: 1n };
