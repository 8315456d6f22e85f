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

  /** @param wanted - rows whose logits were computed */
  record(rows: number, wanted: number, ms: number): void {
    const time = Math.max(SHORTEST, ms);
    if (wanted === rows) this.#times.set(rows, mixed(this.#times.get(rows), time));
    if (rows >= MANY_ROWS) this.#rowOfMany = mixed(this.#rowOfMany, (time / rows) * (wanted === rows ? 1 : LOGITS));
  }

  /** Time of a batch whose rows all have logits, where that of one row is 1; an estimate for sizes that never came. */
  costOf(rows: number): number {
    const one = this.#times.get(1);
    if (rows === 1) return 1;
    if (one === undefined) return START + ROW_MORE * rows;
    const own = this.#times.get(rows);
    if (own !== undefined) return Math.max(1, own / one);
    const more = this.#rowOfMany ?? ROW_MORE * one;
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
    return Math.max(1, estimate / one);
  }
}

function mixed(old: number | undefined, ms: number): number {
  return old === undefined ? ms : old + NEW * (Math.min(ms, OUTLIER * old) - old);
}
