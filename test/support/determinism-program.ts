/**
 * A program that must do the same everywhere, and everything that can be seen of a run of it.
 *
 * @module
 */

import { toHex, utf8 } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import { canonicalJson, type Json } from '../../attest/encoding/canonical-json.ts';
import type { Vm, VmOptions } from '../../runtime/sandbox/vm.ts';
import { type DeliveryOrder, guestOptions, runToEnd } from './sandbox-programs.ts';

/**
 * `body` is that of `run(entry, input, call)`, unless the settings bring another `source`.
 *
 * `cuts`: the program is run again with less fuel than it needs: `parts` with each eighth of it, `search` also with what a
 * search finds to be the least that suffices, and with one unit less.
 */
export type DeterministicProgram = readonly [name: string, body: string, settings?: ProgramSettings];

export type ProgramSettings = Partial<VmOptions> & {
  readonly order?: DeliveryOrder;
  readonly cuts?: 'parts' | 'search';
};

/** What is seen of one program; `runs` beyond the first are those with less fuel. */
export type Observation = { readonly name: string; readonly runs: readonly Run[] };

type Run = {
  readonly fuel: string;
  /** `done`, or the code of the error. */
  readonly end: string;
  readonly fuelUsed: string;
  /** Every state with its calls, value or message, and fuel. */
  readonly states: Json;
  readonly log: readonly string[];
};

/** An emulated processor is slow, and time is not what is looked at. */
const PATIENCE_MS = 600_000;

/** Settings for a script whose completion value counts. */
export function asCompletion(source: string): ProgramSettings {
  return { entry: 'completion', source };
}

/** Runs a program, also with less fuel where it says so. */
export async function observe(vm: Vm, [name, body, settings = {}]: DeterministicProgram): Promise<Observation> {
  const { order, cuts, ...options } = settings;
  const { fuel: plenty } = guestOptions(body, options);
  const run = async (fuel: bigint): Promise<Run> => {
    const { states, log } = await runToEnd(vm, body, { wallMs: PATIENCE_MS, ...options, fuel }, order);
    const last = states.at(-1);
    return {
      fuel: String(fuel),
      end: last?.status === 'failed' ? last.error.code : (last?.status ?? ''),
      fuelUsed: String(last?.fuelUsed),
      states: states.map(({ fuelUsed, ...state }): Json => ({ ...state, fuelUsed: String(fuelUsed) }) as Json),
      log,
    };
  };
  const runs = [await run(plenty)];
  const used = BigInt(runs[0]?.fuelUsed ?? 0);
  if (cuts !== undefined) for (let part = 1n; part < 8n; part++) runs.push(await run((used * part) / 8n));
  if (cuts === 'search') {
    let [tooLittle, enough] = [0n, used];
    // Mostly one unit less does not suffice: steps down from there before halves.
    for (let less = 1n; less < used; less *= 2n) {
      if ((await run(used - less)).end === 'OUT_OF_FUEL') {
        tooLittle = used - less;
        break;
      }
      enough = used - less;
    }
    while (enough - tooLittle > 1n) {
      const middle = (tooLittle + enough) / 2n;
      if ((await run(middle)).end === 'OUT_OF_FUEL') tooLittle = middle;
      else enough = middle;
    }
    runs.push(await run(enough), await run(tooLittle));
  }
  return { name, runs };
}

/** SHA-256 of the canonical JSON of one observation or of many. */
export function digestOf(seen: Observation | readonly Observation[]): string {
  return toHex(sha256(utf8(canonicalJson(seen))));
}
