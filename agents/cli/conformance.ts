/**
 * `tracebond conformance SUITE`: one JSON case per line on standard input, one result per line on standard output, in
 * order, so that anybody can hold this project's encodings to vectors of their own.
 *
 * @module
 */

import type { Writable } from 'node:stream';
import { Argument, type Command } from 'commander';
import { concatBytes } from '../../attest/core/bytes.ts';
import { openGuestSuite } from './conformance-guest.ts';
import { CaseError, evaluateCase, SUITE_NAMES, type Suite } from './conformance-suites.ts';

export { type ConformanceResult, evaluateCase, SUITE_NAMES, type Suite } from './conformance-suites.ts';

/** Every suite of the command: those that only compute, and `guest`, which runs scripts in the sandbox. */
export const ALL_SUITES = [...SUITE_NAMES, 'guest'] as const;

/** Longest line that is read; a longer one is skipped and answered `LINE_TOO_LONG`. */
const MAX_CASE_BYTES = 64 * 1024 * 1024;

/** Adds the command to the program. */
export function registerConformance(program: Command): void {
  program
    .command('conformance')
    .description('check test vectors: one JSON case per line in, one result per line out')
    .addArgument(new Argument('<suite>', 'what to check').choices(ALL_SUITES))
    .action(async (suite: Suite | 'guest') => {
      await runConformance(suite, process.stdin, process.stdout, { warn: (message) => console.error(message) });
    });
}

/**
 * Answers every line of `input`; holds no more than one line in memory. It ends early, without fault, when the reader of
 * `output` has gone.
 */
export async function runConformance(
  suite: Suite | 'guest',
  input: AsyncIterable<Uint8Array>,
  output: Writable,
  options: runConformance.Options = {},
): Promise<void> {
  const gone = new AbortController();
  let fault: NodeJS.ErrnoException | undefined;
  // A broken pipe comes as an event, maybe after the last write: the listener stays.
  output.on('error', (error: NodeJS.ErrnoException) => {
    fault ??= error;
    gone.abort();
  });
  const guest = suite === 'guest' ? await openGuestSuite(options.warn ?? (() => undefined)) : undefined;
  const evaluate = (line: Uint8Array) => (suite === 'guest' ? guest?.evaluate(line) : evaluateCase(suite, line));
  try {
    for await (const line of readCases(input, options.maxBytes ?? MAX_CASE_BYTES)) {
      if (gone.signal.aborted) break;
      const result = line instanceof CaseError ? { error: line.code } : await evaluate(line);
      if (!output.write(`${JSON.stringify(result)}\n`)) await drained(output, gone.signal);
    }
  } finally {
    await guest?.close();
  }
  if (fault !== undefined && fault.code !== 'EPIPE') throw fault;
}

export declare namespace runConformance {
  type Options = {
    readonly maxBytes?: number;
    /** Told what the user has to know before the first answer. */
    readonly warn?: (message: string) => void;
  };
}

/** Waits until `output` takes more, or has failed. */
async function drained(output: Writable, gone: AbortSignal): Promise<void> {
  if (gone.aborted) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      output.off('drain', done);
      gone.removeEventListener('abort', done);
      resolve();
    };
    output.on('drain', done);
    gone.addEventListener('abort', done);
  });
}

/** Lines without their LF, the last one with or without it; a line that is too long is not kept. */
async function* readCases(source: AsyncIterable<Uint8Array>, maxBytes: number): AsyncGenerator<Uint8Array | CaseError> {
  let parts: Uint8Array[] = [];
  let held = 0;
  const take = (): Uint8Array | CaseError => {
    const line =
      held > maxBytes ? new CaseError('LINE_TOO_LONG', `line is longer than ${maxBytes} bytes`) : concatBytes(...parts);
    parts = [];
    held = 0;
    return line;
  };
  for await (const piece of source) {
    let from = 0;
    for (let end = piece.indexOf(LF); end >= 0; end = piece.indexOf(LF, from)) {
      const part = piece.subarray(from, end);
      held += part.length;
      if (held <= maxBytes) parts.push(part);
      yield take();
      from = end + 1;
    }
    const rest = piece.subarray(from);
    held += rest.length;
    // attacker-controlled: beyond the limit only the length is counted
    if (held > maxBytes) parts = [];
    else if (rest.length > 0) parts.push(rest);
  }
  if (held > 0) yield take();
}

const LF = 0x0a;
