/**
 * What the agent did, in short.
 *
 * @module
 */

import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { BundleCheck } from '../bundle-check.ts';
import type { Summary, Tallies } from '../summary.ts';
import { coinText, doubtsOf, lengthText, shortDigest } from '../summary-text.ts';
import type { ToldPart, ToldPayload } from '../told-payload.ts';
import { type Filter, NO_FILTER } from './filters.tsx';
import { RecordLink } from './record-link.tsx';
import { Name, Said, Sign } from './text.tsx';

/** Names of one sort that are shown. */
const MAX_SHOWN = 12;

/** Names of sorts where they stand in a sentence. */
const LISTED: Readonly<Record<string, string>> = {
  'Tool calls': 'tool calls',
  'Denied by the policy': 'denials',
  'Child runs': 'child runs',
};

/** What is shown of a text until the reader asks for more. */
const FIRST_LINES = 6;
const FIRST_CHARACTERS = 420;

/** What happened in a run, by the records that were checked. */
export function SummaryView(props: {
  readonly check: BundleCheck;
  readonly id: string;
  /** The first record that a verifier calls false, whose report is about these bytes. */
  readonly diverged: number | undefined;
  /** Shows some records in the list. */
  readonly show: (filter: Filter) => void;
}): JSX.Element {
  const { check, id, diverged, show } = props;
  const { summary } = check;
  return (
    <section aria-labelledby="happened" class="happened">
      <h2 id="happened">What happened</h2>
      <p class="soft">
        By the records that fit together, as the operator wrote them down. How far they were checked stands below.
      </p>
      {doubtsOf(check, diverged).map((doubt) => (
        <p class={`note ${doubt.level}`} key={doubt.text} data-doubt={doubt.level}>
          {doubt.text}
        </p>
      ))}
      {summary === null ? (
        <p>Nothing is told here: not even record 0 fits.</p>
      ) : (
        <Told summary={summary} id={id} diverged={diverged ?? check.falsehood?.step} show={show} check={check} />
      )}
    </section>
  );
}

function Told(props: {
  readonly summary: Summary;
  readonly check: BundleCheck;
  readonly id: string;
  readonly diverged: number | undefined;
  readonly show: (filter: Filter) => void;
}) {
  const { summary, check, id, diverged, show } = props;
  const { agent, model, began, last, input, outcome, inferences, tokens } = summary;
  const link = (step: number, text?: string) => (
    <RecordLink id={id} step={step}>
      {text}
    </RecordLink>
  );
  const all = (filter: Partial<Filter>, what: string) => (
    <button type="button" class="small" onClick={() => show({ ...NO_FILTER, ...filter })}>
      {`List the ${what}`}
    </button>
  );
  const sorts: readonly (readonly [title: string, tallies: Tallies, filter: Partial<Filter>])[] = [
    ['Tool calls', summary.tools, { kind: 'tool.start' }],
    ['Requests to the outside', summary.outside, {}],
    ['Denied by the policy', summary.denials, { kind: 'policy', text: 'deny' }],
    ['Child runs', summary.children, { kind: 'run.child.start' }],
    ['Its own store, dice and clock', summary.own, {}],
  ];
  const { payments, approvals } = summary;
  const none = [
    ...(inferences.count === 0 ? ['model calls'] : []),
    ...sorts.filter(([, { count }]) => count === 0).map(([title]) => title.toLowerCase()),
    ...(payments.count === 0 ? ['payments'] : []),
    ...(approvals.asked === 0 ? ['questions to a person'] : []),
  ];
  return (
    <>
      <dl class="facts">
        <Fact title="Agent">
          {agent.name === null ? (
            <span>without a shown name, digest {shortDigest(agent.digest)}</span>
          ) : (
            <Name text={agent.name} />
          )}
          , {link(0)}
        </Fact>
        <Fact title="Model">
          <Name text={model} />
        </Fact>
        <Fact title="When">
          {timeText(began)}, {lengthText(last - began)}{' '}
          {check.close === null || outcome === undefined ? 'up to the last record here' : 'in all'}, by the operator's
          clock
        </Fact>
      </dl>
      <div class="asked">
        <div data-told="input">
          <h3>
            What it was asked <small>{link(input.step)}</small>
          </h3>
          <Payload payload={input} />
        </div>
        <div data-told="outcome">
          <h3>What came out {outcome !== undefined && <small>{link(outcome.step)}</small>}</h3>
          {outcome === undefined ? (
            <p>Not known: the run has no end here that fits.</p>
          ) : (
            <>
              {diverged !== undefined && (
                <p>
                  <Sign
                    level="bad"
                    word={outcome.step === diverged ? 'false' : `comes after record ${diverged}, which is false`}
                  />
                </p>
              )}
              {outcome.status !== 'done' && (
                <p>
                  It ended as <strong>{outcome.status}</strong>
                  {outcome.error !== null && (
                    <>
                      , with <Name text={outcome.error} />
                    </>
                  )}
                  .
                </p>
              )}
              {outcome.payload === null ? <p>No output.</p> : <Payload payload={outcome.payload} />}
            </>
          )}
        </div>
      </div>
      <dl class="facts">
        {inferences.count > 0 && (
          <Fact title="Model calls">
            {inferences.count}
            {lostText(inferences)}; {tokens.prompt + tokens.output} tokens ({tokens.prompt} read, {tokens.output}{' '}
            written) {link(inferences.names[0]?.step ?? 0)} {all({ kind: 'inference.start' }, 'model calls')}
          </Fact>
        )}
        {sorts.map(
          ([title, tallies, filter]) =>
            tallies.count > 0 && (
              <Fact title={title} key={title}>
                <Names tallies={tallies} id={id} />
                {Object.keys(filter).length > 0 && all(filter, LISTED[title] ?? title)}
              </Fact>
            ),
        )}
        {payments.count > 0 && (
          <Fact title="Payments">
            {coinText(payments.wei)} in {payments.count}; {payments.signed} signed by the wallet of the policy, checked
            here. What the chain made of them is the host's word. <Names tallies={payments} id={id} />
            {all({ kind: 'host.start', text: 'wallet.send' }, 'payments')}
          </Fact>
        )}
        {approvals.asked > 0 && (
          <Fact title="Questions to a person">
            {approvals.asked} asked: {approvals.approved} approved and {approvals.refused} refused under a signature
            that was checked here, {approvals.asked - approvals.approved - approvals.refused} without one{' '}
            {link(approvals.step)}
          </Fact>
        )}
        {none.length > 0 && <Fact title="None of">{none.join(', ')}</Fact>}
      </dl>
    </>
  );
}

