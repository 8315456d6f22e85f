/**
 * Things outside the sandbox that no guest may read or change: a file, a variable of the environment, a server, the host's
 * built-ins.
 *
 * @module
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

export type Canaries = {
  /** What is wrong after a guest that left this behind; nothing if all is well. */
  findHarm(outcome: string): string[];
  close(): void;
};

const SECRET = 'canary-d41f9c';
const VARIABLE = 'TRACEBOND_CANARY';

/** Sets the canaries out. */
export function openCanaries(): Canaries {
  const folder = mkdtempSync(join(tmpdir(), 'canary-'));
  writeFileSync(join(folder, 'secret'), SECRET);
  process.env[VARIABLE] = SECRET;
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.destroy();
  }).listen(0, '127.0.0.1');
  const builtIns = describeBuiltIns();
  // What would tell of the host: the secret, its folders, its users, its own program.
  const telling = [SECRET, homedir(), process.cwd(), folder, 'root:x:', 'node_modules', 'process.stdin', VARIABLE];
  return {
    findHarm(outcome) {
      const harm = telling.filter((text) => text !== '/' && outcome.includes(text)).map((text) => `tells ${text}`);
      if (readFileSync(join(folder, 'secret'), 'utf8') !== SECRET) harm.push('changed a file');
      if (readdirSync(folder).length !== 1) harm.push('made a file');
      if (process.env[VARIABLE] !== SECRET) harm.push('changed the environment');
      if (connections > 0) harm.push('reached a server');
      if (describeBuiltIns() !== builtIns) harm.push('changed a built-in of the host');
      return harm;
    },
    close() {
      server.close();
      delete process.env[VARIABLE];
      rmSync(folder, { recursive: true });
    },
  };
}

/** Names and identities of what a guest could change if its objects were the host's. */
function describeBuiltIns(): string {
  const owners = [Object, Array, Function, String, Promise, RegExp, Error, Uint8Array, Map, Set].map(
    ({ prototype }) => prototype,
  );
  return [globalThis, JSON, Reflect, ...owners].map((owner) => Reflect.ownKeys(owner).map(String).join()).join('\n');
}
