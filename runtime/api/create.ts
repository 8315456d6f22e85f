/**
 * `POST /v1/runs`: begins a run, once for each request.
 *
 * C1. The id of a run follows from its request, and its entry in the book is durable before the run is begun.
 * C2. Two requests with one key, or one signed request that is sent twice, wait for each other.
 *
 * @module
 */

import { computeRunId, hashRequest } from '../../attest/bond/run-id.ts';
import { fromHex, type Hex, toHex } from '../../attest/core/bytes.ts';
import { defined } from '../../attest/core/defined.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import type { Limits } from '../../attest/trace/bodies.ts';
import { hashGuestCode } from '../../attest/trace/guest.ts';
import { jsonPayload } from '../../attest/trace/payload.ts';
import { refuseValue } from '../../inference/protocol-faults.ts';
import { type ManagedAgent, ManagerError } from '../manager-types.ts';
import { type CallerRequest, createRequest } from '../plan.ts';
import type { RunStatus } from '../run-status.ts';
import type { CreateRunBody } from './bodies.ts';
import { verifyCallerRequest } from './caller-request.ts';
import { type RunContext, statusOf } from './context.ts';
import { RunApiError } from './errors.ts';
import { digestBody, type RequestEntry } from './requests.ts';

/** Seconds that a request which the operator makes itself may wait to be opened. */
const EXPIRY_SECONDS = 3_600;

/** Who asks, and under which key. */
export type Asking = {
  /** Id of the access key; empty where none is asked for. */
  readonly owner: string;
  readonly idempotencyKey: string | undefined;
};

/** What became of a request; `replayed`: its run was begun by an earlier one. */
export type Created = { readonly status: RunStatus; readonly replayed: boolean };

type Ports = Pick<RunContext, 'manager' | 'book' | 'deployment' | 'now' | 'random'>;

/** Makes the function that begins runs. */
export function createCreator(ports: Ports): (body: CreateRunBody, asking: Asking) => Promise<Created> {
  /** What is under way, by key or signed request. */
  const tails = new Map<string, Promise<unknown>>();
  return async (body, asking) => {
    const turn = turnOf(body, asking);
    if (turn === undefined) return create(ports, body, asking);
    const before = tails.get(turn);
    const work = (async () => {
      await before?.catch(() => undefined);
      return create(ports, body, asking);
    })();
    tails.set(turn, work);
    try {
      return await work;
    } finally {
      if (tails.get(turn) === work) tails.delete(turn);
    }
  };
}

function turnOf({ request }: CreateRunBody, { owner, idempotencyKey }: Asking): string | undefined {
  if (idempotencyKey !== undefined) return JSON.stringify([owner, idempotencyKey]);
  return request === undefined ? undefined : request.nonce;
}

async function create(ports: Ports, body: CreateRunBody, asking: Asking): Promise<Created> {
  const { manager, book, now } = ports;
  const { owner, idempotencyKey: key } = asking;
  const known = key === undefined ? undefined : book.find(owner, key);
  if (known !== undefined) requireSame(known, body);
  const begun = known === undefined ? undefined : statusOf(manager, known.run);
  if (begun !== undefined) return { status: begun, replayed: true };
  const agent = manager.agents.find(({ name }) => name === body.agent);
  if (agent === undefined) throw new ManagerError('UNKNOWN_AGENT', `no agent ${JSON.stringify(body.agent)}`);
  const made = known?.made ?? undefined;
  const fresh = made !== undefined && 1000 * Number(made.request.expiry) >= now() ? made : undefined;
  const caller = fresh === undefined ? request(ports, agent, body) : reopen(fresh, body);
  const run = runOf(ports, caller);
  const other = statusOf(manager, run);
  if (other !== undefined) {
    if (owner !== '' && book.ownerOf(run) !== owner) {
      throw new RunApiError('REQUEST_TAKEN', 'request: its run was begun by another access key');
    }
    return { status: other, replayed: true };
  }
  let entry = entryOf(ports, run, body, caller, asking);
  if (key !== undefined && known !== undefined && fresh === undefined) await book.replace(entry, key);
  else if (known === undefined && (key !== undefined || owner !== '')) {
    entry = await book.add(entry, key);
    // Another process took the key first: its run is the one.
    if (entry.run !== run) {
      requireSame(entry, body);
      throw new ManagerError('WRONG_STATE', `run ${entry.run} is begun elsewhere`, { at: { run: entry.run } });
    }
  }
  try {
    return { status: await manager.create({ agent: agent.name, input: body.input, caller }), replayed: false };
  } catch (error) {
    // One with a key stays: what was perhaps begun is not begun as another run.
    if (key === undefined && owner !== '' && statusOf(manager, run) === undefined) await book.remove(entry, key);
    throw error;
  }
}

