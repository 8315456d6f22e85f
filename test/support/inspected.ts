/** Bundles for tests of the inspector: honest ones, long ones, and such as somebody changed afterwards. */

import { readEntries, rebuildTrace, replacePayload } from '../../agents/demo/forge.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import type { BundleFile } from '../../attest/inspector/bundle-check.ts';
import { type GuestCode, hashGuestCode } from '../../attest/trace/guest.ts';
import { parseLine } from '../../attest/trace/lines.ts';
import { exposureOf, type PolicyRules } from '../../attest/trace/policy.ts';
import { TraceWriter } from '../../attest/trace/writer.ts';
import { createRequest, OFF_CHAIN, planRun } from '../../runtime/plan.ts';
import { runAgent } from '../../runtime/run.ts';
import { editAt, joinLines, linesOf } from './forging.ts';
import {
  OPERATOR,
  OPERATOR_KEY,
  requireEnded,
  SIGNER_KEY,
  TOY_IDENTITY,
  TOY_LIMITS,
  type ToyRun,
  toyPlan,
  toyRun,
} from './toy-run.ts';
import { ToyError, type ToyGuest, toyVm } from './toy-vm.ts';

/** A bundle of at least `count` records: an agent that writes to its store, again and again. */
export async function longRun(count: number): Promise<Uint8Array> {
  const guests: Readonly<Record<string, ToyGuest>> = {
    agent: async (ctx) => {
      for (let i = 0; i < count / 4; i++) await ctx.call('kv.put', { key: `k${i % 50}`, value: `value ${i}` });
      return null;
    },
  };
  const limits = { ...TOY_LIMITS, bytes: '100000000', fuel: '1000000000', steps: String(2 * count) };
  return (await toyRun({ guests, limits, agentFuel: '1000000000' })).bytes;
}

/**
 * A bundle in which names of tools, payloads, targets and errors are these texts.
 *
 * @param texts - any; tools are named by the first 60 that a name may be
 */
export async function textRun(texts: readonly string[]): Promise<Uint8Array> {
  const whole = texts.map((text) => Buffer.from(text).toString());
  const names = [...new Set(whole.filter((text) => text.length > 0 && text.length <= 64))].slice(0, 60).sort();
  const tool: ToyGuest = async (ctx) => {
    throw new ToyError('TOOL_ERROR', String(ctx.input));
  };
  const agent: ToyGuest = async (ctx) => {
    for (const name of names) await ctx.call('tool', { input: name, name }).catch(() => null);
    return whole as Json;
  };
  const vm = toyVm({ agent, tool });
  const code = (source: string): GuestCode => ({
    language: 'javascript',
    limits: { memoryMb: 16, outputBytes: 1_000_000, fuel: '1000000' },
    manifest: {},
    source,
  });
  const policy: PolicyRules = {
    version: 1,
    agent: [{ capability: 'tool', names }],
    tools: names.map((name) => ({ name, grants: [] })),
  };
  const { ports } = toyPlan();
  const random = ports.writing.salt;
  const limits = { ...TOY_LIMITS, steps: '10000', bytes: '10000000', fuel: '1000000000' };
  const caller = createRequest({
    agent: hashGuestCode(code('agent')),
    input: whole as Json,
    limits,
    expiry: 2_000_000_000n,
    deployment: OFF_CHAIN,
    random,
  });
  const { run, plan } = planRun({
    caller,
    agent: code('agent'),
    tools: new Map(names.map((name) => [name, code('tool')])),
    policy,
    operator: OPERATOR,
    deployment: OFF_CHAIN,
    attempt: 0n,
    deadline: 2_000_000_000n,
    exposure: exposureOf(policy),
    engine: vm.engine,
    inference: TOY_IDENTITY,
    random,
  });
  const parts: Uint8Array[] = [];
  const sink = { append: async (bytes: Uint8Array) => void parts.push(bytes) };
  const writer = new TraceWriter({ ...ports.writing, sink }, run, OFF_CHAIN, OPERATOR_KEY);
  requireEnded(await runAgent({ ...ports.running, vm, writer }, plan));
  return Buffer.concat(parts);
}

