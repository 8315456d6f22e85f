import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { EXACT_VERSION } from '../../inference/exact/exact-model.ts';
import { exactProfile } from '../../inference/exact/open-exact.ts';
import { installedVersion } from '../../inference/installed-version.ts';
import { jsonDigest } from '../../inference/json-digest.ts';
import { localProfile } from '../../inference/local-profile.ts';
import { describeProfile, readCpuClass } from '../../inference/profile.ts';

const X64 = ['processor\t: 0', 'flags\t\t: fpu sse4_1 avx avx2 fma f16c avx512f', '', 'processor\t: 1'];
const ARM = ['Features\t: fp asimd asimddp i8mm', 'CPU implementer\t: 0x41', 'CPU part\t: 0xd40'];

describe('the class of a CPU', () => {
  it('is what every core has', () => {
    const both = [...X64, 'flags\t\t: fpu sse4_1 avx avx2 fma f16c'].join('\n');
    expect(readCpuClass(both, 'linux', 'x64')).toEqual({
      arch: 'x64',
      platform: 'linux',
      features: ['avx', 'avx2', 'f16c', 'fma', 'sse4_1'],
      cores: [],
    });
    expect(readCpuClass(X64.join('\n'), 'linux', 'x64').features).toContain('avx512f');
  });

  it('names the cores of arm64', () => {
    expect(readCpuClass([...ARM, ...ARM].join('\n'), 'linux', 'arm64')).toMatchObject({
      features: ['asimd', 'asimddp', 'i8mm'],
      cores: ['0x41:0xd40'],
    });
  });

  it('is the name of the CPU where no more is known', () => {
    expect(readCpuClass('Apple M3', 'darwin', 'arm64')).toMatchObject({ features: [], cores: ['Apple M3'] });
  });
});

describe('the profile', () => {
  const versions = { onnxruntime: '1', transformers: '2', tokenizers: '3', jinja: '4', unicode: '5' };
  const cpu = readCpuClass(X64.join('\n'), 'linux', 'x64');

  it('says in itself how far it reaches', () => {
    expect(describeProfile(cpu, versions)).toMatchObject({
      name: 'float-same-isa',
      scope: 'reproducible on one CPU class only',
    });
  });

  it('has another digest for another CPU class or version', () => {
    const digests = [
      describeProfile(cpu, versions),
      describeProfile({ ...cpu, features: ['avx'] }, versions),
      describeProfile({ ...cpu, arch: 'arm64' }, versions),
      ...Object.keys(versions).map((name) => describeProfile(cpu, { ...versions, [name]: 'x' })),
    ].map(jsonDigest);
    expect(new Set(digests).size).toBe(digests.length);
    expect(jsonDigest(describeProfile(cpu, versions))).toBe(digests[0]);
  });

  it('of this computer names the installed versions', () => {
    expect(localProfile()['versions']).toMatchObject({ onnxruntime: '1.30.0', transformers: '4.3.1' });
    expect(() => installedVersion(['no-such-package-here'])).toThrowError(
      expect.objectContaining({ code: 'GRAPH_REFUSED' }),
    );
  });

  it('exact names the packages that make its tokens, as they are pinned, and nothing of a CPU', () => {
    const { dependencies } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    expect(exactProfile()).toEqual({
      name: 'exact',
      arithmetic: EXACT_VERSION,
      versions: { tokenizers: dependencies['@huggingface/tokenizers'], jinja: dependencies['@huggingface/jinja'] },
    });
  });
});
