/**
 * How a build reaches the network from a temporary root: by this computer's name servers, proxies, certificates and npm registry, as a
 * builder has its own. None of it stays in the image.
 *
 * @module
 */

import { existsSync, mkdirSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Box } from './box.ts';
import { must } from './must.ts';

/** A part of a {@link Box}, for one that has the network. */
export type Outside = Pick<Box, 'env' | 'binds'> & { readonly npmCache: string };

/** Not below a folder that a package of Debian's writes. */
const CERTIFICATES = '/run/outside/certificates.pem';

const PASSED = /^(?:(?:https?|ftp|no|all)_proxy|pip_(?:index_url|default_timeout|find_links))$/i;

/** What this computer has. */
export async function readOutside(): Promise<Outside> {
  const setting = async (name: string) => (await must('npm', ['config', 'get', name], 30_000)).trim();
  const [registry, cafile, npmCache] = await Promise.all([setting('registry'), setting('cafile'), setting('cache')]);
  const given = [process.env['NODE_EXTRA_CA_CERTS'], process.env['SSL_CERT_FILE'], cafile];
  const certificates = given.find((path) => path?.startsWith('/') && existsSync(path));
  const passed = Object.entries(process.env).flatMap(([name, value]) =>
    PASSED.test(name) && value !== undefined ? [[name, value] as const] : [],
  );
  const files = ['/etc/resolv.conf', '/etc/hosts'].filter(existsSync);
  return {
    npmCache,
    env: {
      ...Object.fromEntries(passed),
      npm_config_registry: registry,
      npm_config_update_notifier: 'false',
      ...(certificates === undefined
        ? {}
        : { NODE_EXTRA_CA_CERTS: CERTIFICATES, npm_config_cafile: CERTIFICATES, PIP_CERT: CERTIFICATES }),
    },
    binds: [
      ...files.map((path) => ({ source: realpathSync(path), target: path, readOnly: true as const })),
      ...(certificates === undefined
        ? []
        : [{ source: realpathSync(certificates), target: CERTIFICATES, readOnly: true as const }]),
    ],
  };
}

/** Makes the places in a root that are bound over. */
export function openRoot(root: string): void {
  mkdirSync(join(root, 'run/outside'), { recursive: true });
}

/** Takes them away. */
export function closeRoot(root: string): void {
  rmSync(join(root, 'run/outside'), { recursive: true, force: true });
}
