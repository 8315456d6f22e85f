/**
 * What a bench is: a measurement that prints figures, without a verdict.
 *
 * @module
 */

/** One figure; `unit` as people read it (`ms`, `tokens/s`, `MB`). */
export type Measure = { readonly name: string; readonly value: number; readonly unit: string };

/** The function `run` of every `test/bench/NAME.ts`. */
export type Bench = () => Promise<readonly Measure[]>;
