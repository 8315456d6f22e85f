/**
 * Words around a summary: what must be said before it is believed, lengths of time, amounts.
 *
 * @module
 */

import type { BundleCheck } from './bundle-check.ts';

/** Something that a reader of a summary must know. */
export type Doubt = { readonly level: 'part' | 'bad'; readonly text: string };

/**
 * Why a summary is not the whole truth.
 *
 * @param diverged - first record that a verifier calls false, whose report is about these bytes
 */
export function doubtsOf(check: BundleCheck, diverged: number | undefined): readonly Doubt[] {
  const { fault, falsehood, beyondLimit, sound, size, records, close, withheld } = check;
  const doubts: Doubt[] = [];
  if (fault !== undefined) {
    doubts.push({
      level: 'bad',
      text: `Record ${fault.step} does not fit. Of ${records} records only the ${sound} before it are told of here.`,
    });
  }
  const wrong = [falsehood?.step, beyondLimit?.step, diverged].filter((step) => step !== undefined);
  if (wrong.length > 0) {
    const step = Math.min(...wrong);
    doubts.push({
      level: 'bad',
      text: `Record ${step} is false. It is told of as it was written, and so is whatever came from it.`,
    });
  }
  if (size < sound) {
    doubts.push({
      level: 'part',
      text:
        size === 0
          ? 'No signature stands under any of this: anybody can have written it.'
          : `No signature stands under the records from ${size} on: anybody can have written them.`,
    });
  }
  if (fault === undefined && close === null)
    doubts.push({ level: 'part', text: 'The run goes on, or its end is not in this file.' });
  if (withheld > 0) {
    doubts.push({
      level: 'part',
      text: `${withheld === 1 ? 'One record withholds' : `${withheld} records withhold`} something; what is withheld is not told of.`,
    });
  }
  return doubts;
}

/** Milliseconds for people. */
export function lengthText(ms: number): string {
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor(ms / 1000) % 60} s`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} days ${Math.floor(minutes / 60) % 24} h`;
}

/** An amount for people: in coins of 18 decimal places where it has not too many of them, and in wei. */
export function coinText(wei: string): string {
  const padded = wei.padStart(19, '0');
  const places = padded.slice(-18).replace(/0+$/, '');
  if (wei === '0' || places.length > 9) return `${wei} wei`;
  return `${padded.slice(0, -18)}${places === '' ? '' : `.${places}`} coins (${wei} wei)`;
}

/** A digest for a place where there is no room for it: its first and last digits. */
export function shortDigest(digest: string): string {
  return digest.length <= 20 ? digest : `${digest.slice(0, 10)}…${digest.slice(-6)}`;
}
