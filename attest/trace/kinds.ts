/**
 * Kinds and classes of records, and which class a kind may have.
 *
 * Spec: `attest/spec/trace.md#records`. The codes are wire format: they never change.
 *
 * @module
 */

/** Wire code of every kind of record. */
export const KIND_CODES = {
  'run.open': 1,
  'run.close': 2,
  policy: 3,
  agent: 4,
  'inference.start': 16,
  'inference.end': 17,
  'inference.lost': 18,
  'tool.start': 32,
  'tool.end': 33,
  'tool.lost': 34,
  'host.start': 48,
  'host.end': 49,
  'host.lost': 50,
  'run.child.start': 64,
  'run.child.end': 65,
  'run.child.lost': 66,
} as const;

/** Name of a kind of record. */
export type Kind = keyof typeof KIND_CODES;

/** Wire code of every class. */
export const CLASS_CODES = { recomputable: 0, attested: 1, opaque: 2 } as const;

/** What a verifier can do with a record: compute it again, check its evidence, or only read it. */
export type RecordClass = keyof typeof CLASS_CODES;

/** What a guest may ask for from outside. `policy` decides each request before its start. */
export const CAPABILITIES = [
  'http.fetch',
  'kv.get',
  'kv.put',
  'clock.now',
  'random.bytes',
  'wallet.send',
  'mcp.call',
  'human.approve',
] as const;

/** Name of a capability of the host. */
export type Capability = (typeof CAPABILITIES)[number];

/** Capabilities whose result follows from the trace alone. */
const RECOMPUTABLE_CAPABILITIES: ReadonlySet<string> = new Set(['kv.get', 'kv.put', 'random.bytes']);

/** Whether a text names a kind. */
export function isKind(text: string): text is Kind {
  return Object.hasOwn(KIND_CODES, text);
}

/** Whether a text names a class. */
export function isRecordClass(text: string): text is RecordClass {
  return Object.hasOwn(CLASS_CODES, text);
}

/** Whether a record of this kind opens an effect that a later record must complete. */
export function isStart(kind: Kind): boolean {
  return kind.endsWith('.start');
}

/** The kind that begins what `kind` ends or loses, or undefined for kinds that complete nothing. */
export function startKindOf(kind: Kind): Kind | undefined {
  if (!kind.endsWith('.end') && !kind.endsWith('.lost')) return undefined;
  return `${kind.slice(0, kind.lastIndexOf('.'))}.start` as Kind;
}

/**
 * The one class that a record may have.
 *
 * @param kind - kind of the record
 * @param capability - for `host.end`: the capability of its start
 * @param hasEvidence - for `host.end`: whether it carries evidence of its own
 */
export function classOf(kind: Kind, capability?: string, hasEvidence = false): RecordClass {
  if (kind.endsWith('.lost')) return 'opaque';
  if (kind !== 'host.end') return 'recomputable';
  if (capability !== undefined && RECOMPUTABLE_CAPABILITIES.has(capability)) return 'recomputable';
  return hasEvidence ? 'attested' : 'opaque';
}
