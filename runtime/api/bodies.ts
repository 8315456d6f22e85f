/**
 * Bodies of the runtime's API, as the schemas that read requests and describe responses.
 *
 * @module
 */

import { z } from 'zod';
import type { Hex } from '../../attest/core/bytes.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import type { ManagedAgent } from '../manager-types.ts';
import type { RecordView } from '../record-feed.ts';
import type { RunStatus } from '../run-status.ts';
import { assertValue, ValueError } from '../sandbox/values.ts';

const UINT64 = 1n << 64n;
const DECIMAL = /^(?:0|[1-9][0-9]{0,19})$/;

const hexText = (bytes: number) =>
  z
    .string()
    .regex(new RegExp(`^0x[0-9a-f]{${2 * bytes}}$`), `expected ${bytes} bytes as lower-case 0x hexadecimal`)
    .transform((digits) => digits as Hex);

/** A uint64 in decimal, as text. */
const decimal64 = z
  .string()
  .refine((digits) => DECIMAL.test(digits) && BigInt(digits) < UINT64, 'expected a decimal number below 2^64');

/** A value that can be recorded. */
const recordable = z
  .unknown()
  .check((context) => {
    if (context.value === undefined) {
      context.issues.push({ code: 'invalid_type', expected: 'unknown', input: context.value });
      return;
    }
    try {
      assertValue(context.value as Json);
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      context.issues.push({ code: 'custom', message: error.message, input: context.value });
    }
  })
  .transform((value) => value as Json);

const limitFields = {
  bytes: decimal64.describe('Bytes of all payloads.'),
  fuel: decimal64.describe('Units of work of guest code.'),
  steps: decimal64.describe('Effects that may be started.'),
  tokens: decimal64.describe('Tokens of prompts and answers.'),
  wallMs: decimal64.describe('Milliseconds from the start, waiting included.'),
};

const requestSchema = z
  .strictObject({
    agent: hexText(32).describe("Digest of the agent's code, as `GET /v1/agents` tells it."),
    caller: hexText(20).describe('Address of the key that signs.'),
    expiry: decimal64.describe('Unix seconds after which the run may not be begun.'),
    input: hexText(32).describe('Commitment of the input under `inputSalt`.'),
    limits: hexText(32).describe('Digest of the limits.'),
    nonce: hexText(32).describe('32 random bytes, never used before.'),
  })
  .describe('The EIP-712 struct `Request`, see `attest/spec/trace.md#run-identity`.');

/** Body of `POST /v1/runs`. */
export const createRunSchema = z.strictObject({
  agent: z.string().min(1).max(64).describe('Name of an agent of `GET /v1/agents`.'),
  input: recordable.describe('JSON whose numbers are safe integers, at most 24 levels deep.'),
  limits: z
    .strictObject(limitFields)
    .partial()
    .optional()
    .describe(
      "Decimal texts, at most those of the agent; what is left out is the agent's. All of them with `request`.",
    ),
  request: requestSchema
    .optional()
    .describe('A request that the caller made and signed itself: its nonce seeds the run, so the operator cannot.'),
  signature: hexText(65).optional().describe('Of `request`, by its caller; EIP-712, 65 bytes.'),
  inputSalt: hexText(32).optional().describe('Salt of the commitment in `request`.'),
});

/** What {@link createRunSchema} reads. */
export type CreateRunBody = z.output<typeof createRunSchema>;

/** Query of `POST /v1/runs`, `cancel` and `pause`. */
export const waitQuerySchema = z.strictObject({
  wait: z
    .string()
    .regex(/^(?:[0-9]|[1-5][0-9]|60)$/, 'expected seconds from 0 to 60')
    .optional()
    .describe('Seconds to wait until the run is over or put aside; 0 to 60.'),
});

/** Header of `POST /v1/runs`. */
export const createHeadersSchema = z.object({
  'idempotency-key': z
    .string()
    .regex(/^[\x21-\x7e]{1,255}$/, 'expected 1 to 255 visible characters of ASCII')
    .optional()
    .describe(
      'The same key with the same body is the same run, also after a restart; with another body it is refused.',
    ),
});

/** States of a run. */
export const STATUSES = [
  'running',
  'suspended',
  'broken',
  'done',
  'failed',
  'out-of-budget',
  'cancelled',
  'abandoned',
] as const satisfies readonly RunStatus['status'][];

const time = z.int().describe('Milliseconds since 1970.');

const waitingSchema = z.strictObject({
  index: z.string().describe('Index of the start that waits; approvals and reconciliations name it.'),
  at: time,
  for: z.enum(['approval', 'reconciliation', 'child']),
  capability: z.string(),
  target: z.string(),
  request: z.unknown().optional().describe('What was asked; not in lists.'),
});

