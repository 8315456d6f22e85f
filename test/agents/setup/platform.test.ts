import { describe, expect, it } from 'vitest';
import { checkPlatform, thisHost } from '../../../agents/setup/platform.mjs';

const LINUX = { node: '20.19.0', platform: 'linux', arch: 'x64', libc: 'glibc' } as const;

describe('checkPlatform', () => {
  it.each([
    LINUX,
    { ...LINUX, arch: 'arm64' },
    { ...LINUX, node: '20.20.2' },
    { ...LINUX, node: '22.0.0' },
    { ...LINUX, node: '24.11.1' },
  ])('takes $platform $arch with Node $node in silence', (host) => {
    expect(checkPlatform(host)).toEqual({ refusal: '', warnings: [] });
  });

  it('lets macOS through and says that it is untested', () => {
    const found = checkPlatform({ node: '22.1.0', platform: 'darwin', arch: 'arm64' });
    expect(found.refusal).toBe('');
    expect(found.warnings.join()).toMatch(/macOS is untested/);
  });

  it.each([
    [{ ...LINUX, platform: 'win32' }, /Windows is not supported/],
    [{ ...LINUX, platform: 'win32', node: '18.0.0' }, /Windows is not supported/],
    [{ ...LINUX, node: '20.18.9' }, /Node 20\.18\.9 is too old.*20\.19/],
    [{ ...LINUX, node: '18.20.5' }, /too old/],
    [{ ...LINUX, node: 'nonsense' }, /too old/],
    [{ ...LINUX, platform: 'freebsd' }, /freebsd is not supported/],
    [{ ...LINUX, arch: 'ia32' }, /ia32 is not supported/],
    [{ ...LINUX, arch: 'riscv64' }, /riscv64 is not supported/],
    [{ ...LINUX, libc: 'musl' as const }, /musl \(Alpine\) is not supported/],
  ])('refuses %o', (host, words) => {
    expect(checkPlatform(host).refusal).toMatch(words);
  });

  it('takes the machine that runs this test', () => {
    expect(checkPlatform(thisHost()).refusal).toBe('');
  });
});
