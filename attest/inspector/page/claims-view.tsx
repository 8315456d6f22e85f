/**
 * The claims of a run, one row each, and what is not proved.
 *
 * @module
 */

import type { JSX } from 'preact';
import type { BundleCheck } from '../bundle-check.ts';
import { type Claim, claimsOf, NOT_PROVED } from '../claims.ts';
import type { SourcedReport } from '../report.ts';
import { linkTo } from './route.ts';
import { Name, Sign } from './text.tsx';

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
      <h2 id="claims">What this run claims</h2>
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
        <p>
          <Name text={text} />
          {step !== undefined && (
            <>
              {' '}
              <a href={linkTo({ id, step })}>Show record {step}</a>
            </>
          )}
        </p>
        {facts !== undefined && (
          <details>
            <summary>{facts.length === 1 ? facts[0]?.[0] : `${facts.length} digests and names`}</summary>
            <dl>
              {facts.map(([name, value]) => (
                <div key={name}>
                  <dt>
                    <Name text={name} />
                  </dt>
                  <dd class="hash">
                    <Name text={value} />
                  </dd>
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
