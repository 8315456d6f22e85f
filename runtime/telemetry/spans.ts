/**
 * Spans of runs, made from their records as these become durable, in the names of OpenTelemetry's conventions for generative AI.
 *
 * T1. A span holds names, counts and codes, and nothing that was said: no prompt, answer, input, output, address or message.
 * T2. Ids follow from run and record: a span that began before a restart has its parent and its children, and is sent once, by the
 *     process that saw its end.
 * T3. A run is one trace; a child run is in that of the run that asked for it.
 *
 * Spec: `runtime/spec/api.md#spans`.
 *
 * @module
 * @see https://opentelemetry.io/docs/specs/semconv/gen-ai/
 */

import {
  type Attributes,
  ROOT_CONTEXT,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  trace,
} from '@opentelemetry/api';
import { type Resource, resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, type SpanProcessor } from '@opentelemetry/sdk-trace-base';
import { fromHex, type Hex, uintBytes, utf8 } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import type { Bodies } from '../../attest/trace/bodies.ts';
import type { RecordSeen } from '../ledger.ts';

/** Makes spans of records. */
export type RunSpans = {
  /** For `ManagerPorts.onRecord`. */
  onRecord(run: Hex, agent: string, seen: RecordSeen): void;
  /** Sends what waits, and ends. */
  close(): Promise<void>;
};

type OpenStart = {
  readonly at: number;
  readonly by: bigint | null;
  readonly name: string;
  readonly kind: SpanKind;
  readonly attributes: Attributes;
};

/** A run whose records are seen. */
type SeenRun = {
  readonly traceId: string;
  /** Span of the start in the parent run. */
  readonly parent: SpanContext | undefined;
  readonly at: number;
  readonly attributes: Attributes;
  readonly model: string;
  readonly starts: Map<bigint, OpenStart>;
  tokens: { input: number; output: number };
};

const PROVIDER = 'tracebond';
/** Of spans in thousands of the request's units. */
const SAMPLING_UNIT = 10_000;

/** Host calls that have a span: those that wait for the outside. */
const HOST_SPANS: ReadonlySet<string> = new Set(['http.fetch', 'human.approve']);

/** Makes spans and hands them to processors. */
export function createRunSpans(processors: readonly SpanProcessor[], options: createRunSpans.Options = {}): RunSpans {
  const ids = { trace: '', span: '' };
  const provider = new BasicTracerProvider({
    resource: options.resource ?? resourceFromAttributes({ 'service.name': PROVIDER }),
    idGenerator: { generateTraceId: () => ids.trace, generateSpanId: () => ids.span },
    spanProcessors: [...processors],
  });
  const tracer = provider.getTracer(PROVIDER);
  const runs = new Map<Hex, SeenRun>();

  const emit = (
    traceId: string,
    spanId: string,
    parent: SpanContext | undefined,
    start: Omit<OpenStart, 'by'>,
    end: { readonly at: number; readonly attributes: Attributes; readonly error: string | null },
  ) => {
    ids.trace = traceId;
    ids.span = spanId;
    const context = parent === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, parent);
    const { name, kind, at } = start;
    const span = tracer.startSpan(name, { kind, startTime: at, attributes: start.attributes }, context);
    span.setAttributes(end.attributes);
    if (end.error !== null) {
      span.setAttribute('error.type', end.error);
      span.setStatus({ code: SpanStatusCode.ERROR });
    }
    span.end(end.at);
  };

  const open = (run: Hex, agent: string, { head, body }: RecordSeen) => {
    const { parent, inference, operator, seedFrom, agent: code } = body as Bodies['run.open'];
    const root = parent === null ? undefined : (runs.get(parent.run)?.traceId ?? traceIdOf(rootOf(parent.run)));
    const traceId = root ?? traceIdOf(run);
    runs.set(run, {
      traceId,
      parent: parent === null ? undefined : toContext(traceId, spanIdOf(parent.run, BigInt(parent.index))),
      at: Number(head.at),
      model: inference.id,
      starts: new Map(),
      tokens: { input: 0, output: 0 },
      attributes: {
        'gen_ai.operation.name': 'invoke_agent',
        'gen_ai.provider.name': PROVIDER,
        'gen_ai.agent.name': agent,
        'gen_ai.agent.id': code.digest,
        'gen_ai.request.model': inference.id,
        'tracebond.run': run,
        'tracebond.record': 0,
        'tracebond.operator': operator,
        'tracebond.seed_from': seedFrom,
      },
    });
  };
  const rootOf = (run: Hex): Hex => {
    let found = run;
    for (
      let above = options.parentOf?.(found);
      above !== undefined && above !== null;
      above = options.parentOf?.(found)
    ) {
      found = above;
    }
    return found;
  };

  return {
    onRecord(run, agent, seen) {
      const { kind, head, body, isPast } = seen;
      if (kind === 'run.open') return open(run, agent, seen);
      const state = runs.get(run);
      if (state === undefined) return;
      const at = Number(head.at);
      if (kind === 'run.close') {
        runs.delete(run);
        if (isPast) return;
        const { status, records, error } = body as Bodies['run.close'];
        emit(
          state.traceId,
          spanIdOf(run, 0n),
          state.parent,
          { at: state.at, name: `invoke_agent ${agent}`, kind: SpanKind.INTERNAL, attributes: state.attributes },
          {
            at,
            attributes: {
              'gen_ai.usage.input_tokens': state.tokens.input,
              'gen_ai.usage.output_tokens': state.tokens.output,
              'tracebond.status': status,
              'tracebond.records': Number(records),
            },
            error: status === 'done' ? null : (error?.code ?? status),
          },
        );
        return;
      }
      const start = startOf(seen, state.model, run);
      if (start !== undefined) state.starts.set(head.index, start);
      const begun = head.of === head.index ? undefined : state.starts.get(head.of);
      if (begun === undefined) return;
      state.starts.delete(head.of);
      const end = endOf(seen);
      if (kind === 'inference.end') {
        const { prompt, output } = body as Bodies['inference.end'];
        state.tokens = { input: state.tokens.input + prompt.count, output: state.tokens.output + output.count };
      }
      if (isPast) return;
      const parent = toContext(state.traceId, spanIdOf(run, begun.by ?? 0n));
      const attributes = { ...end.attributes, 'tracebond.record.end': Number(head.index) };
      emit(state.traceId, spanIdOf(run, head.of), parent, begun, { at, attributes, error: end.error });
    },
    close: () => provider.shutdown(),
  };
}