function Fact({ title, children }: { readonly title: string; readonly children: ComponentChildren }) {
  return (
    <div>
      <dt>{title}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Names({ tallies, id }: { readonly tallies: Tallies; readonly id: string }) {
  const { names, count, others } = tallies;
  const shown = names.slice(0, MAX_SHOWN);
  const left = others + names.slice(MAX_SHOWN).reduce((sum, tally) => sum + tally.count, 0);
  return (
    <ul class="names">
      {shown.map((tally) => (
        <li key={tally.name}>
          <Name text={tally.name} /> {tally.count}×{lostText({ names: [tally] })}{' '}
          <RecordLink id={id} step={tally.step}>
            {tally.count === 1 ? `record ${tally.step}` : `first: record ${tally.step}`}
          </RecordLink>
        </li>
      ))}
      {left > 0 && (
        <li>
          and {left} of {count} more, under other names
        </li>
      )}
    </ul>
  );
}

function lostText({ names }: Pick<Tallies, 'names'>): string {
  const failed = names.reduce((sum, tally) => sum + tally.failed, 0);
  const lost = names.reduce((sum, tally) => sum + tally.lost, 0);
  const parts = [failed > 0 ? `${failed} failed` : '', lost > 0 ? `${lost} without an answer on record` : ''];
  const text = parts.filter((part) => part !== '').join(', ');
  return text === '' ? '' : ` (${text})`;
}

function Payload({ payload }: { readonly payload: ToldPayload }) {
  const { state, parts, field } = payload;
  if (state === 'withheld') {
    return <p class="note part">Withheld: the bundle shows its commitment, not what it says.</p>;
  }
  if (state === 'unreadable') return <p>No text that can be read: see the record.</p>;
  return (
    <>
      {parts.map((part, i) => (
        <Part key={i} part={part} label={`${field}${part.name === null ? '' : ` ${i + 1}`}`} />
      ))}
    </>
  );
}

function Part({ part, label }: { readonly part: ToldPart; readonly label: string }) {
  const [isOpen, setOpen] = useState(false);
  const { name, text, isCut } = part;
  const first = firstOf(text);
  return (
    <>
      {name !== null && (
        <h4>
          <Name text={name} />
        </h4>
      )}
      <Said text={isOpen ? text : first} label={label} />
      {first.length < text.length && (
        <button type="button" class="small" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          {isOpen ? 'Show less' : `Show ${text.length - first.length} more characters`}
        </button>
      )}
      {isCut && (isOpen || first.length === text.length) && (
        <p class="soft">Only the beginning is told here; the record shows more.</p>
      )}
    </>
  );
}

/** The first lines of a text; a pair of halves is not cut apart. */
function firstOf(text: string): string {
  const lines = text.slice(0, FIRST_CHARACTERS).split('\n').slice(0, FIRST_LINES).join('\n');
  // All but a few characters is all.
  if (text.length - lines.length < 40) return text;
  return /[\ud800-\udbff]$/.test(lines) ? lines.slice(0, -1) : lines;
}

function timeText(at: number): string {
  return at > 8.64e15 ? 'at no date' : `${new Date(at).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}
