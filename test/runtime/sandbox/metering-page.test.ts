import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../../attest/core/bytes.ts';
import { COST_TABLE_VERSION, meterModule, REWRITER_VERSION } from '../../../runtime/sandbox/meter.ts';
import { assembleText } from '../../support/wasm-text.ts';

const page = readFileSync(new URL('../../../runtime/spec/metering.md', import.meta.url), 'utf8');
const [text = '', , before = '', after = ''] = [...page.matchAll(/^```(?:wat)?\n([\s\S]*?)^```$/gm)].map(
  ([, block]) => block,
);

describe('the page about the meter', () => {
  it('shows a module and what becomes of it', () => {
    const source = assembleText(text);
    expect(toHex(source)).toBe(`0x${before.replaceAll('\n', '')}`);
    expect(toHex(meterModule(source).bytes)).toBe(`0x${after.replaceAll('\n', '')}`);
    expect(page).toContain(`In bytes, before (${source.length}) and after (${meterModule(source).bytes.length})`);
  });

  it('names the versions', () => {
    expect([REWRITER_VERSION, COST_TABLE_VERSION]).toEqual([1, 1]);
    expect(page).toContain('(both 1)');
  });
});
