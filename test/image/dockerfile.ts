/**
 * The instructions of a Dockerfile that this project uses, in a form that can be carried out. Whatever else there is in one (ARG, ADD,
 * SHELL, ONBUILD, here documents, variables outside RUN, globs) is refused: an instruction that is not understood is not passed over.
 *
 * Form: the Dockerfile reference of Docker's documentation.
 *
 * @module
 */

import { DockerfileParser, type Flag, type Instruction, type PropertyInstruction } from 'dockerfile-ast';

/** `line` counts from 1. */
export type Step = { readonly line: number; readonly text: string } & (
  | { readonly kind: 'FROM'; readonly image: string; readonly stage: string | undefined }
  | { readonly kind: 'WORKDIR'; readonly path: string }
  | {
      readonly kind: 'COPY';
      /** Name of a stage; without it, the context. */
      readonly from: string | undefined;
      readonly sources: readonly string[];
      readonly target: string;
    }
  /** For `sh -c`; `caches` are folders that outlive a build. */
  | { readonly kind: 'RUN'; readonly command: string; readonly caches: readonly string[] }
  | { readonly kind: 'ENV' | 'LABEL'; readonly entries: readonly (readonly [name: string, value: string])[] }
  | { readonly kind: 'USER'; readonly user: string }
  | { readonly kind: 'VOLUME' | 'EXPOSE' | 'ENTRYPOINT' | 'CMD'; readonly words: readonly string[] }
  | { readonly kind: 'STOPSIGNAL'; readonly signal: string }
  | { readonly kind: 'HEALTHCHECK'; readonly flags: readonly string[]; readonly words: readonly string[] }
);

/** The instructions from one FROM to the next. */
export type Stage = { readonly from: Extract<Step, { kind: 'FROM' }>; readonly steps: readonly Step[] };

/** A Dockerfile with something in it that cannot be carried out here. */
export class DockerfileError extends Error {
  override readonly name = 'DockerfileError';
}

const HEALTH_FLAGS = ['interval', 'timeout', 'start-period', 'retries'];

/** @throws {@link DockerfileError} with the line */
export function parseDockerfile(text: string): Stage[] {
  const stages: { from: Stage['from']; steps: Step[] }[] = [];
  for (const instruction of DockerfileParser.parse(text).getInstructions()) {
    const step = toStep(instruction);
    const stage = stages.at(-1);
    if (step.kind === 'FROM') stages.push({ from: step, steps: [] });
    else if (stage === undefined) throw new DockerfileError(`line ${step.line}: ${step.kind} before FROM`);
    else stage.steps.push(step);
  }
  if (stages.length === 0) throw new DockerfileError('no FROM');
  return stages;
}

function toStep(instruction: Instruction): Step {
  const line = (instruction.getRange()?.start.line ?? 0) + 1;
  const kind = instruction.getKeyword();
  const content = instruction.getArgumentsContent() ?? '';
  const refuse = (why: string) => new DockerfileError(`line ${line}: ${kind} ${content.slice(0, 100)}: ${why}`);
  const words = instruction.getArguments().map((argument) => argument.getValue());
  const flags = flagsOf(instruction);
  const known = (...names: string[]) => {
    const other = flags.find((flag) => !names.includes(flag.getName()));
    if (other !== undefined) throw refuse(`--${other.getName()} is not understood`);
  };
  const one = (): string => {
    const [only, ...rest] = words;
    if (only === undefined || rest.length > 0) throw refuse('expected one word');
    return only;
  };
  const base = { line, text: `${kind} ${content}`.replaceAll(/\s+/g, ' ') };
  if (kind !== 'RUN' && /[$`]|<</.test(content)) throw refuse('variables and here documents are not understood');
  if (kind !== 'RUN' && kind !== 'HEALTHCHECK' && kind !== 'COPY') known();
  switch (kind) {
    case 'FROM': {
      const [image, as, stage, ...rest] = words;
      if (image === undefined || rest.length > 0 || (as === undefined) !== (stage === undefined)) throw refuse('form');
      if (as !== undefined && as.toUpperCase() !== 'AS') throw refuse('form');
      return { ...base, kind, image, stage };
    }
    case 'WORKDIR':
      return { ...base, kind, path: one() };
    case 'COPY': {
      known('from');
      if (/[*?[\]]/.test(content)) throw refuse('globs are not understood');
      const target = words.at(-1);
      if (target === undefined || words.length < 2) throw refuse('expected sources and a target');
      const from = flags[0]?.getValue() ?? undefined;
      return { ...base, kind, from, sources: words.slice(0, -1), target };
    }
    case 'RUN':
      known('mount');
      if (content === '' || content.startsWith('[') || content.includes('<<')) throw refuse('expected a shell command');
      return { ...base, kind, command: content, caches: flags.map((flag) => cacheOf(flag.getValue() ?? '', refuse)) };
    case 'ENV':
    case 'LABEL': {
      const properties = (instruction as PropertyInstruction).getProperties();
      if (properties.some((property) => property.getAssignmentOperator() !== '=')) throw refuse('expected NAME=VALUE');
      return { ...base, kind, entries: properties.map((each) => [each.getName(), each.getValue() ?? '']) };
    }
    case 'USER':
      return { ...base, kind, user: one() };
    case 'VOLUME':
    case 'ENTRYPOINT':
    case 'CMD':
      return { ...base, kind, words: readWords(content, refuse) };
    case 'EXPOSE':
      return { ...base, kind, words };
    case 'STOPSIGNAL':
      return { ...base, kind, signal: one() };
    case 'HEALTHCHECK': {
      known(...HEALTH_FLAGS);
      if (!content.startsWith('CMD')) throw refuse('expected CMD');
      const texts = flags.map((flag) => `--${flag.getName()}=${flag.getValue()}`);
      return { ...base, kind, flags: texts, words: readWords(content.slice('CMD'.length), refuse) };
    }
    default:
      throw refuse('not understood');
  }
}

function flagsOf(instruction: Instruction): Flag[] {
  return 'getFlags' in instruction && typeof instruction.getFlags === 'function' ? instruction.getFlags() : [];
}

function cacheOf(mount: string, refuse: (why: string) => DockerfileError): string {
  const target = /^type=cache,target=(\/[^,]+)$/.exec(mount)?.[1];
  if (target === undefined) throw refuse(`--mount=${mount} is not understood`);
  return target;
}

/** The exec form, which needs no shell. */
function readWords(text: string, refuse: (why: string) => DockerfileError): string[] {
  try {
    const words: unknown = JSON.parse(text);
    if (Array.isArray(words) && words.length > 0 && words.every((word) => typeof word === 'string')) return words;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw refuse('expected a JSON list of words');
}
