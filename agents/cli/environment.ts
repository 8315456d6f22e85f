/**
 * What the command reads from its environment: folders, passwords, paths. Nothing else in the project looks at
 * environment variables.
 *
 * @module
 */

import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';

/** The environment of one command. */
export type Environment = {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The user's home folder. */
  readonly home: string;
  /** `$TRACEBOND_HOME`, else `~/.tracebond`: keys, trust file, chain state, runs. */
  readonly tracebondHome: string;
  /** Folder of models and what is made from them; may be deleted at any time. */
  readonly cache: string;
};

/** Reads the environment of this process. */
export function readEnvironment(
  env: Environment['env'] = process.env,
  home: string = env['HOME'] ?? homedir(),
): Environment {
  const own = env['TRACEBOND_HOME'];
  const cache = env['TRACEBOND_CACHE'];
  const xdg = env['XDG_CACHE_HOME'];
  return {
    env,
    home,
    tracebondHome: own ? resolve(own) : join(home, '.tracebond'),
    cache: cache
      ? resolve(cache)
      : join(xdg !== undefined && isAbsolute(xdg) ? xdg : join(home, '.cache'), 'tracebond'),
  };
}

/** The user's trust file. */
export function trustPath({ tracebondHome }: Environment): string {
  return join(tracebondHome, 'trust.json');
}

/** Folder of the embedded chain's state. */
export function chainFolder({ tracebondHome }: Environment): string {
  return join(tracebondHome, 'chain');
}
