/**
 * One record in full.
 *
 * @module
 */

import type { JSX } from 'preact';
import type { StepReport } from '../../verify/verdict.ts';
import type { CheckFault } from '../bundle-check.ts';
import type { CheckpointView, HashView, PayloadView, RecordDetail } from '../record-detail.ts';
import type { Row } from '../row.ts';
import { linkTo } from './route.ts';
import type { Standing } from './standing.ts';
import { Name, Said, Sign } from './text.tsx';

/** The pane beside the list. */
export function DetailPane(props: {
  readonly id: string;
  readonly row: Row | undefined;
  readonly detail: RecordDetail | undefined;
  readonly fault: CheckFault | undefined;
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
    <section class="detail" id="detail" tabIndex={-1} aria-labelledby="detail-title">
      <h3 id="detail-title">
        Record {row.index}: <Name text={row.kind} /> <Name text={row.label} />
      </h3>
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
          The verifier did not execute this record again: <Name text={report.code ?? 'no reason given'} />
        </p>
      )}
      {detail === undefined ? <p role="status">Reading the record …</p> : <Content detail={detail} />}
    </section>
  );
}

function Fault({ fault }: { readonly fault: CheckFault }) {
  return (
    <div class="note bad" data-fault={fault.code}>
      <p>
        <strong>Found in your browser:</strong> <Name text={fault.message} /> (<Name text={fault.code} />)
      </p>
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
        <div class="sides">
          <div>
            <h4>Claimed by the operator</h4>
            <Said text={step.claimed ?? 'nothing'} label="Claimed value" />
          </div>
          <div>
            <h4>Recomputed by the verifier</h4>
            <Said text={step.recomputed ?? 'nothing'} label="Recomputed value" />
          </div>
        </div>
      )}
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
        <span class="hash">
          {same !== true && <span class="soft">stored </span>}
          <Name text={stored} />
        </span>
      )}
      {same !== true && computed !== null && (
        <span class="hash">
          <span class="soft">computed here </span>
          <Name text={computed} />
        </span>
      )}
    </li>
  );
}