/** The bundle of an operator that changed the result of a tool and made everything else fit again. */
export async function lyingRun({
  bytes,
  result,
}: ToyRun): Promise<{ readonly bytes: Uint8Array; readonly step: number }> {
  const entries = await readEntries(bytes);
  const step = entries.findIndex(({ record }) => record.kind === 'tool.end');
  const told = editAt(entries, step, (entry) => replacePayload(entry, 'body.result', { code: 'NONE', lines: 4711 }));
  const keys = { operator: OPERATOR_KEY, receipts: SIGNER_KEY };
  return { bytes: rebuildTrace(told, result.checkpoint.run, OFF_CHAIN, keys).bytes, step };
}

/** A file in memory, given away in pieces of a size. */
export function fileOf(bytes: Uint8Array, piece = 1000): BundleFile {
  return {
    async *stream(from) {
      for (let at = from; at < bytes.length; at += piece) yield bytes.subarray(at, at + piece);
    },
    range: async (from, to) => bytes.subarray(from, to),
  };
}

/** Number of the line of record `step`. */
function lineOf(lines: readonly string[], step: number): number {
  const records = lines.flatMap((line, i) => (line.startsWith('{"record"') ? [i] : []));
  return records[step] as number;
}

/** The bundle with one line changed as text. */
export function editLine(bytes: Uint8Array, at: number, change: (line: string) => string): Uint8Array {
  const lines = linesOf(bytes);
  const before = lines[at] as string;
  const after = change(before);
  if (after === before) throw new Error(`line ${at} was not changed`);
  lines[at] = after;
  return joinLines(lines);
}

/** What somebody can do to a bundle without a key, the record at which it is found, and the code. */
export function tamperings(bytes: Uint8Array): readonly {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly step: number;
  readonly code: string;
}[] {
  const lines = linesOf(bytes);
  const recordWith = (kind: string) =>
    lines
      .filter((line) => line.startsWith('{"record"'))
      .findIndex((line) => {
        const parsed = parseLine(Buffer.from(line));
        return parsed.type === 'record' && parsed.record.kind === kind;
      });
  const flipDigit = (line: string, name: string) =>
    line.replace(new RegExp(`"${name}":"0x([0-9a-f])`), (_, digit) => `"${name}":"0x${digit === '0' ? '1' : '0'}`);
  const end = recordWith('inference.end');
  const tool = recordWith('tool.start');
  const last = lines.length - 1;
  const count = lines.filter((line) => line.startsWith('{"record"')).length;
  return [
    {
      name: 'a byte of a payload',
      bytes: editLine(bytes, lineOf(lines, tool) + 1, (line) =>
        line.replace(/"chunks":\["(..)(.)/, (_, start, digit) => `"chunks":["${start}${digit === 'A' ? 'B' : 'A'}`),
      ),
      step: tool,
      code: 'PAYLOAD_MISMATCH',
    },
    {
      name: "a record's body",
      bytes: editLine(bytes, lineOf(lines, end), (line) => line.replace('"finish":"stop"', '"finish":"length"')),
      step: end,
      code: 'HEAD_MISMATCH',
    },
    {
      name: 'the signature of the last checkpoint',
      bytes: editLine(bytes, last, (line) => flipDigit(line, 'signature')),
      step: count - 1,
      code: 'SIGNATURE_MISMATCH',
    },
    {
      name: 'a record left out',
      bytes: joinLines(lines.filter((_, i) => i !== lineOf(lines, recordWith('agent')))),
      step: recordWith('agent'),
      code: 'ORDER_VIOLATION',
    },
    ...(['prev', 'pre', 'post', 'subject', 'body', 'facts'] as const).map((field) => ({
      name: `a stored hash: ${field}`,
      bytes: editLine(bytes, lineOf(lines, tool), (line) => {
        const at = line.indexOf('"head"');
        return line.slice(0, at) + flipDigit(line.slice(at), field);
      }),
      step: tool,
      code: 'HEAD_MISMATCH',
    })),
    {
      name: 'the root of the last checkpoint',
      bytes: editLine(bytes, last, (line) => flipDigit(line, 'root')),
      step: count - 1,
      code: 'CHECKPOINT_MISMATCH',
    },
  ];
}
