/**
 * Three lies about an honest run, each made consistent everywhere but in the truth.
 *
 * @module
 */

import type { Json } from '../../attest/encoding/canonical-json.ts';
import type { RunOpenBody } from '../../attest/trace/bodies.ts';
import { readIdsPayload, readJsonPayload, readTextPayload } from '../../attest/trace/payload.ts';
import { DemoError } from './errors.ts';
import { type Entry, replacePayload } from './forge.ts';

/** A lie: the changed entries, and the record at which it stands. */
export type Lie = {
  readonly name: string;
  readonly told: string;
  readonly entries: readonly Entry[];
  readonly step: number;
};

/** The same records as if another operator had made them, with its own key for receipts, at another attempt. */
export function asOperator(
  entries: readonly Entry[],
  operator: Pick<RunOpenBody, 'operator' | 'attempt'> & { readonly signer: RunOpenBody['inference']['signer'] },
): readonly Entry[] {
  return entries.map((entry) => {
    if (entry.record.kind !== 'run.open') return entry;
    const { body } = entry.record;
    const inference = { ...body.inference, signer: operator.signer };
    return {
      ...entry,
      record: {
        kind: 'run.open',
        body: { ...body, operator: operator.operator, attempt: operator.attempt, inference },
      },
    };
  });
}

/** The model said something else: the output of one classification is replaced by that of another. */
export function changeOutputToken(entries: readonly Entry[]): Lie {
  const answers = entries.filter((entry) => entry.record.kind === 'inference.end');
  const textOf = (entry: Entry) => readTextPayload(required(entry, 'body.text'), 'body.text');
  for (const victim of answers) {
    const other = answers.find((entry) => textOf(entry) !== textOf(victim));
    if (other === undefined) break;
    const ids = readIdsPayload(required(other, 'body.output.ids'), 'body.output.ids');
    const changed = replacePayload(replacePayload(victim, 'body.output.ids', ids), 'body.text', textOf(other));
    return {
      name: 'output-token',
      told: `the model answered ${JSON.stringify(textOf(other))} instead of ${JSON.stringify(textOf(victim))}`,
      entries: replaceEntry(entries, changed),
      step: Number(victim.index),
    };
  }
  throw new DemoError(
    'DEMO_FAILED',
    'the model gave one and the same answer to every question: there is no other token to lie with',
  );
}

/** A tool computed something else: the first total of the audit is a hundred times smaller. */
export function changeToolResult(entries: readonly Entry[]): Lie {
  const victim = entries.filter((entry) => entry.record.kind === 'tool.end').at(-1);
  if (victim === undefined) throw new DemoError('DEMO_FAILED', 'the run used no tool');
  const result = readJsonPayload(required(victim, 'body.result'), 'body.result') as {
    readonly totals: readonly { readonly category: string; readonly cents: number }[];
    readonly flags: Json;
  };
  const totals = result.totals.map((total, i) =>
    i === 0 ? { ...total, cents: Math.floor(total.cents / 100) } : total,
  );
  return {
    name: 'tool-result',
    told: `the audit found ${totals[0]?.cents} cents instead of ${result.totals[0]?.cents} for ${totals[0]?.category}`,
    entries: replaceEntry(entries, replacePayload(victim, 'body.result', { ...result, totals } as Json)),
    step: Number(victim.index),
  };
}

/** Something never happened: the answer of the model to one question is left out. */
export function dropRecord(entries: readonly Entry[]): Lie {
  const victim = entries.filter((entry) => entry.record.kind === 'inference.end')[2];
  if (victim === undefined) throw new DemoError('DEMO_FAILED', 'the run has fewer than three inferences');
  return {
    name: 'dropped-record',
    told: `record ${victim.index} (${victim.record.kind}) is left out`,
    entries: entries.filter((entry) => entry !== victim),
    step: Number(victim.index),
  };
}

function replaceEntry(entries: readonly Entry[], changed: Entry): readonly Entry[] {
  return entries.map((entry) => (entry.index === changed.index ? changed : entry));
}

function required(entry: Entry, field: string) {
  const payload = entry.payloads.get(field);
  if (payload === undefined) throw new DemoError('DEMO_FAILED', `record ${entry.index} shows no ${field}`);
  return payload;
}
