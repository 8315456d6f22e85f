import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundleAgent } from '../../../agents/bundle.ts';
import { WORD_COUNT } from '../../../agents/examples/word-count/program.ts';
import { openQuickJsVm } from '../../../runtime/sandbox/quickjs-vm.ts';
import type { Vm } from '../../../runtime/sandbox/vm.ts';
import {
  callsText,
  openScripted,
  runScripted,
  type Script,
  toManaged,
  verifyScripted,
} from '../../support/sdk-agents.ts';
import { assembleText } from '../../support/wasm-text.ts';

const EXAMPLES = new URL('../../../agents/examples/', import.meta.url);

let vm: Vm;
let folder: string;
beforeAll(async () => {
  vm = await openQuickJsVm();
  folder = await mkdtemp(join(tmpdir(), 'tracebond-examples-'));
});
afterAll(async () => {
  await vm.close();
  await rm(folder, { recursive: true });
});

describe('the word counter', () => {
  it('holds the module that its text assembles to', async () => {
    const text = await readFile(new URL('word-count/word-count.wat', EXAMPLES), 'utf8');
    expect(Buffer.from(assembleText(text)).toString('base64')).toBe(WORD_COUNT);
  });

  it('counts words by its WebAssembly tool, and its runs verify', async () => {
    const model: Script = () => '';
    const bundle = await bundleAgent(new URL('word-count/agent.ts', EXAMPLES), { vm });
    expect(bundle.tools).toMatchObject([{ name: 'count_words', source: WORD_COUNT, manifest: { language: 'wasm' } }]);
    const manager = await openScripted(vm, join(folder, 'words'), toManaged(bundle), model);
    const texts = ['one two three', '', ' a\nb\t c "quoted" \\ é ', 'x'.repeat(50_000)];
    const status = await runScripted(manager, 'word-count', { texts });
    expect(status.output).toEqual({ counts: [3, 0, 6, 1], total: 10 });
    expect((await verifyScripted(vm, manager, status.run, model)).verdict).toBe('MATCH');
    const long = await runScripted(manager, 'word-count', { texts: ['x'.repeat(140_000)] });
    expect(long.error).toMatchObject({ code: 'TOOL_ERROR' });
    expect((await verifyScripted(vm, manager, long.run, model)).verdict).toBe('MATCH');
    await manager.close();
  });
});

describe('the travel desk', () => {
  const model: Script = ({ messages }) => {
    const told = messages.filter(({ role }) => role === 'tool').map(({ content }) => JSON.parse(content));
    const [found, booked] = told;
    if (found === undefined) return callsText(['find_flights', { from: 'Oslo', to: 'Lisbon' }]);
    const cheapest = [...found.flights].sort((a, b) => a.cents - b.cents)[0];
    if (booked === undefined) return callsText(['book_flight', { code: cheapest.code, passenger: 'Ada' }]);
    return booked.booked ? `Booked as ${booked.reference}.` : `Not booked: ${booked.reason}`;
  };

  it.each([true, false])('books what a person approved, and nothing else: %s', async (approved) => {
    const bundle = await bundleAgent(new URL('travel-desk/agent.ts', EXAMPLES), { vm });
    const manager = await openScripted(vm, join(folder, `desk-${approved}`), toManaged(bundle), model);
    const put = await runScripted(manager, 'travel-desk', 'The cheapest flight from Oslo to Lisbon for Ada, please.');
    expect(put).toMatchObject({ status: 'suspended' });
    expect(put.waiting).toMatchObject([
      { for: 'approval', request: { summary: 'Book TB205 for Ada, 12900 cents?', timeoutMs: 86_400_000 } },
    ]);
    const index = BigInt(put.waiting[0]?.index ?? -1);
    await manager.approve(put.run, index, { approved, approver: null, note: 'too dear', signature: null });
    const status = await manager.settled(put.run);
    expect(status.error).toBeNull();
    const { text, steps } = status.output as { text: string; steps: unknown[] };
    expect(text).toMatch(approved ? /^Booked as [0-9A-F]{6}\.$/ : /^Not booked: too dear$/);
    expect(steps).toHaveLength(3);
    const report = await verifyScripted(vm, manager, put.run, model);
    expect(report.steps.filter(({ verdict }) => verdict === 'DIVERGED' || verdict === 'INVALID')).toEqual([]);
    expect(report.verdict).toBe('MATCH');
    await manager.close();
  });
});
