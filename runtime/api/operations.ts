/**
 * All operations of the runtime's API, each with the schemas that its route reads and writes by, and the document made of them.
 *
 * @module
 */

import { z } from 'zod';
import type { JsonObject } from '../../attest/encoding/canonical-json.ts';
import { healthSchema } from '../../inference/openapi/common-schemas.ts';
import { type AboutApi, makeDocument } from '../../inference/openapi/make-document.ts';
import type { Operation } from '../../inference/openapi/operation.ts';
import {
  agentListSchema,
  approvalSchema,
  createHeadersSchema,
  createRunSchema,
  reconciliationSchema,
  recordSchema,
  recordsHeadersSchema,
  recordsQuerySchema,
  runListSchema,
  runSchema,
  runsQuerySchema,
  waitQuerySchema,
} from './bodies.ts';

const ID = { id: 'Run id: 32 bytes as 0x hexadecimal.' };
const START = { ...ID, index: 'Index of the start that waits.' };

/** Refusals of what asks for one run, and of what changes it. */
const READ = [400, 404];
const CHANGE = [400, 404, 409, 429, 503];

const run = { description: 'The run as it stands now.', json: { name: 'Run', schema: runSchema } };

/** Body of `GET /readyz`. */
export const readySchema = z.strictObject({ status: z.literal('ready'), agents: z.int() });

