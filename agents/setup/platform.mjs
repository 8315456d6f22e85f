/**
 * What Tracebond runs on: Node >= 20.19 on Linux (x64, arm64; glibc). macOS is let through with a warning, since nobody
 * has tested it. No static import may stand here that an old Node cannot load: this file is what tells its user so.
 *
 * @module
 */

/** Oldest Node that the dependencies run on, [major, minor]. */
export const MINIMUM_NODE = [20, 19];

/**
 * Looks at a platform; an empty `refusal` means that it can run Tracebond.
 *
 * @param {{ node: string, platform: string, arch: string, libc?: 'glibc' | 'musl' }} host - `node`: as in
 *   `process.versions.node`; `libc` counts on Linux only
 * @returns {{ refusal: string, warnings: string[] }}
 */
export function checkPlatform(host) {
  const [major = 0, minor = 0] = host.node.split('.').map(Number);
  const warnings = [];
  let refusal = '';
  if (host.platform === 'win32') {
    refusal = 'Windows is not supported. Use Linux, for example inside WSL 2.';
  } else if (!(major > MINIMUM_NODE[0] || (major === MINIMUM_NODE[0] && minor >= MINIMUM_NODE[1]))) {
    refusal = `Node ${host.node} is too old: Tracebond needs Node ${MINIMUM_NODE.join('.')} or newer.`;
  } else if (host.platform !== 'linux' && host.platform !== 'darwin') {
    refusal = `The platform ${host.platform} is not supported: Tracebond runs on Linux x64 and arm64.`;
  } else if (host.arch !== 'x64' && host.arch !== 'arm64') {
    refusal = `The processor architecture ${host.arch} is not supported: Tracebond runs on x64 and arm64.`;
  } else if (host.platform === 'linux' && host.libc === 'musl') {
    refusal = 'Linux with musl (Alpine) is not supported: ONNX Runtime has no build for it. Use a glibc distribution.';
  } else if (host.platform === 'darwin') {
    warnings.push('macOS is untested: it may work, and nobody has checked that it does.');
  }
  return { refusal, warnings };
}

/** The platform this process runs on, for {@link checkPlatform}. */
export function thisHost() {
  const host = { node: process.versions.node, platform: process.platform, arch: process.arch };
  return host.platform === 'linux' ? { ...host, libc: linuxLibc() } : host;
}

function linuxLibc() {
  // Without this the report asks the resolver for the names of every interface, which takes seconds on some networks.
  process.report.excludeNetwork = true;
  return process.report.getReport().header?.glibcVersionRuntime ? 'glibc' : 'musl';
}
