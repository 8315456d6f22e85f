/**
 * Hostile guests: each comes to its end, with the same fuel, value, message and console lines each time, in processes that
 * other hostile guests have used before, and no canary outside is touched. `count` runs altogether, in an order by chance, and
 * every guest at least twice. Prints a table by class.
 *
 * @module
 */

import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import type { CampaignOptions, CampaignResult } from '../support/campaign.ts';
import { openCanaries } from '../support/hostile-canaries.ts';
import type { HostileGuest } from '../support/hostile-guest.ts';
import { HOSTILE_GUESTS, isEnd, outcomeText, runHostile } from '../support/hostile-guests.ts';
import { seededRandom } from '../support/random.ts';

type Row = { guests: number; runs: number; asExpected: number; ends: Map<string, number>; ms: number };

export async function run({ seed, count }: CampaignOptions): Promise<CampaignResult> {
  const all = Object.entries(HOSTILE_GUESTS).flatMap(([name, guests]) => guests.map((guest) => ({ name, guest })));
  const rounds = Math.max(2, Math.ceil(count / all.length));
  const random = seededRandom(seed);
  const vm = await openQuickJsVm();
  const canaries = openCanaries();
  const first = new Map<HostileGuest, string>();
  const rows = new Map<string, Row>();
  const failures: string[] = [];
  for (let round = 0; round < rounds; round++) {
    const order = all.map((one) => ({ one, key: random.below(2 ** 32) })).sort((a, b) => a.key - b.key);
    for (const { one } of order) {
      const { name, guest } = one;
      const row = rows.get(name) ?? { guests: 0, runs: 0, asExpected: 0, ends: new Map(), ms: 0 };
      rows.set(name, row);
      const began = performance.now();
      const outcome = await runHostile(vm, guest);
      row.ms += performance.now() - began;
      row.runs++;
      const text = outcomeText(outcome);
      const known = first.get(guest);
      const wrong = [
        ...(isEnd(outcome, guest) ? [] : [`ends ${text}`]),
        ...(known === undefined || known === text ? [] : [`ends ${text}, before ${known}`]),
        ...canaries.findHarm(text),
      ];
      if (known === undefined) {
        first.set(guest, text);
        row.guests++;
        const end = outcome.state.status === 'failed' ? outcome.state.error.code : outcome.state.status;
        row.ends.set(end, (row.ends.get(end) ?? 0) + 1);
      }
      if (wrong.length === 0) row.asExpected++;
      for (const what of wrong) failures.push(`${name}, ${guest[0]}: ${what.slice(0, 400)}`);
    }
  }
  canaries.close();
  await vm.close();
  for (const line of table(rows)) console.log(line);
  return {
    cases: all.length * rounds,
    failures,
    summary: `${all.length} guests of ${rows.size} classes, ${rounds} runs each, second wall ${vm.secondWall}`,
  };
}

function table(rows: ReadonlyMap<string, Row>): string[] {
  const lines = ['| class | guests | runs | as expected | ends | ms a run |', '|---|---|---|---|---|---|'];
  for (const name of Object.keys(HOSTILE_GUESTS)) {
    const row = rows.get(name);
    if (row === undefined) continue;
    const ends = [...row.ends].sort(([a], [b]) => (a < b ? -1 : 1)).map(([end, times]) => `${end} ${times}`);
    const { guests, runs, asExpected, ms } = row;
    lines.push(`| ${name} | ${guests} | ${runs} | ${asExpected} | ${ends.join(', ')} | ${(ms / runs).toFixed(1)} |`);
  }
  return lines;
}