/** In the order of the document. */
export const RUN_OPERATIONS: readonly Operation[] = [
  {
    method: 'get',
    path: '/v1/agents',
    id: 'listAgents',
    tag: 'Agents',
    summary: 'The agents that may be run',
    response: {
      description: 'Agents with their digests, policies and greatest limits.',
      json: { name: 'AgentList', schema: agentListSchema },
    },
    refusals: [400],
  },
  {
    method: 'post',
    path: '/v1/runs',
    id: 'createRun',
    tag: 'Runs',
    summary: 'Begin a run',
    description:
      'The run is on disk when the answer comes. A repeated request has the header `Idempotent-Replayed: true` and the same run.',
    query: waitQuerySchema,
    headers: createHeadersSchema,
    request: {
      name: 'CreateRun',
      schema: createRunSchema,
      example: { agent: 'expense-auditor', input: { month: '2026-07' } },
    },
    response: { ...run, description: 'The run.' },
    status: 201,
    refusals: [404, 409],
  },
  {
    method: 'get',
    path: '/v1/runs',
    id: 'listRuns',
    tag: 'Runs',
    summary: 'Runs, newest first',
    query: runsQuerySchema,
    response: {
      description: 'A page of runs, without outputs and requests.',
      json: { name: 'RunList', schema: runListSchema },
    },
    refusals: [400],
  },
  {
    method: 'get',
    path: '/v1/runs/{id}',
    id: 'getRun',
    tag: 'Runs',
    summary: 'Where a run stands',
    parameters: ID,
    response: run,
    refusals: READ,
  },
  {
    method: 'get',
    path: '/v1/runs/{id}/records',
    id: 'streamRecords',
    tag: 'Runs',
    summary: 'The records of a run, as they become durable',
    description:
      'Server-sent events: `id` is the index of the record, `event` its kind, `data` the record. The event `end` has the run. Comes back ' +
      'with `Last-Event-ID` where it was. While a run waits for somebody the stream stays open.',
    parameters: ID,
    query: recordsQuerySchema,
    headers: recordsHeadersSchema,
    response: { description: 'The stream.', events: { name: 'Record', schema: recordSchema } },
    refusals: [...READ, 429],
  },
  {
    method: 'get',
    path: '/v1/runs/{id}/bundle',
    id: 'getBundle',
    tag: 'Runs',
    summary: 'The trace, to verify',
    description: '`tracebond verify` reads it. Of a run that is not over: all lines that are whole.',
    parameters: ID,
    response: { description: 'The bundle, JSON Lines.', text: 'application/jsonl' },
    refusals: [...READ, 503],
  },
  ...(['cancel', 'pause', 'resume'] as const).map(
    (verb): Operation => ({
      method: 'post',
      path: `/v1/runs/{id}/${verb}`,
      id: `${verb}Run`,
      tag: 'Steering',
      summary: {
        cancel: 'End a run; it closes as `cancelled`',
        pause: 'Put a run aside once nothing is under way',
        resume: 'Go on with a run that was put aside',
      }[verb],
      parameters: ID,
      ...(verb === 'resume' ? {} : { query: waitQuerySchema }),
      response: run,
      refusals: CHANGE,
    }),
  ),
  {
    method: 'post',
    path: '/v1/runs/{id}/approvals/{index}',
    id: 'approve',
    tag: 'Steering',
    summary: "A person's decision",
    description:
      'What is signed is in `attest/spec/trace.md#approvals`. Without approvers in the policy the word of the operator is taken.',
    parameters: START,
    request: { name: 'Approval', schema: approvalSchema },
    response: run,
    refusals: CHANGE,
  },
  {
    method: 'post',
    path: '/v1/runs/{id}/reconciliations/{index}',
    id: 'reconcile',
    tag: 'Steering',
    summary: 'What became of a call that a crash left open',
    parameters: START,
    request: { name: 'Reconciliation', schema: reconciliationSchema },
    response: run,
    refusals: CHANGE,
  },
  {
    method: 'delete',
    path: '/v1/runs/{id}/payloads',
    id: 'deletePayloads',
    tag: 'Runs',
    summary: 'Delete what was said in a run that is over',
    description: 'Records, hashes and signatures stay and still verify; what was deleted cannot be computed again.',
    parameters: ID,
    response: run,
    refusals: CHANGE,
  },
  {
    method: 'get',
    path: '/metrics',
    id: 'getMetrics',
    tag: 'Server',
    summary: 'Counters, for Prometheus',
    response: { description: 'Text of the exposition format.', text: 'text/plain' },
  },
  {
    method: 'get',
    path: '/healthz',
    id: 'getHealth',
    tag: 'Server',
    summary: 'Whether the server answers',
    response: { description: 'It does.', json: { name: 'Health', schema: healthSchema } },
    isPublic: true,
  },
  {
    method: 'get',
    path: '/readyz',
    id: 'getReadiness',
    tag: 'Server',
    summary: 'Whether runs can be begun',
    response: { description: 'They can.', json: { name: 'Readiness', schema: readySchema } },
    refusals: [503],
    isPublic: true,
  },
  {
    method: 'get',
    path: '/openapi.json',
    id: 'getDocument',
    tag: 'Server',
    summary: 'This document',
    response: {
      description: 'OpenAPI 3.1.',
      json: { name: 'Document', schema: z.looseObject({ openapi: z.string() }) },
    },
    isPublic: true,
  },
];

/** What the document says of the API as a whole. */
const ABOUT: AboutApi = {
  title: 'Tracebond runtime API',
  version: '1.0.0',
  description:
    'Runs of agents whose every step is recorded, signed and can be executed again by anyone. Faults have one shape and a code of a closed set.',
  tags: ['Runs', 'Steering', 'Agents', 'Server'],
  refusals: {
    400: 'The request is malformed; `param` names where.',
    401: 'Access keys are in force, and the request has none of them.',
    403: 'The Host header does not name this computer, or nobody that the policy names has signed the decision.',
    404: 'There is no such thing here, or it is of another access key.',
    408: 'The request did not arrive in time.',
    409: 'The run is not in a state for that, or the request contradicts an earlier one.',
    413: 'The body is larger than this server takes.',
    415: 'The body is no JSON.',
    429: 'As many runs or streams as may be are there already, or the key is at its limits; `Retry-After` says when to come again.',
    500: 'A fault of the server.',
    503: 'The run cannot be written or taken up now; the same request may be sent again.',
    504: 'There was no answer in time.',
  },
};

let made: JsonObject | undefined;

/** The document, made once; the caller leaves it as it is. */
export function runApiDocument(): JsonObject {
  made ??= makeDocument(RUN_OPERATIONS, ABOUT);
  return made;
}
