/**
 * One record in full.
 *
 * @module
 */

import type { JSX } from 'preact';
import type { StepReport } from '../../verify/verdict.ts';
import { reasonText } from '../claims.ts';
import type { Falsehood } from '../evidence.ts';
import type { CheckpointView, HashView, PayloadView, RecordDetail } from '../record-detail.ts';
import type { Row } from '../row.ts';
import { linkTo } from './route.ts';
import type { Standing } from './standing.ts';
import { Digest, Name, Said, Sign } from './text.tsx';

/** The pane beside the list. */
export function DetailPane(props: {
  readonly id: string;
  readonly row: Row | undefined;
  readonly detail: RecordDetail | undefined;
  readonly fault: Falsehood | undefined;
  readonly report: StepReport | undefined;
  readonly standing: Standing | undefined;
  readonly rows: readonly Row[];
}): JSX.Element {
  const { id, row, detail, fault, report, standing, rows } = props;
  if (row === undefined) {
    return (
      <section class="detail" id="detail" tabIndex={-1} aria-label="Record">
        <p class="soft">Choose a record to see its fields, payloads and hashes.</p>
      </section>
    );
  }
  const end = row.kind.endsWith('.start')
    ? rows.find((other) => other.of === row.index && other.index > row.index)
    : undefined;
  return (
    <section class="detail" id="detail" tabIndex={-1} aria-labelledby="detail-title" onKeyDown={onKeyDown}>
      <h3 id="detail-title">
        Record {row.index}: <Name text={row.kind} /> <Name text={row.label} />
      </h3>
      <p class="soft">{purposeOf(row.kind)}</p>
      {standing !== undefined && <Sign level={standing.level} word={standing.word} />}
      <p class="links">
        <a href={linkTo({ id, step: row.index })}>Link to this record</a>
        {row.of !== row.index && <a href={linkTo({ id, step: row.of })}>Its start, record {row.of}</a>}
        {end !== undefined && <a href={linkTo({ id, step: end.index })}>Its end, record {end.index}</a>}
        {row.by !== null && <a href={linkTo({ id, step: row.by })}>Inside the tool of record {row.by}</a>}
      </p>
      {fault !== undefined && <Fault fault={fault} />}
      {report !== undefined && (report.verdict === 'DIVERGED' || report.verdict === 'INVALID') && (
        <Diverged step={report} />
      )}
      {report?.verdict === 'CANNOT_RECOMPUTE' && (
        <p class="note part">
          The verifier did not execute this record again: <Name text={reasonText(report.code)} />
        </p>
      )}
      {detail === undefined ? <p role="status">Reading the record …</p> : <Content detail={detail} />}
    </section>
  );
}

/** Escape goes back to the record in the list. */
function onKeyDown(event: KeyboardEvent): void {
  if (event.key === 'Escape') document.querySelector<HTMLElement>('.row[tabindex="0"]')?.focus();
}

const PURPOSES: Readonly<Record<string, string>> = {
  'run.open': 'The run begins: who asked, which agent, tools, model and rules, and with what input.',
  'run.close': 'The run ends: its output, or why there is none.',
  agent: 'The code of the agent ran up to here, and asked for something or gave its output.',
  policy: 'The rules of the run decided whether the agent or a tool may do this.',
  'inference.start': 'The model was asked.',
  'inference.end': 'The model answered, with a receipt signed by the server that ran it.',
  'tool.start': 'A tool was started.',
  'tool.end': 'The tool gave its result.',
  'host.start': 'Something outside of the code was asked for: the network, the clock, a person, a wallet, the store.',
  'host.end': 'What it answered.',
  'run.child.start': 'Another run was started from this one.',
  'run.child.end': 'The other run ended.',
};

function purposeOf(kind: string): string {
  if (Object.hasOwn(PURPOSES, kind)) return PURPOSES[kind] ?? '';
  return kind.endsWith('.lost') ? 'What was started has no result: the operator says that it was lost.' : '';
}

function Fault({ fault }: { readonly fault: Falsehood }) {
  return (
    <div class="note bad" data-fault={fault.code}>
      <p>
        <strong>Found in your browser:</strong> <Name text={fault.message} /> (<Name text={fault.code} />)
      </p>
      {(fault.claimed !== undefined || fault.recomputed !== undefined) && (
        <Sides claimed={fault.claimed} recomputed={fault.recomputed} by="in your browser" />
      )}
    </div>
  );
}

