import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { main } from '../../../agents/cli/main.ts';
import { verifyFile } from '../../../agents/cli/verify.ts';
import { trustSigner } from '../../../attest/verify/trust.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { OPERATOR, toyRun } from '../../support/toy-run.ts';

async function redact(...args: readonly string[]) {
  const printed: string[] = [];
  for (const method of ['log', 'error'] as const) {
    const spy = vi.spyOn(console, method).mockImplementation((text) => void printed.push(String(text)));
    onTestFinished(() => spy.mockRestore());
  }
  return { code: await main(['node', 'tracebond', 'redact', ...args]), printed: printed.join('\n') };
}

describe('tracebond redact', () => {
  it('writes a copy that verifies as far as it can', async () => {
    const toy = await toyRun();
    const folder = temporaryFolder();
    const [from, to] = [join(folder, 'a.trace'), join(folder, 'b.trace')];
    writeFileSync(from, toy.bytes);
    expect(await redact(from, '--out', to)).toEqual({
      code: 0,
      printed: expect.stringMatching(/: \d+ payloads withheld$/),
    });
    const opened = { executor: toy.executor, close: async () => {} };
    const report = await verifyFile(to, trustSigner(OPERATOR), opened);
    expect(report).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'PAYLOAD_WITHHELD' });
    expect(readFileSync(from).equals(Buffer.from(toy.bytes))).toBe(true);
    const kept = join(folder, 'c.trace');
    expect((await redact(from, '--out', kept, '--keep', 'body.input', '--no-code')).code).toBe(0);
    const lines = readFileSync(kept, 'utf8').split('\n');
    // The input of the run, and that of the tool.
    expect(lines.filter((line) => line.startsWith('{"payload"'))).toHaveLength(2);
  });

  it('never writes over a file, and tells what is no closed bundle', async () => {
    const toy = await toyRun();
    const folder = temporaryFolder();
    const from = join(folder, 'a.trace');
    writeFileSync(from, toy.bytes);
    expect(await redact(from, '--out', from)).toEqual({ code: 1, printed: expect.stringContaining('OUTPUT_EXISTS') });
    expect(readFileSync(from).equals(Buffer.from(toy.bytes))).toBe(true);
    writeFileSync(from, toy.bytes.subarray(0, 5000));
    const to = join(folder, 'b.trace');
    expect(await redact(from, '--out', to)).toEqual({ code: 1, printed: expect.stringContaining('NOT_CLOSED') });
    expect(await redact(join(folder, 'none'), '--out', to)).toEqual({
      code: 1,
      printed: expect.stringContaining('ENOENT'),
    });
    expect(existsSync(to)).toBe(false);
  });
});
