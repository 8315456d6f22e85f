import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseLine } from '../../attest/trace/lines.ts';
import { trustSigner } from '../../attest/verify/trust.ts';
import { verifyBundle } from '../../attest/verify/verifier.ts';
import { RetentionError, redactBundle, withholdPayloads } from '../../runtime/retention.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { OPERATOR, type ToyRun, toyRun } from '../support/toy-run.ts';

const now = () => 0;

async function bundle(bytes?: Uint8Array) {
  const toy = await toyRun();
  const folder = temporaryFolder();
  const path = join(folder, 'run.trace');
  writeFileSync(path, bytes ?? toy.bytes);
  return { toy, folder, path };
}

function verify(toy: ToyRun, bytes: Uint8Array) {
  return verifyBundle({ executor: toy.executor, trust: trustSigner(OPERATOR), now }, [bytes]);
}

const lines = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8').split('\n').slice(0, -1);
const withheldIn = (bytes: Uint8Array) => lines(bytes).filter((line) => line.startsWith('{"withheld"'));

async function faultOf(work: Promise<unknown>): Promise<RetentionError> {
  const fault = await work.catch((error: unknown) => error);
  expect(fault).toBeInstanceOf(RetentionError);
  return fault as RetentionError;
}

describe('payloads of a closed bundle', () => {
  it('go, and every hash still holds', async () => {
    const { toy, path, folder } = await bundle();
    expect((await verify(toy, toy.bytes)).verdict).toBe('MATCH');
    const count = await withholdPayloads(path);
    const after = readFileSync(path);
    const report = await verify(toy, after);
    expect(report).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'PAYLOAD_WITHHELD', status: 'done' });
    expect(report.size).toBe(Number(toy.result.records));
    expect(withheldIn(after)).toHaveLength(count);
    expect(count).toBeGreaterThan(10);
    expect(await readdir(folder)).toEqual(['run.trace']);
  });

  it('leave nothing of what was said, and no salt of it', async () => {
    const { toy, path } = await bundle();
    await withholdPayloads(path);
    const kept = lines(readFileSync(path)).filter((line) => line.startsWith('{"payload"'));
    const code = lines(toy.bytes).filter((line) => line.startsWith('{"payload"'));
    // The agent's code, the policy, one tool.
    expect(kept).toHaveLength(3);
    for (const line of kept) expect(code).toContain(line);
    const text = readFileSync(path, 'utf8');
    for (const line of code) {
      if (kept.includes(line)) continue;
      expect(text).not.toContain((JSON.parse(line) as { payload: { salt: string } }).payload.salt);
    }
  });

  it('leaves every other line as it was, and the mode of the file', async () => {
    const { toy, path } = await bundle();
    const { mode } = statSync(path);
    await withholdPayloads(path);
    const rest = (bytes: Uint8Array) => lines(bytes).filter((line) => /^\{"(record|checkpoint|format)"/.test(line));
    expect(rest(readFileSync(path))).toEqual(rest(toy.bytes));
    expect(statSync(path).mode).toBe(mode);
  });

  it('may go all, or all but some', async () => {
    const { toy, path } = await bundle();
    await withholdPayloads(path, { keep: ['body.agent.code', 'body.policy.rules', 'body.tools.*.code', 'body.input'] });
    const some = await verify(toy, readFileSync(path));
    expect(some).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'PAYLOAD_WITHHELD' });
    // The agent could be started: its first records are computed again.
    expect(some.checked).toBeGreaterThan(1);
    await withholdPayloads(path, { keep: [] });
    const none = readFileSync(path);
    expect(lines(none).some((line) => line.startsWith('{"payload"'))).toBe(false);
    expect(await verify(toy, none)).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'PAYLOAD_WITHHELD' });
  });

  it('can be taken out twice', async () => {
    const { path } = await bundle();
    await withholdPayloads(path);
    const once = readFileSync(path);
    expect(await withholdPayloads(path)).toBe(0);
    expect(readFileSync(path).equals(once)).toBe(true);
  });
});

describe('a bundle that is not closed', () => {
  it.each([
    ['without its last checkpoint', (text: string) => text.slice(0, text.lastIndexOf('\n', text.length - 2) + 1)],
    ['cut off in its last line', (text: string) => text.slice(0, -1)],
    ['with a line behind its end', (text: string) => `${text}${text.slice(0, text.indexOf('\n') + 1)}`],
    ['empty', () => ''],
  ])('%s stays as it is', async (_, change) => {
    const { bytes } = await toyRun();
    const changed = Buffer.from(change(Buffer.from(bytes).toString('utf8')));
    const { path, folder } = await bundle(changed);
    expect((await faultOf(withholdPayloads(path))).code).toBe('NOT_CLOSED');
    expect(readFileSync(path).equals(changed)).toBe(true);
    expect(await readdir(folder)).toEqual(['run.trace']);
  });

  it.each([
    ['a line that is none', (all: string[]) => all.splice(3, 0, '{"x":1}')],
    ['no header', (all: string[]) => all.splice(0, 1)],
    ['a payload too few', (all: string[]) => all.splice(2, 1)],
    ['a payload too many', (all: string[]) => all.splice(2, 0, all[2] ?? '')],
    ['a payload with another commitment', (all: string[]) => all.splice(2, 1, (all[2] ?? '').replace('"0x', '"0y'))],
  ])('with %s stays as it is', async (_, change) => {
    const all = lines((await toyRun()).bytes);
    expect(parseLine(Buffer.from(all[2] ?? '')).type).toBe('payload');
    change(all);
    const changed = Buffer.from(`${all.join('\n')}\n`);
    const { path, folder } = await bundle(changed);
    expect((await faultOf(withholdPayloads(path))).code).toBe('NOT_A_BUNDLE');
    expect(readFileSync(path).equals(changed)).toBe(true);
    expect(await readdir(folder)).toEqual(['run.trace']);
  });
});

describe('a copy', () => {
  it('has no payloads, and the original keeps them', async () => {
    const { toy, path, folder } = await bundle();
    const copy = join(folder, 'copy.trace');
    expect(await redactBundle(path, copy)).toBe(withheldIn(readFileSync(copy)).length);
    expect(readFileSync(path).equals(Buffer.from(toy.bytes))).toBe(true);
    expect((await verify(toy, readFileSync(copy))).code).toBe('PAYLOAD_WITHHELD');
  });

  it('is never written over anything, the bundle itself least of all', async () => {
    const { toy, path } = await bundle();
    expect((await faultOf(redactBundle(path, path))).code).toBe('OUTPUT_EXISTS');
    expect(readFileSync(path).equals(Buffer.from(toy.bytes))).toBe(true);
  });

  it('is not left half written', async () => {
    const { folder, path } = await bundle(Buffer.from('{"format":"tracebond/trace","version":1}\n'));
    expect((await faultOf(redactBundle(path, join(folder, 'copy.trace')))).code).toBe('NOT_CLOSED');
    expect(await readdir(folder)).toEqual(['run.trace']);
  });
});