/** The request of the caller, or one that the operator makes. */
function request(
  { deployment, now, random }: Ports,
  { agent, limits }: ManagedAgent,
  body: CreateRunBody,
): CallerRequest {
  const digest = hashGuestCode(agent);
  const { request: signed, signature, inputSalt, input } = body;
  if (signed === undefined && signature === undefined && inputSalt === undefined) {
    const expiry = BigInt(Math.floor(now() / 1000) + EXPIRY_SECONDS);
    const asked = { ...limits, ...defined({ ...body.limits }) };
    return createRequest({ agent: digest, input, limits: asked, expiry, deployment, random });
  }
  if (signed === undefined || signature === undefined || inputSalt === undefined) {
    throw refuseValue('request', 'request, signature and inputSalt come together');
  }
  const parts = { request: signed, signature, input, inputSalt, limits: requireAll(body.limits) };
  return verifyCallerRequest(parts, { agent: digest, deployment, now: now() });
}

/** The request that an earlier one made, whose run was never begun. */
function reopen(made: NonNullable<RequestEntry['made']>, { input }: CreateRunBody): CallerRequest {
  const { request: fields, signature, inputSalt, limits } = made;
  return { request: fields, signature, limits, input, inputPayload: jsonPayload(input, fromHex(inputSalt)) };
}

function requireAll(limits: CreateRunBody['limits']): Limits {
  const { bytes, fuel, steps, tokens, wallMs } = limits ?? {};
  if (
    bytes === undefined ||
    fuel === undefined ||
    steps === undefined ||
    tokens === undefined ||
    wallMs === undefined
  ) {
    throw refuseValue('limits', 'a signed request commits to all of bytes, fuel, steps, tokens and wallMs');
  }
  return { bytes, fuel, steps, tokens, wallMs };
}

function runOf({ manager, deployment }: Ports, caller: CallerRequest): Hex {
  return toHex(
    computeRunId({
      chainId: deployment.chainId,
      salt: deployment.salt,
      contract: deployment.contract,
      operator: manager.operator,
      requestDigest: hashRequest(caller.request),
      attempt: 0n,
    }),
  );
}

function entryOf(
  { random }: Ports,
  run: Hex,
  body: CreateRunBody,
  { request: fields, signature, inputPayload, limits }: CallerRequest,
  { owner, idempotencyKey }: Asking,
): RequestEntry {
  const salt = toHex(random());
  const digest = digestBody(toJson(body), salt);
  const made = { digest, salt, inputSalt: toHex(inputPayload.salt), request: fields, limits, signature };
  return { version: 1, run, owner, keyed: idempotencyKey !== undefined, made };
}

function requireSame({ made }: RequestEntry, body: CreateRunBody): void {
  if (made === null) {
    throw new RunApiError('IDEMPOTENCY_KEY_REUSED', 'the key was used for a run whose payloads were deleted');
  }
  if (made.digest === digestBody(toJson(body), made.salt)) return;
  throw new RunApiError('IDEMPOTENCY_KEY_REUSED', 'the key was used with another body');
}

function toJson(body: CreateRunBody): Json {
  return JSON.parse(JSON.stringify(body)) as Json;
}
