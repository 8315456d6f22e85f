/**
 * What holds of the Dockerfile without anything being built.
 *
 * @module
 */

import { type Ignores, readDockerignore } from './context.ts';
import { DockerfileError, parseDockerfile, type Stage, type Step } from './dockerfile.ts';

/** What a Dockerfile is held to. */
export type Project = {
  readonly dockerfile: string;
  readonly dockerignore: string;
  /** Paths of the files that lie in the project, relative to it. */
  readonly files: readonly string[];
  /** Of `package.json`. */
  readonly version: string;
};

const PINNED = /^(?:[a-z0-9.-]+\/)*[a-z0-9-]+:(?<tag>\d+\.\d+\.\d+-[a-z0-9.-]+)@(?<digest>sha256:[0-9a-f]{64})$/;
const SECRET = /(?:KEY|SECRET|PASSWORD|TOKEN|CREDENTIAL)/;
const BASE = 'org.opencontainers.image.base';

/** @returns a sentence for each rule that is broken, with the line; none where all hold */
export function findFaults(project: Project): string[] {
  let stages: Stage[];
  try {
    stages = parseDockerfile(project.dockerfile);
  } catch (error) {
    if (error instanceof DockerfileError) return [error.message];
    throw error;
  }
  return [...baseFaults(stages), ...copyFaults(stages, project), ...runFaults(stages), ...finalFaults(stages, project)];
}

/** The name of a built stage, or an image with a full version and its digest. */
function baseFaults(stages: readonly Stage[]): string[] {
  return stages.flatMap(({ from }, index) => {
    const isStage = stages.slice(0, index).some((stage) => stage.from.stage === from.image);
    return isStage || PINNED.test(from.image) ? [] : [`line ${from.line}: ${from.image} is not pinned by its digest`];
  });
}

function copyFaults(stages: readonly Stage[], { dockerignore, files }: Project): string[] {
  const ignores = readDockerignore(dockerignore);
  return stages.flatMap(({ steps }, index) =>
    steps.flatMap((step) => {
      if (step.kind !== 'COPY') return [];
      const at = `line ${step.line}: COPY`;
      if (step.from === undefined) {
        return step.sources.flatMap((source) => sourceFault(source, files, ignores).map((fault) => `${at} ${fault}`));
      }
      const isStage = stages.slice(0, index).some(({ from }) => from.stage === step.from);
      return isStage ? [] : [`${at} --from=${step.from} names no stage before it`];
    }),
  );
}

function sourceFault(source: string, files: readonly string[], ignores: Ignores): string[] {
  const path = source.replace(/^(?:\.\/|\.$|\/)/, '').replace(/\/$/, '');
  const there = files.filter((file) => path === '' || file === path || file.startsWith(`${path}/`));
  if (there.length === 0) return [`${source}: no such file`];
  return there.every(ignores) ? [`${source}: kept out by .dockerignore`] : [];
}

function runFaults(stages: readonly Stage[]): string[] {
  const steps = stages.flatMap((stage) => stage.steps);
  return steps.flatMap((step) => {
    if (step.kind === 'ENV') {
      const secrets = step.entries.filter(([name]) => SECRET.test(name));
      return secrets.map(([name]) => `line ${step.line}: ENV ${name} would put a secret into the image`);
    }
    if (step.kind !== 'RUN') return [];
    const { command, line } = step;
    return [
      ...(/apt-get\b.*\binstall\b/.test(command) && !command.includes('--no-install-recommends')
        ? [`line ${line}: apt-get without --no-install-recommends`]
        : []),
      ...(/apt-get\b.*\bupdate\b/.test(command) && !command.includes('rm -rf /var/lib/apt/lists')
        ? [`line ${line}: the lists of apt-get stay in the image`]
        : []),
      ...(/\bnpm (?:ci|install)\b/.test(command) && !command.includes('--ignore-scripts')
        ? [`line ${line}: npm runs the scripts of packages`]
        : []),
      ...(/\bnpm (?:install|i)\b|\bnpx\b|\bcurl\b|\bwget\b/.test(command)
        ? [`line ${line}: fetches what no lock names`]
        : []),
    ];
  });
}

/** The last stage, which is the image. */
function finalFaults(stages: readonly Stage[], { version }: Project): string[] {
  const steps = stages.at(-1)?.steps ?? [];
  const last = <K extends Step['kind']>(kind: K) =>
    steps.findLast((step): step is Extract<Step, { kind: K }> => step.kind === kind);
  const faults = (['HEALTHCHECK', 'ENTRYPOINT', 'CMD', 'STOPSIGNAL', 'VOLUME', 'EXPOSE', 'USER'] as const)
    .filter((kind) => last(kind) === undefined)
    .map((kind) => `the image has no ${kind}`);
  const user = last('USER');
  if (user !== undefined && !/^[1-9]\d*:[1-9]\d*$/.test(user.user)) {
    faults.push(`line ${user.line}: USER ${user.user} is root, or a name that Kubernetes cannot tell from root`);
  }
  const labels = new Map(steps.flatMap((step) => (step.kind === 'LABEL' ? step.entries : [])));
  const { tag, digest } = PINNED.exec(stages[0]?.from.image ?? '')?.groups ?? {};
  const wanted = { [`${BASE}.digest`]: digest, 'org.opencontainers.image.version': version };
  for (const [name, value] of Object.entries(wanted)) {
    if (labels.get(name) !== value) faults.push(`label ${name} is ${labels.get(name)}, expected ${value}`);
  }
  if (tag !== undefined && !labels.get(`${BASE}.name`)?.endsWith(`:${tag}`)) {
    faults.push(`label ${BASE}.name is ${labels.get(`${BASE}.name`)}, expected the tag ${tag}`);
  }
  return faults;
}
