/**
 * The claims of a run, one row each, and what is not proved.
 *
 * @module
 */

import type { JSX } from 'preact';
import type { BundleCheck } from '../bundle-check.ts';
import { type Claim, claimsOf, NOT_PROVED } from '../claims.ts';
import type { SourcedReport } from '../report.ts';
import { Finding } from './record-link.tsx';
import { Digest, Name, Sign } from './text.tsx';

/** Most names and digests under one claim. */
const MAX_FACTS = 200;

/** Claims with what was found out about each. */
export function Claims(props: {
  readonly check: BundleCheck;
  readonly sourced: SourcedReport | undefined;
  readonly id: string;
  /** Undefined where nothing can be executed. */
  readonly execute: (() => void) | undefined;
  readonly isExecuting: boolean;
}): JSX.Element {
  const { check, sourced, id, execute, isExecuting } = props;
  return (
    <section aria-labelledby="claims">
      <h2 id="claims">What this run claims, and how far it was checked</h2>
      <ul class="legend" aria-label="What the signs mean">
        <li>
          <Sign level="good" word="checked on this computer, and it holds" />
        </li>
        <li>
          <Sign level="part" word="not known here, or only reported" />
        </li>
        <li>
          <Sign level="bad" word="checked, and it does not hold" />
        </li>
      </ul>
      <ul class="claims">
        {claimsOf(check, sourced).map((claim) => (
          <ClaimRow key={claim.id} claim={claim} id={id}>
            {claim.id === 'executed' && execute !== undefined && (
              <button type="button" onClick={execute} disabled={isExecuting}>
                {isExecuting ? 'Executing …' : 'Execute again on this computer'}
              </button>
            )}
          </ClaimRow>
        ))}
      </ul>
      <h2>What is not proved</h2>
      <ul class="unproved">
        {NOT_PROVED.map((line) => (
          <li key={line}>{line}</li>
        ))}
      </ul>
    </section>
  );
}

function ClaimRow({
  claim,
  id,
  children,
}: {
  readonly claim: Claim;
  readonly id: string;
  readonly children?: JSX.Element | false;
}) {
  const { title, level, word, text, step, facts } = claim;
  return (
    <li class={`claim ${level}`} data-claim={claim.id} data-level={level}>
      <h3>{title}</h3>
      <Sign level={level} word={word} />
      <div>
        <Finding text={text} id={id} step={step} />
        {facts !== undefined && (
          <details>
            <summary>{facts.length === 1 ? facts[0]?.[0] : `${facts.length} digests and names`}</summary>
            <dl>
              {facts.slice(0, MAX_FACTS).map(([name, value]) => (
                <div key={name}>
                  <dt>
                    <Name text={name} />
                  </dt>
                  <dd>{value.startsWith('0x') ? <Digest text={value} what={name} /> : <Name text={value} />}</dd>
                </div>
              ))}
            </dl>
          </details>
        )}
        {children}
      </div>
    </li>
  );
}
