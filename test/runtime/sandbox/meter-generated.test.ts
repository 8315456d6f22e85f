import { describe, expect, it } from 'vitest';
import { wasm } from '../../../attest/core/webassembly.ts';
import { tryModules } from '../../support/meter-tiers.ts';
import { seededRandom } from '../../support/random.ts';
import { generateModule } from '../../support/wasm-generator.ts';
import { countOpcodes } from '../../support/wasm-opcodes.ts';

const COUNT = 150;

describe('generated modules', () => {
  it('are valid, and between them have every numeric instruction', () => {
    const seen = new Set<string>();
    for (let i = 0; i < COUNT; i++) {
      const { bytes } = generateModule(seededRandom(i), false);
      expect(wasm.validate(Uint8Array.from(bytes))).toBe(true);
      for (const opcode of countOpcodes(bytes).keys()) seen.add(opcode);
    }
    const missing: string[] = [];
    for (let op = 0x45; op <= 0xc4; op++) if (!seen.has(`0x${op.toString(16)}`)) missing.push(op.toString(16));
    for (let sub = 0; sub <= 17; sub++) {
      if (!seen.has(`0xfc 0x${sub.toString(16).padStart(2, '0')}`)) missing.push(`fc ${sub}`);
    }
    expect(missing).toEqual([]);
  });

  it('do the same before and after the meter, and to the unit of fuel under each compiler', async () => {
    const { failures, traps, stopped } = await tryModules(2, COUNT);
    expect(failures).toEqual([]);
    expect(traps).toBeGreaterThan(COUNT / 2);
    expect(stopped).toBeGreaterThan(COUNT / 2);
  }, 60_000);
});
