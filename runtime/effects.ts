/**
 * The effects of a run: what happens outside once a start is on record, and the end that records it.
 *
 * E1. An effect is begun only after its start is durable, and under the start's own idempotency key.
 * E2. Nothing of the host's own words (messages, addresses, secrets) enters a record: failures are codes of a closed list.
 *
 * @module
 */

import type { Hex } from '../attest/core/bytes.ts';
import { defined } from '../attest/core/defined.ts';
import { RuntimeError } from '../attest/core/error.ts';
import type { Json } from '../attest/encoding/canonical-json.ts';
import type { InferencePlace } from '../attest/sign/receipt.ts';
import type { Bodies, HostFailure, Limits, RequestFields, RunOpenBody } from '../attest/trace/bodies.ts';
import { checkpointToJson, type SignedCheckpoint } from '../attest/trace/checkpoint.ts';
import { failedDelivery, type GuestDelivery, type ParsedCall, type ParsedHostCall } from '../attest/trace/guest.ts';
import { inferenceRequestOf } from '../attest/trace/inference-call.ts';
import type { InferenceRequest } from '../attest/trace/inference-request.ts';
import type { Payload } from '../attest/trace/payload.ts';
import { allowsFetch, childGrant, coveredSend, grantOf, mcpGrantOf, type PolicyRules } from '../attest/trace/policy.ts';
import type { RunState } from '../attest/trace/state.ts';
import type { PayloadSet } from '../attest/trace/writer.ts';
import type { InferenceAnswer, InferenceClient } from '../inference/client.ts';
import { fetchHttp } from './http-fetch.ts';
import type { Started } from './ledger.ts';
import type { McpServers } from './mcp/servers.ts';
import { GrantError } from './net/errors.ts';
import { type Redactor, SecretError, type Secrets } from './secrets.ts';
import type { RunWallet } from './wallet/run-wallet.ts';

/** What an agent asks another agent, on record in `run.child.start`. */
export type ChildCall = {
  readonly parent: { readonly run: Uint8Array; readonly index: bigint };
  readonly agent: string;
  readonly request: RequestFields;
  /** The input, with the salt that the request commits to. */
  readonly input: Payload;
  /** What the policy gives the child. */
  readonly limits: Limits;
};

/** What a child run came to. */
export type ChildResult = {
  readonly run: Hex;
  readonly status: Bodies['run.close']['status'];
  readonly output: Json | null;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly checkpoint: SignedCheckpoint;
};

/** Why effects are aborted whose run is left as it stands: whoever takes it up goes on with them, and with its child runs. */
export const LEFT = new DOMException('the run is left as it stands', 'AbortError');

/**
 * Runs other agents; a child that waits for a person is `suspended`, and is asked for again when its parent goes on. `unknown`:
 * there is no such agent here.
 */
export type ChildRunner = (call: ChildCall, signal: AbortSignal) => Promise<ChildResult | 'suspended' | 'unknown'>;

/** What came of an effect. */
export type Outcome =
  | { readonly type: 'inference'; readonly answer: InferenceAnswer }
  | { readonly type: 'host'; readonly value: Json; readonly evidence: Bodies['host.end']['evidence'] }
  | { readonly type: 'failed'; readonly error: HostFailure }
  | { readonly type: 'child'; readonly result: ChildResult }
  | { readonly type: 'lost'; readonly reason: Bodies['host.lost']['reason'] };

/** What effects take from outside. */
export type EffectPorts = {
  readonly inference: Pick<InferenceClient, 'complete'>;
  /** Makes requests; over the network by default. */
  readonly http?: typeof fetchHttp;
  readonly secrets?: Secrets;
  /** Takes all secrets of the policy out of answers. */
  readonly redactor?: Redactor;
  /** Runs other agents; without it a child run is lost. */
  readonly children?: ChildRunner;
  /** Tools of MCP servers; without it none can be reached. */
  readonly mcp?: Pick<McpServers, 'call'>;
  /** The wallet of the run's agent; without it a send is lost. */
  readonly wallet?: Pick<RunWallet, 'send'>;
};

/** Bound of one request to the outside, all redirects included, in milliseconds. */
const REQUEST_MS = 20_000;

/** Bound of one call of an MCP tool, connecting included, in milliseconds, where the server's configuration says none. */
const MCP_MS = 60_000;

