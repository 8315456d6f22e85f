/**
 * The base of every error that this project throws on purpose: a code for programs, a
 * message for people, and the place of the fault.
 *
 * @module
 */

/** Where a fault lies, as plain JSON values (record index, field, byte offset, file …). */
export type ErrorPlace = Readonly<Record<string, string | number | boolean | null>>;

const BRAND = Symbol.for('tracebond/error/1');

/**
 * An expected failure. Subclasses fix a closed union of codes; a caller decides by class and code, never by message.
 * The brand (`Symbol.for`) makes {@link RuntimeError.is} hold across duplicate installs.
 */
export abstract class RuntimeError<Code extends string = string> extends Error {
  /** Machine-readable fault, from the closed list of the subclass. */
  readonly code: Code;
  /** Place of the fault; JSON-safe. */
  readonly at: ErrorPlace;

  constructor(code: Code, message: string, options: RuntimeError.Options = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.at = options.at ?? {};
    Object.defineProperty(this, BRAND, { value: true });
  }

  /** Whether `value` is an error of this project, whichever copy of the package made it. */
  static is(value: unknown): value is RuntimeError {
    return value instanceof Error && (value as { [BRAND]?: unknown })[BRAND] === true;
  }

  /** The error as plain JSON: `{ name, code, message, at }`, without stack or cause. */
  toJSON(): { name: string; code: Code; message: string; at: ErrorPlace } {
    return { name: this.name, code: this.code, message: this.message, at: this.at };
  }
}

export declare namespace RuntimeError {
  type Options = { readonly at?: ErrorPlace; readonly cause?: unknown };
}