function Diverged({ step }: { readonly step: StepReport }) {
  return (
    <div class="note bad" data-diverged={step.index}>
      <p>
        <strong>{step.verdict}</strong>, says the verifier
        {step.field !== undefined && (
          <>
            , at <Name text={step.field} />
          </>
        )}
        {step.code !== undefined && (
          <>
            {' '}
            (<Name text={step.code} />)
          </>
        )}
      </p>
      {(step.claimed !== undefined || step.recomputed !== undefined) && (
        <Sides claimed={step.claimed} recomputed={step.recomputed} by="by the verifier" />
      )}
    </div>
  );
}

/** What the operator says, beside what came out. */
function Sides(props: {
  readonly claimed: string | undefined;
  readonly recomputed: string | undefined;
  readonly by: string;
}) {
  const { claimed, recomputed, by } = props;
  return (
    <div class="sides">
      <div>
        <h4>Claimed by the operator</h4>
        <Said text={claimed ?? 'nothing'} label="Claimed value" />
      </div>
      <div>
        <h4>Recomputed {by}</h4>
        <Said text={recomputed ?? 'nothing'} label="Recomputed value" />
      </div>
    </div>
  );
}

function Content({ detail }: { readonly detail: RecordDetail }) {
  return (
    <>
      {detail.remarks.map((remark) => (
        <p class="note part" key={remark}>
          {remark}
        </p>
      ))}
      <h4>Payloads</h4>
      {detail.payloads.length === 0 && <p class="soft">None.</p>}
      {detail.payloads.map((payload) => (
        <Payload key={payload.field} payload={payload} />
      ))}
      <h4>Fields</h4>
      <dl class="fields">
        {detail.head.map(([name, value]) => (
          <div key={name}>
            <dt>
              <Name text={name} />
            </dt>
            <dd>
              <Name text={value} />
              {name === 'at' && /^\d{1,15}$/.test(value) && (
                <span class="soft"> ({new Date(Number(value)).toISOString()}, the operator's clock)</span>
              )}
            </dd>
          </div>
        ))}
      </dl>
      {detail.body !== undefined && (
        <details>
          <summary>Body</summary>
          <Said text={detail.body} label="Body of the record" />
        </details>
      )}
      <h4>Hashes</h4>
      <p class="soft">As the file says them, and as they come out in your browser.</p>
      <ul class="hashes">
        {detail.hashes.map((hash) => (
          <Hash key={hash.name} hash={hash} />
        ))}
      </ul>
      {detail.checkpoints.map((checkpoint, i) => (
        <Checkpoint key={i} checkpoint={checkpoint} />
      ))}
    </>
  );
}

function Payload({ payload }: { readonly payload: PayloadView }) {
  const { field, state, media, bytes, text, isCut, commitment } = payload;
  return (
    <div class="payload" data-payload={state}>
      <h5>
        <Name text={field} />
        {media !== undefined && (
          <span class="soft">
            {' '}
            <Name text={media} />, {bytes} bytes
          </span>
        )}
      </h5>
      {state === 'withheld' && (
        <p class="note part">
          Withheld: its commitment is all that the bundle shows. What needs it cannot be executed again.
        </p>
      )}
      {state === 'missing' && <p class="note bad">Its line is not in the file.</p>}
      {text !== undefined && <Said text={text} label={`Payload ${field}`} />}
      {isCut === true && <p class="soft">Only the beginning is shown.</p>}
      <ul class="hashes">
        <Hash hash={{ ...commitment, name: 'commitment' }} />
      </ul>
    </div>
  );
}

function Checkpoint({ checkpoint }: { readonly checkpoint: CheckpointView }) {
  const { closed, size, signer, root, state } = checkpoint;
  return (
    <div class="checkpoint">
      <h4>
        {closed ? 'Closed checkpoint' : 'Checkpoint'} over <Name text={size} /> records
      </h4>
      <ul class="hashes">
        <Hash hash={signer} />
        <Hash hash={root} />
        <Hash hash={state} />
      </ul>
    </div>
  );
}

function Hash({ hash }: { readonly hash: HashView }) {
  const { name, stored, computed, same } = hash;
  return (
    <li class={same === false ? 'bad' : ''} data-same={String(same ?? 'unknown')}>
      <span class="hash-name">
        <Name text={name} />
      </span>{' '}
      {same === true && <Sign level="good" word="same" />}
      {same === false && <Sign level="bad" word="differs" />}
      {same === undefined && <Sign level="none" word="not compared" />}
      {stored !== null && (
        <>
          {same !== true && <span class="soft">in the file </span>}
          <Digest text={stored} what={name} />
        </>
      )}
      {same !== true && computed !== null && (
        <>
          <span class="soft">computed here </span>
          <Digest text={computed} what={`${name}, computed here`} />
        </>
      )}
    </li>
  );
}
