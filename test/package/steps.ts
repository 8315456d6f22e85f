/**
 * Steps of a check, one line each, with their times.
 *
 * @module
 */

/** A step found something wrong; its message says what. */
export class StepFailed extends Error {
  override readonly name = 'StepFailed';
}

/** @throws {@link StepFailed} with the message unless `holds` */
export function must(holds: boolean, message: string): asserts holds {
  if (!holds) throw new StepFailed(message);
}

/** Carries steps out and counts them. */
export class Steps {
  #passed = 0;
  #failed = 0;

  get failed(): number {
    return this.#failed;
  }

  /**
   * Carries out one step and prints how it ended; what it returns is printed too.
   *
   * @returns whether it passed
   */
  async run(name: string, body: () => Promise<string> | string): Promise<boolean> {
    const start = performance.now();
    const time = () => `${((performance.now() - start) / 1000).toFixed(1).padStart(6)} s`;
    try {
      const told = await body();
      console.log(`ok     ${time()}  ${name}${told === '' ? '' : `: ${told}`}`);
      this.#passed++;
      return true;
    } catch (error) {
      const why = error instanceof StepFailed ? error.message : error instanceof Error ? error.stack : String(error);
      console.log(`FAILED ${time()}  ${name}: ${why}`);
      this.#failed++;
      return false;
    }
  }

  /** `N passed, N failed`. */
  summary(): string {
    return `${this.#passed} passed, ${this.#failed} failed`;
  }
}
