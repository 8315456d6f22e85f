/**
 * Carries out the instructions of a Dockerfile in folders, one root for each stage.
 *
 * @module
 */

import { existsSync, mkdirSync, realpathSync, statSync } from 'node:fs';
import { basename, join, posix } from 'node:path';
import { BASE_ENV } from './base-root.ts';
import { type Box, run } from './box.ts';
import type { Stage, Step } from './dockerfile.ts';
import { must } from './must.ts';
import { closeRoot, type Outside, openRoot } from './outside.ts';

/** An image: a root, and how a container of it is started. */
export type Image = {
  readonly root: string;
  readonly env: Readonly<Record<string, string>>;
  readonly folder: string;
  readonly user: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly volumes: readonly string[];
  readonly ports: readonly string[];
  readonly stopSignal: string;
  readonly health: readonly string[];
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
};

/** What a build needs beside the Dockerfile. */
export type Workshop = {
  /** Folder for the roots of the stages. */
  readonly folder: string;
  /** Root that stands in for every image that is pulled. */
  readonly base: string;
  /** Folder of the context, without what is ignored. */
  readonly context: string;
  readonly outside: Outside;
  /** Folder on this computer for a cache of a build, by its target. */
  readonly cacheOf: (target: string) => string;
  readonly say: (step: Step, seconds: number) => void;
};

const RUN_MS = 420_000;
const COPY_MS = 120_000;

/** A step failed, or cannot be carried out. */
export class BuildError extends Error {
  override readonly name = 'BuildError';
}

/** @returns the image of the last stage @throws {@link BuildError} with the line */
export async function buildStages(stages: readonly Stage[], workshop: Workshop): Promise<Image> {
  const built = new Map<string, Image>();
  let image: Image | undefined;
  for (const [index, { from, steps }] of stages.entries()) {
    const startedAt = performance.now();
    const parent = built.get(from.image);
    const root = join(workshop.folder, `stage-${index}`);
    await must('cp', ['-a', '--reflink=auto', parent?.root ?? workshop.base, root], COPY_MS);
    image = { ...(parent ?? emptyImage(root)), root };
    workshop.say(from, (performance.now() - startedAt) / 1000);
    for (const step of steps) {
      const stepAt = performance.now();
      image = await carryOut(step, image, built, workshop);
      workshop.say(step, (performance.now() - stepAt) / 1000);
    }
    if (from.stage !== undefined) built.set(from.stage, image);
  }
  if (image === undefined) throw new BuildError('no stage');
  return image;
}

function emptyImage(root: string): Image {
  return {
    root,
    env: BASE_ENV,
    folder: '/',
    user: '0:0',
    labels: {},
    volumes: [],
    ports: [],
    stopSignal: 'SIGTERM',
    health: [],
    entrypoint: [],
    command: ['node'],
  };
}

async function carryOut(
  step: Step,
  image: Image,
  built: ReadonlyMap<string, Image>,
  workshop: Workshop,
): Promise<Image> {
  switch (step.kind) {
    case 'RUN':
      await runStep(step, image, workshop);
      return image;
    case 'COPY':
      await copyStep(step, image, built, workshop);
      return image;
    case 'WORKDIR': {
      const folder = posix.resolve(image.folder, step.path);
      mkdirSync(inside(image.root, folder), { recursive: true });
      return { ...image, folder };
    }
    case 'ENV':
      return { ...image, env: { ...image.env, ...Object.fromEntries(step.entries) } };
    case 'LABEL':
      return { ...image, labels: { ...image.labels, ...Object.fromEntries(step.entries) } };
    case 'USER':
      // Names would be looked up in the root; rules.ts asks for numbers.
      if (!/^\d+:\d+$/.test(step.user)) throw new BuildError(`line ${step.line}: USER ${step.user}: expected numbers`);
      return { ...image, user: step.user };
    case 'VOLUME':
      return { ...image, volumes: [...image.volumes, ...step.words] };
    case 'EXPOSE':
      return { ...image, ports: [...image.ports, ...step.words] };
    case 'STOPSIGNAL':
      return { ...image, stopSignal: step.signal };
    case 'HEALTHCHECK':
      return { ...image, health: step.words };
    case 'ENTRYPOINT':
      return { ...image, entrypoint: step.words, command: [] };
    case 'CMD':
      return { ...image, command: step.words };
    case 'FROM':
      throw new BuildError(`line ${step.line}: FROM within a stage`);
    default:
      return step satisfies never;
  }
}

async function runStep(step: Extract<Step, { kind: 'RUN' }>, image: Image, workshop: Workshop): Promise<void> {
  const { outside } = workshop;
  const caches = step.caches.map((target) => ({ source: workshop.cacheOf(target), target }));
  const box: Box = {
    root: image.root,
    env: { ...image.env, ...outside.env },
    folder: image.folder,
    user: image.user,
    binds: [...outside.binds, ...caches],
    network: true,
    readOnly: false,
  };
  openRoot(image.root);
  const { code, output } = await run(box, ['/bin/sh', '-c', step.command], RUN_MS);
  closeRoot(image.root);
  if (code !== 0) throw new BuildError(`line ${step.line}: ${step.text}: exit code ${code}\n${output.slice(-4000)}`);
}

/** As a builder copies: what a folder holds, not the folder; owned by root. */
async function copyStep(
  step: Extract<Step, { kind: 'COPY' }>,
  image: Image,
  built: ReadonlyMap<string, Image>,
  { context }: Workshop,
): Promise<void> {
  const origin = step.from === undefined ? context : built.get(step.from)?.root;
  if (origin === undefined) throw new BuildError(`line ${step.line}: no stage ${step.from}`);
  const target = inside(image.root, posix.resolve(image.folder, step.target));
  const intoFolder = step.target.endsWith('/') || step.sources.length > 1;
  for (const source of step.sources) {
    const path = inside(origin, posix.resolve('/', source));
    if (!existsSync(path)) throw new BuildError(`line ${step.line}: COPY ${source}: no such file or folder`);
    const isFolder = statSync(path).isDirectory();
    const to = isFolder || !(intoFolder || isExistingFolder(target)) ? target : join(target, basename(path));
    mkdirSync(isFolder ? to : join(to, '..'), { recursive: true });
    // A builder's copies are root's; the context is this computer's user's.
    const options = ['-a', '--reflink=auto', '--no-preserve=ownership'];
    await must('cp', [...options, isFolder ? `${path}/.` : path, to], COPY_MS);
  }
}

function isExistingFolder(path: string): boolean {
  return existsSync(path) && statSync(path).isDirectory();
}

/** Where an absolute path of an image lies here; a link that leads out of its root is refused. */
function inside(root: string, path: string): string {
  const full = join(root, path);
  let there = full;
  while (!existsSync(there)) there = join(there, '..');
  const real = realpathSync(there);
  if (real !== realpathSync(root) && !real.startsWith(`${realpathSync(root)}/`)) {
    throw new BuildError(`${path} leads out of the root`);
  }
  return full;
}
