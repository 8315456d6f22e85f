/**
 * One record as a line of a list: what it is, when, inside what, at what cost.
 *
 * @module
 */

import type { Json } from '../encoding/canonical-json.ts';
import type { AnswerCheck } from './evidence.ts';

/** A record in the list. Texts are untrusted. */
export type Row = {
  /** Position in the file, from 0; the head of a sound record says the same. */
  readonly index: number;
  readonly kind: string;
  readonly class: string;
  /** Milliseconds since 1970, as the operator's clock said; undefined where it is no number of a date. */
  readonly at: number | undefined;
  /** Start that this record completes, else its own index. */
  readonly of: number;
  /** Start of the tool that asked for it; null: the agent did. */
  readonly by: number | null;
  /** Tool, capability and target, model: what tells it from others of its kind. */
  readonly label: string;
  readonly fuel: string | undefined;
  /** Prompt and output together. */
  readonly tokens: number | undefined;
  readonly bytes: string | undefined;
  readonly withheld: boolean;
  /** What was found out about the answer of a host call. */
  readonly answer?: AnswerCheck;
};

const MAX_LABEL = 160;

type Fields = { readonly [name: string]: Json };

/**
 * The row of a record from the JSON of its head and body, which may be anything.
 *
 * @param before - `starts`: `by` and label of starts so far, by index, since an end is shown beside its start; `allowed`: capability and
 *   target that the policy record right before allowed
 */
export function toRow(
  index: number,
  { head, body, withheld }: { readonly head: Json; readonly body: Json; readonly withheld: boolean },
  before: { readonly starts: ReadonlyMap<number, Pick<Row, 'by' | 'label'>>; readonly allowed: string | undefined },
): Row {
  const [h, b] = [fields(head), fields(body)];
  const of = integer(h['of']) ?? index;
  const start = of === index ? undefined : before.starts.get(of);
  const kind = text(h['kind']) ?? 'unknown';
  const own = kind === 'host.start' && before.allowed !== undefined ? before.allowed : labelOf(kind, b);
  return {
    index,
    kind,
    class: text(h['class']) ?? 'unknown',
    at: date(h['at']),
    of,
    by: start === undefined ? (integer(b['by']) ?? null) : start.by,
    label: [start?.label, own]
      .filter((part) => part !== undefined && part !== '')
      .join(': ')
      .slice(0, MAX_LABEL),
    fuel: text(b['fuel']),
    tokens: tokensOf(b),
    bytes: text(b['bytes']),
    withheld,
  };
}

function labelOf(kind: string, body: Fields): string {
  const error = body['error'];
  const failed = typeof error === 'string' ? error : text(fields(error)['code']);
  switch (kind) {
    case 'run.open':
      return text(fields(body['inference'])['id']) ?? '';
    case 'run.close':
      return [text(body['status']), failed].filter(Boolean).join(', ');
    case 'policy': {
      const request = fields(body['request']);
      return [text(body['decision']), text(request['capability']), text(request['target'])].filter(Boolean).join(' ');
    }
    case 'agent': {
      if (failed !== undefined) return failed;
      if (typeof body['output'] === 'string') return 'output';
      const calls = Array.isArray(body['calls']) ? body['calls'] : [];
      return calls.map((call) => text(fields(call)['method']) ?? '').join(', ');
    }
    case 'inference.start': {
      const request = fields(body['request']);
      const count = Array.isArray(request['messages']) ? request['messages'].length : 0;
      return `${count} ${count === 1 ? 'message' : 'messages'}`;
    }
    case 'inference.end':
      return text(body['finish']) ?? '';
    case 'tool.start':
      return text(body['tool']) ?? '';
    case 'host.start':
      return text(body['capability']) ?? '';
    case 'run.child.start':
      return text(body['agent']) ?? '';
    case 'run.child.end':
      return text(body['status']) ?? '';
    default:
      return kind.endsWith('.lost') ? `lost, ${text(body['reason']) ?? ''}` : (failed ?? '');
  }
}

function tokensOf(body: Fields): number | undefined {
  const [prompt, output] = [fields(body['prompt'])['count'], fields(body['output'])['count']];
  return typeof prompt === 'number' && typeof output === 'number' ? prompt + output : undefined;
}

/** The fields of an object; none of anything else. */
export function fields(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/** A decimal text as a safe number. */
function integer(value: unknown): number | undefined {
  if (typeof value !== 'string' || !/^\d{1,15}$/.test(value)) return undefined;
  return Number(value);
}

function date(value: unknown): number | undefined {
  const ms = integer(value);
  return ms === undefined || ms > 8.64e15 ? undefined : ms;
}
