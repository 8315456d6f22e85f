/**
 * `tracebond models commit`: the commitment of a model under the profile `exact`.
 *
 * @module
 */

import type { Command } from 'commander';
import type { Hex } from '../../attest/core/bytes.ts';
import { ModelError } from '../../inference/errors.ts';
import { computeCommitment, leafIndices, tokenizerDigest } from '../../inference/exact/commitment.ts';
import { ensureExactFile, readExactModel } from '../../inference/exact/exact-file.ts';
import { EXACT_VERSION } from '../../inference/exact/exact-model.ts';
import { modelExtents } from '../../inference/exact/extents.ts';
import { computeRanges } from '../../inference/exact/ranges.ts';
import { openSource } from '../../inference/model.ts';
import { resolveModelPath } from '../../inference/model-path.ts';
import { type Environment, readEnvironment } from './environment.ts';

/** What the commands need from outside. */
export type ModelsIo = {
  readonly environment: Environment;
  /** Writes one line to standard output. */
  print(line: string): void;
  /** Writes one line to standard error. */
  progress(line: string): void;
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
  const models = program.command('models').description('what is known about models');
  models
    .command('commit')
    .argument('<model>', 'model id, GGUF file, or folder of a model in safetensors')
    .option('--json', 'print one JSON object')
    .description('compute the commitment of a model under the profile exact')
    .action(async (model: string, options: { json?: boolean }) => {
      const result = await commitModel(model, io);
      io.print(options.json === true ? JSON.stringify(result) : result.commitment);
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

function terminal(): ModelsIo {
  return {
    environment: readEnvironment(),
    print: (line) => console.log(line),
    progress: (line) => console.error(line),
  };
}
