import { describe, expect, it } from 'vitest';
import { parseDescription } from '../../agents/description.ts';
import { defineAgent, defineTool, defineWasmTool } from '../../agents/sdk/index.ts';
import { describeAgent } from '../../agents/sdk/manifest.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';

const fetching = defineTool({
  name: 'fetching',
  description: '',
  capabilities: {
    fetch: ['https://a.test/*', 'https://b.test/*'].map((url) => ({ url, headers: { a: 'b' }, maxBytes: 7 })),
    kv: true,
  },
  execute: () => 1,
});
const program = defineWasmTool({ name: 'program', description: '', module: Uint8Array.of(1, 2, 3, 4) });
const child = defineAgent({ name: 'child', model: 'm' });
const agent = defineAgent({ name: 'a', model: 'm', tools: [fetching, program], agents: [child], run: () => 1 });

const sound = () => JSON.parse(JSON.stringify(describeAgent(agent)));

describe('a description', () => {
  it('is read as the SDK makes it', () => {
    expect(parseDescription(sound() as Json)).toEqual(sound());
    expect(sound().modules).toEqual({ program: { base64: 'AQIDBA==' } });
  });

  it.each<readonly [place: string, value: unknown]>([
    ['manifest.name', 'A b'],
    ['manifest.model', ''],
    ['manifest.run', 'other'],
    ['manifest.more', 1],
    ['manifest.agents', ['../a']],
    ['manifest.schemas', [{}]],
    ['manifest.limits.fuel', 0],
    ['manifest.limits.fuel', '1'],
    ['manifest.limits.memoryMb', 1025],
    ['manifest.tools', {}],
    ['manifest.tools.0.name', ''],
    ['manifest.tools.0.language', 'python'],
    ['manifest.tools.0.inputSchema', {}],
    ['manifest.tools.0.capabilities.kv', 1],
    ['manifest.tools.0.capabilities.wallet', true],
    ['manifest.tools.0.capabilities.fetch', 'https://a.test'],
    ['manifest.tools.0.capabilities.fetch.0', 'https://a.test'],
    ['manifest.tools.0.capabilities.fetch.0.methods', ['CONNECT']],
    ['manifest.tools.0.capabilities.fetch.0.headers', { a: 'b' }],
    ['manifest.tools.0.capabilities.fetch.0.headers.0.value', 7],
    ['manifest.tools.0.capabilities.fetch.0.maxBytes', 0],
    ['manifest.tools.1.name', 'fetching'],
    ['manifest.agents', ['child', 'child']],
    ['manifest.tools.0.capabilities.fetch.1.methods', ['POST']],
    ['modules.program', {}],
    ['modules.program.base64', '?'],
    ['modules.program.path', './a.wasm'],
    ['agents', [null]],
    ['agents.0.manifest.name', 1],
    ['agents', undefined],
  ])('is refused at %s: %j', (place, value) => {
    const changed = sound();
    const steps = place.split('.');
    const last = steps.pop() ?? '';
    const holder = steps.reduce((found, step) => found[step], changed);
    holder[last] = value;
    expect(() => parseDescription(changed)).toThrow(expect.objectContaining({ code: 'MANIFEST_INVALID' }));
  });

  it.each([null, 1, 'a', [], {}])('is not %j', (value) => {
    expect(() => parseDescription(value)).toThrow(expect.objectContaining({ code: 'MANIFEST_INVALID' }));
  });
});
