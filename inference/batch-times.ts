/**
 * How long batches of rows take on this computer, learned from those that were computed. What follows from it is how many rows are
 * worth computing ahead, never a bit of a result.
 *
 * @module
 */

/** Batches of at least so many rows tell what one row more costs. */
const MANY_ROWS = 16;

/** Until batches of many rows were seen, one row more is taken to cost so much of a row alone. */
const ROW_MORE = 0.7;

/** Before its first batch, starting one of several rows is taken to cost so many rows alone. */
const START = 2;

/** Rows of a prompt have no logits; those computed ahead do. */
const LOGITS = 1.5;

/** In a batch of many a row more takes at least so much of what each row takes. */
const LEAST_MORE = 0.5;

/** Share of a new measurement in the running one. */
const NEW = 0.3;

/** Clocks may stand still for so long, in milliseconds. */
const SHORTEST = 0.001;

/** A measurement counts at most so many times the running one: something else took the computer's time. */
const OUTLIER = 3;

/** Running times of batches in milliseconds. */
export class BatchTimes {
  /** By rows, of batches whose rows all had logits. */
  readonly #times = new Map<number, number>();
  /** Of one row in a batch of many. */
  #rowOfMany: number | undefined;

  /**
   * @param rows - of all sequences in the batch
   * @param wanted - rows whose logits were computed
   */
  record(rows: number, wanted: number, ms: number): void {
    const time = Math.max(SHORTEST, ms);
    if (wanted === rows) this.#times.set(rows, mixed(this.#times.get(rows), time));
    // Rows in the currency of those with logits.
    const full = wanted + (rows - wanted) / LOGITS;
    if (rows >= MANY_ROWS) this.#rowOfMany = mixed(this.#rowOfMany, time / full);
  }

  /**
   * What a batch costs with `rows` of one sequence, all with logits, where it costs 1 with one of them; an estimate for sizes that never came.
   *
   * Where rows of others are in the batch anyway, its unit is the time that each row of it takes: the time of rows more is time that all of
   * them wait, and worth it only where it gives more than all of them get in it.
   *
   * @param beside - rows of others in the batch, 0 by default
   */
  costOf(rows: number, beside = 0): number {
    if (rows === 1) return 1;
    const one = this.#times.get(1);
    if (one === undefined) return START + ROW_MORE * rows;
    if (beside === 0) return Math.max(1, this.#timeOf(rows, one) / one);
    const before = this.#timeOf(beside + 1, one);
    // Two measurements of nearly the same size may lie anyhow.
    const least = LEAST_MORE * this.#rowMore(one) * (rows - 1);
    const more = Math.max(least, this.#timeOf(beside + rows, one) - before);
    return 1 + (more * (beside + 1)) / before;
  }

  /** Milliseconds of a batch whose rows all have logits. */
  #timeOf(rows: number, one: number): number {
    if (rows === 1) return one;
    const own = this.#times.get(rows);
    if (own !== undefined) return own;
    const more = this.#rowMore(one);
    let estimate = START * one + more * rows;
    let below = 1;
    for (const [size, time] of this.#times) {
      if (size > below && size < rows) {
        below = size;
        estimate = time + more * (rows - size);
      }
    }
    // fewer rows never take longer
    for (const [size, time] of this.#times) if (size > rows) estimate = Math.min(estimate, time);
    return estimate;
  }

  #rowMore(one: number): number {
    return this.#rowOfMany ?? ROW_MORE * one;
  }
}

function mixed(old: number | undefined, ms: number): number {
  return old === undefined ? ms : old + NEW * (Math.min(ms, OUTLIER * old) - old);
}
