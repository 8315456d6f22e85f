/**
 * All programs that must do the same everywhere, and the digest that they give.
 *
 * @module
 */

import type { Hex } from '../../attest/core/bytes.ts';
import { canonicalJson } from '../../attest/encoding/canonical-json.ts';
import type { Vm } from '../../runtime/sandbox/vm.ts';
import { LANGUAGE_PROGRAMS } from './determinism-language.ts';
import { LIMIT_PROGRAMS } from './determinism-limits.ts';
import { NUMBER_PROGRAMS } from './determinism-numbers.ts';
import { type DeterministicProgram, digestOf, type Observation, observe } from './determinism-program.ts';
import { TEXT_PROGRAMS } from './determinism-text.ts';
import { TOOL_PROGRAMS } from './determinism-tools.ts';

export const DETERMINISTIC_PROGRAMS: readonly DeterministicProgram[] = [
  ...NUMBER_PROGRAMS,
  ...TEXT_PROGRAMS,
  ...LANGUAGE_PROGRAMS,
  ...LIMIT_PROGRAMS,
  ...TOOL_PROGRAMS,
];

/** Everything that is seen of one run of all programs, in their order. */
export type DeterminismReport = { readonly engine: Hex; readonly programs: readonly Observation[] };

/** Runs all programs, or those with the names in `only`; the last one first where `reverse` is set. */
export async function observeAll(
  vm: Vm,
  { reverse = false, only }: { readonly reverse?: boolean; readonly only?: readonly string[] } = {},
): Promise<DeterminismReport> {
  const chosen = DETERMINISTIC_PROGRAMS.filter(([name]) => only?.includes(name) ?? true);
  const order = reverse ? chosen.toReversed() : chosen;
  const programs: Observation[] = [];
  for (const program of order) programs.push(await observe(vm, program));
  return { engine: vm.engine, programs: reverse ? programs.toReversed() : programs };
}

/** What every configuration gives, see {@link digestOf}: of this engine, and of everything seen of all programs in their order. */
export const GOLDEN = {
  engine: '0x58022b839f866f9f041185d6d6ea1aae2da94333719d0daf9372505ba9fac1db',
  digest: '0x791aa1f37ab9b211d2fc68ec0025b03c64b215eb00bf2624cb3051546833d5cc',
  /** With the hash of the guest's memory at every end, of the engine without processes. */
  memory: '0x6ca10dc1a9a9a7406136930b0cc479ec4183d4b8a895257528264b44e1e0d1fb',
} as const;

/** Where two reports differ: name of the program, and the first run's state, line or fuel that does. */
export function differences(expected: readonly Observation[], got: readonly Observation[]): string[] {
  return expected.flatMap((program, i) => {
    const other = got[i];
    if (other === undefined || digestOf(program) === digestOf(other)) return other === undefined ? [program.name] : [];
    const [was, is] = [canonicalJson(program), canonicalJson(other)];
    let at = 0;
    while (was[at] === is[at]) at++;
    const cut = (text: string): string => text.slice(Math.max(0, at - 40), at + 60);
    return [`${program.name}, at ${at}: ${cut(was)} became ${cut(is)}`];
  });
}