/**
 * Begins the effect of a start that waits for the outside. `suspended`: a child run waits; `stopped`: it is not known what happened, and
 * somebody must look.
 *
 * @throws what is a fault of the host's own and none of the effect's
 */
export async function beginEffect(
  ports: EffectPorts,
  { head, input, owner, parsed, start }: Started,
  { openBody, policy }: { readonly openBody: RunOpenBody; readonly policy: PolicyRules },
  state: RunState,
  signal: AbortSignal,
): Promise<Outcome | 'suspended' | 'stopped'> {
  switch (start.kind) {
    case 'inference.start': {
      if (parsed.method !== 'inference') break;
      const request = inferenceRequestOf(parsed.args, openBody);
      const { chain, contract } = openBody;
      const { run, runSeed } = state;
      return infer(ports, request, { run, index: head.index, runSeed, chainId: BigInt(chain), contract }, signal);
    }
    case 'host.start':
      if (parsed.method === 'mcp.call')
        return callMcp(ports, parsed, mcpGrantOf(policy, owner.tool, parsed.target), signal);
      if (parsed.method === 'wallet.send') {
        const covered = coveredSend(policy, owner.tool, parsed.target);
        if (ports.wallet === undefined || covered === undefined) break;
        return sendFrom(ports.wallet, parsed.args, covered.grant, start.body.key, signal);
      }
      if (parsed.method !== 'http.fetch') break;
      return fetchOver(ports, parsed.args, grantOf(policy, owner.tool, 'http.fetch'), start.body.key, signal);
    case 'run.child.start': {
      if (parsed.method !== 'run.child' || ports.children === undefined || input === undefined) break;
      const parent = { run: state.run, index: head.index };
      const { agent, request } = start.body;
      const limits = childGrant(policy, agent)?.limits ?? openBody.limits;
      const result = await ports.children({ parent, agent, request, input, limits }, signal);
      if (result === 'unknown') break;
      return result === 'suspended' ? result : { type: 'child', result };
    }
    default:
  }
  return { type: 'lost', reason: 'HOST_FAULT' };
}

/** Asks the model. A refusal or a failure of the server is a loss, and the agent sees it as such. */
async function infer(
  { inference }: EffectPorts,
  request: InferenceRequest,
  place: InferencePlace,
  signal: AbortSignal,
): Promise<Outcome> {
  try {
    return { type: 'inference', answer: await inference.complete(request, place, signal) };
  } catch (error) {
    if (!RuntimeError.is(error)) throw error;
    return { type: 'lost', reason: signal.aborted ? 'CANCELLED' : 'HOST_FAULT' };
  }
}

/** Sends a transaction; what was signed for this start before is sent again, and nothing else. */
async function sendFrom(
  wallet: Pick<RunWallet, 'send'>,
  args: Parameters<RunWallet['send']>[0],
  grant: Parameters<RunWallet['send']>[1],
  key: Hex,
  signal: AbortSignal,
): Promise<Outcome | 'stopped'> {
  try {
    const result = await wallet.send(args, grant, key, signal);
    if (result === 'stopped') return result;
    if (!result.ok) return { type: 'failed', error: result.error };
    return { type: 'host', value: { ...result.value }, evidence: 'transaction' };
  } catch (error) {
    if (signal.aborted) return { type: 'lost', reason: 'CANCELLED' };
    throw error;
  }
}

async function fetchOver(
  { http = fetchHttp, secrets, redactor }: EffectPorts,
  args: Extract<ParsedHostCall, { method: 'http.fetch' }>['args'],
  grant: ReturnType<typeof grantOf<'http.fetch'>>,
  idempotencyKey: string,
  signal: AbortSignal,
): Promise<Outcome> {
  if (grant === undefined) throw new TypeError('http.fetch was allowed without a grant');
  const allows = (method: string, url: string) => allowsFetch(grant, `${method} ${url}`);
  try {
    const options = { timeoutMs: REQUEST_MS, allows, idempotencyKey, signal, ...defined({ secrets, redactor }) };
    const result = await http(grant, args, options);
    return result.ok ? answered({ ...result.value }) : { type: 'failed', error: result.error };
  } catch (error) {
    if (error instanceof SecretError) return { type: 'failed', error: 'SECRET_MISSING' };
    if (error instanceof GrantError) return { type: 'failed', error: 'BAD_REQUEST' };
    if (signal.aborted) return { type: 'lost', reason: 'CANCELLED' };
    throw error;
  }
}