/** A run. */
export const runSchema = z
  .strictObject({
    object: z.literal('run'),
    id: z.string().describe('Run id, 32 bytes; its bundle is `ID.trace` without `0x`.'),
    agent: z.string(),
    status: z.enum(STATUSES).describe('`broken`: it cannot be gone on with here; `error` says why.'),
    reason: z
      .enum(['approval', 'reconciliation', 'child', 'paused'])
      .nullable()
      .describe('Why it is put aside, if it is.'),
    waiting: z.array(waitingSchema),
    createdAt: time,
    updatedAt: time,
    wakeAt: time.nullable().describe('When a run that is put aside goes on by itself.'),
    parent: z.strictObject({ run: z.string(), index: z.string() }).nullable(),
    records: z.int().describe('Records so far.'),
    output: z.unknown().describe('What the agent gave; null before, and in lists.'),
    error: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
    seedFrom: z.enum(['caller', 'operator']).describe('`operator`: the operator could have chosen the seed.'),
    withheldAt: time.nullable().describe('When its payloads were deleted.'),
  })
  .describe('Where a run stands.');

/** A page of runs. */
export const runListSchema = z.strictObject({
  object: z.literal('list'),
  data: z.array(runSchema),
  has_more: z.boolean(),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
});

/** Query of `GET /v1/runs`. */
export const runsQuerySchema = z.strictObject({
  limit: z
    .string()
    .regex(/^(?:[1-9][0-9]?|100)$/, 'expected a number from 1 to 100')
    .optional()
    .describe('1 to 100; 20 by default.'),
  after: hexText(32).optional().describe('Id of the run before the first of the page; newest come first.'),
  status: z.enum(STATUSES).optional(),
  agent: z.string().min(1).max(64).optional(),
});

/** Query of `GET /v1/runs/{id}/records`. */
export const recordsQuerySchema = z.strictObject({
  from: decimal64.optional().describe('Index of the first record; `Last-Event-ID` goes before it.'),
  follow: z
    .enum(['true', 'false'])
    .optional()
    .describe(
      '`false` ends with what is there; by default the stream ends with the run, and waits while the run does.',
    ),
});

/** Header of `GET /v1/runs/{id}/records`. */
export const recordsHeadersSchema = z.object({
  'last-event-id': decimal64.optional().describe('Index of the last record that the client has seen.'),
});

/** Data of one event of a stream of records. */
export const recordSchema = z
  .strictObject({
    index: z.string(),
    head: z.record(z.string(), z.unknown()),
    body: z.unknown(),
    payloads: z
      .record(z.string(), z.unknown())
      .describe('Payloads by their dotted field; a deleted one is `{"withheld": commitment}`.'),
  })
  .describe('A record of the trace; the name of the event is its kind. The event `end` has the run instead.');

/** Body of `POST /v1/runs/{id}/approvals/{index}`. */
export const approvalSchema = z.strictObject({
  approved: z.boolean(),
  note: z.string().max(2000).default('').describe('For the agent, and on record.'),
  approver: hexText(20).nullable().default(null).describe('Address of the person who signs.'),
  signature: hexText(65)
    .nullable()
    .default(null)
    .describe('Of the EIP-712 struct `Approval`; needed where the policy names approvers.'),
});

/** Body of `POST /v1/runs/{id}/reconciliations/{index}`. */
export const reconciliationSchema = z.strictObject({
  how: z.enum(['send', 'lost']).describe('`send` makes the call again under the same key, `lost` gives it up.'),
});

/** An agent. */
export const agentListSchema = z.strictObject({
  object: z.literal('list'),
  data: z.array(
    z.strictObject({
      object: z.literal('agent'),
      name: z.string(),
      digest: z.string().describe('Of its code, which a signed request names.'),
      tools: z.array(z.string()),
      limits: z.strictObject({
        bytes: z.string(),
        fuel: z.string(),
        steps: z.string(),
        tokens: z.string(),
        wallMs: z.string(),
      }),
      policy: z.unknown().describe('What agent and tools may do, see `attest/spec/trace.md#policy`.'),
    }),
  ),
  operator: z.string().describe('Address of the key that signs traces.'),
  chainId: z.string().describe('Of the domain that requests and approvals are signed for; 0 off chain.'),
  contract: z.string(),
});

/** A run as the API shows it; `brief` leaves out what may be large. */
export function toRunBody(status: RunStatus, brief = false): z.input<typeof runSchema> {
  const { run, waiting, error, output, withheldAt, ...rest } = status;
  // Why a journal cannot be gone on with may name files of the host.
  const isHosts = status.status === 'broken' && error !== null;
  return {
    object: 'run',
    id: run,
    ...rest,
    waiting: brief ? waiting.map(({ request: _, ...one }) => one) : [...waiting],
    output: brief ? null : output,
    error: isHosts ? { code: error.code, message: 'the run cannot go on here' } : error,
    withheldAt: withheldAt ?? null,
  };
}

/** An agent as the API shows it. */
export function toAgentBody({ name, tools, policy, limits }: ManagedAgent, digest: Hex) {
  return { object: 'agent' as const, name, digest, tools: [...tools.keys()].sort(), limits, policy };
}

/** A record as the data of its event. */
export function toRecordBody({ index, ...view }: RecordView): z.input<typeof recordSchema> {
  return { index: index.toString(), ...view };
}
