/**
 * What a finished image does when it is started, as `docker run --read-only --tmpfs /tmp --cap-drop ALL` would with volumes of their own
 * for keys and cache: each check is a container, without network, of the image's own user, entry point and health check.
 *
 * @module
 */

import { cpSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Box, type Ended, type Running, run, start } from './box.ts';
import type { Image } from './build.ts';
import type { Check } from './contents.ts';
import { must } from './must.ts';
import { closeRoot, type Outside, openRoot } from './outside.ts';

const AGENT = '/app/dist/agents/examples/word-count/agent.js';
const LISTEN_MS = 120_000;
/** Docker kills after so long. */
const STOP_MS = 10_000;
const RUN_MS = 120_000;
const PORT = 8070;

/** Where the volumes and the files of this computer lie for a container. */
export type Place = {
  /** Folder for them. */
  readonly folder: string;
  /** This computer's cache of models, which need not be there. */
  readonly cache: string;
  readonly outside: Outside;
};

/** The checks, in order: later ones use what earlier ones left in the volumes. */
export function listContainerChecks(image: Image, place: Place): Check[] {
  const box = boxOf(image, place);
  const command = (...words: string[]) => [...image.entrypoint, ...words];
  const once = (...words: string[]) => run(box, command(...words), RUN_MS);
  const serve = (name: string, words: readonly string[], while_: (running: Running) => Promise<readonly string[]>) => ({
    name,
    run: async () => whileServing(box, image, words, while_),
  });
  let accessKey = '';
  let bundle = '';
  return [
    {
      name: 'prints its commands and its version',
      run: async () => [
        ...faultOf(await once('--help'), 0, /Commands:[\s\S]*serve[\s\S]*models/),
        ...faultOf(
          await once('--version'),
          0,
          new RegExp(`^${image.labels['org.opencontainers.image.version']}$`, 'm'),
        ),
      ],
    },
    {
      name: 'loads ONNX Runtime and transformers.js after pruning; has pip, bubblewrap and tini',
      run: async () => {
        const program = `const all = await Promise.all(['onnxruntime-node', '@xenova/transformers', 'esbuild'].map((name) => import(name)));
          console.log(typeof all[0].InferenceSession.create, typeof all[1].PreTrainedTokenizer, all[2].version.length > 0)`;
        const tools = 'python3 -m pip --version && bwrap --version && tini --version';
        return [
          ...faultOf(
            await run(box, ['node', '--input-type=module', '-e', program], RUN_MS),
            0,
            /^function function true$/m,
          ),
          ...faultOf(await run(box, ['sh', '-c', tools], RUN_MS), 0, /pip [\s\S]*bubblewrap [\s\S]*tini /),
        ];
      },
    },
    {
      name: 'refuses its default command to everybody while there are no access keys',
      run: async () => faultOf(await once(...image.command), 1, /HOST_REFUSED/),
    },
    { name: 'fetches the model, or finds it', run: () => fetchModel(image, place) },
    {
      name: 'makes an access key',
      run: async () => {
        const ended = await once('access-keys', 'create', 'image');
        accessKey = /\btb-[\w-]+/.exec(ended.output)?.[0] ?? '';
        return faultOf(ended, 0, /\btb-[\w-]{20,}/);
      },
    },
    serve('serves models by its default command, healthy once it listens, and ends on SIGTERM', [], async (running) => {
      const ask = (path: string, key: string, body?: string) => exchange(running, 8080, path, key, body);
      const chat = JSON.stringify({
        model: 'smollm2-135m-instruct',
        messages: [{ role: 'user', content: 'Hello' }],
        max_tokens: 4,
      });
      return [
        ...faultOf(await ask('/v1/models', ''), 0, /^401$/m),
        ...faultOf(await ask('/v1/models', accessKey), 0, /^200 .*smollm2-135m-instruct/m),
        ...faultOf(await ask('/v1/chat/completions', accessKey, chat), 0, /^200 .*"completion_tokens":4/m),
        ...(await frozenFaults(running, image)),
      ];
    }),
    {
      name: `ends on ${image.stopSignal} before it listens too`,
      run: async () => {
        const running = await start(box, command(...image.command));
        await new Promise((waited) => setTimeout(waited, 150));
        const { code, output } = await running.stop(image.stopSignal as NodeJS.Signals, STOP_MS);
        return code === null ? [`it had to be killed after ${STOP_MS / 1000} s`] : unlessSilent(output);
      },
    },
    {
      name: 'runs an agent, and verifies what it recorded',
      run: async () => {
        const input = JSON.stringify({ texts: ['one two', 'three'] });
        const done = await once('run', AGENT, '--input', input, '--json');
        const said = /^\{"run".*$/m.exec(done.output)?.[0] ?? '{}';
        const { bundle: path, verify } = JSON.parse(said) as { readonly bundle?: string; readonly verify?: string };
        const faults = faultOf(done, 0, /"counts":\[2,1\],"total":3/);
        if (path === undefined || verify === undefined) return [...faults, 'no bundle'];
        bundle = path;
        return [...faults, ...faultOf(await once(...verify.split(' ').slice(1)), 0, /./)];
      },
    },
    serve(
      'serves agents, healthy once it listens, and ends on SIGTERM',
      ['serve', 'runtime', '--host', '0.0.0.0', '--agent', AGENT],
      async (running) => faultOf(await exchange(running, 8090, '/readyz', ''), 0, /^200 .*ready/m),
    ),
    {
      name: 'shows a run in the page that lies in it',
      run: async () => {
        const running = await start(box, command('inspect', bundle, '--no-open', '--port', String(PORT)));
        try {
          const [, path = ''] = await until(running, /^http:\/\/[^/\s]+(\/\S*)$/m);
          return faultOf(await exchange(running, PORT, path, ''), 0, /^200 .*<!doctype html>/im);
        } finally {
          await running.stop('SIGTERM', STOP_MS);
        }
      },
    },
  ];
}

/** Volumes that begin as what lies in the image; as Docker's named ones do. */
function boxOf(image: Image, place: Place): Box {
  const hosts = join(place.folder, 'hosts');
  writeFileSync(hosts, '127.0.0.1 localhost\n::1 localhost\n');
  for (const path of image.volumes) {
    mkdirSync(join(volumeOf(place, path), '..'), { recursive: true });
    cpSync(join(image.root, path), volumeOf(place, path), { recursive: true, preserveTimestamps: true });
  }
  return {
    root: image.root,
    env: { ...image.env, HOME: '/home/node' },
    folder: image.folder,
    user: image.user,
    binds: [
      ...image.volumes.map((path) => ({ source: volumeOf(place, path), target: path })),
      { source: hosts, target: '/etc/hosts', readOnly: true },
    ],
    network: false,
    readOnly: true,
  };
}

function volumeOf({ folder }: Place, path: string): string {
  return join(folder, 'volumes', path);
}

/** The set-up's own command, with the network; what this computer has already is laid into the volume before. */
async function fetchModel(image: Image, place: Place): Promise<readonly string[]> {
  const cache = volumeOf(place, image.env['TRACEBOND_CACHE'] ?? '');
  if (existsSync(place.cache)) {
    for (const name of readdirSync(place.cache).filter((each) => each === 'models' || each.endsWith('-exact-v1'))) {
      cpSync(join(place.cache, name), join(cache, name), { recursive: true });
    }
  }
  // The copies are of whoever runs this; a volume's files are the user's.
  for (const path of image.volumes) await must('chown', ['-R', image.user, volumeOf(place, path)], RUN_MS);
  const { outside } = place;
  const box = boxOf(image, place);
  openRoot(image.root);
  const ended = await run(
    {
      ...box,
      env: { ...box.env, ...outside.env },
      binds: [...box.binds.filter(({ target }) => target !== '/etc/hosts'), ...outside.binds],
      network: true,
      readOnly: false,
    },
    ['node', 'agents/setup/bootstrap.mjs', '--model'],
    600_000,
  );
  closeRoot(image.root);
  return faultOf(ended, 0, /^/);
}

/** Starts a server, waits until it listens, has it used, and ends it. */
async function whileServing(
  box: Box,
  image: Image,
  words: readonly string[],
  use: (running: Running) => Promise<readonly string[]>,
): Promise<readonly string[]> {
  const running = await start(box, [...image.entrypoint, ...(words.length === 0 ? image.command : words)]);
  const health = () => running.exec(image.health);
  const early = await health();
  const faults = [...(early.code === 1 ? [] : [`health check before it listens: ${early.code} ${early.output}`])];
  try {
    await until(running, /^listening /m);
    const ready = await health();
    if (ready.code !== 0) faults.push(`health check when it listens: ${ready.code} ${ready.output}`);
    faults.push(...(await use(running)));
  } catch (error) {
    faults.push(error instanceof Error ? error.message : String(error));
  }
  const { code, output } = await running.stop(image.stopSignal as NodeJS.Signals, STOP_MS);
  if (code !== 0) faults.push(`${image.stopSignal}: ${code ?? 'had to be killed'}: ${output.slice(-1000)}`);
  return faults;
}

/** A server that does not answer is not healthy, and is again when it does. */
async function frozenFaults(running: Running, { health }: Image): Promise<string[]> {
  const signal = (name: string) => running.exec(['sh', '-c', `kill -${name} $(cat /proc/1/task/1/children)`]);
  const stopped = await signal('STOP');
  const frozen = await running.exec(health);
  await signal('CONT');
  const again = await running.exec(health);
  return [
    ...faultOf(stopped, 0, /^/),
    ...(frozen.code === 1 ? [] : [`health check of a server that stands still: ${frozen.code} ${frozen.output}`]),
    ...(again.code === 0 ? [] : [`health check of a server that goes on: ${again.code} ${again.output}`]),
  ];
}

/** Asks a server within its container. Prints the status, and the body of a good answer. */
function exchange(running: Running, port: number, path: string, key: string, body?: string): Promise<Ended> {
  const program = `const [url, key, body] = process.argv.slice(1);
    const headers = { 'content-type': 'application/json', ...(key && { authorization: 'Bearer ' + key }) };
    const answer = await fetch(url, body ? { method: 'POST', headers, body } : { headers: key ? headers : {} });
    console.log(answer.ok ? answer.status + ' ' + await answer.text() : answer.status);`;
  const url = `http://127.0.0.1:${port}${path}`;
  return running.exec(['node', '--input-type=module', '-e', program, url, key, body ?? '']);
}

async function until(running: Running, pattern: RegExp): Promise<RegExpExecArray> {
  const deadline = performance.now() + LISTEN_MS;
  let ended = false;
  void running.ended.then(() => {
    ended = true;
  });
  for (;;) {
    const found = pattern.exec(running.output());
    if (found !== null) return found;
    if (ended || performance.now() > deadline) throw new Error(`not ${pattern}: ${running.output().slice(-1000)}`);
    await new Promise((waited) => setTimeout(waited, 50));
  }
}

function faultOf({ code, output }: Ended, wanted: number, pattern: RegExp): string[] {
  if (code === wanted && pattern.test(output)) return [];
  return [`exit code ${code}, expected ${wanted} and ${pattern}: ${output.trim().slice(-1000)}`];
}

/** A program that was told to end before it had anything to say. */
function unlessSilent(output: string): string[] {
  return /^listening /m.test(output) ? ['it listened already: this showed nothing'] : [];
}
