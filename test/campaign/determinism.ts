/**
 * Determinism: all deterministic programs give the golden digest, fuel included, in every configuration. One line on standard
 * error for each; a configuration that cannot be had here is told, and counts as no case. `seed` and `count` mean nothing.
 *
 * @module
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readEnvironment } from '../../agents/cli/environment.ts';
import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import type { CampaignResult } from '../support/campaign.ts';
import { CONFIGURATIONS, runConfiguration } from '../support/determinism-machines.ts';
import { digestOf, type Observation } from '../support/determinism-program.ts';
import { type DeterminismReport, differences, GOLDEN, observeAll } from '../support/determinism-programs.ts';
import { TierAbsent } from '../support/isa-tiers.ts';

export async function run(): Promise<CampaignResult> {
  const folder = mkdtempSync(join(tmpdir(), 'tracebond-determinism-'));
  const cache = join(readEnvironment().cache, 'isa');
  const failures: string[] = [];
  let [cases, absent] = [0, 0];
  const firsts = new Map<string, readonly Observation[]>();
  const judge = async (
    name: string,
    body: () => Promise<DeterminismReport>,
    golden: string = GOLDEN.digest,
  ): Promise<void> => {
    const began = performance.now();
    const report = await body().catch((fault: unknown) => (fault instanceof Error ? fault : new Error(String(fault))));
    const seconds = `${((performance.now() - began) / 1000).toFixed(1)} s`;
    if (report instanceof TierAbsent) {
      absent++;
      console.error(`${name}: NOT RUN: ${report.message}`);
      return;
    }
    cases++;
    if (report instanceof Error) {
      failures.push(`${name}: ${report.message.slice(0, 2000)}`);
      console.error(`${name}: FAILED, ${seconds}`);
      return;
    }
    firsts.set(golden, firsts.get(golden) ?? report.programs);
    const digest = digestOf(report.programs);
    const isEqual = digest === golden && (golden !== GOLDEN.digest || report.engine === GOLDEN.engine);
    console.error(`${name}: ${digest} ${isEqual ? 'equal' : 'DIFFERENT'}, ${seconds}`);
    if (isEqual) return;
    const where = differences(firsts.get(golden) ?? [], report.programs);
    failures.push(
      `${name}: engine ${report.engine}, digest ${digest}, expected ${GOLDEN.engine} and ${golden}; ` +
        (where.length === 0 ? 'equal to the first configuration' : `other than the first: ${where.join('; ')}`),
    );
  };
  const vm = await openQuickJsVm();
  await judge('this process', () => observeAll(vm));
  await judge('this process again, last program first', () => observeAll(vm, { reverse: true }));
  await vm.close();
  for (const configuration of CONFIGURATIONS) {
    const body = () => runConfiguration(configuration, folder, cache, console.error);
    await judge(configuration.name, body, configuration.memory === true ? GOLDEN.memory : GOLDEN.digest);
  }
  rmSync(folder, { recursive: true, force: true });
  const first = firsts.get(GOLDEN.digest);
  const programs = first?.length ?? 0;
  const runs = first?.reduce((sum, { runs }) => sum + runs.length, 0) ?? 0;
  const missing = absent === 0 ? '' : `, ${absent} configurations cannot be had here`;
  return { cases, failures, summary: `${programs} programs in ${runs} runs, digest ${GOLDEN.digest}${missing}` };
}
