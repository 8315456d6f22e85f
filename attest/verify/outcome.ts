/**
 * What executing one record again showed, and how a recorded value is held against the recomputed one.
 *
 * @module
 */

import { canonicalJson, type Json } from '../encoding/canonical-json.ts';
import type { SoundRecord } from './structure.ts';
import type { CannotCode, StepReport, Verdict } from './verdict.ts';

/** What executing one record again showed. */
export type Outcome =
  | { readonly verdict: 'MATCH' }
  | { readonly verdict: 'CANNOT_RECOMPUTE'; readonly code: CannotCode }
  | {
      readonly verdict: 'DIVERGED';
      readonly field: string;
      readonly claimed: string;
      readonly recomputed: string;
    };

/** The record is what executing it again gives. */
export const MATCH: Outcome = { verdict: 'MATCH' };

/** A step report of a record from its outcome. */
export function toStepReport(sound: SoundRecord, outcome: Outcome): StepReport {
  const { head } = sound;
  const base = { index: Number(head.index), kind: head.kind, class: head.class };
  // Nothing to compute, unless its evidence contradicts it.
  if (head.class !== 'recomputable' && outcome.verdict !== 'DIVERGED') return base;
  const verdict: Verdict = outcome.verdict;
  if (outcome.verdict === 'MATCH') return { ...base, verdict };
  if (outcome.verdict === 'CANNOT_RECOMPUTE') return { ...base, verdict, code: outcome.code };
  return {
    ...base,
    verdict,
    field: outcome.field,
    claimed: outcome.claimed,
    recomputed: outcome.recomputed,
  };
}

/** The first position at which two lists of token ids differ, or undefined. */
export function compareIds(
  field: string,
  claimed: readonly number[],
  recomputed: readonly number[],
): Outcome | undefined {
  for (let i = 0; i < Math.max(claimed.length, recomputed.length); i++) {
    if (claimed[i] !== recomputed[i]) return diverged(`${field}.${i}`, claimed[i] ?? 'none', recomputed[i] ?? 'none');
  }
  return undefined;
}

/** The deepest field at which two values differ, or undefined. */
export function compare(field: string, claimed: Json, recomputed: Json): Outcome | undefined {
  if (canonicalJson(claimed) === canonicalJson(recomputed)) return undefined;
  const found = firstDifference(field, claimed, recomputed);
  return diverged(found.field, found.claimed, found.recomputed);
}

/** The deepest place at which two different values differ first: keys in order of the claimed value, then new ones. */
function firstDifference(field: string, claimed: Json, recomputed: Json) {
  let at = { field, claimed, recomputed };
  for (;;) {
    const [a, b] = [at.claimed, at.recomputed];
    if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return at;
    if (Array.isArray(a) !== Array.isArray(b)) return at;
    const [left, right] = [new Map(Object.entries(a)), new Map(Object.entries(b))];
    const key = [...left.keys(), ...right.keys()].find(
      (name) => canonicalJson(left.get(name) ?? null) !== canonicalJson(right.get(name) ?? null),
    );
    if (key === undefined) return at;
    at = {
      field: `${at.field}.${key.slice(0, 64)}`,
      claimed: left.get(key) ?? null,
      recomputed: right.get(key) ?? null,
    };
  }
}

/** A record that is false at `field`; long values are cut. */
export function diverged(field: string, claimed: Json, recomputed: Json): Outcome {
  return { verdict: 'DIVERGED', field, claimed: shorten(claimed), recomputed: shorten(recomputed) };
}

function shorten(value: Json): string {
  const written = typeof value === 'string' ? value : canonicalJson(value);
  return written.length > 2000 ? `${written.slice(0, 2000)}…` : written;
}

/** A record that was not checked. */
export function cannot(code: CannotCode): Outcome {
  return { verdict: 'CANNOT_RECOMPUTE', code };
}