export declare namespace createRunSpans {
  type Options = {
    /** Who sends; `service.name` is `tracebond` by default. */
    readonly resource?: Resource;
    /** The run that asked for one; for children whose parent is not at work. */
    readonly parentOf?: (run: Hex) => Hex | null | undefined;
  };
}

/** What a start begins; undefined for records and host calls that have no span. */
function startOf({ kind, head, body }: RecordSeen, model: string, run: Hex): OpenStart | undefined {
  const at = Number(head.at);
  const common = { 'tracebond.run': run, 'tracebond.record': Number(head.index) };
  const { by } = body as { readonly by?: string | null };
  const base = { at, by: by === undefined || by === null ? null : BigInt(by) };
  switch (kind) {
    case 'inference.start': {
      const { request } = body as Bodies['inference.start'];
      const attributes = {
        ...common,
        'gen_ai.operation.name': 'chat',
        'gen_ai.provider.name': PROVIDER,
        'gen_ai.request.model': model,
        'gen_ai.request.max_tokens': request.maxTokens,
        'gen_ai.request.temperature': request.sampling.temperature / SAMPLING_UNIT,
        'gen_ai.request.top_p': request.sampling.topP / SAMPLING_UNIT,
        'gen_ai.request.top_k': request.sampling.topK,
        'gen_ai.output.type': request.responseFormat.type.startsWith('json') ? 'json' : 'text',
      };
      return { ...base, name: `chat ${model}`, kind: SpanKind.CLIENT, attributes };
    }
    case 'tool.start': {
      const { tool } = body as Bodies['tool.start'];
      const attributes = {
        ...common,
        'gen_ai.operation.name': 'execute_tool',
        'gen_ai.tool.name': tool,
        'gen_ai.tool.type': 'function',
      };
      return { ...base, name: `execute_tool ${tool}`, kind: SpanKind.INTERNAL, attributes };
    }
    case 'run.child.start': {
      const { agent } = body as Bodies['run.child.start'];
      const attributes = {
        ...common,
        'gen_ai.operation.name': 'invoke_agent',
        'gen_ai.provider.name': PROVIDER,
        'gen_ai.agent.name': agent,
      };
      return { ...base, name: `invoke_agent ${agent}`, kind: SpanKind.CLIENT, attributes };
    }
    case 'host.start': {
      const { capability } = body as Bodies['host.start'];
      if (!HOST_SPANS.has(capability)) return undefined;
      const attributes = { ...common, 'tracebond.capability': capability };
      const spanKind = capability === 'http.fetch' ? SpanKind.CLIENT : SpanKind.INTERNAL;
      return { ...base, name: capability, kind: spanKind, attributes };
    }
    default:
      return undefined;
  }
}

/** What an end says of its span. */
function endOf({ kind, body }: RecordSeen): { readonly attributes: Attributes; readonly error: string | null } {
  switch (kind) {
    case 'inference.end': {
      const { finish, prompt, output } = body as Bodies['inference.end'];
      const attributes = {
        'gen_ai.response.finish_reasons': [finish],
        'gen_ai.usage.input_tokens': prompt.count,
        'gen_ai.usage.output_tokens': output.count,
      };
      return { attributes, error: null };
    }
    case 'tool.end': {
      const { error, fuel } = body as Bodies['tool.end'];
      return { attributes: { 'tracebond.fuel': Number(fuel) }, error: error?.code ?? null };
    }
    case 'run.child.end': {
      const { run, status, error } = body as Bodies['run.child.end'];
      const attributes = { 'tracebond.child.run': run, 'tracebond.status': status };
      return { attributes, error: status === 'done' ? null : (error?.code ?? status) };
    }
    case 'host.end':
      return { attributes: {}, error: (body as Bodies['host.end']).error };
    default:
      return { attributes: {}, error: (body as { readonly reason?: string }).reason ?? 'LOST' };
  }
}

function traceIdOf(run: Hex): string {
  return run.slice(2, 34);
}

function spanIdOf(run: Hex, index: bigint): string {
  const digest = sha256(utf8('tracebond/span/1'), fromHex(run, 32), uintBytes(index, 8));
  return Buffer.from(digest.subarray(0, 8)).toString('hex');
}

function toContext(traceId: string, spanId: string): SpanContext {
  return { traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true };
}
