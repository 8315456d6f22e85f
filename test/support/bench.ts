/**
 * What a bench is: a measurement that prints figures, without a verdict.
 *
 * @module
 */

/** One figure; `unit` as people read it (`ms`, `tokens/s`, `MB`). */
export type Measure = { readonly name: string; readonly value: number; readonly unit: string };

/** Figures with the ratios that the project states about them; null where one side could not be measured. */
export type BenchResult = {
  readonly measures: readonly Measure[];
  readonly ratios: Readonly<Record<string, number | null>>;
};

/** The function `run` of every `test/bench/NAME.ts`. */
export type Bench = () => Promise<readonly Measure[] | BenchResult>;

/** Middle value, the mean of the two middle ones of an even count; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const low = sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN;
  const high = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  return (low + high) / 2;
}