/** Calls a tool of an MCP server; its answer is a text of JSON. */
async function callMcp(
  { mcp, redactor }: EffectPorts,
  { args }: Extract<ParsedHostCall, { method: 'mcp.call' }>,
  granted: ReturnType<typeof mcpGrantOf>,
  signal: AbortSignal,
): Promise<Outcome> {
  if (granted === undefined) throw new TypeError('mcp.call was allowed without a grant');
  const { maxBytes } = granted.grant;
  const pin = { server: args.server, tool: args.tool, definition: granted.entry.definition };
  if (mcp === undefined) return { type: 'failed', error: 'UNREACHABLE' };
  try {
    const result = await mcp.call(pin, args.arguments, { maxBytes, timeoutMs: MCP_MS, signal });
    if (!result.ok) return { type: 'failed', error: result.error };
    const text = redactor?.redact(result.text) ?? result.text;
    // A mark may be longer than the secret that it stands for.
    return Buffer.byteLength(text) > maxBytes ? { type: 'failed', error: 'TOO_LARGE' } : answered(text);
  } catch (error) {
    if (signal.aborted) return { type: 'lost', reason: 'CANCELLED' };
    throw error;
  }
}

/** A host call that answered, without evidence. */
export function answered(value: Json): Outcome {
  return { type: 'host', value, evidence: 'none' };
}

/** Whether a start of a guest (a tool, or null: the agent) without an end may be sent again after a crash: nothing happens twice by it. */
export function mayRepeat(call: ParsedCall, tool: string | null, policy: PolicyRules): boolean {
  if (call.method === 'mcp.call') return mcpGrantOf(policy, tool, call.target)?.entry.idempotent === true;
  // A wallet sends again what it signed before, under one nonce.
  if (call.method !== 'http.fetch') return true;
  // RFC 9110 §9.2.1: safe methods. Others only where the server honours Idempotency-Key, as the policy says.
  return (
    call.args.method === 'GET' ||
    call.args.method === 'HEAD' ||
    grantOf(policy, tool, 'http.fetch')?.idempotent === true
  );
}

/** The end that records an outcome, and what it delivers to call `id`; its texts go into `payloads`. */
export function endOf(outcome: Exclude<Outcome, { type: 'lost' }>, payloads: PayloadSet, id: number) {
  switch (outcome.type) {
    case 'inference': {
      const { answer } = outcome;
      const output = payloads.ids(answer.outputIds);
      const prompt = payloads.ids(answer.promptIds);
      const text = payloads.text(answer.text);
      const body: Bodies['inference.end'] = {
        bytes: payloads.bytes,
        finish: answer.finishReason,
        masks: answer.masks,
        output,
        prompt,
        receipt: answer.receipt.signature,
        text,
      };
      const value = { finishReason: answer.finishReason, text: answer.text };
      return { kind: 'inference.end', body, delivery: { id, ok: true, value } } as const;
    }
    case 'child': {
      const { result } = outcome;
      const output = result.status === 'done' ? payloads.json(result.output) : null;
      const failure = result.error ?? { code: 'CHILD_RUN', message: result.status };
      const error = result.status === 'done' ? null : { code: failure.code, message: payloads.text(failure.message) };
      const { closed, root, signature, size, state } = checkpointToJson(result.checkpoint) as {
        readonly closed: boolean;
        readonly root: Hex;
        readonly signature: Hex;
        readonly size: string;
        readonly state: Hex;
      };
      const body: Bodies['run.child.end'] = {
        bytes: payloads.bytes,
        checkpoint: { closed, root, signature, size, state },
        error,
        output,
        run: result.run,
        status: result.status,
      };
      const delivery: GuestDelivery =
        result.status === 'done' ? { id, ok: true, value: result.output } : { id, ok: false, error: failure };
      return { kind: 'run.child.end', body, delivery } as const;
    }
    case 'host':
    case 'failed': {
      const response = outcome.type === 'host' ? payloads.json(outcome.value) : null;
      const body: Bodies['host.end'] = {
        bytes: payloads.bytes,
        error: outcome.type === 'failed' ? outcome.error : null,
        evidence: outcome.type === 'host' ? outcome.evidence : 'none',
        response,
      };
      const delivery: GuestDelivery =
        outcome.type === 'host' ? { id, ok: true, value: outcome.value } : failedDelivery(id, outcome.error);
      return { kind: 'host.end', body, delivery } as const;
    }
  }
}
