/**
 * What a reader should take away first, in one line and one sentence.
 *
 * @module
 */

import type { BundleCheck } from './bundle-check.ts';
import { type Claim, claimsOf, type Level } from './claims.ts';
import type { SourcedReport } from './report.ts';

/** The line above all claims. `text` may hold parts of the bundle, which are untrusted. */
export type Headline = { readonly level: Level; readonly word: string; readonly text: string; readonly step?: number };

/** The headline of a run. */
export function headlineOf(check: BundleCheck, sourced: SourcedReport | undefined): Headline {
  const claims = new Map(claimsOf(check, sourced).map((claim) => [claim.id, claim]));
  const levelOf = (id: Claim['id']) => claims.get(id)?.level;
  const { fault, beyondLimit, falsehood } = check;
  if (fault !== undefined) {
    const text = `Record ${fault.step} does not fit the records before it or its own signature. Somebody changed this file, or it was never right. Do not rely on it.`;
    return { level: 'bad', word: 'No evidence', text, step: fault.step };
  }
  const wrong = beyondLimit ?? falsehood;
  if (wrong !== undefined) {
    const text = `Record ${wrong.step} contradicts what the run itself fixes. It was found here, in your browser.`;
    return { level: 'bad', word: 'A false record', text, step: wrong.step };
  }
  const executed = claims.get('executed');
  if (executed?.level === 'bad') {
    const by = sourced?.source === 'here' ? 'the verifier of this computer' : 'a verifier whose report was given';
    const isFalse = sourced?.report.verdict === 'DIVERGED';
    const text = isFalse
      ? `The operator signed record ${executed.step}, and executing it again gives another value, says ${by}.`
      : `The records fit together, and yet: ${executed.text}`;
    const word = isFalse ? 'A false record' : 'No evidence';
    return { level: 'bad', word, text, ...(executed.step === undefined ? {} : { step: executed.step }) };
  }
  if (check.root === null) {
    const text = 'What is there fits together, but no signature stands under it: anybody can have written it.';
    return { level: 'part', word: 'Unsigned', text };
  }
  if (levelOf('bond') === 'bad') {
    return { level: 'bad', word: 'No bond', text: claims.get('bond')?.text ?? '' };
  }
  if (levelOf('checked') !== 'good') {
    const text = 'What is there fits together, but not all of the run is there, or not all of it could be checked.';
    return { level: 'part', word: 'Incomplete', text };
  }
  if (executed?.level === 'good' && levelOf('signed') === 'good') {
    const text =
      'Nothing was changed since the operator signed it, and every step that can be executed again came out equal on this computer. What came from outside is only recorded.';
    return { level: 'good', word: 'Holds', text };
  }
  const text = `Nothing was changed since the operator signed it. Whether the steps are true, ${executed?.word === 'reported equal' ? 'you have from a report: nothing was executed on this computer.' : 'only executing them again can say.'}`;
  return { level: 'part', word: 'Unchanged', text };
}
